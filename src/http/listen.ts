/** The listener: limits on what a connection may cost, replies to what is not HTTP, and the drain at the end. */
import { constants } from 'node:crypto'
import { once } from 'node:events'
import {
  createServer,
  type IncomingMessage,
  type RequestListener,
  type Server,
  type ServerResponse,
  STATUS_CODES,
} from 'node:http'
import { createServer as createTlsServer, type Server as TlsServer } from 'node:https'
import { type AddressInfo, Server as NetServer, type Socket } from 'node:net'
import type { SecureContextOptions, TLSSocket } from 'node:tls'
import { getRequestListener, type HttpBindings } from '@hono/node-server'
import { refusalOf } from '../oauth/errors.ts'
import { giveUp, isGivenUp } from './given-up.ts'
import type { ServerCertificate } from './tls-files.ts'

/** What one connection may take; times in milliseconds. */
export interface ConnectionLimits {
  /** Bytes of all headers together; Node answers 431 above. */
  readonly maxHeaderSize: number
  readonly headersTimeout: number
  readonly requestTimeout: number
  /** How often Node looks for connections that are over one of the two. */
  readonly connectionsCheckingInterval: number
  readonly keepAliveTimeout: number
  /** How long nothing may move on a connection that has a reply to get: its peer does not read. */
  readonly socketTimeout: number
}

const defaultLimits: ConnectionLimits = {
  maxHeaderSize: 16 * 1024,
  headersTimeout: 6_000,
  requestTimeout: 10_000,
  connectionsCheckingInterval: 2_000,
  keepAliveTimeout: 65_000,
  socketTimeout: 12_000,
}

/** What is other than usual. */
export interface ListenOptions {
  /** How long a connection that is idle when the drain begins may still send a request. */
  readonly idleMilliseconds?: number | undefined
  readonly limits?: Partial<ConnectionLimits> | undefined
  /** Absent: plain HTTP. */
  readonly tls?: ServerCertificate | undefined
}

const maxConnections = 20_000
const drainMilliseconds = 7_500
const lingerMilliseconds = 500
const settleMilliseconds = 1_000
const drainIdleMilliseconds = 300

/** A bound port that does not answer yet: until `serve` is called each request gets 503. */
export interface Listener {
  readonly port: number
  serve(app: { fetch(request: Request, env: HttpBindings): Response | Promise<Response> }): void
  /** Uses another certificate from the next connection on; those that are open go on. Nothing without TLS. */
  replaceCertificate(certificate: ServerCertificate): void
  /** Takes no new connection; those that are open go on. */
  stopListening(): void
  /** Takes no new connection, lets requests finish, and closes what is left after 7.5 s. */
  drain(): Promise<void>
}

/** @throws Error with `code` EADDRINUSE, EACCES, EADDRNOTAVAIL, … */
export async function listen(host: string, port: number, options: ListenOptions = {}): Promise<Listener> {
  const { idleMilliseconds = drainIdleMilliseconds } = options
  const limits = { ...defaultLimits, ...options.limits }
  let draining = false
  const active = new ActiveRequests()
  let listener: RequestListener = (_, reply) => {
    reply.writeHead(503, { ...plainHeaders, 'retry-after': '1' })
    reply.end(JSON.stringify(errorBody('not_ready')))
  }
  const server = open({ ...limits, requireHostHeader: false }, options.tls, (request, reply) => {
    if (isGivenUp(request.socket)) return
    if (draining) {
      reply.shouldKeepAlive = false
      giveUp(request.socket)
    }
    noteReply(request.socket, reply)
    maskHost(request)
    listener(request, reply)
  })
  server.maxConnections = maxConnections
  server.timeout = limits.socketTimeout
  server.on('clientError', answerClientError)
  server.on('checkExpectation', (_, reply) => {
    const body = JSON.stringify(errorBody('http_malformed'))
    reply.writeHead(417, { ...plainHeaders, connection: 'close', 'content-length': Buffer.byteLength(body) }).end(body)
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, host, () => {
      server.off('error', reject)
      resolve()
    })
  })
  // `Server.close` of HTTP ends idle connections at once, and a request that is just then on its way would be reset. So
  // only the listening socket is closed; whoever asks meanwhile is answered with `Connection: close`.
  let closed: Promise<void> | undefined
  const stopListening = (): Promise<void> => {
    closed ??= new Promise<void>((resolve) => {
      NetServer.prototype.close.call(server, () => resolve())
    })
    return closed
  }
  return {
    port: (server.address() as AddressInfo).port,
    serve: (app) => {
      const fetch = async (request: Request, env: unknown): Promise<Response> => {
        active.begin()
        try {
          return await app.fetch(request, env as HttpBindings)
        } finally {
          active.end()
        }
      }
      // What the adapter cannot make a URL of.
      const errorHandler = (): Response =>
        new Response(JSON.stringify(errorBody('http_malformed')), { status: 400, headers: plainHeaders })
      // It puts its own Request and Response in the place of the global ones: such a reply is written as it is, one of the
      // platform's goes through a stream, which costs as much as half a signature.
      listener = getRequestListener(fetch, { errorHandler })
    },
    replaceCertificate: (certificate) => {
      if ('setSecureContext' in server) server.setSecureContext(secureContextOf(certificate))
    },
    stopListening: () => void stopListening(),
    drain: () => {
      draining = true
      return drain(server, stopListening(), { idleMilliseconds, active })
    },
  }
}

