/** The listener: limits on what a connection may cost, replies to what is not HTTP, and the drain at the end. */
import { createServer, type IncomingMessage, type RequestListener, type Server, STATUS_CODES } from 'node:http'
import { type AddressInfo, Server as NetServer, type Socket } from 'node:net'
import { getRequestListener, type HttpBindings } from '@hono/node-server'
import { refusalOf } from '../oauth/errors.ts'

const limits = {
  /** Bytes of all headers together; Node answers 431 above. */
  maxHeaderSize: 16 * 1024,
  headersTimeout: 6_000,
  requestTimeout: 10_000,
  /** How often Node looks for connections that are over one of the two. */
  connectionsCheckingInterval: 2_000,
  keepAliveTimeout: 65_000,
} as const

const maxConnections = 20_000
const drainMilliseconds = 8_000
/** How long a connection that is idle when the drain begins may still send a request, unless told otherwise. */
export const drainIdleMilliseconds = 300

/** A bound port that does not answer yet: until `serve` is called each request gets 503. */
export interface Listener {
  readonly port: number
  serve(app: { fetch(request: Request, env: HttpBindings): Response | Promise<Response> }): void
  /** Takes no new connection, lets requests finish, and closes what is left after 8 s. */
  drain(): Promise<void>
}

/** @throws Error with `code` EADDRINUSE, EACCES, EADDRNOTAVAIL, … */
export async function listen(host: string, port: number, idleMilliseconds = drainIdleMilliseconds): Promise<Listener> {
  let draining = false
  let listener: RequestListener = (_, reply) => {
    reply.writeHead(503, { 'content-type': 'application/json', 'cache-control': 'no-store', 'retry-after': '1' })
    reply.end(JSON.stringify(errorBody('not_ready')))
  }
  const server = createServer({ ...limits, requireHostHeader: false }, (request, reply) => {
    if (draining) reply.shouldKeepAlive = false
    maskHost(request)
    listener(request, reply)
  })
  server.maxConnections = maxConnections
  server.on('clientError', answerClientError)
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, host, () => {
      server.off('error', reject)
      resolve()
    })
  })
  return {
    port: (server.address() as AddressInfo).port,
    serve: (app) => {
      listener = getRequestListener((request, env) => app.fetch(request, env as HttpBindings), {
        overrideGlobalObjects: false,
      })
    },
    drain: () => {
      draining = true
      return drain(server, idleMilliseconds)
    },
  }
}

// `Server.close` of HTTP ends idle connections at once, and a request that is just then on its way would be reset. So
// only the listening socket is closed; whoever asks meanwhile is answered with `Connection: close`.
async function drain(server: Server, idleMilliseconds: number): Promise<void> {
  const closed = new Promise<void>((resolve) => {
    NetServer.prototype.close.call(server, () => resolve())
  })
  const idle = setInterval(() => server.closeIdleConnections(), idleMilliseconds)
  const end = setTimeout(() => server.closeAllConnections(), drainMilliseconds)
  await closed
  clearInterval(idle)
  clearTimeout(end)
}

// The adapter builds a URL from Host and answers by itself when it cannot. Nothing here reads that URL's host, and what
// is wrong with the header is refused in `requireSingleHeaders`, which reads the raw ones.
function maskHost(request: IncomingMessage): void {
  request.headers.host = 'issuer'
}

function errorBody(reason: 'http_malformed' | 'not_ready'): object {
  const { error, description } = refusalOf(reason)
  return { error, error_description: description }
}

// Node found that this is not HTTP, or took too long to become it. There is no request to answer, only a socket.
function answerClientError(error: NodeJS.ErrnoException, socket: Socket): void {
  if (!socket.writable || error.code === 'ECONNRESET') {
    socket.destroy()
    return
  }
  const status = error.code === 'HPE_HEADER_OVERFLOW' ? 431 : error.code === 'ERR_HTTP_REQUEST_TIMEOUT' ? 408 : 400
  const body = JSON.stringify(errorBody('http_malformed'))
  socket.end(
    [
      `HTTP/1.1 ${status} ${STATUS_CODES[status]}`,
      'Content-Type: application/json',
      'Cache-Control: no-store',
      'Connection: close',
      `Content-Length: ${Buffer.byteLength(body)}`,
      '',
      body,
    ].join('\r\n'),
  )
}
