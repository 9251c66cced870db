/**
 * Certificates for tests, made with nothing but `node:crypto` and the few lines of DER that they take (ITU-T X.690), so that
 * `npm test` needs no openssl.
 */
import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject, randomBytes, sign } from 'node:crypto'
import { isIP } from 'node:net'

/** What a certificate says. */
export interface CertificateFacts {
  /** Attributes of the subject, in order: `[['CN', 'keys.example.test']]`. */
  readonly subject?: readonly (readonly [keyof typeof attributeOids, string])[]
  readonly dnsNames?: readonly string[]
  readonly uris?: readonly string[]
  readonly ips?: readonly string[]
  readonly emails?: readonly string[]
  readonly notBefore?: Date
  readonly notAfter?: Date
  readonly usages?: readonly (keyof typeof usageOids)[]
  readonly isAuthority?: boolean
  /** The key pair that it is for; a fresh one otherwise. */
  readonly privateKey?: KeyObject
}

/** A certificate and its key, in the forms that TLS takes. */
export interface Certified {
  readonly certificate: string
  readonly der: Buffer
  readonly key: string
}

export interface Authority extends Certified {
  issue(facts: CertificateFacts): Certified
}

const attributeOids = {
  CN: '2.5.4.3',
  C: '2.5.4.6',
  L: '2.5.4.7',
  ST: '2.5.4.8',
  O: '2.5.4.10',
  OU: '2.5.4.11',
} as const

const usageOids = { serverAuth: '1.3.6.1.5.5.7.3.1', clientAuth: '1.3.6.1.5.5.7.3.2' } as const

const ecdsaWithSha256 = sequence(oid('1.2.840.10045.4.3.2'))
const hour = 3_600_000

/** A root of trust of its own. */
export function makeAuthority(commonName = 'Test Root'): Authority {
  const subject = [['CN', commonName]] as const
  const root = makeSelfSigned({ subject, isAuthority: true })
  const signer = { name: nameOf(subject), key: createPrivateKey(root.key) }
  return { ...root, issue: (facts) => certify(facts, signer) }
}

/** A certificate that vouches for itself. */
export function makeSelfSigned(facts: CertificateFacts): Certified {
  const privateKey = facts.privateKey ?? makeKey()
  return certify({ ...facts, privateKey }, { name: nameOf(facts.subject ?? []), key: privateKey })
}

function makeKey(): KeyObject {
  return generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey
}

function certify(facts: CertificateFacts, signer: { readonly name: Buffer; readonly key: KeyObject }): Certified {
  const privateKey = facts.privateKey ?? makeKey()
  const key = privateKey.export({ type: 'pkcs8', format: 'pem' }).toString()
  const body = sequence(
    explicit(0, integer(Buffer.from([2]))),
    integer(Buffer.concat([Buffer.from([1]), randomBytes(15)])),
    ecdsaWithSha256,
    signer.name,
    sequence(time(facts.notBefore ?? new Date(Date.now() - hour)), time(facts.notAfter ?? new Date(Date.now() + hour))),
    nameOf(facts.subject ?? []),
    publicKeyOf(privateKey),
    explicit(3, sequence(...extensionsOf(facts))),
  )
  const der = sequence(body, ecdsaWithSha256, bitString(sign('sha256', body, signer.key)))
  const lines = der.toString('base64').match(/.{1,64}/g) ?? []
  return {
    certificate: ['-----BEGIN CERTIFICATE-----', ...lines, '-----END CERTIFICATE-----', ''].join('\n'),
    der,
    key,
  }
}

function publicKeyOf(privateKey: KeyObject): Buffer {
  return createPublicKey(privateKey).export({ type: 'spki', format: 'der' })
}

function nameOf(subject: NonNullable<CertificateFacts['subject']>): Buffer {
  return sequence(...subject.map(([name, value]) => set(sequence(oid(attributeOids[name]), utf8String(value)))))
}

function extensionsOf(facts: CertificateFacts): Buffer[] {
  const names = [
    ...(facts.emails ?? []).map((email) => tagged(0x81, Buffer.from(email))),
    ...(facts.dnsNames ?? []).map((name) => tagged(0x82, Buffer.from(name))),
    ...(facts.uris ?? []).map((uri) => tagged(0x86, Buffer.from(uri))),
    ...(facts.ips ?? []).map((ip) => tagged(0x87, addressBytes(ip))),
  ]
  const { usages = [], isAuthority = false } = facts
  return [
    extension('2.5.29.19', sequence(...(isAuthority ? [Buffer.from([0x01, 0x01, 0xff])] : [])), true),
    // keyCertSign, or digitalSignature.
    extension('2.5.29.15', Buffer.from([0x03, 0x02, isAuthority ? 0x02 : 0x07, isAuthority ? 0x04 : 0x80]), true),
    ...(usages.length === 0
      ? []
      : [extension('2.5.29.37', sequence(...usages.map((usage) => oid(usageOids[usage]))), false)]),
    ...(names.length === 0 ? [] : [extension('2.5.29.17', sequence(...names), false)]),
  ]
}

function extension(id: string, value: Buffer, isCritical: boolean): Buffer {
  return sequence(oid(id), ...(isCritical ? [Buffer.from([0x01, 0x01, 0xff])] : []), tagged(0x04, value))
}

function addressBytes(ip: string): Buffer {
  if (isIP(ip) === 4) return Buffer.from(ip.split('.').map(Number))
  const [head = '', tail] = ip.split('::')
  const groups = (text: string | undefined): string[] => (text ? text.split(':') : [])
  const filled = [
    ...groups(head),
    ...new Array<string>(tail === undefined ? 0 : 8 - groups(head).length - groups(tail).length).fill('0'),
    ...groups(tail),
  ]
  return Buffer.from(filled.map((group) => group.padStart(4, '0')).join(''), 'hex')
}

function tagged(tag: number, content: Buffer): Buffer {
  const { length } = content
  const size =
    length < 0x80 ? [length] : length < 0x100 ? [0x81, length] : [0x82, Math.floor(length / 256), length % 256]
  return Buffer.concat([Buffer.from([tag, ...size]), content])
}

function sequence(...parts: readonly Buffer[]): Buffer {
  return tagged(0x30, Buffer.concat(parts))
}

function set(part: Buffer): Buffer {
  return tagged(0x31, part)
}

function explicit(number: number, part: Buffer): Buffer {
  return tagged(0xa0 + number, part)
}

function integer(bytes: Buffer): Buffer {
  return tagged(0x02, bytes)
}

function bitString(bytes: Buffer): Buffer {
  return tagged(0x03, Buffer.concat([Buffer.from([0]), bytes]))
}

function utf8String(text: string): Buffer {
  return tagged(0x0c, Buffer.from(text))
}

// Two digits of the year are enough until 2050.
function time(date: Date): Buffer {
  return tagged(0x17, Buffer.from(`${date.toISOString().slice(2, 19).replace(/[-T:]/g, '')}Z`))
}

function oid(text: string): Buffer {
  const [first = 0, second = 0, ...rest] = text.split('.').map(Number)
  return tagged(0x06, Buffer.from([first * 40 + second, ...rest.flatMap(base128)]))
}

function base128(value: number): number[] {
  const digits = [value % 128]
  for (let left = Math.floor(value / 128); left > 0; left = Math.floor(left / 128)) digits.unshift((left % 128) + 128)
  return digits
}
