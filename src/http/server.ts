/**
 * The routes, and the one way of a request: a record is opened, headers that may appear once are looked at, the route
 * answers or refuses, and a refusal becomes a reply in one place.
 */
import type { IncomingMessage } from 'node:http'
import type { HttpBindings } from '@hono/node-server'
import { type Context, Hono } from 'hono'
import type { KeyRing } from '../key/ring.ts'
import type { Clock } from '../lib/clock.ts'
import { describeError, type Log } from '../lib/log.ts'
import { StoreUnavailable } from '../lib/store-error.ts'
import { OAuthError } from '../oauth/errors.ts'
import { type LimitState, rateLimitHeaders } from '../oauth/rate-limit.ts'
import type { AddressOf } from './address.ts'
import { answerDocument, type Document, makeDocument } from './cacheable.ts'
import type { RequestFacts } from './caller.ts'
import type { CallerLimits } from './caller-limits.ts'
import type { CertificateOf } from './client-certificate.ts'
import { answerHealth, type Check } from './health.ts'
import { answerIntrospection, type IntrospectEndpoint } from './introspect.ts'
import { type CertificateSupport, endpointsOf, oauthMetadata, openidMetadata } from './metadata.ts'
import type { Metrics } from './metrics.ts'
import type { RefusalLog } from './refusal-log.ts'
import { openRecord, type RequestRecord, type Route, requireSingleHeaders } from './request.ts'
import { answerRefusal } from './respond.ts'
import { answerRevocation, type RevokeEndpoint } from './revoke.ts'
import { answerToken, type TokenEndpoint } from './token.ts'
import { answerVerification, type VerifyEndpoint } from './verify.ts'

type Env = { Bindings: HttpBindings }

// Without the store nobody knows whether a key has been added since: such a copy must not be kept for long.
const unconfirmedMaxAgeSeconds = 5

type Answer = (record: RequestRecord, facts: RequestFacts) => Response | Promise<Response>

/** What a route answers, by method; HEAD is answered as GET. */
interface RouteHandlers {
  readonly GET?: Answer
  readonly POST?: Answer
  /** Whether pages of any origin may read it (RFC 9110 section 9.3.7, Fetch standard). */
  readonly cors?: boolean
}

/** Handlers at their place. */
interface PlacedHandlers extends RouteHandlers {
  readonly path?: string
}

export interface ServerParts {
  readonly token: TokenEndpoint
  readonly revoke: RevokeEndpoint
  readonly introspect: IntrospectEndpoint
  readonly verify: VerifyEndpoint
  readonly jwksMaxAgeSeconds: number
  readonly limits: CallerLimits
  readonly refusals: RefusalLog
  readonly metrics: Metrics
  /** All numbers of this port, in Prometheus' text. @throws OAuthError `not_ready` when they cannot be had */
  readMetrics(): Promise<string>
  readonly clock: Clock
  readonly log: Log
  readonly addressOf: AddressOf
  readonly certificateOf: CertificateOf
  /** Absent when no certificate of a client can arrive. */
  readonly certificates: CertificateSupport | undefined
  /** Whether `/metrics` and verbose readiness have a listener of their own. */
  readonly hasMetricsListener: boolean
  checkReadiness(): Promise<readonly Check[]>
}

