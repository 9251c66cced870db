/**
 * DPoP proofs: a JWT for one request, signed with a key that its sender holds and shows. Whoever steals a token that is
 * bound to that key cannot use it, and whoever steals a proof can use it for that request alone, once, within a minute.
 *
 * What is looked at, in this order: form, type, claims, key and algorithm, signature; then what it says of the request, its
 * nonce, its date, and for a service the token that it goes with. The first half is the same whenever it is asked, so a
 * request that is decided again opens its proof once; the second is of the moment. Nothing is remembered here: a proof comes
 * back with its use, and counts only if whoever asked makes that use count (`oauth/replay.ts`).
 *
 * How old a proof may be: 60 s, or dated 10 s ahead. With a nonce of ours it is as young as the nonce, whatever its date
 * says, so a clock that is off by up to five minutes does no harm; who comes with such a clock and no nonce is given one.
 *
 * @see RFC 9449 sections 4.2, 4.3, 8, 11.1
 */
import { hash } from 'node:crypto'
import { OAuthError, type Reason } from '../oauth/errors.ts'
import { type JwtClaims, type ParsedJwt, parseJwt } from '../oauth/jwt.ts'
import { type ForeignKey, foreignAlgs, isForeignAlg, PublicJwkError, parsePublicJwk } from '../oauth/public-jwk.ts'
import { makeReplayUse, type ReplayUse } from '../oauth/replay.ts'
import { makeNonce, type NonceKeys, nonceLifeSeconds, readNonce } from './nonce.ts'
import { normaliseUrl } from './url.ts'

/** The `typ` of a proof's header (RFC 9449 section 4.2). */
export const proofType = 'dpop+jwt'

/** How proofs may be signed (`dpop_signing_alg_values_supported`). The first is what we recommend. */
export const proofAlgs = foreignAlgs

const maxJtiBytes = 256

/** By how many seconds the date of a proof may differ from ours. */
const plainWindow = { past: 60, ahead: 10 } as const
/** The same when a nonce says how old it is. */
const noncedWindow = { past: nonceLifeSeconds, ahead: nonceLifeSeconds } as const

/** What a server says of nonces. */
export interface NonceTerms {
  /** Whether a proof must have one. */
  readonly required: boolean
  readonly keys: NonceKeys
}

/** Makes a key of a JWK. @throws PublicJwkError */
export type TakeKey = (jwk: unknown) => ForeignKey

/** What a proof must be good for. */
export interface ProofTerms {
  /** The method of the request. */
  readonly method: string
  /** Under which URLs its target is known to the outside: from the configuration, never from what a stranger has sent. */
  readonly urls: readonly string[]
  /** Milliseconds since the epoch, by a clock that does not go back. */
  readonly now: number
  /** Absent where there are no nonces; those of others are then ignored. */
  readonly nonces?: NonceTerms
  /** Up to this moment nobody knows which proofs were used, for the store may have gone back. Milliseconds since the epoch. */
  readonly usesUnknownUpTo?: number
  /** See `openProof`. */
  readonly takeKey?: TakeKey
  /** The access token that comes with it, at a service. */
  readonly token?: string
}

/** A proof that is good for its request, unless it was used before. */
export interface VerifiedProof {
  /** The RFC 7638 thumbprint of its key, in base64url. */
  readonly jkt: string
  /** It counts once, for one key and `jti`, whatever else it says. */
  readonly use: ReplayUse
  /** What the sender should use from now on, for its nonce will soon be over. */
  readonly nextNonce?: string
}

/**
 * The one proof of a request's `DPoP` headers; `undefined` when there is none.
 *
 * @throws OAuthError `proof_repeated`
 * @see RFC 9449 section 4.3 (1)
 */
export function takeProof(values: readonly string[]): string | undefined {
  if (values.length > 1) throw new OAuthError('proof_repeated')
  return values[0]
}

/** A proof with a good signature, of which nothing else is known yet. */
export interface OpenedProof {
  /** The RFC 7638 thumbprint of its key, in base64url. */
  readonly jkt: string
  readonly claims: ProofClaims
}

/**
 * Takes a proof apart and verifies its signature.
 *
 * @param takeKey makes a key of what the proof shows: `parsePublicJwk`, or that with a memory
 * @throws OAuthError a reason of `invalid_dpop_proof`
 * @see RFC 9449 section 4.3 (2) to (7)
 */
export function openProof(proof: string, takeKey: TakeKey = parsePublicJwk): OpenedProof {
  // A list of proofs has a comma, which no JWT has.
  const jwt = parseJwt(proof)
  if (jwt === undefined) throw new OAuthError('proof_malformed')
  if (jwt.header.typ !== proofType) throw new OAuthError('proof_type_wrong')
  const claims = readClaims(jwt.claims)
  const { thumbprint } = requireSignature(jwt, takeKey)
  return { jkt: thumbprint, claims }
}

/**
 * Whether a proof is good for a request, now.
 *
 * @throws OAuthError a reason of `invalid_dpop_proof`, or of `use_dpop_nonce` and then with a nonce; `proof_use_unknown`
 * @see RFC 9449 section 4.3 (8) to (12)
 */
export function judgeProof({ jkt, claims }: OpenedProof, terms: ProofTerms): VerifiedProof {
  requireTarget(claims, terms)
  const nonceEnd = judgeNonce(claims, terms)
  const until = requireDates(claims, terms, nonceEnd)
  requireKnownUse(claims, terms, nonceEnd)
  requireToken(claims, terms)
  const use = makeReplayUse('proof', [jkt, claims.jti], until)
  return { jkt, use, ...followNonce(claims, terms) }
}

