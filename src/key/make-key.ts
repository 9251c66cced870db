import { generateKeyPair, type KeyObject } from 'node:crypto'
import { promisify } from 'node:util'
import { encryptPrivateKey, type RootKey } from './root-key.ts'
import type { SigningAlg } from './signer.ts'
import { makePublicJwk, type NewSigningKey } from './signing-key.ts'

const generate = promisify(generateKeyPair)

/** A fresh signing key, its private half encrypted under the root. RSA keys have 2048 bits (RFC 7518 section 3.3). */
export async function makeSigningKey(root: RootKey, storeId: string, alg: SigningAlg): Promise<NewSigningKey> {
  const { publicKey, privateKey } = await makePair(alg)
  const publicJwk = await makePublicJwk(publicKey, alg)
  // A kid is typed on command lines, in a hurry: one that looks like an option is not taken.
  if (publicJwk.kid.startsWith('-')) return makeSigningKey(root, storeId, alg)
  const pkcs8 = privateKey.export({ format: 'der', type: 'pkcs8' })
  const encryptedPrivateKey = encryptPrivateKey(root, storeId, publicJwk.kid, pkcs8)
  return { kid: publicJwk.kid, alg, publicJwk, encryptedPrivateKey, rootVersion: root.version }
}

function makePair(alg: SigningAlg): Promise<{ publicKey: KeyObject; privateKey: KeyObject }> {
  return alg === 'ES256'
    ? generate('ec', { namedCurve: 'P-256' })
    : generate('rsa', { modulusLength: 2048, publicExponent: 65_537 })
}
