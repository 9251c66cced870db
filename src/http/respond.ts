import { type OAuthError, refusalOf } from '../oauth/errors.ts'
import type { RequestRecord } from './request.ts'

const retryAfterSeconds = '1'

/** A JSON reply that no cache may keep (RFC 6749 section 5.1). */
export function answerJson(record: RequestRecord, body: object): Response {
  return new Response(JSON.stringify(body), {
    headers: {
      'content-type': 'application/json',
      'cache-control': 'no-store',
      'x-request-id': record.requestId,
    },
  })
}

/**
 * The one mapping of a refusal to a reply.
 *
 * @param allow the methods of the route, for 405
 * @see RFC 6749 section 5.2
 */
export function answerRefusal(record: RequestRecord, { reason }: OAuthError, allow: string | undefined): Response {
  const { error, status, description } = refusalOf(reason)
  const headers: Record<string, string> = {
    'content-type': 'application/json',
    'cache-control': 'no-store',
    'x-request-id': record.requestId,
  }
  // A 401 without a challenge is not HTTP, and a challenge to a client that sent no header hides the code from it.
  const isChallenge = error === 'invalid_client' && record.incoming.headers.authorization !== undefined
  if (isChallenge) headers['www-authenticate'] = 'Basic realm="mayfly", charset="UTF-8"'
  if (status === 405 && allow !== undefined) headers.allow = allow
  if (status === 503) headers['retry-after'] = retryAfterSeconds
  // What is left of the body is not worth reading.
  if (!record.incoming.complete) headers.connection = 'close'
  const body = JSON.stringify({ error, error_description: description })
  return new Response(body, { status: isChallenge ? 401 : status, headers })
}