/** The whole outside of an issuer. */
export function createServer(parts: ServerParts): Hono<Env> {
  const { token, jwksMaxAgeSeconds: maxAge } = parts
  const endpoints = endpointsOf(token.issuer)
  const { base } = endpoints
  const advertised = { ...endpoints, introspectionAlg: parts.introspect.signingAlg, certificates: parts.certificates }
  const oauth = makeDocument(oauthMetadata(advertised), 'application/json')
  const openid = makeDocument(openidMetadata(advertised), 'application/json')
  const jwks = createJwks()
  const serve = (document: Document): RouteHandlers => ({
    cors: true,
    GET: (record) => answerDocument(record, document, maxAge),
  })

  const app = new Hono<Env>()
  const add = createRouteAdder(app, parts)
  add(`${base}/token`, 'token', { POST: (record, facts) => answerToken(token, record, facts) })
  add(`${base}/revoke`, 'revoke', { POST: (record, facts) => answerRevocation(parts.revoke, record, facts) })
  add(`${base}/introspect`, 'introspect', {
    POST: (record, facts) => answerIntrospection(parts.introspect, record, facts),
  })
  add(`${base}/verify`, 'verify', { GET: (record, facts) => answerVerification(parts.verify, record, facts) })
  add(`${base}/.well-known/jwks.json`, 'jwks', {
    cors: true,
    GET: async (record) => {
      const { view, isCurrent } = await token.registry.currentOrLast()
      return answerDocument(record, jwks(view.ring), isCurrent ? maxAge : Math.min(maxAge, unconfirmedMaxAgeSeconds))
    },
  })
  // RFC 8414 section 3.1 puts the well-known part between host and path, OpenID Discovery section 4 behind the path.
  add(`/.well-known/oauth-authorization-server${base}`, 'oauth_metadata', serve(oauth))
  for (const path of new Set([
    `${base}/.well-known/openid-configuration`,
    `/.well-known/openid-configuration${base}`,
  ])) {
    add(path, 'openid_metadata', serve(openid))
  }
  add(`${base}/authorize`, 'authorize', { GET: refuseAuthorize })
  addHealth(add, parts, !parts.hasMetricsListener, base)
  addFallbacks(app, parts)
  return app
}

/** What a metrics listener serves: health with its details, and the metrics. */
export function createMetricsServer(parts: ServerParts): Hono<Env> {
  const app = new Hono<Env>()
  addHealth(createRouteAdder(app, parts), parts, true, '')
  addFallbacks(app, parts)
  return app
}

// The second answers only if answering itself fails; Hono's own reply would be text that a cache may keep.
function addFallbacks(app: Hono<Env>, parts: ServerParts): void {
  app.notFound((context) => respond(context, parts, 'unknown', {}))
  app.onError((error, context) => {
    parts.log.error({ err: describeError(error) }, 'fault')
    const record = openRecord(context.env.incoming, 'unknown', () => 'unknown', parts.clock)
    return answerRefusal(record, new OAuthError('fault'), undefined)
  })
}

type AddRoute = (path: string, route: Route, handlers: RouteHandlers) => void

function createRouteAdder(app: Hono<Env>, parts: ServerParts): AddRoute {
  return (path, route, handlers) => {
    app.all(path, (context) => respond(context, parts, route, { ...handlers, path }))
  }
}

// Health is asked for by whoever runs the process, at its root; behind a proxy that forwards only the issuer's path, there.
function addHealth(add: AddRoute, parts: ServerParts, detailed: boolean, base: string): void {
  for (const prefix of new Set(['', base])) {
    add(`${prefix}/livez`, 'livez', { GET: (record) => answerHealth(record, [], false) })
    add(`${prefix}/readyz`, 'readyz', {
      GET: async (record) => answerHealth(record, await parts.checkReadiness(), detailed && isVerbose(record)),
    })
    if (detailed) add(`${prefix}/metrics`, 'metrics', { GET: (record) => answerMetrics(record, parts) })
  }
}

function isVerbose({ incoming }: RequestRecord): boolean {
  return /[?&]verbose(?:[=&]|$)/.test(incoming.url ?? '')
}

async function answerMetrics(record: RequestRecord, { metrics, readMetrics }: ServerParts): Promise<Response> {
  const headers = {
    'content-type': metrics.registry.contentType,
    'cache-control': 'no-store',
    'x-request-id': record.requestId,
  }
  return new Response(await readMetrics(), { headers })
}

function refuseAuthorize(): never {
  throw new OAuthError('response_type_unsupported')
}

function createJwks(): (ring: KeyRing) => Document {
  const documents = new WeakMap<KeyRing, Document>()
  return (ring) => {
    let document = documents.get(ring)
    if (document === undefined) {
      document = makeDocument({ keys: ring.publicJwks() }, 'application/jwk-set+json')
      documents.set(ring, document)
    }
    return document
  }
}

