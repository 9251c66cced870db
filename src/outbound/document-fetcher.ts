/**
 * The one way from here to the outside: a GET of a small JSON document over HTTPS. Nothing else in the program opens a
 * connection (`test/walls.test.ts`). Where it goes is chosen by whoever registered the URL and by whoever runs its DNS, so
 * each step is bounded and none is trusted:
 *
 *   1. the URL has one of few forms, see `parseDocumentUrl`
 *   2. the host has a free slot, or the request waits its turn
 *   3. the name is resolved once, and every address that it has must be public: one that leads inside is no mistake
 *   4. the connection goes to those addresses and no other (a second look at DNS could find another: rebinding), while
 *      SNI and certificate are of the name, whatever the environment says of verification
 *   5. no redirect is followed, nothing is decoded, and after 64 KiB the rest is not read
 *   6. all of it takes 5 s at most: a peer that sends a byte now and then is cut off too
 *
 * A request carries nothing of ours: no credentials, no cookie, no body.
 *
 * @see RFC 8725 section 3.10
 */
import { lookup } from 'node:dns/promises'
import type { IncomingMessage } from 'node:http'
import { Agent, type RequestOptions, request } from 'node:https'
import type { LookupFunction } from 'node:net'
import { isPublicAddress } from './address.ts'
import { parseDocumentUrl } from './document-url.ts'
import { HostSlots, type SlotLimits } from './host-slots.ts'
import { OutboundError } from './outbound-error.ts'

/** Longest document that is read, in bytes. */
export const maxDocumentBytes = 64 * 1024
/** Everything about one document, its turn in the line included. */
const deadlineMilliseconds = 5_000

/** An address that a name has, as `dns.lookup` says it. */
export interface ResolvedAddress {
  readonly address: string
  readonly family: number
}

/** A document as it came. */
export interface FetchedDocument {
  readonly text: string
  readonly cacheControl: string | undefined
}

/** What a test puts in the place of the Internet. None of it can be set from outside of the program. */
export interface FetcherOptions {
  /** Roots in PEM that are believed in place of the machine's. */
  readonly ca?: string
  readonly resolve?: (hostName: string) => Promise<readonly ResolvedAddress[]>
  readonly isAllowedAddress?: (address: string) => boolean
  /** Where the connection really goes. */
  readonly dialPort?: number
  readonly deadlineMilliseconds?: number
  readonly slots?: SlotLimits
}

export class DocumentFetcher {
  readonly #options: FetcherOptions
  readonly #slots: HostSlots
  // Connections and TLS sessions are not kept: each request is checked from the beginning.
  readonly #agent: Agent
  readonly #underWay = new Set<() => void>()

  constructor(options: FetcherOptions = {}) {
    this.#options = options
    this.#slots = new HostSlots(options.slots)
    this.#agent = new Agent({ keepAlive: false, maxCachedSessions: 0 })
  }

