import type { IncomingMessage } from 'node:http'
import type { Clock } from '../lib/clock.ts'
import type { RequestId } from '../lib/id.ts'
import { makeRequestId } from '../lib/id.ts'
import { OAuthError } from '../oauth/errors.ts'
import type { AddressOf } from './address.ts'

/** The routes that there are, for metrics and logs: a closed set, `unknown` for every other path. */
export const routes = [
  'token',
  'revoke',
  'introspect',
  'verify',
  'jwks',
  'oauth_metadata',
  'openid_metadata',
  'authorize',
  'livez',
  'readyz',
  'metrics',
  'unknown',
] as const

export type Route = (typeof routes)[number]

/** What is known of one request from its arrival on. */
export interface RequestRecord {
  readonly requestId: RequestId
  readonly route: Route
  readonly address: string
  /** On the monotonic clock. */
  readonly startedAt: number
  readonly incoming: IncomingMessage
}

export function openRecord(incoming: IncomingMessage, route: Route, addressOf: AddressOf, clock: Clock): RequestRecord {
  return {
    requestId: makeRequestId(clock.nowMilliseconds()),
    route,
    address: addressOf(incoming),
    startedAt: clock.monotonicMilliseconds(),
    incoming,
  }
}

const singletons: ReadonlySet<string> = new Set(['host', 'authorization', 'content-type'])
const hostForm = /^[A-Za-z0-9.~_%:[\]-]*$/

/**
 * Refuses a request that repeats a header which may appear once, one of HTTP/1.1 without a proper Host, one of another
 * version, and one whose body comes in a coding that is not undone here. Node keeps the first of some headers and joins
 * others with a comma; whoever reads the other one, a proxy perhaps, sees another request.
 *
 * @throws OAuthError `header_repeated`, `http_malformed`
 * @see RFC 9110 section 5.3, RFC 9112 sections 3.2 and 6.1
 */
export function requireSingleHeaders({ rawHeaders, headers, httpVersion }: IncomingMessage): void {
  const seen: string[] = []
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i]?.toLowerCase() ?? ''
    if (!singletons.has(name)) continue
    if (seen.includes(name)) throw new OAuthError('header_repeated')
    if (name === 'host' && !hostForm.test(rawHeaders[i + 1] ?? '')) throw new OAuthError('http_malformed')
    seen.push(name)
  }
  // The parser takes 0.9 and 2.0 too, which have no such headers.
  if (!['1.0', '1.1'].includes(httpVersion)) throw new OAuthError('http_malformed')
  if (httpVersion === '1.1' && !seen.includes('host')) throw new OAuthError('http_malformed')
  // Node takes the chunks apart and leaves the codings within: `gzip, chunked` would be read as if it were plain.
  if (!/^chunked$/i.test(headers['transfer-encoding'] ?? 'chunked')) throw new OAuthError('http_malformed')
}

/**
 * Each value of a header, as it was sent. Node joins some with a comma and drops others.
 *
 * @param name in lower case
 */
export function headerValues({ rawHeaders }: IncomingMessage, name: string): readonly string[] {
  return rawHeaders.filter((_, i) => i % 2 === 1 && rawHeaders[i - 1]?.toLowerCase() === name)
}
