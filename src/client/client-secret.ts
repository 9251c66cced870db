/**
 * Secrets that Mayfly generates: `mfs_`, an id of 16 characters, 256 random bits in 43, and a CRC-32 in 6, all base 62.
 * The prefix and the checksum let secret scanners find leaked ones without false alarms; the id finds the row. With
 * 256 random bits a plain SHA-256 is a sound hash at rest (NIST SP 800-63B section 5.1.2.2, look-up secrets): there is
 * nothing to guess that a slow hash would make slower.
 */
import { hash, randomBytes, timingSafeEqual } from 'node:crypto'
import { crc32 } from 'node:zlib'
import { encodeBase62, encodeBase62Number } from '../lib/base62.ts'
import { Secret } from '../lib/secret.ts'

/** Names a secret without giving it away. */
export type SecretId = `sec_${string}`

/** Names what proved a client: a secret, a key by its thumbprint, or a certificate by its own. */
export type CredentialId = SecretId | `key_${string}` | `crt_${string}`

export function isSecretId(id: string): id is SecretId {
  return id.startsWith('sec_')
}

/** How every generated secret begins. */
export const generatedPrefix = 'mfs_'

const idLength = 16
const bodyLength = generatedPrefix.length + idLength + 43
const form = /^mfs_[0-9A-Za-z]{65}$/

/** A fresh secret: the only time that its text exists here. */
export interface GeneratedSecret {
  readonly secretId: SecretId
  readonly secret: Secret
  readonly sha256: Uint8Array
}

export function generateSecret(): GeneratedSecret {
  const id = randomBase62(12, idLength)
  const body = generatedPrefix + id + randomBase62(32, 43)
  const text = body + checksum(body)
  return { secretId: `sec_${id}`, secret: new Secret(text), sha256: hashSecret(text) }
}

/** An id for an imported secret. */
export function makeSecretId(): SecretId {
  return `sec_${randomBase62(12, idLength)}`
}

/** The id inside a presented secret; `undefined` when it does not have the form of a generated one. */
export function secretIdOf(presented: string): SecretId | undefined {
  if (!form.test(presented)) return undefined
  const body = presented.slice(0, bodyLength)
  if (presented.slice(bodyLength) !== checksum(body)) return undefined
  return `sec_${presented.slice(generatedPrefix.length, generatedPrefix.length + idLength)}`
}

/** SHA-256 of a secret's text, 32 bytes. */
export function hashSecret(text: string): Uint8Array {
  return hash('sha256', text, 'buffer')
}

/** Whether a presented secret is the one with this hash; takes the same time for every wrong one. */
export function matchesHash(presented: string, sha256: Uint8Array): boolean {
  const presentedHash = hashSecret(presented)
  return presentedHash.length === sha256.length && timingSafeEqual(presentedHash, sha256)
}

function randomBase62(bytes: number, length: number): string {
  return encodeBase62(BigInt(`0x${randomBytes(bytes).toString('hex')}`), length).slice(-length)
}

function checksum(body: string): string {
  return encodeBase62Number(crc32(body), 6)
}
