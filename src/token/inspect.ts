/** What may be said of a token to whoever may see everything; never its signature, which would make it usable. */
import type { IssuanceRecord } from '../audit/event.ts'
import type { ClientStore } from '../client/client-store.ts'
import type { KeyStore } from '../key/key-store.ts'
import type { DerivedKeys } from '../key/ring.ts'
import type { SigningKeyFacts } from '../key/signing-key.ts'
import { makeVerifyingKey } from '../key/verifying-key.ts'
import { formatTimestamp } from '../lib/clock.ts'
import { ulidMilliseconds } from '../lib/id.ts'
import { type AccessTokenClaims, accessTokenType } from '../oauth/claims.ts'
import { type ParsedJwt, parseJwt } from '../oauth/jwt.ts'
import type { RegistryStore } from '../registry/registry-store.ts'
import { judgeTicket, type RefreshFamily, type TicketVerdict } from './family.ts'
import type { FamilyStore } from './family-store.ts'
import type { MarkStore } from './mark-store.ts'
import { MarkSet } from './marks.ts'
import { isTicketOf, type TicketParts } from './ticket.ts'
import type { TokenStore } from './token-store.ts'
import { type Grounds, judgeToken, readSignedToken, type TokenFault } from './verify.ts'

/** What there is to say of an access token. */
export interface Inspection {
  readonly kind: 'access_token'
  readonly active: boolean
  /** Why it is not active, in words; `null` when it is. */
  readonly reason: string | null
  /** The same for programs. */
  readonly fault: TokenFault | null
  readonly header: object | null
  readonly claims: object | null
  readonly issued_at: string | null
  readonly expires_at: string | null
  /** Whether the audit trail has it; a good signature without a record is a token that we never made. */
  readonly recorded: boolean
}

/** What an inspection reads. */
export type InspectedStore = KeyStore & RegistryStore & TokenStore & MarkStore & ClientStore

const stolen = 'somebody else may hold the signing key'

const faults = {
  malformed: 'it is not a signed JWT',
  other_type: `its typ is not ${accessTokenType}`,
  key_unknown: 'its key is none of ours',
  key_staged: `its signature is right but its key has not begun to sign: ${stolen}`,
  key_other_alg: 'its key is of another algorithm',
  signature_wrong: 'its signature is wrong',
  expired: 'it has expired',
  not_yet_valid: 'it is dated ahead of this clock, and not valid before that',
  misshapen: `its signature is right but it says what no token of Mayfly says: ${stolen}`,
  unrecorded: `the signature is right but the audit trail does not have it: ${stolen}`,
  differs: `the audit trail has another token of that jti: ${stolen}`,
  other_issuer: 'it is of another issuer',
  client_deleted: 'its client was deleted',
  client_disabled: 'its client is disabled',
  client_ended: 'the tokens that its client had then were ended',
  all_ended: 'all tokens of then were ended',
  family_ended: 'its refresh family was ended',
  revoked: 'it was revoked',
} as const satisfies Record<TokenFault, string>

/**
 * Decodes an access token and says whether it is one of ours and alive at a moment (milliseconds since the epoch).
 *
 * @throws StoreUnavailable
 */
export async function inspectToken(token: string, store: InspectedStore, now: number): Promise<Inspection> {
  const jwt = parseJwt(token)
  const grounds = await readGrounds(store, now)
  const signed = readSignedToken(token, grounds.findKey)
  const found = typeof signed === 'string' ? signed : await judgeToken(signed, grounds)
  const fault = typeof found === 'string' ? found : undefined
  const reason = fault === undefined ? undefined : await explain(fault, jwt, store)
  const record = jwt?.claims.jti === undefined ? undefined : await store.findIssuance(jwt.claims.jti)
  const verdict = { active: fault === undefined, reason: reason ?? null, fault: fault ?? null }
  return { ...verdict, ...describe(jwt, record) }
}

function describe(jwt: ParsedJwt | undefined, record: IssuanceRecord | undefined) {
  return {
    kind: 'access_token',
    header: jwt?.header ?? null,
    claims: jwt?.claims ?? null,
    issued_at: toTimestamp(jwt?.claims.iat),
    expires_at: toTimestamp(jwt?.claims.exp),
    recorded: record !== undefined,
  } as const
}

/**
 * Says of a token on record whether it is alive at a moment (milliseconds since the epoch), without having it.
 *
 * @throws StoreUnavailable
 */
export async function inspectIssuance(
  record: IssuanceRecord,
  store: InspectedStore,
  now: number,
): Promise<Pick<Inspection, 'active' | 'reason' | 'fault'>> {
  const grounds = await readGrounds(store, now)
  const key = grounds.findKey(record.kid)
  const signed = { kid: record.kid, byStagedKey: false, claims: claimsOf(record, grounds.issuer) }
  const found = key === undefined ? 'key_unknown' : await judgeToken(signed, grounds)
  if (typeof found !== 'string') return { active: true, reason: null, fault: null }
  const reason = found === 'key_unknown' ? explainKey(record.kid, await store.listKeys()) : faults[found]
  return { active: false, reason, fault: found }
}

// As they stand in the token, but for the second in which it was made: the record has the moment.
function claimsOf(record: IssuanceRecord, issuer: string | undefined): AccessTokenClaims {
  const { jti, clientId, subject, audience, scope, expiresAt, familyId, confirmation } = record
  const iat = Math.floor(ulidMilliseconds(jti) / 1000)
  return {
    iss: issuer ?? '',
    sub: subject,
    aud: audience,
    exp: expiresAt,
    iat,
    nbf: iat,
    jti,
    client_id: clientId,
    ...(scope === undefined ? {} : { scope }),
    ...(familyId === undefined ? {} : { sid: familyId }),
    ...(confirmation === undefined ? {} : { cnf: confirmation }),
  }
}

