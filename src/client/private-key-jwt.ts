/**
 * `private_key_jwt`: the client signs a short statement with a key of its own, and what we keep of the key proves nothing to
 * a thief. The statement is worth one request: it is addressed to this issuer and no other, lives five minutes at most, and
 * counts once.
 *
 * Its text is a stranger's until the signature was verified, and the signature is verified with keys that the client has
 * registered, never with one that the statement brings along or points at (`jwk`, `jku`, `x5c`, `x5u` are not looked at). What
 * can be refused without a key is refused before one is looked for; what is left costs one verification in the algorithm that
 * the statement names, with a key that nobody has where there is no such client or no such key.
 *
 * @see RFC 7521 section 4.2, RFC 7523 sections 2.2 and 3, draft-ietf-oauth-rfc7523bis, RFC 8725 section 3
 */
import { type Clock, nowSeconds } from '../lib/clock.ts'
import { Secret } from '../lib/secret.ts'
import { OAuthError, type Reason } from '../oauth/errors.ts'
import { type JwtClaims, type ParsedJwt, parseJwt } from '../oauth/jwt.ts'
import { type ForeignAlg, isForeignAlg, isSameAlg, parsePublicJwk } from '../oauth/public-jwk.ts'
import { makeReplayUse, type ReplayUse } from '../oauth/replay.ts'
import { OutboundError } from '../outbound/outbound-error.ts'
import type { RemoteKeys } from '../outbound/remote-keys.ts'
import type { Client } from './client.ts'
import { type ClientKey, findClientKeys } from './client-keys.ts'
import type { ClientAuthMethod } from './methods.ts'

/** The only type of client assertion (RFC 7523 section 2.2). */
export const assertionType = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer'

/** How long an assertion may live, and be good for. */
export const maxAssertionSeconds = 300
/** By how much the clocks of clients may differ from ours. */
const assertionSkewSeconds = 60
const maxJtiLength = 256

/** What assertions are checked with. */
export interface AssertionTools {
  readonly clock: Clock
  /** What they may be addressed to. */
  readonly assertionAudiences: readonly string[]
  readonly remoteKeys: Pick<RemoteKeys<ClientKey>, 'find'>
}

/** What a good assertion proves. */
export interface AssertionProof {
  readonly credentialId: `key_${string}`
  readonly method: 'private_key_jwt'
  readonly uses: readonly ReplayUse[]
}

/** `client_assertion` and `client_assertion_type` in the form; `client_id` may be left out (RFC 7521 section 4.2). */
export const privateKeyJwt: ClientAuthMethod = {
  isUsed: ({ form }) => form.get('client_assertion') !== undefined || form.get('client_assertion_type') !== undefined,

  parse({ form }) {
    const text = form.get('client_assertion')
    const type = form.get('client_assertion_type')
    if (text === undefined || type === undefined) throw new OAuthError('assertion_incomplete')
    if (type !== assertionType) throw new OAuthError('authentication_method_unsupported')
    const jwt = parseJwt(text)
    if (jwt === undefined) throw new OAuthError('assertion_malformed')
    const { sub } = jwt.claims
    if (sub === undefined) throw new OAuthError('assertion_claim_missing')
    return { kind: 'assertion', clientId: sub, assertion: new Secret(jwt) }
  },
}

/**
 * What an assertion proves of the client that it names, or why it proves nothing.
 *
 * @throws OAuthError `assertion_keys_busy`
 */
export async function proveByAssertion(
  jwt: ParsedJwt,
  client: Client | undefined,
  tools: AssertionTools,
): Promise<AssertionProof | Reason> {
  const { alg, kid } = jwt.header
  const fault = findFault(jwt, tools)
  if (fault !== undefined) return fault
  if (!isForeignAlg(alg)) return 'assertion_alg_unsupported'
  const found = await findKey(client, { alg, kid }, tools)
  const key = typeof found === 'string' ? nobodysKeys[alg] : found.key
  const isGood = key.verify(alg, jwt.signingInput, jwt.signature)
  if (typeof found === 'string') return found
  if (!isGood) return 'assertion_signature_wrong'
  return { credentialId: `key_${key.thumbprint}`, method: 'private_key_jwt', uses: [useOf(jwt.claims)] }
}

/**
 * A store that was put back to an earlier state does not know what was used since. An assertion that may be from then may
 * have been used: its client makes a fresh one. It may have been dated by a clock that is ahead, so one of a minute after is
 * the first that is surely not from before.
 *
 * @param since what is of after this moment is known, milliseconds since the epoch
 * @throws OAuthError `assertion_use_unknown`
 */
