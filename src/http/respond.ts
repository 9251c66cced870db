import { proofAlgs } from '../dpop/proof.ts'
import { type OAuthError, type Reason, type Refusal, refusalOf } from '../oauth/errors.ts'
import { rateLimitHeaders } from '../oauth/rate-limit.ts'
import { giveUp } from './given-up.ts'
import type { RequestRecord } from './request.ts'

const retryAfterSeconds = '1'

type Headers = Readonly<Record<string, string>>

/** A JSON reply that no cache may keep (RFC 6749 section 5.1). */
export function answerJson(record: RequestRecord, body: object, headers: Headers = {}): Response {
  return answerText(record, JSON.stringify(body), 'application/json', headers)
}

/** The same with a text of another type. */
export function answerText(record: RequestRecord, body: string, contentType: string, headers: Headers = {}): Response {
  return new Response(body, { headers: { 'content-type': contentType, ...commonHeaders(record), ...headers } })
}

/** 200 with an empty body, and what there is to say in headers. */
export function answerNothing(record: RequestRecord, headers: Headers = {}): Response {
  return new Response(null, { headers: { ...commonHeaders(record), ...nothing, ...headers } })
}

// Without it an empty reply goes out in chunks, of which there is none.
const nothing = { 'content-length': '0' }

function commonHeaders({ requestId }: RequestRecord): Record<string, string> {
  return { 'cache-control': 'no-store', 'x-request-id': requestId }
}

/**
 * The one mapping of a refusal to a reply.
 *
 * @param allow the methods of the route, for 405
 * @see RFC 6749 section 5.2, RFC 9449 section 8
 */
export function answerRefusal(record: RequestRecord, refused: OAuthError, allow: string | undefined): Response {
  const { error, status, description } = refusalOf(refused.reason)
  const headers = commonHeaders(record)
  if (status === 405 && allow !== undefined) headers.allow = allow
  if (status === 503) headers['retry-after'] = retryAfterSeconds
  if (refused.nonce !== undefined) headers['dpop-nonce'] = refused.nonce
  if (refused.limit !== undefined) {
    Object.assign(headers, rateLimitHeaders(refused.limit), { 'retry-after': String(refused.limit.resetSeconds) })
  }
  // What is left of the body is not worth reading.
  if (!record.incoming.complete) {
    headers.connection = 'close'
    giveUp(record.incoming.socket)
  }
  if (record.route === 'verify') return answerTokenRefusal(record, refused, headers)
  const challenged = isChallenged(record, error)
  if (challenged) headers['www-authenticate'] = 'Basic realm="mayfly", charset="UTF-8"'
  headers['content-type'] = 'application/json'
  const body = JSON.stringify({ error, error_description: description })
  return new Response(body, { status: challenged ? 401 : status, headers })
}

// A 401 without a challenge is not HTTP, and a challenge to a client that sent no header hides the code from it. At
// /introspect RFC 7662 section 2.3 wants it in any case.
function isChallenged({ route, incoming }: RequestRecord, error: Refusal['error']): boolean {
  return error === 'invalid_client' && (incoming.headers.authorization !== undefined || route === 'introspect')
}

// To a proxy, which looks at the status and hands on the challenge: never a body (RFC 6750 section 3, RFC 9449 section 7.1).
function answerTokenRefusal(
  record: RequestRecord,
  { reason, neededScope }: OAuthError,
  headers: Record<string, string>,
): Response {
  const refusal = refusalOf(reason)
  // A bad proof is a bad request at /token, and bad credentials here.
  const status = refusal.error === 'invalid_dpop_proof' ? 401 : refusal.status
  const code = status === 400 ? 'invalid_request' : refusal.error
  const parameters = [
    // Whoever has sent no token is told no error.
    ...(reason === 'bearer_missing' ? [] : [`error="${code}"`]),
    ...(neededScope === undefined ? [] : [`scope="${neededScope}"`]),
  ]
  if ([400, 401, 403].includes(status)) {
    const challenges = challengesFor(record, reason).map((challenge) => [challenge, ...parameters].join(', '))
    headers['www-authenticate'] = challenges.join(', ')
  }
  return new Response(null, { status, headers: { ...headers, ...nothing } })
}

const bearerChallenge = 'Bearer realm="mayfly"'
const dpopChallenge = `DPoP realm="mayfly", algs="${proofAlgs.join(' ')}"`

// What was tried is answered, but for a bound token without its proof: that is told how it is to come (RFC 9449 section 7.2).
function challengesFor({ incoming }: RequestRecord, reason: Reason): readonly string[] {
  if (reason === 'header_repeated') return [bearerChallenge, dpopChallenge]
  const triesDpop = /^dpop(?: |$)/i.test(incoming.headers.authorization ?? '')
  const lacksProof = reason === 'token_needs_proof' || refusalOf(reason).error === 'invalid_dpop_proof'
  return [triesDpop || lacksProof ? dpopChallenge : bearerChallenge]
}
