/** Authorities and certificates, good ones and all kinds of bad ones. */
import 'reflect-metadata'
import { hash, webcrypto } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import * as x509 from '@peculiar/x509'

export { x509 }

x509.cryptoProvider.set(webcrypto)

const ecdsa = { name: 'ECDSA', namedCurve: 'P-256' } as const
const day = 86_400_000

/** A certificate with its key. */
export interface Identity {
  readonly certificate: x509.X509Certificate
  readonly keys: webcrypto.CryptoKeyPair
  /** PEM. */
  readonly cert: string
  readonly key: string
  /** DER in base64, and its SHA-256 as `x5t#S256` has it. */
  readonly der: string
  readonly thumbprint: string
}

/** Each part with its attributes: texts, or an encoding and its text. */
export type SubjectParts = readonly Readonly<Record<string, readonly (string | Readonly<Record<string, string>>)[]>>[]

export interface IdentityOptions {
  /** Who signs it; itself when absent. */
  readonly by?: Identity
  /** In the order of a certificate, most general part first; or as x509 reads a text. */
  readonly subject?: SubjectParts | string
  readonly dns?: readonly string[]
  readonly uris?: readonly string[]
  readonly ips?: readonly string[]
  readonly emails?: readonly string[]
  /** Moments, in milliseconds since the epoch; a day to both sides of now when absent. */
  readonly notBefore?: number
  readonly notAfter?: number
  readonly isAuthority?: boolean
  readonly pathLength?: number
  /** Extended key usages; `undefined` for none at all. */
  readonly usages?: readonly string[]
  readonly keyUsage?: x509.KeyUsageFlags
  /** What its signature is made on; SHA-256 when absent. */
  readonly hash?: string
  /** With which the certificate is renewed. */
  readonly keys?: webcrypto.CryptoKeyPair
  readonly extensions?: readonly x509.Extension[]
}

export const clientAuth = '1.3.6.1.5.5.7.3.2'
export const serverAuth = '1.3.6.1.5.5.7.3.1'

let serial = 1

export async function makeIdentity(options: IdentityOptions = {}): Promise<Identity> {
  const keys = options.keys ?? (await makeKeys())
  const { by, notBefore = Date.now() - day, notAfter = Date.now() + day } = options
  // x509 takes both in each attribute and has types for one.
  const subject = (options.subject ?? 'CN=billing') as string | x509.JsonName
  serial += 1
  const common = {
    serialNumber: serial.toString(16).padStart(4, '0'),
    notBefore: new Date(notBefore),
    notAfter: new Date(notAfter),
    signingAlgorithm: { ...(by?.keys ?? keys).privateKey.algorithm, hash: options.hash ?? 'SHA-256' },
    extensions: extensionsOf(options),
  }
  const certificate = await x509.X509CertificateGenerator.create({
    ...common,
    subject,
    issuer: by?.certificate.subjectName ?? subject,
    publicKey: keys.publicKey,
    signingKey: by?.keys.privateKey ?? keys.privateKey,
  })
  const pkcs8 = await webcrypto.subtle.exportKey('pkcs8', keys.privateKey)
  const raw = Buffer.from(certificate.rawData)
  return {
    certificate,
    keys,
    cert: `${certificate.toString('pem')}\n`,
    key: `${x509.PemConverter.encode(pkcs8, 'PRIVATE KEY')}\n`,
    der: raw.toString('base64'),
    thumbprint: hash('sha256', raw, 'base64url'),
  }
}

/** One that may sign others. */
export function makeAuthority(options: IdentityOptions = {}): Promise<Identity> {
  return makeIdentity({ subject: 'CN=Clients, O=Example', isAuthority: true, ...options })
}

export async function makeKeys(): Promise<webcrypto.CryptoKeyPair> {
  return (await webcrypto.subtle.generateKey(ecdsa, true, ['sign', 'verify'])) as webcrypto.CryptoKeyPair
}

/** RSA keys for PKCS #1. */
export async function makeRsaKeys(modulusLength: number): Promise<webcrypto.CryptoKeyPair> {
  const publicExponent = new Uint8Array([1, 0, 1])
  const algorithm = { name: 'RSASSA-PKCS1-v1_5', modulusLength, publicExponent, hash: 'SHA-256' }
  return (await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify'])) as webcrypto.CryptoKeyPair
}

function extensionsOf(options: IdentityOptions): x509.Extension[] {
  const { isAuthority = false, usages, pathLength, keyUsage } = options
  const { digitalSignature, keyCertSign } = x509.KeyUsageFlags
  const names: x509.JsonGeneralNames = [
    ...(options.dns ?? []).map((value) => ({ type: 'dns' as const, value })),
    ...(options.uris ?? []).map((value) => ({ type: 'url' as const, value })),
    ...(options.ips ?? []).map((value) => ({ type: 'ip' as const, value })),
    ...(options.emails ?? []).map((value) => ({ type: 'email' as const, value })),
  ]
  const asked = usages ?? (isAuthority ? [] : [clientAuth])
  return [
    new x509.BasicConstraintsExtension(isAuthority, pathLength, true),
    new x509.KeyUsagesExtension(keyUsage ?? (isAuthority ? keyCertSign : digitalSignature), true),
    ...(asked.length === 0 ? [] : [new x509.ExtendedKeyUsageExtension([...asked])]),
    ...(names.length === 0 ? [] : [new x509.SubjectAlternativeNameExtension(names)]),
    ...(options.extensions ?? []),
  ]
}

/** A certificate for the server on loopback. */
export function makeServerIdentity(by: Identity, options: IdentityOptions = {}): Promise<Identity> {
  return makeIdentity({
    by,
    subject: 'CN=mayfly',
    dns: ['localhost'],
    ips: ['127.0.0.1'],
    usages: [serverAuth],
    ...options,
  })
}

/** The public key of a certificate with the certificate in it, as a client publishes it (RFC 7517 section 4.7). */
export async function makeJwk({ keys, der }: Identity): Promise<object> {
  const { kty, crv, x, y } = await webcrypto.subtle.exportKey('jwk', keys.publicKey)
  return { kty, crv, x, y, x5c: [der] }
}

/** How a proxy hands a certificate on (RFC 9440 section 2.2). */
export function clientCert({ der }: Pick<Identity, 'der'>): string {
  return `:${der}:`
}

/** The settings of native TLS, their files written to a folder. */
export function writeTlsFiles(
  folder: string,
  server: Pick<Identity, 'cert' | 'key'>,
  authorities?: readonly Pick<Identity, 'cert'>[],
): Readonly<Record<string, string>> {
  const cert = join(folder, 'tls.crt')
  const key = join(folder, 'tls.key')
  const ca = join(folder, 'clients.crt')
  writeFileSync(cert, server.cert)
  writeFileSync(key, server.key, { mode: 0o600 })
  const pair = { MAYFLY_TLS_CERT_FILE: cert, MAYFLY_TLS_KEY_FILE: key }
  if (authorities === undefined) return pair
  writeFileSync(ca, authorities.map((authority) => authority.cert).join(''))
  return { ...pair, MAYFLY_TLS_CLIENT_CA_FILE: ca }
}
