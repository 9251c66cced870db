import type { ClientCertificate } from '../client/certificate.ts'
import { type TokenScheme, verifyBoundRequest } from '../dpop/bound-request.ts'
import { type TakeKey, takeProof, type VerifiedProof } from '../dpop/proof.ts'
import type { ProofMemory } from '../dpop/seen-proofs.ts'
import type { Clock } from '../lib/clock.ts'
import type { AccessTokenClaims } from '../oauth/claims.ts'
import { type Confirmation, formatConfirmation } from '../oauth/confirmation.ts'
import { OAuthError } from '../oauth/errors.ts'
import { parseScope } from '../oauth/scope.ts'
import type { TokenVerifier } from '../token/token-verifier.ts'
import { type RequestFacts, requireIssuer } from './caller.ts'
import { parseForm } from './form.ts'
import type { ForwardedRequestOf } from './forwarded.ts'
import type { Metrics } from './metrics.ts'
import { headerValues, type RequestRecord } from './request.ts'
import { answerNothing } from './respond.ts'

export interface VerifyEndpoint {
  readonly issuer: string
  readonly verifier: TokenVerifier
  readonly metrics: Metrics
  /** Tells how old a proof is. */
  readonly clock: Clock
  readonly forwardedRequestOf: ForwardedRequestOf
  readonly seenProofs: ProofMemory
  readonly takeKey: TakeKey
}

/** What a token must be good for. */
interface Demand {
  readonly audience: string
  readonly scopes: ReadonlySet<string>
}

/**
 * `GET /verify`: a proxy hands on the headers of a request and asks whether it may pass. Whoever asks need not prove himself:
 * he learns of a token what its holder knows. The answer is in status and headers alone, and leaves no record.
 *
 * A token that is bound to a DPoP key passes with a proof for the original request, which a trusted proxy tells of. A proof
 * that this process has seen before is refused; nothing is written, so another process may not know of it.
 *
 * @throws OAuthError of RFC 6750 or RFC 9449, or for a question that is none
 * @see RFC 6750 section 3, RFC 9449 section 7
 */
export async function answerVerification(
  endpoint: VerifyEndpoint,
  record: RequestRecord,
  facts: RequestFacts,
): Promise<Response> {
  const demand = parseDemand(record.incoming.url ?? '')
  const presented = parseCredentials(record.incoming.headers.authorization)
  const found = await endpoint.verifier.answer(
    async (view, verify) => {
      requireIssuer(view, endpoint.issuer)
      return verify(presented.token, record)
    },
    ({ active }) => active,
  )
  if (!found.active) throw new OAuthError('token_inactive')
  requireCertificate(found.claims.cnf, facts.certificate)
  const proof = examineProof(endpoint, record, presented, found.claims)
  requireDemand(found.claims, demand)
  // Last, so that only what passes is used up.
  if (proof && !(await endpoint.seenProofs.isFirst(proof.use, endpoint.clock.nowMilliseconds()))) {
    throw new OAuthError('proof_replayed')
  }
  endpoint.metrics.countCheck('verify', 'active')
  return answerNothing(record, identityHeaders(found.claims))
}

function parseDemand(url: string): Demand {
  const query = parseForm(url.includes('?') ? url.slice(url.indexOf('?') + 1) : '', new Set())
  const audience = query.get('audience')
  if (audience === undefined) throw new OAuthError('audience_missing')
  const scope = query.get('scope')
  return { audience, scopes: scope === undefined ? new Set() : parseScope(scope) }
}

/** A token in an `Authorization` header. */
export interface Credentials {
  readonly scheme: TokenScheme
  readonly token: string
}

/**
 * The token in an `Authorization` header.
 *
 * @throws OAuthError `bearer_missing` when there are no such credentials, `bearer_malformed`
 * @see RFC 6750 section 2.1, RFC 9449 section 7.1, RFC 9110 section 11.4
 */
export function parseCredentials(authorization = ''): Credentials {
  const [, name, token] = /^(bearer|dpop)(?: +(.*)| *)$/is.exec(authorization) ?? []
  if (name === undefined) throw new OAuthError('bearer_missing')
  if (token === undefined || !/^[\w.~+/-]+=*$/.test(token)) throw new OAuthError('bearer_malformed')
  return { scheme: name.toLowerCase() === 'dpop' ? 'DPoP' : 'Bearer', token }
}

function examineProof(
  { clock, forwardedRequestOf, takeKey }: VerifyEndpoint,
  { incoming }: RequestRecord,
  presented: Credentials,
  { cnf: confirmation }: AccessTokenClaims,
): VerifiedProof | undefined {
  const proof = takeProof(headerValues(incoming, 'dpop'))
  return verifyBoundRequest({ ...presented, confirmation, proof }, () => {
    const request = forwardedRequestOf(incoming)
    // Whoever sends a proof could name the request that it is for just as well.
    if (request === undefined) throw new OAuthError('proof_not_verifiable')
    return { method: request.method, urls: [request.url], now: clock.nowMilliseconds(), takeKey }
  })
}

/**
 * Requires the certificate that a token is bound to, of whoever presented it to the proxy that asks. The certificate of the
 * asking connection is not that: a gateway with one of its own would lend it to everybody who has got hold of its token.
 *
 * @throws OAuthError `token_bound`
 * @see RFC 8705 section 3
 */
function requireCertificate(cnf: Confirmation | undefined, certificate: ClientCertificate | undefined): void {
  const bound = cnf?.['x5t#S256']
  if (bound === undefined) return
  if (certificate?.isForwarded !== true || certificate.thumbprint !== bound) throw new OAuthError('token_bound')
}

function requireDemand(claims: AccessTokenClaims, { audience, scopes }: Demand): void {
  if (claims.aud !== audience) throw new OAuthError('token_for_another_audience')
  const granted = new Set(claims.scope?.split(' '))
  if ([...scopes].some((scope) => !granted.has(scope)))
    throw new OAuthError('scope_insufficient', { neededScope: [...scopes].join(' ') })
}

// All of them each time: a proxy that copies what it finds must not leave one in place that the caller has sent.
function identityHeaders({ sub, client_id, scope, jti, exp, cnf }: AccessTokenClaims): Record<string, string> {
  const values = {
    'x-mayfly-subject': sub,
    'x-mayfly-client-id': client_id,
    'x-mayfly-scope': scope ?? '',
    'x-mayfly-token-id': jti,
    'x-mayfly-expires-at': String(exp),
    // What was proved, in JSON as the claim has it: a service behind the proxy that sees the certificate too can look for itself.
    'x-mayfly-confirmation': formatConfirmation(cnf) ?? '',
  }
  for (const value of Object.values(values)) requireHeaderSafe(value)
  return values
}

// A subject that reads otherwise behind the proxy would be somebody else. (RFC 9110 section 5.5)
function requireHeaderSafe(value: string): void {
  if (!/^(?:[\x21-\x7E](?:[\x20-\x7E]*[\x21-\x7E])?)?$/.test(value))
    throw new Error('a claim does not fit into a header')
}
