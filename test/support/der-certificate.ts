/**
 * Certificates part by part, for those that no tool would make: each part is DER that a test spells out (ITU-T X.690).
 */
import { createPublicKey, generateKeyPairSync, type KeyObject, sign } from 'node:crypto'

/** What is not said is that of a plain certificate of `CN=billing`. */
export interface CertificateParts {
  /** A name, its attributes in order. */
  readonly subject?: Buffer
  readonly issuer?: Buffer
  /** `undefined` for a certificate that has no place for any (version 1). */
  readonly extensions?: readonly Buffer[] | undefined
  readonly validity?: Buffer
  readonly publicKey?: Buffer
  /** Between the public key and the extensions: unique identifiers, which nobody uses. */
  readonly identifiers?: readonly Buffer[]
  readonly signer?: KeyObject
  /** What a signature of RSA or ECDSA is made on; SHA-256 when absent. */
  readonly hash?: 'sha1' | 'sha256' | 'sha384' | 'sha512'
}

const signer = generateKeyPairSync('ed25519').privateKey
const algorithms: Readonly<Record<string, Buffer>> = {
  ed25519: sequence(oid('1.3.101.112')),
  ed448: sequence(oid('1.3.101.113')),
  'ec sha1': sequence(oid('1.2.840.10045.4.1')),
  'ec sha256': sequence(oid('1.2.840.10045.4.3.2')),
  'ec sha384': sequence(oid('1.2.840.10045.4.3.3')),
  'ec sha512': sequence(oid('1.2.840.10045.4.3.4')),
  'rsa sha1': sequence(oid('1.2.840.113549.1.1.5'), tagged(5)),
  'rsa sha256': sequence(oid('1.2.840.113549.1.1.11'), tagged(5)),
  'rsa sha384': sequence(oid('1.2.840.113549.1.1.12'), tagged(5)),
  'rsa sha512': sequence(oid('1.2.840.113549.1.1.13'), tagged(5)),
}

/** DER of a certificate. */
export function certificateOf(parts: CertificateParts = {}): Buffer {
  const key = parts.signer ?? signer
  const type = key.asymmetricKeyType ?? ''
  const hash = type.startsWith('ed') ? null : (parts.hash ?? 'sha256')
  const algorithm = algorithms[hash === null ? type : `${type} ${hash}`]
  if (algorithm === undefined) throw new Error(`no signature with ${type}`)
  const isFirstVersion = 'extensions' in parts && parts.extensions === undefined
  const body = sequence(
    ...(isFirstVersion ? [] : [tagged(0xa0, integer(2))]),
    integer(0x1234),
    algorithm,
    parts.issuer ?? commonName('Clients'),
    parts.validity ?? sequence(time('20200101000000Z'), time('20600101000000Z')),
    parts.subject ?? commonName('billing'),
    parts.publicKey ?? createPublicKey(signer).export({ type: 'spki', format: 'der' }),
    ...(parts.identifiers ?? []),
    ...(isFirstVersion ? [] : [tagged(0xa3, sequence(...(parts.extensions ?? [extension('1.2.3.4', sequence())])))]),
  )
  return sequence(body, algorithm, bits(0, ...sign(hash, body, key)))
}

/** One type, length and value. */
export function tagged(tag: number, ...content: readonly (Buffer | string)[]): Buffer {
  const value = Buffer.concat(content.map((part) => Buffer.from(part)))
  const { length } = value
  const head =
    length < 128 ? [tag, length] : length < 256 ? [tag, 0x81, length] : [tag, 0x82, length >> 8, length & 255]
  return Buffer.concat([Buffer.from(head), value])
}

export function sequence(...parts: readonly Buffer[]): Buffer {
  return tagged(0x30, ...parts)
}

export function oid(text: string): Buffer {
  const [first = 0, second = 0, ...others] = text.split('.').map(Number)
  return tagged(0x06, Buffer.from([first * 40 + second, ...others.flatMap(base128)]))
}

export function integer(value: number): Buffer {
  return tagged(0x02, Buffer.from(value < 128 ? [value] : [value >> 8, value & 255]))
}

/** A BIT STRING; the first byte counts the bits that are unused. */
export function bits(...bytes: readonly number[]): Buffer {
  return tagged(0x03, Buffer.from(bytes))
}

export function extension(id: string, value: Buffer, ...critical: readonly Buffer[]): Buffer {
  return sequence(oid(id), ...critical, tagged(0x04, value))
}

/** A name of one attribute. */
export function nameOf(type: string, value: Buffer): Buffer {
  return sequence(tagged(0x31, sequence(oid(type), value)))
}

export function commonName(text: string): Buffer {
  return nameOf('2.5.4.3', tagged(0x0c, text))
}

function time(text: string): Buffer {
  return tagged(0x18, text)
}

function base128(value: number): readonly number[] {
  const bytes = [value & 127]
  for (let rest = value >> 7; rest > 0; rest >>= 7) bytes.unshift((rest & 127) | 128)
  return bytes
}