async function respond(
  context: Context<Env>,
  parts: ServerParts,
  route: Route,
  handlers: PlacedHandlers,
): Promise<Response> {
  const { incoming } = context.env
  const record = openRecord(incoming, route, parts.addressOf, parts.clock)
  const facts: RequestFacts = {}
  const response = await answer(parts, record, facts, handlers).catch((error: unknown) =>
    refuse(parts, record, facts, error, handlers),
  )
  if (facts.limit !== undefined) addRateLimit(response, facts.limit)
  const seconds = (parts.clock.monotonicMilliseconds() - record.startedAt) / 1000
  parts.metrics.requests.observe({ route, status: response.status }, seconds)
  parts.log.debug({ request_id: record.requestId, route, status: response.status, seconds }, 'answered')
  return response
}

// A reply that tells of a limit that was passed says nothing of another.
function addRateLimit({ headers }: Response, limit: LimitState): void {
  if (headers.has('ratelimit')) return
  for (const [name, value] of Object.entries(rateLimitHeaders(limit))) headers.set(name, value)
}

// Where a client proves itself, or a token that may be bound to a certificate.
const certificateRoutes: ReadonlySet<Route> = new Set(['token', 'revoke', 'introspect', 'verify'])

async function answer(
  parts: ServerParts,
  record: RequestRecord,
  facts: RequestFacts,
  handlers: PlacedHandlers,
): Promise<Response> {
  const { route } = record
  if (route === 'unknown' || rawPath(record.incoming) !== handlers.path) throw new OAuthError('endpoint_unknown')
  requireSingleHeaders(record.incoming)
  const { method } = record.incoming
  if (method === 'OPTIONS' && handlers.cors) return answerPreflight(record, handlers)
  const handler = method === 'POST' ? handlers.POST : method === 'GET' || method === 'HEAD' ? handlers.GET : undefined
  if (handler === undefined) throw new OAuthError('method_not_allowed')
  if (certificateRoutes.has(route)) facts.certificate = await parts.certificateOf(record.incoming)
  return handler(record, facts)
}

// The router compares a decoded, normalised path; a proxy's rules look at the one that was sent. Only the spelling that is
// published reaches a route, so that no rule can be written around.
function rawPath({ url = '' }: IncomingMessage): string {
  const path = /^https?:\/\/[^/?#]*/i.test(url) ? url.replace(/^https?:\/\/[^/?#]*/i, '') : url
  const query = path.indexOf('?')
  return query === -1 ? path : path.slice(0, query)
}

function allowed(handlers: RouteHandlers): string {
  return [
    ...(handlers.GET ? ['GET', 'HEAD'] : []),
    ...(handlers.POST ? ['POST'] : []),
    ...(handlers.cors ? ['OPTIONS'] : []),
  ].join(', ')
}

function answerPreflight(record: RequestRecord, handlers: RouteHandlers): Response {
  const headers = {
    allow: allowed(handlers),
    'access-control-allow-origin': '*',
    'access-control-allow-methods': 'GET, HEAD',
    'access-control-max-age': '86400',
    'x-request-id': record.requestId,
  }
  return new Response(null, { status: 204, headers })
}

async function refuse(
  parts: ServerParts,
  record: RequestRecord,
  facts: RequestFacts,
  error: unknown,
  handlers: RouteHandlers,
): Promise<Response> {
  let refusal = await parts.limits.judge(record, facts, toRefusal(parts, record, error))
  try {
    await parts.refusals.note(record, refusal, facts)
  } catch (fault) {
    refusal = toRefusal(parts, record, fault)
  }
  parts.metrics.countRefusal(refusal.reason)
  return answerRefusal(record, refusal, allowed(handlers))
}

// What is not a refusal is an outage or a bug: the log gets it, the caller learns that it is ours.
function toRefusal({ log }: ServerParts, { requestId }: RequestRecord, error: unknown): OAuthError {
  if (error instanceof OAuthError) return error
  const isOutage = error instanceof StoreUnavailable
  log.error({ request_id: requestId, err: describeError(error) }, isOutage ? 'store unavailable' : 'fault')
  return new OAuthError(isOutage ? 'store_unavailable' : 'fault', { cause: error })
}
