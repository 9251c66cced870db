/** The outside, on loopback: HTTPS servers with names, certificates of a root made for the test, and a fetcher that believes them. */
import { once } from 'node:events'
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http'
import { createServer } from 'node:https'
import type { AddressInfo, Socket } from 'node:net'
import { onTestFinished } from 'vitest'
import { DocumentFetcher, type FetcherOptions } from '../../src/outbound/document-fetcher.ts'
import { OutboundError } from '../../src/outbound/outbound-error.ts'
import { type Authority, type CertificateFacts, type Certified, makeAuthority } from './x509.ts'

export const keysHost = 'keys.example.test'
export const keysUrl = `https://${keysHost}/jwks.json`

export interface Outside {
  readonly port: number
  /** Requests that arrived, in order. */
  readonly requests: readonly IncomingMessage[]
  /** Connections that were made, with TLS or without. */
  connections(): number
  /** Resolves when the next request arrives. */
  nextRequest(): Promise<void>
}

let root: Authority | undefined

/** The root that fetchers of tests believe. */
export function testRoot(): Authority {
  root ??= makeAuthority()
  return root
}

/** A certificate of the root for the host of `keysUrl`. */
export function certify(facts: CertificateFacts = {}): Certified {
  return testRoot().issue({ dnsNames: [keysHost], usages: ['serverAuth'], ...facts })
}

/** Starts a server; it is ended with the test. */
export async function startOutside(
  answer: RequestListener,
  { certificate, key }: Pick<Certified, 'certificate' | 'key'> = certify(),
): Promise<Outside> {
  const requests: IncomingMessage[] = []
  const sockets = new Set<Socket>()
  let connections = 0
  let arrived = Promise.withResolvers<void>()
  const server = createServer({ cert: certificate, key }, (request: IncomingMessage, response: ServerResponse) => {
    requests.push(request)
    arrived.resolve()
    arrived = Promise.withResolvers()
    answer(request, response)
  })
  server.on('connection', (socket: Socket) => {
    connections += 1
    sockets.add(socket)
    socket.once('close', () => sockets.delete(socket))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(async () => {
    server.close()
    for (const socket of sockets) socket.destroy()
    await once(server, 'close')
  })
  const { port } = server.address() as AddressInfo
  return { port, requests, connections: () => connections, nextRequest: () => arrived.promise }
}

/** Answers with a JSON document. */
export function json(body: unknown, headers: Readonly<Record<string, string>> = {}): RequestListener {
  return (_request, response) => {
    response.writeHead(200, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(body))
  }
}

/** What puts a server in the place of every host there is. */
export function leadTo({ port }: Pick<Outside, 'port'>): FetcherOptions {
  return {
    ca: testRoot().certificate,
    dialPort: port,
    resolve: async () => [{ address: '127.0.0.1', family: 4 }],
    isAllowedAddress: (address) => address === '127.0.0.1',
  }
}

/** A fetcher for which every host is that server. */
export function fetcherTo(outside: Pick<Outside, 'port'>, options: FetcherOptions = {}): DocumentFetcher {
  return new DocumentFetcher({ ...leadTo(outside), ...options })
}

/** Why a document was not had; fails when it was. */
export async function failureOf(outcome: Promise<unknown>): Promise<string> {
  const error = await outcome.then(
    () => new Error('it was had'),
    (thrown: unknown) => thrown,
  )
  if (error instanceof OutboundError) return error.failure
  throw error
}
