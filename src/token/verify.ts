/**
 * Whether a token is an access token of ours and alive. The questions come in this order, the cheap and certain ones first:
 *
 *   1. is it a signed JWT in strict form, of the type of an access token
 *   2. which key of the ring is it of: one that is published and may have signed, under its own algorithm
 *   3. is the signature right
 *   4. has it expired
 *   5. did we make it: the record of its issuance exists, and says the same
 *   6. is it of this issuer, and has it begun: a clock that stepped back may have dated it ahead
 *   7. has anything ended it: its client, the moment of its client or of the store, a mark on it or on its family
 *
 * Of what passes 3 and fails 5 somebody else has the signing key, or records were lost: `isForgery`.
 */
import type { IssuanceRecord } from '../audit/event.ts'
import type { Client } from '../client/client.ts'
import type { VerifyingKey } from '../key/verifying-key.ts'
import { isUlid, ulidMilliseconds } from '../lib/id.ts'
import { type AccessTokenClaims, accessTokenType, readAccessTokenClaims } from '../oauth/claims.ts'
import { formatConfirmation } from '../oauth/confirmation.ts'
import { parseJwt } from '../oauth/jwt.ts'
import { nodeSkewMilliseconds } from './mark-store.ts'
import type { MarkSet } from './marks.ts'

/** Why a token is not active. Only people who may see everything hear of it; on the wire it is all one. */
export type TokenFault =
  | 'malformed'
  | 'other_type'
  | 'key_unknown'
  | 'key_staged'
  | 'key_other_alg'
  | 'signature_wrong'
  | 'expired'
  | 'not_yet_valid'
  | 'misshapen'
  | 'unrecorded'
  | 'differs'
  | 'other_issuer'
  | 'client_deleted'
  | 'client_disabled'
  | 'client_ended'
  | 'all_ended'
  | 'family_ended'
  | 'revoked'

/** A token whose signature is right. What it says is ours only once `judgeToken` has found no fault. */
export interface SignedToken {
  readonly kid: string
  /** Whether its key has not begun to sign. */
  readonly byStagedKey: boolean
  /** `undefined` when these are not the claims that our tokens have. */
  readonly claims: AccessTokenClaims | undefined
}

/** What a token is judged by: all of it as of one moment. */
export interface Grounds {
  readonly issuer: string | undefined
  /** Only tokens of after this moment are alive, milliseconds since the epoch. */
  readonly tokensAfter: number
  readonly marks: Pick<MarkSet, 'ends'>
  /** Milliseconds since the epoch. */
  readonly now: number
  /** A key that is published. */
  findKey(kid: string): VerifyingKey | undefined
  /** @throws StoreUnavailable */
  findClient(clientId: string): Promise<Client | undefined>
  /** @throws StoreUnavailable */
  findIssuance(jti: string): Promise<IssuanceRecord | undefined>
}

/** Questions 1 to 3. */
export function readSignedToken(token: string, findKey: Grounds['findKey']): SignedToken | TokenFault {
  const jwt = parseJwt(token)
  if (jwt === undefined) return 'malformed'
  const { typ, kid } = jwt.header
  // As we write it: `application/at+jwt` means the same, and is none of ours.
  if (typ !== accessTokenType) return 'other_type'
  const key = kid === undefined ? undefined : findKey(kid)
  if (key === undefined) return 'key_unknown'
  if (jwt.header.alg !== key.alg) return 'key_other_alg'
  if (!key.verify(jwt.signingInput, jwt.signature)) return 'signature_wrong'
  // `typ`, `alg` and `kid`, and nothing else.
  const isPlainHeader = Object.keys(jwt.header).length === 3
  return {
    kid: key.kid,
    byStagedKey: key.state === 'staged',
    claims: isPlainHeader ? readAccessTokenClaims(jwt.claims) : undefined,
  }
}

/** Questions 4 to 7. @returns the claims of a token that is active, else what is wrong. @throws StoreUnavailable */
export async function judgeToken(token: SignedToken, grounds: Grounds): Promise<AccessTokenClaims | TokenFault> {
  const { claims, kid, byStagedKey } = token
  // A staged key is published and has never signed: whoever signs with it has taken it.
  if (byStagedKey) return 'key_staged'
  if (claims === undefined) return 'misshapen'
  if (findOutside(claims, grounds.now) === 'expired') return 'expired'
  const record = isUlid(claims.jti) ? await grounds.findIssuance(claims.jti) : undefined
  if (record === undefined) return 'unrecorded'
  if (!isRecordOf(record, claims, kid)) return 'differs'
  if (claims.iss !== grounds.issuer) return 'other_issuer'
  if (findOutside(claims, grounds.now) !== undefined) return 'not_yet_valid'
  return (await findEnd(claims, grounds)) ?? claims
}

/**
 * Whether a moment, in milliseconds, lies outside the life of a token. There is no tolerance for its end, for the clock is
 * our own; others who issue tokens may have one that is a little ahead.
 */
export function findOutside(
  { exp, nbf }: Pick<AccessTokenClaims, 'exp' | 'nbf'>,
  now: number,
): 'expired' | 'not_yet_valid' | undefined {
  if (exp * 1000 <= now) return 'expired'
  return nbf * 1000 > now + 2 * nodeSkewMilliseconds ? 'not_yet_valid' : undefined
}

/** Whether a fault means that somebody else signs with our key, or that records were lost. */
export function isForgery(fault: TokenFault): boolean {
  return fault === 'misshapen' || fault === 'unrecorded' || fault === 'differs' || fault === 'key_staged'
}

function isRecordOf(record: IssuanceRecord, claims: AccessTokenClaims, kid: string): boolean {
  return (
    record.clientId === claims.client_id &&
    record.subject === claims.sub &&
    record.audience === claims.aud &&
    record.expiresAt === claims.exp &&
    record.scope === claims.scope &&
    record.familyId === claims.sid &&
    formatConfirmation(record.confirmation) === formatConfirmation(claims.cnf) &&
    record.kid === kid &&
    isDatedAsRecorded(claims)
  )
}

async function findEnd(claims: AccessTokenClaims, grounds: Grounds): Promise<TokenFault | undefined> {
  const client = await grounds.findClient(claims.client_id)
  if (client === undefined) return 'client_deleted'
  if (client.status !== 'active') return 'client_disabled'
  const at = issuedAt(claims)
  if (at <= grounds.tokensAfter) return 'all_ended'
  if (at <= (client.tokensAfter ?? 0)) return 'client_ended'
  const mark = grounds.marks.ends(claims)
  if (mark === undefined) return undefined
  return mark === 'family' ? 'family_ended' : 'revoked'
}

// The record has no `iat` but the `jti`, and that has the moment in it: of the same second, or of just after its end.
function isDatedAsRecorded({ iat, nbf, jti }: AccessTokenClaims): boolean {
  return nbf === iat && Math.abs(ulidMilliseconds(jti) / 1000 - iat) < 2
}

// The earlier of the two, for the other may be a second late.
function issuedAt({ iat, jti }: AccessTokenClaims): number {
  return Math.min(iat, Math.floor(ulidMilliseconds(jti) / 1000)) * 1000
}
