/**
 * Certificates, read from DER. OpenSSL takes them apart first and must give the very same bytes back, so that there is one
 * certificate for a thumbprint; what its strings do not tell exactly is read from the structure: the names with their types and
 * encodings, and which extensions there are. Node prints alternative names as one text, which a name with a comma in it could
 * forge.
 *
 * @see RFC 5280 section 4
 */
import { hash, X509Certificate } from 'node:crypto'
import { type BaseBlock, Constructed, fromBER } from 'asn1js'
import { CertificateError, type CertificateNames } from './certificate.ts'
import { type DistinguishedName, decodeUtf8, type NameAttribute } from './distinguished-name.ts'

/** A certificate taken apart: for its names, and for a path from it to an authority. */
export interface Certificate extends CertificateNames {
  readonly x509: X509Certificate
  readonly thumbprint: string
  readonly der: string
  /** Milliseconds since the epoch. */
  readonly notBefore: number
  readonly notAfter: number
  /** Dotted OIDs of extensions; those that are critical besides. */
  readonly extensions: ReadonlySet<string>
  readonly criticalExtensions: ReadonlySet<string>
  /** The first eight bits of its key usage (RFC 5280 section 4.2.1.3). */
  readonly keyUsage?: number
  /** How many authorities may stand between it and the end of a path. */
  readonly pathLength?: number
}

/** Larger ones are refused: no client needs it, and headers have their limit too. */
export const maxCertificateBytes = 12 * 1024

// Whoever connects chooses what stands in a certificate, and each part takes time. What lies inside of strings (extensions that
// nobody looks into) is not taken apart at all.
const limits = { maxNodes: 1_000, parseEmbedded: false }

/** Extensions that are looked into. */
export const extensionIds = {
  keyUsage: '2.5.29.15',
  subjectAlternativeName: '2.5.29.17',
  basicConstraints: '2.5.29.19',
  nameConstraints: '2.5.29.30',
  certificatePolicies: '2.5.29.32',
  extendedKeyUsage: '2.5.29.37',
} as const

/** @throws CertificateError */
export function readCertificate(der: Uint8Array): Certificate {
  if (der.length > maxCertificateBytes)
    throw new CertificateError(`it is longer than ${maxCertificateBytes / 1024} KiB`)
  const x509 = readByOpenSsl(der)
  try {
    return { ...readStructure(der), ...datesOf(x509), x509, ...idsOf(x509.raw) }
  } catch (cause) {
    throw cause instanceof CertificateError ? cause : new CertificateError('it is no certificate', { cause })
  }
}

function readByOpenSsl(der: Uint8Array): X509Certificate {
  let x509: X509Certificate
  try {
    x509 = new X509Certificate(der)
  } catch (cause) {
    throw new CertificateError('it is no certificate', { cause })
  }
  // OpenSSL takes PEM as well, and what stands behind a certificate it leaves alone.
  if (!x509.raw.equals(der)) throw new CertificateError('there is more than a certificate in it, or it is not DER')
  return x509
}

function idsOf(raw: Uint8Array): Pick<Certificate, 'thumbprint' | 'der'> {
  return { thumbprint: hash('sha256', raw, 'base64url'), der: Buffer.from(raw).toString('base64') }
}

// Of a date that there is not, such as one in a thirteenth month, Node makes any moment at all: only the text tells.
function datesOf({
  validFrom,
  validTo,
  validFromDate,
  validToDate,
}: X509Certificate): Pick<Certificate, 'notBefore' | 'notAfter'> {
  if ([validFrom, validTo].some((text) => Number.isNaN(Date.parse(text))))
    throw new CertificateError('its dates are none')
  return { notBefore: validFromDate.getTime(), notAfter: validToDate.getTime() }
}

type Structure = Omit<Certificate, 'x509' | 'thumbprint' | 'der' | 'notBefore' | 'notAfter'>

// Version and extensions are tagged by their context; serial number, algorithm, issuer, validity and subject come in this
// order between them.
function readStructure(der: Uint8Array): Structure {
  const [body] = childrenOf(decode(der))
  const parts = childrenOf(required(body))
  const [subject] = parts.filter((part) => !isContext(part)).slice(4)
  const tagged = parts.filter((part) => isContext(part) && part.idBlock.tagNumber === 3)
  const extensions = tagged.flatMap(childrenOf).flatMap(childrenOf).map(readExtension)
  if (new Set(extensions.map(({ id }) => id)).size !== extensions.length)
    throw new CertificateError('an extension is repeated in it')
  const find = (id: string): BaseBlock | undefined => {
    const value = extensions.find((extension) => extension.id === id)?.value
    return value === undefined ? undefined : decode(value)
  }
  const usage = find(extensionIds.keyUsage)
  const constraints = find(extensionIds.basicConstraints)
  return {
    subject: readName(required(subject)),
    ...readAlternatives(find(extensionIds.subjectAlternativeName)),
    extensions: new Set(extensions.map(({ id }) => id)),
    criticalExtensions: new Set(extensions.filter(({ isCritical }) => isCritical).map(({ id }) => id)),
    // The first byte of a BIT STRING counts the bits that are unused.
    ...(usage === undefined ? {} : { keyUsage: contentOf(usage)[1] ?? 0 }),
    ...readPathLength(constraints),
  }
}