export function requireKnownUse({ claims: { iat, exp = Number.POSITIVE_INFINITY } }: ParsedJwt, since: number): void {
  const madeAt = iat ?? exp - maxAssertionSeconds
  if ((madeAt - assertionSkewSeconds) * 1000 <= since) throw new OAuthError('assertion_use_unknown')
}

const types = [undefined, 'jwt', 'client-authentication+jwt', 'application/client-authentication+jwt']

// All that the statement itself is wrong in, whoever made it. A JWT of another type is another statement: an access token or a
// proof of the same key (RFC 8725 section 3.11).
function findFault({ header, claims }: ParsedJwt, tools: AssertionTools): Reason | undefined {
  const { iss, sub, aud, exp, jti } = claims
  if (!types.includes(header.typ?.toLowerCase())) return 'assertion_type_wrong'
  if (iss === undefined || aud === undefined || exp === undefined || !jti) return 'assertion_claim_missing'
  if (jti.length > maxJtiLength) return 'assertion_malformed'
  if (iss !== sub) return 'assertion_issuer_wrong'
  if (!isForUs(aud, tools.assertionAudiences)) return 'assertion_audience_wrong'
  return findLapse({ ...claims, exp }, nowSeconds(tools.clock))
}

// Somebody else's server, named beside us, could send the statement on to us as its own (audience injection): whatever it is
// addressed to must be us. Compared as simple strings (RFC 3986 section 6.2.1).
function isForUs(aud: string | readonly string[], ours: readonly string[]): boolean {
  const named = typeof aud === 'string' ? [aud] : aud
  return new Set(named).size === named.length && named.every((name) => ours.includes(name))
}

function findLapse({ exp, iat, nbf }: JwtClaims & { readonly exp: number }, now: number): Reason | undefined {
  if (exp + assertionSkewSeconds <= now) return 'assertion_expired'
  if (Math.max(iat ?? 0, nbf ?? 0) > now + assertionSkewSeconds) return 'assertion_not_yet_valid'
  if (exp > now + maxAssertionSeconds + assertionSkewSeconds) return 'assertion_lives_too_long'
  if (iat !== undefined && (exp <= iat || exp - iat > maxAssertionSeconds)) return 'assertion_lives_too_long'
  return undefined
}

// Not of a client that is disabled or does not use keys: whoever names it would else make us fetch, or learn of its keys.
async function findKey(
  client: Client | undefined,
  { alg, kid }: { readonly alg: ForeignAlg; readonly kid: string | undefined },
  { remoteKeys }: AssertionTools,
): Promise<ClientKey | Reason> {
  if (client?.status !== 'active' || !client.authMethods.includes('private_key_jwt')) return 'assertion_key_unknown'
  const { assertionAlg } = client
  if (assertionAlg !== undefined && !isSameAlg(assertionAlg, alg)) return 'assertion_alg_not_registered'
  const fits = ({ name, key }: ClientKey): boolean => key.fits(alg) && (kid === undefined || name === kid)
  try {
    const [first, ...others] = await findClientKeys(client, remoteKeys, fits)
    if (first === undefined) return 'assertion_key_unknown'
    // Not one after the other until one fits: a key is chosen, then it decides. One may be there with several certificates.
    return others.every(({ identity }) => identity === first.identity) ? first : 'assertion_key_ambiguous'
  } catch (error) {
    if (!(error instanceof OutboundError)) throw error
    if (error.failure === 'busy') throw new OAuthError('assertion_keys_busy', { cause: error })
    return 'assertion_keys_unavailable'
  }
}

function useOf({ iss = '', jti = '', exp = 0 }: JwtClaims): ReplayUse {
  return makeReplayUse('assertion', [iss, jti], (exp + assertionSkewSeconds) * 1000)
}

// From RFC 7638 section 3.1, RFC 9449 section 4.1 and RFC 8037 appendix A.2: only the time that they take counts.
const rsa = parsePublicJwk({
  kty: 'RSA',
  n: '0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw',
  e: 'AQAB',
})
const ec = parsePublicJwk({
  kty: 'EC',
  crv: 'P-256',
  x: 'l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs',
  y: '9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA',
})
const okp = parsePublicJwk({ kty: 'OKP', crv: 'Ed25519', x: '11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo' })
const nobodysKeys = { ES256: ec, RS256: rsa, PS256: rsa, Ed25519: okp, EdDSA: okp } as const
