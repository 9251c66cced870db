import { type OAuthError, type Refusal, refusalOf } from '../oauth/errors.ts'
import { rateLimitHeaders } from '../oauth/rate-limit.ts'
import { giveUp } from './given-up.ts'
import type { RequestRecord } from './request.ts'

const retryAfterSeconds = '1'

/** A JSON reply that no cache may keep (RFC 6749 section 5.1). */
export function answerJson(record: RequestRecord, body: object): Response {
  return answerText(record, JSON.stringify(body), 'application/json')
}

/** The same with a text of another type. */
export function answerText(record: RequestRecord, body: string, contentType: string): Response {
  return new Response(body, { headers: { 'content-type': contentType, ...commonHeaders(record) } })
}

/** 200 with an empty body, and what there is to say in headers. */
export function answerNothing(record: RequestRecord, headers: Readonly<Record<string, string>> = {}): Response {
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
 * @see RFC 6749 section 5.2
 */
export function answerRefusal(record: RequestRecord, refused: OAuthError, allow: string | undefined): Response {
  const { error, status, description } = refusalOf(refused.reason)
  const headers = commonHeaders(record)
  if (status === 405 && allow !== undefined) headers.allow = allow
  if (status === 503) headers['retry-after'] = retryAfterSeconds
  if (refused.limit !== undefined) {
    Object.assign(headers, rateLimitHeaders(refused.limit), { 'retry-after': String(refused.limit.resetSeconds) })
  }
  // What is left of the body is not worth reading.
  if (!record.incoming.complete) {
    headers.connection = 'close'
    giveUp(record.incoming.socket)
  }
  if (record.route === 'verify') return answerBearerRefusal(refused, headers)
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

// To a proxy, which looks at the status and hands on the challenge: never a body (RFC 6750 section 3).
function answerBearerRefusal({ reason, neededScope }: OAuthError, headers: Record<string, string>): Response {
  const { error, status } = refusalOf(reason)
  const code = status === 400 ? 'invalid_request' : error
  const parts = [
    'Bearer realm="mayfly"',
    // Whoever has sent no token is told no error.
    ...(reason === 'bearer_missing' ? [] : [`error="${code}"`]),
    ...(neededScope === undefined ? [] : [`scope="${neededScope}"`]),
  ]
  if ([400, 401, 403].includes(status)) headers['www-authenticate'] = parts.join(', ')
  return new Response(null, { status, headers: { ...headers, ...nothing } })
}