  /**
   * Fetches a JSON document.
   *
   * @throws OutboundError
   */
  async fetch(location: string): Promise<FetchedDocument> {
    const url = parseDocumentUrl(location)
    const controller = new AbortController()
    const late = Promise.withResolvers<never>()
    const cutOff = (): void => {
      late.reject(new OutboundError('timeout'))
      controller.abort()
    }
    const timer = setTimeout(cutOff, this.#options.deadlineMilliseconds ?? deadlineMilliseconds)
    this.#underWay.add(cutOff)
    try {
      const { signal } = controller
      // A look at DNS cannot be called off: its slot stays taken, but nobody waits for it.
      return await Promise.race([late.promise, this.#slots.run(url.hostname, signal, () => this.#get(url, signal))])
    } finally {
      clearTimeout(timer)
      this.#underWay.delete(cutOff)
      controller.abort()
    }
  }

  /** Cuts off what is under way, so that nothing keeps the process from its end. */
  close(): void {
    for (const cutOff of this.#underWay) cutOff()
  }

  async #get(url: URL, signal: AbortSignal): Promise<FetchedDocument> {
    const addresses = await this.#resolve(url.hostname)
    if (signal.aborted) throw new OutboundError('timeout')
    const response = await this.#request(url, addresses, signal)
    try {
      return await readDocument(response)
    } catch (error) {
      response.destroy()
      throw error instanceof OutboundError ? error : new OutboundError('unreachable', { cause: error })
    }
  }

  // Looks at DNS share the thread pool with signing; libuv lets them have half of it at most.
  async #resolve(hostName: string): Promise<readonly ResolvedAddress[]> {
    const { resolve = resolveAll, isAllowedAddress = isPublicAddress } = this.#options
    const addresses = await resolve(hostName).catch((cause: unknown) => {
      throw new OutboundError('unresolved', { cause })
    })
    if (addresses.length === 0) throw new OutboundError('unresolved')
    if (!addresses.every(({ address }) => isAllowedAddress(address))) throw new OutboundError('address_refused')
    return addresses
  }

  #request(url: URL, addresses: readonly ResolvedAddress[], signal: AbortSignal): Promise<IncomingMessage> {
    return new Promise((resolve, reject) => {
      let isConnected = false
      let isSecure = false
      const outgoing = request({ ...this.#describe(url), lookup: pinTo(addresses), agent: this.#agent, signal })
      outgoing.once('socket', (socket) => {
        socket.once('connect', () => {
          isConnected = true
        })
        socket.once('secureConnect', () => {
          isSecure = true
        })
      })
      outgoing.once('response', resolve)
      // Stays: a connection that breaks later is the business of whoever reads the answer.
      outgoing.on('error', (cause) => {
        reject(new OutboundError(isConnected && !isSecure ? 'tls' : 'unreachable', { cause }))
      })
      // A peer that switches to another protocol (101) is hung up on, with neither an answer nor an error: who waited for one
      // would keep his slot for ever.
      outgoing.once('close', () => reject(new OutboundError('unreachable')))
      outgoing.end()
    })
  }

  #describe(url: URL): RequestOptions {
    const { ca, dialPort } = this.#options
    return {
      host: url.hostname,
      port: dialPort ?? (url.port === '' ? 443 : Number(url.port)),
      path: `${url.pathname}${url.search}`,
      headers: { host: url.host, accept: 'application/jwk-set+json, application/json', ...plainHeaders },
      servername: url.hostname,
      // Said outright, for NODE_TLS_REJECT_UNAUTHORIZED=0 changes what goes without saying.
      rejectUnauthorized: true,
      minVersion: 'TLSv1.2',
      insecureHTTPParser: false,
      maxHeaderSize: 8 * 1024,
      ...(ca === undefined ? {} : { ca }),
    }
  }
}

const plainHeaders = { 'accept-encoding': 'identity', 'user-agent': 'mayfly' } as const

async function resolveAll(hostName: string): Promise<readonly ResolvedAddress[]> {
  return lookup(hostName, { all: true, order: 'verbatim' })
}

// What a connection asks instead of DNS: it is told the addresses that were looked at, whatever name it asks for.
function pinTo(addresses: readonly ResolvedAddress[]): LookupFunction {
  const [first] = addresses
  return (_hostName, { all }, answer) => {
    if (all === true) answer(null, [...addresses])
    else answer(null, first?.address ?? '', first?.family)
  }
}

const jsonType = /^application\/(?:[a-z0-9.-]+\+)?json[\t ]*(?:;|$)/i
// A BOM is kept, and is then no JSON.
const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

async function readDocument(response: IncomingMessage): Promise<FetchedDocument> {
  const { statusCode, headers } = response
  if (statusCode !== 200) throw new OutboundError('status')
  const encoding = headers['content-encoding']
  // It was asked for plain: what small bodies unpack to must not be found out by trying.
  if (encoding !== undefined && encoding.toLowerCase() !== 'identity') throw new OutboundError('content_encoding')
  // A page that others may write to (an upload, an error, a profile) is no document, whatever stands in it.
  if (!jsonType.test(headers['content-type'] ?? '')) throw new OutboundError('content_type')
  const bytes = await readBody(response)
  try {
    return { text: utf8.decode(bytes), cacheControl: headers['cache-control'] }
  } catch (cause) {
    throw new OutboundError('malformed', { cause })
  }
}

async function readBody(response: IncomingMessage): Promise<Buffer> {
  if (Number(response.headers['content-length'] ?? 0) > maxDocumentBytes) throw new OutboundError('too_large')
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of response as AsyncIterable<Buffer>) {
    size += chunk.length
    if (size > maxDocumentBytes) throw new OutboundError('too_large')
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}
