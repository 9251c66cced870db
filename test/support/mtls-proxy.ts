/** A stand-in for a proxy that ends TLS, asks for certificates and hands them on by RFC 9440. */
import { once } from 'node:events'
import { request } from 'node:http'
import { createServer } from 'node:https'
import type { TLSSocket } from 'node:tls'
import { onTestFinished } from 'vitest'
import type { Identity } from './certificates.ts'

/** As a proxy must: what clients send under these names, and names that a gateway takes for the same, does not pass. */
const removed = /^(?:client[-_]cert(?:[-_]chain)?|x-forwarded-for)$/i

/** Starts one in front of a server; returns its URL. It verifies nothing, as `optional_no_ca` of nginx. */
export async function startMtlsProxy(
  upstream: string,
  identity: Pick<Identity, 'cert' | 'key'>,
  { port = 0, asksClients = true } = {},
): Promise<string> {
  const { cert, key } = identity
  const proxy = createServer({ cert, key, requestCert: asksClients, rejectUnauthorized: false }, (incoming, reply) => {
    const peer = (incoming.socket as TLSSocket).getPeerX509Certificate()
    const kept = Object.entries(incoming.headers).filter(([name]) => !removed.test(name))
    const forwarded = peer === undefined ? {} : { 'client-cert': `:${peer.raw.toString('base64')}:` }
    const headers = {
      ...Object.fromEntries(kept),
      ...forwarded,
      'x-forwarded-for': incoming.socket.remoteAddress ?? '',
    }
    const { pathname, search } = new URL(incoming.url ?? '/', upstream)
    const outgoing = request(`${upstream}${pathname}${search}`, { method: incoming.method, headers }, (answer) => {
      reply.writeHead(answer.statusCode ?? 502, answer.headers)
      answer.pipe(reply)
    })
    outgoing.on('error', () => reply.destroy())
    incoming.pipe(outgoing)
  })
  proxy.listen(port, '127.0.0.1')
  await once(proxy, 'listening')
  onTestFinished(() => {
    proxy.closeAllConnections()
    proxy.close()
  })
  const address = proxy.address()
  if (address === null || typeof address === 'string') throw new Error('no port')
  return `https://127.0.0.1:${address.port}`
}
