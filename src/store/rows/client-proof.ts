/** The columns that say how a client proves itself without a secret, and what its tokens are bound to. */
import { z } from 'zod/mini'
import { type ClientJwk, type ClientProofSettings, type ClientSettings, tlsSubjectKinds } from '../../client/client.ts'
import type { ClientProofChanges } from '../../client/client-store.ts'
import { isForeignAlg } from '../../oauth/public-jwk.ts'
import type { client } from '../sqlite/schema.ts'

type Row = typeof client.$inferSelect
type ProofColumns = Pick<
  Row,
  | 'jwks'
  | 'jwksUri'
  | 'assertionAlg'
  | 'tlsSubjectKind'
  | 'tlsSubject'
  | 'certificateBound'
  | 'dpopBound'
  | 'tokensPerHour'
>

// What is written was taken apart before (`oauth/public-jwk.ts`), and is again when it is used.
const jwks = z.array(z.custom<ClientJwk>((value) => typeof value === 'object' && value !== null && 'kty' in value))

export function proofColumnsOf(settings: ClientSettings): ProofColumns {
  const { keys, assertionAlg, tlsSubject, certificateBound, dpopBound, tokensPerHour } = settings
  return {
    jwks: keys?.kind === 'inline' ? JSON.stringify(keys.jwks) : null,
    jwksUri: keys?.kind === 'uri' ? keys.uri : null,
    assertionAlg: assertionAlg ?? null,
    tlsSubjectKind: tlsSubject?.kind ?? null,
    tlsSubject: tlsSubject?.value ?? null,
    certificateBound: certificateBound ?? false,
    dpopBound: dpopBound ?? false,
    tokensPerHour: tokensPerHour ?? null,
  }
}

/** What a client that is deleted keeps of them. */
export const emptiedProof = proofColumnsOf({ name: '', grantTypes: [], authMethods: [], scopes: [], audiences: [] })

/** What a client that is offboarded loses of them: whatever could prove it. */
export const withoutKeys = { jwks: null, jwksUri: null, tlsSubjectKind: null, tlsSubject: null } as const

export function toProof(row: ProofColumns): ClientProofSettings {
  const kind = tlsSubjectKinds.find((candidate) => candidate === row.tlsSubjectKind)
  return {
    ...(row.jwks === null ? {} : { keys: { kind: 'inline', jwks: jwks.parse(JSON.parse(row.jwks)) } }),
    ...(row.jwksUri === null ? {} : { keys: { kind: 'uri', uri: row.jwksUri } }),
    ...(isForeignAlg(row.assertionAlg) ? { assertionAlg: row.assertionAlg } : {}),
    ...(kind === undefined || row.tlsSubject === null ? {} : { tlsSubject: { kind, value: row.tlsSubject } }),
    ...(row.certificateBound ? { certificateBound: true } : {}),
    ...(row.dpopBound ? { dpopBound: true } : {}),
    ...(row.tokensPerHour === null ? {} : { tokensPerHour: row.tokensPerHour }),
  }
}

const names = ['keys', 'assertionAlg', 'tlsSubject', 'certificateBound', 'dpopBound', 'tokensPerHour'] as const

/** Settings as changes leave them: `null` takes away, what is not named stays. */
export function changeProof(current: ClientProofSettings, changes: ClientProofChanges): ClientProofSettings {
  const changed = names.map((name) => [name, changes[name] === undefined ? current[name] : changes[name]] as const)
  return Object.fromEntries(changed.filter(([, value]) => value !== undefined && value !== null))
}