/** A port that nobody had a moment ago. */
export async function findFreePort(host: string): Promise<number> {
  const server = new NetServer().listen({ host, port: 0, exclusive: true })
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}

type HttpOptions = ConnectionLimits & { readonly requireHostHeader: false }

function open(options: HttpOptions, tls: ServerCertificate | undefined, answer: RequestListener): Server | TlsServer {
  if (tls === undefined) return createServer(options, answer)
  const server = createTlsServer(
    {
      ...options,
      ...secureContextOf(tls),
      handshakeTimeout: options.headersTimeout,
      // Others still have secrets. Whether a certificate is good is found out where somebody claims to be its client.
      requestCert: tls.asksClients,
      rejectUnauthorized: false,
    },
    answer,
  )
  // HTTP would hand it on to be answered, in the clear, on a connection that is none.
  server.removeAllListeners('tlsClientError')
  server.on('tlsClientError', (_, socket: TLSSocket) => socket.destroy())
  return server
}

function secureContextOf({ cert, key, asksClients }: ServerCertificate): SecureContextOptions {
  return {
    cert,
    key,
    minVersion: 'TLSv1.2',
    // A connection has one certificate from its beginning to its end, proved in a handshake of its own: none that was
    // exchanged for another on the way, none that a ticket remembers from a time with other authorities.
    secureOptions: constants.SSL_OP_NO_RENEGOTIATION | (asksClients ? constants.SSL_OP_NO_TICKET : 0),
    // OpenSSL is given nobody to believe: the judgement is client/certificate-path.ts, for all certificates alike, and Node
    // hands on what was sent along with a certificate only when OpenSSL could not make anything of it. It also names nobody to
    // clients then, some of which would not send a certificate of their own making to a server that names authorities.
    ca: [],
  }
}

const plainHeaders = { 'content-type': 'application/json', 'cache-control': 'no-store' } as const

// The last reply that a connection waits for, and for a reply the one that must go out before it.
const pending = new WeakMap<Socket, ServerResponse>()
const inFront = new WeakMap<ServerResponse, ServerResponse>()

function noteReply(socket: Socket, reply: ServerResponse): void {
  const earlier = pending.get(socket)
  if (earlier !== undefined) inFront.set(reply, earlier)
  pending.set(socket, reply)
  reply.once('close', () => {
    inFront.delete(reply)
    if (pending.get(socket) === reply) pending.delete(socket)
  })
}

// The reply to the last request that came whole; the one behind it may still be on its way.
function lastWhole(socket: Socket): ServerResponse | undefined {
  const last = pending.get(socket)
  const whole = last === undefined || last.req.complete ? last : inFront.get(last)
  return whole?.writableFinished ? undefined : whole
}

/** Counts requests that are being answered, whether or not their caller is still there. */
class ActiveRequests {
  #count = 0
  #idle: (() => void)[] = []

  begin(): void {
    this.#count += 1
  }

  end(): void {
    this.#count -= 1
    if (this.#count === 0) for (const idle of this.#idle.splice(0)) idle()
  }

  /** Resolves when nothing is being answered, or after a bound. */
  async settle(milliseconds: number): Promise<void> {
    if (this.#count === 0) return
    const idle = Promise.withResolvers<void>()
    this.#idle.push(idle.resolve)
    const timer = setTimeout(idle.resolve, milliseconds)
    await idle.promise
    clearTimeout(timer)
  }
}

async function drain(
  server: Server | TlsServer,
  closed: Promise<void>,
  { idleMilliseconds, active }: { readonly idleMilliseconds: number; readonly active: ActiveRequests },
): Promise<void> {
  const idle = setInterval(() => server.closeIdleConnections(), idleMilliseconds)
  const end = setTimeout(() => server.closeAllConnections(), drainMilliseconds)
  await closed
  clearInterval(idle)
  clearTimeout(end)
  // Those that were cut off still write their records; the store closes after them.
  await active.settle(settleMilliseconds)
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
  giveUp(socket)
  const whole = lastWhole(socket)
  if (whole !== undefined) {
    // Behind it comes rubbish, or a request that does not end: the good one gets its reply, and what follows none.
    whole.shouldKeepAlive = false
    whole.once('finish', () => {
      socket.end()
      closeFor(socket)
    })
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
  closeFor(socket)
}

// A connection is open until both sides have closed it, and this peer need not ever do so.
function closeFor(socket: Socket): void {
  socket.setTimeout(lingerMilliseconds, () => socket.destroy())
  socket.once('finish', () => socket.destroySoon())
  if (socket.writableFinished) socket.destroySoon()
}