/** Opens and judges a proof. @throws OAuthError as both do */
export function verifyProof(proof: string, terms: ProofTerms): VerifiedProof {
  return judgeProof(openProof(proof, terms.takeKey), terms)
}

/** What a proof says, in its types. */
export interface ProofClaims {
  readonly jti: string
  readonly htm: string
  readonly htu: string
  readonly iat: number
  readonly exp: number | undefined
  readonly nbf: number | undefined
  readonly nonce: string | undefined
  readonly ath: unknown
}

function readClaims({ jti, iat, exp, nbf, htm, htu, nonce, ath }: JwtClaims): ProofClaims {
  if (!jti || iat === undefined || typeof htm !== 'string' || typeof htu !== 'string') {
    throw new OAuthError('proof_claim_missing')
  }
  // It is hashed and remembered; nobody needs a longer one to be unique.
  if (Buffer.byteLength(jti) > maxJtiBytes) throw new OAuthError('proof_malformed')
  if (nonce !== undefined && typeof nonce !== 'string') throw new OAuthError('proof_malformed')
  return { jti, htm, htu, iat, exp, nbf, nonce, ath }
}

function requireTarget({ htm, htu }: ProofClaims, { method, urls }: ProofTerms): void {
  // Methods are case-sensitive (RFC 9110 section 9.1).
  if (htm !== method) throw new OAuthError('proof_method_wrong')
  const url = normaliseUrl(htu)
  if (url === undefined || !urls.some((candidate) => normaliseUrl(candidate) === url)) {
    throw new OAuthError('proof_url_wrong')
  }
}

// The key is the header's `jwk` and nothing else: a `kid`, a certificate or a URL in it is not looked at.
function requireSignature({ header, signingInput, signature }: ParsedJwt, takeKey: TakeKey): ForeignKey {
  const { alg } = header
  if (!isForeignAlg(alg)) throw new OAuthError('proof_alg_unsupported')
  const key = readKey(header.jwk, takeKey)
  if (!key.fits(alg)) throw new OAuthError('proof_key_unfit')
  if (!key.verify(alg, signingInput, signature)) throw new OAuthError('proof_signature_wrong')
  return key
}

function readKey(jwk: unknown, takeKey: TakeKey): ForeignKey {
  try {
    return takeKey(jwk)
  } catch (cause) {
    if (cause instanceof PublicJwkError) throw new OAuthError('proof_key_unfit', { cause })
    throw cause
  }
}

function judgeNonce({ nonce }: ProofClaims, { nonces, now }: ProofTerms): number | undefined {
  if (nonces === undefined) return undefined
  if (nonce === undefined) {
    if (nonces.required) throw askForNonce('proof_nonce_missing', nonces, now)
    return undefined
  }
  const end = readNonce(nonce, nonces.keys, now)
  if (end === undefined) throw askForNonce('proof_nonce_unknown', nonces, now)
  return end
}

function askForNonce(reason: Reason, { keys }: NonceTerms, now: number): OAuthError {
  return new OAuthError(reason, { nonce: makeNonce(keys, now) })
}

/** @returns until when the proof could be used, milliseconds since the epoch: so long its use must be remembered */
function requireDates(claims: ProofClaims, { nonces, now }: ProofTerms, nonceEnd: number | undefined): number {
  const { past, ahead } = nonceEnd === undefined ? plainWindow : noncedWindow
  const { iat, exp = Number.POSITIVE_INFINITY, nbf = 0 } = claims
  const seconds = Math.floor(now / 1000)
  if (seconds - iat > past || iat - seconds > ahead) {
    const couldHeal = nonces !== undefined && Math.abs(seconds - iat) <= noncedWindow.past
    if (couldHeal && nonceEnd === undefined) throw askForNonce('proof_clock_off', nonces, now)
    throw new OAuthError('proof_out_of_time')
  }
  if (exp + ahead <= seconds || nbf - ahead > seconds) throw new OAuthError('proof_out_of_time')
  return Math.min((iat + past + 1) * 1000, nonceEnd ?? Number.POSITIVE_INFINITY)
}

// A proof was good for nothing before the earliest moment that its date allows, nor before its nonce was made. If that is of
// after the store has gone back, it was not used before; else it may have been, and its client makes a fresh one.
function requireKnownUse({ iat }: ProofClaims, { usesUnknownUpTo }: ProofTerms, nonceEnd: number | undefined): void {
  const goodFrom =
    nonceEnd === undefined
      ? (iat - plainWindow.ahead) * 1000
      : Math.max((iat - noncedWindow.ahead) * 1000, nonceEnd - nonceLifeSeconds * 1000)
  if (usesUnknownUpTo !== undefined && goodFrom <= usesUnknownUpTo) throw new OAuthError('proof_use_unknown')
}

function requireToken({ ath }: ProofClaims, { token }: ProofTerms): void {
  if (token !== undefined && ath !== hash('sha256', token, 'base64url')) throw new OAuthError('proof_token_wrong')
}

function followNonce({ nonce }: ProofClaims, { nonces, now }: ProofTerms): Pick<VerifiedProof, 'nextNonce'> {
  if (nonces === undefined || nonce === undefined) return {}
  const nextNonce = makeNonce(nonces.keys, now)
  return nextNonce === nonce ? {} : { nextNonce }
}
