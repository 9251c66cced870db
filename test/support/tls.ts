/** Requests over TLS, with a certificate of the client or without. */
import { once } from 'node:events'
import { Agent, request } from 'node:https'
import { connect, type TLSSocket } from 'node:tls'
import { onTestFinished } from 'vitest'
import type { Identity } from './certificates.ts'

export interface TlsReply {
  readonly status: number
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
  readonly text: string
  readonly json: Record<string, unknown>
  /** That of the server. */
  readonly peer: string
}

export interface TlsRequest {
  readonly url: string
  /** Who the server must be vouched for by. */
  readonly ca: string
  readonly identity?: Pick<Identity, 'cert' | 'key'> | undefined
  readonly form?: Readonly<Record<string, string>>
  readonly headers?: Readonly<Record<string, string | readonly string[]>>
  readonly agent?: Agent
}

/** One request; on a connection of its own unless an agent is given. */
export async function requestOverTls(options: TlsRequest): Promise<TlsReply> {
  const { url, ca, identity, form, headers, agent = new Agent({ keepAlive: false }) } = options
  const body = form === undefined ? undefined : new URLSearchParams(form).toString()
  const outgoing = request(url, {
    method: body === undefined ? 'GET' : 'POST',
    agent,
    ca,
    ...(identity === undefined ? {} : { cert: identity.cert, key: identity.key }),
    headers: { ...(body === undefined ? {} : { 'content-type': 'application/x-www-form-urlencoded' }), ...headers },
  })
  outgoing.end(body)
  const [reply] = (await once(outgoing, 'response')) as [import('node:http').IncomingMessage]
  const peer = (reply.socket as TLSSocket).getPeerCertificate().fingerprint256 ?? ''
  let text = ''
  for await (const chunk of reply.setEncoding('utf8')) text += String(chunk)
  return { status: reply.statusCode ?? 0, headers: reply.headers, text, json: parse(text), peer }
}

function parse(text: string): Record<string, unknown> {
  try {
    return JSON.parse(text) as Record<string, unknown>
  } catch {
    return {}
  }
}

/** A bare TLS connection; it is closed with the test. */
export async function connectTls(url: string, options: Readonly<Record<string, unknown>>): Promise<TLSSocket> {
  const { hostname, port } = new URL(url)
  const socket = connect({ host: hostname, port: Number(port), ...options })
  onTestFinished(() => void socket.destroy())
  socket.on('error', () => {})
  await once(socket, 'secureConnect')
  return socket
}
