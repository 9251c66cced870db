/**
 * The certificate of whoever is asking, from the one place that may speak for this connection:
 *
 *   a trusted proxy       its `Client-Cert` header (RFC 9440); never its own certificate, which is that of no client
 *   anybody else          the certificate of the handshake; no header, under whatever name
 *
 * Headers that other products use for the same are never read: a proxy that sets one header and lets another pass would let
 * everybody be anybody.
 */
import type { IncomingMessage } from 'node:http'
import { TLSSocket } from 'node:tls'
import { LRUCache } from 'lru-cache'
import { CertificateError, type ClientCertificate, maxIntermediates } from '../client/certificate.ts'
import type { Certificate } from '../client/x509.ts'
import type { Clock } from '../lib/clock.ts'
import { OAuthError } from '../oauth/errors.ts'

const certificatesInMemory = 2_000

/** Finds the certificate that a request was sent with. @throws OAuthError `header_repeated`, `certificate_malformed` */
export type CertificateOf = (incoming: IncomingMessage) => Promise<ClientCertificate | undefined>

/** What a certificate is judged by. */
export interface CertificateParts {
  isFromProxy(incoming: IncomingMessage): boolean
  /** Who may vouch for clients now; `undefined` leaves that to the proxy, and then no certificate comes but from one. */
  authorities(): readonly Certificate[] | undefined
  readonly clock: Clock
}

interface Presented {
  readonly leaf: Certificate
  readonly intermediates: readonly Certificate[]
}

export function createCertificateOf(parts: CertificateParts): CertificateOf {
  const reader = new CertificateReader()
  const onConnections = new WeakMap<TLSSocket, Promise<Presented | undefined>>()
  const verdicts = new Verdicts(parts)
  return async (incoming) => {
    if (parts.isFromProxy(incoming)) {
      const forwarded = await readForwarded(incoming.rawHeaders, reader)
      return forwarded && describe(forwarded, await verdicts.isTrusted(forwarded), true)
    }
    const { socket } = incoming
    if (!(socket instanceof TLSSocket)) return undefined
    // Once for each connection: Node gives away what was sent along with a certificate the first time only.
    const reading = onConnections.get(socket) ?? readConnection(socket, reader)
    onConnections.set(socket, reading)
    const presented = await reading
    if (presented === undefined) return undefined
    const isTrusted = parts.authorities() !== undefined && (await verdicts.isTrusted(presented))
    return describe(presented, isTrusted, false)
  }
}

function describe({ leaf }: Presented, isTrusted: boolean, isForwarded: boolean): ClientCertificate {
  const { thumbprint, der, subject, dns, uris, ips, emails } = leaf
  return { thumbprint, der, subject, dns, uris, ips, emails, isTrusted, isForwarded }
}

/** Remembers what it has read: taking a certificate apart costs more than everything else of a request. */
class CertificateReader {
  readonly #known = new LRUCache<string, Certificate>({ max: certificatesInMemory })

  /** @param base64 DER @throws CertificateError */
  async read(base64: string): Promise<Certificate> {
    const known = this.#known.get(base64)
    if (known !== undefined) return known
    // Whoever has no certificates need not wait for what reads them.
    const { readCertificate } = await import('../client/x509.ts')
    const certificate = readCertificate(Buffer.from(base64, 'base64'))
    this.#known.set(base64, certificate)
    return certificate
  }
}

interface Verdict {
  readonly authorities: readonly Certificate[]
  readonly from: number
  readonly until: number
}

/**
 * Remembers until when an authority vouches for a certificate, and that none does for what a connection has presented: the
 * holder of one with dear keys must not have the path looked for with each of its requests.
 */
class Verdicts {
  readonly #parts: CertificateParts
  readonly #vouched = new WeakMap<Certificate, Verdict>()
  readonly #refused = new WeakMap<Presented, Verdict>()

  constructor(parts: CertificateParts) {
    this.#parts = parts
  }