// The marks before the registry: see `token-verifier.ts`.
async function readGrounds(store: InspectedStore, now: number): Promise<Grounds> {
  const marks = new MarkSet(store, { nowMilliseconds: () => now })
  await marks.refresh()
  const { issuer, tokensAfter = 0 } = await store.readRegistryHead()
  const material = await store.readKeys()
  return {
    issuer,
    tokensAfter,
    marks,
    // A clock that stepped back revives nothing.
    now: Math.max(now, material?.ringMark.highWater ?? 0),
    findKey: (kid) => {
      const key = material?.signingKeys.find((candidate) => candidate.kid === kid)
      return key === undefined ? undefined : makeVerifyingKey(key)
    },
    findClient: async (clientId) => (await store.findClient(clientId)).value,
    findIssuance: (jti) => store.findIssuance(jti),
  }
}

async function explain(fault: TokenFault, jwt: ParsedJwt | undefined, store: KeyStore): Promise<string> {
  return fault === 'key_unknown' ? explainKey(jwt?.header.kid, await store.listKeys()) : faults[fault]
}

function explainKey(kid: string | undefined, keys: readonly SigningKeyFacts[]): string {
  const state = keys.find((candidate) => candidate.kid === kid)?.state
  if (state === 'compromised') return 'its key was revoked as compromised'
  return state === 'retired' ? 'its key is retired, and whatever it signed is dead' : faults.key_unknown
}

/** What there is to say of a refresh token. */
export interface TicketInspection {
  readonly kind: 'refresh_token'
  /** Whether it can still be used, for the first time or once more. */
  readonly active: boolean
  readonly reason: string | null
  readonly family: string
  readonly generation: number
  readonly current_generation: number | null
  readonly client_id: string | null
  readonly audience: string | null
  readonly scope: string | null
  readonly issued_at: string | null
  readonly expires_at: string | null
  readonly family_expires_at: string | null
}

/** What a ticket is inspected beside. */
export interface TicketGrounds {
  readonly store: FamilyStore & ClientStore & RegistryStore
  readonly keys: DerivedKeys
  readonly retryWindowMilliseconds: number
  /** Milliseconds since the epoch. */
  readonly now: number
}

/**
 * Says of a refresh token how it stands with its family. Nothing happens to the family, whatever the token proves.
 *
 * @throws StoreUnavailable
 */
export async function inspectTicket(parts: TicketParts, grounds: TicketGrounds): Promise<TicketInspection> {
  const key = grounds.keys.keyOf(parts.rootVersion)
  if (key === undefined) return describeTicket(parts, undefined, 'the root key that it was derived from was replaced')
  const family = await grounds.store.findFamily(parts.familyId)
  if (family === undefined)
    return describeTicket(parts, undefined, 'its family is not here: it died long ago, or is of another database')
  if (!isTicketOf(parts, family.seed, key))
    return describeTicket(parts, undefined, 'it is forged: it was not derived from its family')
  return describeTicket(parts, family, await findTicketFault(parts, family, grounds))
}

function describeTicket(
  { familyId, generation }: TicketParts,
  family: RefreshFamily | undefined,
  reason: string | undefined,
): TicketInspection {
  return {
    kind: 'refresh_token',
    active: reason === undefined,
    reason: reason ?? null,
    family: familyId,
    generation,
    current_generation: family?.generation ?? null,
    client_id: family?.clientId ?? null,
    audience: family?.audience ?? null,
    scope: family?.scopes.join(' ') ?? null,
    issued_at: family?.generation === generation ? formatTimestamp(family.generationAt) : null,
    expires_at: family === undefined ? null : formatTimestamp(family.expiresAt),
    family_expires_at: family === undefined ? null : formatTimestamp(family.familyExpiresAt),
  }
}

async function findTicketFault(
  { generation }: TicketParts,
  family: RefreshFamily,
  { store, retryWindowMilliseconds, now }: TicketGrounds,
): Promise<string | undefined> {
  const { value: client } = await store.findClient(family.clientId)
  if (client === undefined) return 'its client was deleted'
  if (client.status !== 'active') return 'its client is disabled'
  const head = await store.readRegistryHead()
  const tokensAfter = Math.max(head.tokensAfter ?? 0, client.tokensAfter ?? 0)
  const circumstances = { generation, now, retryWindowMilliseconds, tokensAfter, wasGood: false }
  return explainVerdict(judgeTicket(family, circumstances), family)
}

function explainVerdict(verdict: TicketVerdict, { end, familyExpiresAt }: RefreshFamily): string | undefined {
  if ('use' in verdict) return undefined
  if (end !== undefined) return `its family was ended (${end})`
  if (!('end' in verdict)) {
    if (verdict.refuse === 'refresh_ended') return 'it was ended with everything else that its client had then'
    return `it has expired, or its family has (${formatTimestamp(familyExpiresAt)} at the latest)`
  }
  return verdict.end === 'generation_ahead'
    ? 'its family has not come so far: this database has gone back in time'
    : 'it was used already: whoever presents it ends the family'
}

function toTimestamp(seconds: number | undefined): string | null {
  return seconds !== undefined && seconds < 8.64e12 ? formatTimestamp(seconds * 1000) : null
}
