/**
 * One root. A random, versioned 256-bit root key lies in the database, wrapped (encrypted and authenticated) by the
 * master key file. HKDF-SHA-256 (RFC 5869) with a label for each use derives every other key from it. A stolen
 * database without the key file forges nothing; nor does the key file alone.
 *
 * Both wrappings are AES-256-GCM (NIST SP 800-38D): 12 random bytes of nonce, the ciphertext, 16 bytes of tag. The
 * additional data names the database and the thing, so that no blob can be moved to another row or database.
 */
import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from 'node:crypto'
import { KeyMaterialError } from './signing-key.ts'

const nonceLength = 12
const tagLength = 16

/** 32 bytes that wrap root keys; read from the master key file. */
export type MasterKey = Uint8Array

/** A root key in the clear, in memory alone. */
export interface RootKey {
  readonly version: number
  readonly bytes: Uint8Array
}

/** A root key as it lies in the store. */
export interface WrappedRootKey {
  readonly version: number
  readonly wrapped: Uint8Array
}

/** A fresh root key. */
export function makeRootKey(version: number): RootKey {
  return { version, bytes: randomBytes(32) }
}

/** Wraps a root key for one database. */
export function wrapRootKey(root: RootKey, master: MasterKey, storeId: string): WrappedRootKey {
  const wrapped = seal(wrappingKey(master, storeId), root.bytes, `mayfly root ${storeId} ${root.version}`)
  return { version: root.version, wrapped }
}

/** @throws KeyMaterialError when this master key did not wrap it */
export function unwrapRootKey(root: WrappedRootKey, master: MasterKey, storeId: string): RootKey {
  const bytes = open(wrappingKey(master, storeId), root.wrapped, `mayfly root ${storeId} ${root.version}`)
  return { version: root.version, bytes }
}

/** A key for one use, 32 bytes. The label is part of what is stored for ever: never change one. */
export function deriveKey(
  root: RootKey,
  label: 'signing key encryption' | 'refresh tickets' | 'dpop nonces of the token endpoint',
): Uint8Array {
  return new Uint8Array(hkdfSync('sha256', root.bytes, '', `mayfly v1 ${label}`, 32))
}

/** Encrypts a private signing key (PKCS #8 DER) under the root. */
export function encryptPrivateKey(root: RootKey, storeId: string, kid: string, pkcs8: Uint8Array): Uint8Array {
  return seal(deriveKey(root, 'signing key encryption'), pkcs8, `mayfly signing key ${storeId} ${kid}`)
}

/** @throws KeyMaterialError when it was not encrypted under this root, for this key and database */
export function decryptPrivateKey(root: RootKey, storeId: string, kid: string, encrypted: Uint8Array): Uint8Array {
  return open(deriveKey(root, 'signing key encryption'), encrypted, `mayfly signing key ${storeId} ${kid}`)
}

function wrappingKey(master: MasterKey, storeId: string): Uint8Array {
  return new Uint8Array(hkdfSync('sha256', master, storeId, 'mayfly v1 root key wrapping', 32))
}

function seal(key: Uint8Array, plain: Uint8Array, context: string): Uint8Array {
  const nonce = randomBytes(nonceLength)
  const cipher = createCipheriv('aes-256-gcm', key, nonce).setAAD(Buffer.from(context))
  return Buffer.concat([nonce, cipher.update(plain), cipher.final(), cipher.getAuthTag()])
}

function open(key: Uint8Array, sealed: Uint8Array, context: string): Uint8Array {
  try {
    const tagStart = sealed.length - tagLength
    const decipher = createDecipheriv('aes-256-gcm', key, sealed.subarray(0, nonceLength), {
      authTagLength: tagLength,
    })
    decipher.setAAD(Buffer.from(context)).setAuthTag(sealed.subarray(tagStart))
    return Buffer.concat([decipher.update(sealed.subarray(nonceLength, tagStart)), decipher.final()])
  } catch (cause) {
    throw new KeyMaterialError(
      'key material in the database cannot be decrypted: put back the newest file that `mayfly db backup` wrote',
      { cause },
    )
  }
}