function decode(der: Uint8Array): BaseBlock {
  const { result, offset } = fromBER(der, limits)
  if (offset !== der.length || !isWhole(result)) throw new CertificateError('it is no certificate')
  return result
}

function childrenOf(block: BaseBlock): readonly BaseBlock[] {
  if (!(block instanceof Constructed) || !block.valueBlock.value.every(isWhole))
    throw new CertificateError('it is no certificate')
  return block.valueBlock.value
}

// asn1js lets a part go on behind the end of what it lies in, where OpenSSL sees the next one: a value in a name could so swallow
// the extensions that stand behind it.
function isWhole({ blockLength, idBlock, lenBlock }: BaseBlock): boolean {
  return blockLength === idBlock.blockLength + lenBlock.blockLength + lenBlock.length
}

function required(block: BaseBlock | undefined): BaseBlock {
  if (block === undefined) throw new CertificateError('it is no certificate')
  return block
}

// What lies behind the header of a block.
function contentOf(block: BaseBlock): Uint8Array {
  return block.valueBeforeDecodeView.subarray(block.blockLength - block.lenBlock.length)
}

function isContext({ idBlock }: BaseBlock): boolean {
  return idBlock.tagClass === 3
}

function isUniversal({ idBlock }: BaseBlock, tagNumber: number): boolean {
  return idBlock.tagClass === 1 && idBlock.tagNumber === tagNumber
}

// OpenSSL has seen to it that it is an OID; one with numbers that nobody uses is not written in figures alone.
function oidOf(block: BaseBlock): string {
  const text = String(block.valueBlock)
  if (/[^0-9.]/.test(text)) throw new CertificateError('it is no certificate')
  return text
}

interface Extension {
  readonly id: string
  readonly isCritical: boolean
  readonly value: Uint8Array
}

function readExtension(block: BaseBlock): Extension {
  const [id, ...rest] = childrenOf(block)
  const isCritical = rest.some((part) => isUniversal(part, 1) && contentOf(part)[0] !== 0)
  return { id: oidOf(required(id)), isCritical, value: contentOf(required(rest.at(-1))) }
}

function readName(block: BaseBlock): DistinguishedName {
  return childrenOf(block).map((part) => childrenOf(part).map(readAttribute))
}

function readAttribute(block: BaseBlock): NameAttribute {
  const [type, last] = childrenOf(block)
  const value = required(last)
  const text = textOf(value)
  const der = Buffer.from(value.valueBeforeDecodeView).toString('hex')
  return { type: oidOf(required(type)), der, ...(text === undefined ? {} : { text }) }
}

// TeletexString and UniversalString have no text: what their bytes mean depends on who reads them.
function textOf(block: BaseBlock): string | undefined {
  const content = contentOf(block)
  if (isUniversal(block, 12)) return decodeUtf8(content)
  if (isUniversal(block, 30)) return new TextDecoder('utf-16be', { fatal: true, ignoreBOM: true }).decode(content)
  return [18, 19, 22].some((tag) => isUniversal(block, tag)) ? decodeAscii(content) : undefined
}

function decodeAscii(content: Uint8Array): string | undefined {
  const text = Buffer.from(content).toString('latin1')
  return /^[\x20-\x7E]*$/.test(text) ? text : undefined
}

// A name that is not printable ASCII (IA5String with a NUL in it, as in `bank.test\0.evil.test`) is nobody's.
function readAlternatives(block: BaseBlock | undefined): Omit<CertificateNames, 'subject'> {
  const names = block === undefined ? [] : childrenOf(block).filter(isContext)
  const content = (tag: number) => names.filter(({ idBlock }) => idBlock.tagNumber === tag).map(contentOf)
  const texts = (tag: number) =>
    content(tag)
      .map(decodeAscii)
      .filter((text) => text !== undefined)
  return {
    emails: texts(1),
    dns: texts(2),
    uris: texts(6),
    ips: content(7).map((bytes) => Buffer.from(bytes).toString('hex')),
  }
}

function readPathLength(constraints: BaseBlock | undefined): Pick<Certificate, 'pathLength'> {
  const length = constraints === undefined ? undefined : childrenOf(constraints).find((part) => isUniversal(part, 2))
  if (length === undefined) return {}
  const [first, ...more] = contentOf(length)
  return { pathLength: more.length > 0 ? Number.POSITIVE_INFINITY : (first ?? 0) }
}
