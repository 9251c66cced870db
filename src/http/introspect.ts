import type { SigningAlg } from '../key/signer.ts'
import { introspectionType } from '../oauth/claims.ts'
import { OAuthError } from '../oauth/errors.ts'
import type { Parameters } from '../oauth/parameters.ts'
import type { RegistryView } from '../registry/registry.ts'
import { type Introspection, introspect, signIntrospection } from '../token/introspect.ts'
import type { TokenVerifier, VerifyToken } from '../token/token-verifier.ts'
import { prefers } from './accept.ts'
import { authenticateCaller, type CallerEndpoint, noteUse, type RequestFacts, readClaim, spendProof } from './caller.ts'
import { readForm } from './form.ts'
import type { Metrics } from './metrics.ts'
import type { RequestRecord } from './request.ts'
import { answerJson, answerText } from './respond.ts'

const signedMediaType = `application/${introspectionType}`

export interface IntrospectEndpoint extends CallerEndpoint {
  readonly verifier: TokenVerifier
  /** What signed answers are signed with. */
  readonly signingAlg: SigningAlg
  readonly metrics: Metrics
}

/**
 * `POST /introspect`: a service asks about a token that it was shown. The answer is of this moment, or within the bound of
 * the store, in every process, and leaves no record: a service asks many times a second. A caller that may not know, and a
 * token that is not active, get the same bytes.
 *
 * @see RFC 7662, RFC 9701
 */
export async function answerIntrospection(
  endpoint: IntrospectEndpoint,
  record: RequestRecord,
  facts: RequestFacts,
): Promise<Response> {
  const form = await readForm(record.incoming)
  const claim = readClaim(record, form, facts)
  await endpoint.limits.admit(record, facts)
  const isSigned = prefers(record.incoming.headers.accept, signedMediaType, 'application/json')
  const { verifier } = endpoint
  const attempt = async (view: RegistryView, verify: VerifyToken) => {
    const { client } = await authenticateCaller(endpoint, claim, view, facts)
    const answer = introspect(await verify(requireToken(form), record), client)
    const audience = client.clientId
    const signer = isSigned ? view.ring.activeSigner(endpoint.signingAlg) : undefined
    const jwt = signer && (await signIntrospection(answer, { ...endpoint, audience, signer }))
    return { answer, jwt }
  }
  // What is signed must not be by a key that was revoked a moment ago.
  const { answer, jwt } = await (isSigned
    ? verifier.decide(attempt)
    : verifier.answer(attempt, (reply) => reply.answer.active))
  await spendProof(endpoint, facts)
  noteUse(endpoint, facts)
  endpoint.metrics.countCheck('introspect', outcomeOf(answer))
  return jwt === undefined ? answerJson(record, answer) : answerText(record, jwt, signedMediaType)
}

function requireToken(form: Parameters): string {
  const token = form.get('token')
  if (token === undefined) throw new OAuthError('token_missing')
  return token
}

function outcomeOf({ active }: Introspection): 'active' | 'inactive' {
  return active ? 'active' : 'inactive'
}