  async isTrusted(presented: Presented): Promise<boolean> {
    const { leaf } = presented
    const now = this.#parts.clock.nowMilliseconds()
    const authorities = this.#parts.authorities()
    // The proxy has verified it, at a handshake that may be long past.
    if (authorities === undefined) return now >= leaf.notBefore && now <= leaf.notAfter
    const holds = (verdict: Verdict | undefined): boolean =>
      verdict?.authorities === authorities && now >= verdict.from && now <= verdict.until
    if (holds(this.#vouched.get(leaf))) return true
    if (holds(this.#refused.get(presented))) return false
    const { vouchedUntil } = await import('../client/certificate-path.ts')
    const until = vouchedUntil(presented, authorities, now)
    if (until !== undefined) this.#vouched.set(leaf, { authorities, from: now, until })
    else this.#refused.set(presented, { authorities, from: now, until: nextChange(presented, authorities, now) - 1 })
    return until !== undefined
  }
}

// When one of them begins or ends: until then nothing makes a path of what is none.
function nextChange({ leaf, intermediates }: Presented, authorities: readonly Certificate[], now: number): number {
  const moments = [leaf, ...intermediates, ...authorities].flatMap(({ notBefore, notAfter }) => [
    notBefore,
    notAfter + 1,
  ])
  return moments.reduce((next, moment) => (moment > now ? Math.min(next, moment) : next), Number.POSITIVE_INFINITY)
}

// What cannot be read is as good as none: its holder may still have a secret.
async function readConnection(socket: TLSSocket, reader: CertificateReader): Promise<Presented | undefined> {
  const certificates: string[] = []
  let next = socket.getPeerX509Certificate()
  while (next !== undefined && certificates.length <= maxIntermediates) {
    certificates.push(next.raw.toString('base64'))
    next = next.issuerCertificate
  }
  const [leaf, ...intermediates] = certificates
  if (leaf === undefined) return undefined
  try {
    return {
      leaf: await reader.read(leaf),
      intermediates: await Promise.all(intermediates.map((each) => reader.read(each))),
    }
  } catch (error) {
    if (error instanceof CertificateError) return undefined
    throw error
  }
}

/**
 * What a proxy says of the certificate of its client.
 *
 * @see RFC 9440 sections 2.2 and 2.3, RFC 8941 section 3.3.5
 */
async function readForwarded(rawHeaders: readonly string[], reader: CertificateReader): Promise<Presented | undefined> {
  const [leaf, ...more] = valuesOf(rawHeaders, 'client-cert')
  const chain = valuesOf(rawHeaders, 'client-cert-chain')
  // One of two came from whoever is behind the proxy, which should have removed it.
  if (more.length > 0) throw new OAuthError('header_repeated')
  if (leaf === undefined) {
    if (chain.length > 0) throw new OAuthError('certificate_malformed')
    return undefined
  }
  const intermediates = chain.flatMap((value) => value.split(','))
  if (intermediates.length > maxIntermediates) throw new OAuthError('certificate_malformed')
  try {
    return {
      leaf: await reader.read(parseBytes(leaf)),
      intermediates: await Promise.all(intermediates.map((value) => reader.read(parseBytes(value.trim())))),
    }
  } catch (cause) {
    if (cause instanceof CertificateError) throw new OAuthError('certificate_malformed', { cause })
    throw cause
  }
}

// Node joins what is repeated; only the raw headers tell one value with a comma from two.
function valuesOf(rawHeaders: readonly string[], name: string): readonly string[] {
  return rawHeaders.filter((_, i) => i % 2 === 1 && rawHeaders[i - 1]?.toLowerCase() === name)
}

// A byte sequence without parameters, of which there are none, in the one spelling of its base64.
function parseBytes(value: string): string {
  const base64 = /^:(?<base64>[A-Za-z0-9+/]+={0,2}):$/.exec(value)?.groups?.base64
  if (base64 === undefined || Buffer.from(base64, 'base64').toString('base64') !== base64)
    throw new OAuthError('certificate_malformed')
  return base64
}
