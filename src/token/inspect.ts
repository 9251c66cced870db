import { compactVerify, createLocalJWKSet, errors, type JWK } from 'jose'
import type { IssuanceRecord } from '../audit/event.ts'
import type { KeyStore } from '../key/key-store.ts'
import { signingAlgs } from '../key/signer.ts'
import type { SigningKeyFacts } from '../key/signing-key.ts'
import { formatTimestamp } from '../lib/clock.ts'
import { accessTokenType } from '../oauth/claims.ts'
import type { RegistryStore } from '../registry/registry-store.ts'
import type { TokenStore } from './token-store.ts'

/** What there is to say of a token; never its signature. */
export interface Inspection {
  readonly active: boolean
  /** Why it is not active, in words; `null` when it is. */
  readonly reason: string | null
  readonly header: object | null
  readonly claims: object | null
  readonly issued_at: string | null
  readonly expires_at: string | null
  /** Whether the audit trail has it; a good signature without a record is a token that we never made. */
  readonly recorded: boolean
}

const maxTokenLength = 16 * 1024

type Json = Readonly<Record<string, unknown>>

/**
 * Decodes a token and says whether it is one of ours and alive at a moment (milliseconds since the epoch).
 *
 * @throws StoreUnavailable
 */
export async function inspectToken(
  token: string,
  store: KeyStore & RegistryStore & TokenStore,
  now: number,
): Promise<Inspection> {
  const [header, claims] = decodeParts(token)
  if (header === undefined || claims === undefined) return describe({}, undefined, 'it is not a signed JWT')
  const record = typeof claims.jti === 'string' ? await store.findIssuance(claims.jti) : undefined
  const reason = (await findFault(token, header, claims, store, now)) ?? findRecordFault(claims, record)
  return describe({ header, claims }, record, reason)
}

function describe(
  parts: { header?: Json; claims?: Json },
  record: IssuanceRecord | undefined,
  reason: string | undefined,
): Inspection {
  return {
    active: reason === undefined,
    reason: reason ?? null,
    header: parts.header ?? null,
    claims: parts.claims ?? null,
    issued_at: toTimestamp(parts.claims?.iat),
    expires_at: toTimestamp(parts.claims?.exp),
    recorded: record !== undefined,
  }
}

function decodeParts(token: string): (Json | undefined)[] {
  if (token.length > maxTokenLength || !/^[\w-]+\.[\w-]+\.[\w-]*$/.test(token)) return []
  return token.split('.').map(decodeJson)
}

function decodeJson(part: string): Json | undefined {
  try {
    const value: unknown = JSON.parse(Buffer.from(part, 'base64url').toString())
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return { ...value }
  } catch {
    // What is not JSON is no part of a JWT; the signature comes here too.
  }
  return undefined
}

async function findFault(
  token: string,
  header: Json,
  claims: Json,
  store: KeyStore & RegistryStore,
  now: number,
): Promise<string | undefined> {
  const material = await store.readKeys()
  const keys = (material?.signingKeys ?? []).map(({ publicJwk }) => ({ ...publicJwk }) as JWK)
  // A clock that stepped back revives nothing.
  const calendar = Math.max(now, material?.ringMark.highWater ?? 0)
  const { issuer } = await store.readRegistryHead()
  try {
    await compactVerify(token, createLocalJWKSet({ keys }), { algorithms: [...signingAlgs] })
  } catch (error) {
    if (error instanceof errors.JWKSNoMatchingKey) return explainKey(header.kid, await store.listKeys())
    return 'its signature is wrong'
  }
  if (header.typ !== accessTokenType) return `its typ is not ${accessTokenType}`
  if (claims.iss !== issuer) return 'it is of another issuer'
  if (!Number.isInteger(claims.exp) || Number(claims.exp) * 1000 <= calendar) return 'it has expired'
  return undefined
}

function explainKey(kid: unknown, keys: readonly SigningKeyFacts[]): string {
  const key = keys.find((candidate) => candidate.kid === kid)
  if (key === undefined) return 'its key is none of ours'
  if (key.state === 'compromised') return 'its key was revoked as compromised'
  return key.state === 'retired'
    ? 'its key is retired, and whatever it signed is dead'
    : 'its key is of another algorithm'
}

function findRecordFault(claims: Json, record: IssuanceRecord | undefined): string | undefined {
  if (record === undefined)
    return 'the signature is right but the audit trail does not have it: somebody else may hold the signing key'
  const same =
    record.clientId === claims.client_id &&
    record.subject === claims.sub &&
    record.audience === claims.aud &&
    record.expiresAt === claims.exp &&
    record.scope === claims.scope
  return same ? undefined : 'the audit trail has another token of that jti: somebody else may hold the signing key'
}

function toTimestamp(seconds: unknown): string | null {
  return typeof seconds === 'number' && Math.abs(seconds) < 8.64e12 ? formatTimestamp(seconds * 1000) : null
}
