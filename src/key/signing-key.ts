import { createPublicKey, type KeyObject, verify as verifySignature } from 'node:crypto'
import { calculateJwkThumbprint, type JWK } from 'jose'
import type { Signer, SigningAlg } from './signer.ts'

/**
 * Where a key is in its life. `staged` is published and does not sign; `active` signs, one key for each algorithm;
 * `retiring` is published until the last token it signed is dead; `retired` is gone from the JWKS; `compromised` may
 * follow any of them.
 */
export const keyStates = ['staged', 'active', 'retiring', 'retired', 'compromised'] as const

export type KeyState = (typeof keyStates)[number]

/** A public key as the JWKS shows it (RFC 7517): no private member can be in it. */
export type PublicJwk =
  | ({ readonly kty: 'EC'; readonly crv: 'P-256'; readonly x: string; readonly y: string } & PublishedMembers)
  | ({ readonly kty: 'RSA'; readonly n: string; readonly e: string } & PublishedMembers)

interface PublishedMembers {
  readonly kid: string
  readonly use: 'sig'
  readonly alg: SigningAlg
}

/** Whether keys of a state stand in the JWKS. */
export function isPublished(state: KeyState): boolean {
  return state === 'staged' || state === 'active' || state === 'retiring'
}

/**
 * What is known of a signing key, its private half apart. `…At` is milliseconds since the epoch on the ring's calendar,
 * `…Running` milliseconds of running time (`ring-clock.ts`).
 */
export interface SigningKeyFacts {
  readonly kid: string
  readonly alg: SigningAlg
  readonly state: KeyState
  readonly publicJwk: PublicJwk
  readonly createdAt: number
  readonly publishedAt: number
  readonly publishedRunning: number
  readonly activatedAt?: number
  readonly rotationRequestedAt?: number
  readonly retiringAt?: number
  readonly retiringRunning?: number
  readonly retiredAt?: number
  readonly compromisedAt?: number
  /** For how long a JWKS without this key could be cached when it was published: the longest `max-age` of that time. */
  readonly cachedSeconds: number
  /** The longest life of a token, and the longest `max-age` of the JWKS, that any process had while it was published. */
  readonly maxTtlSeconds: number
  readonly maxAgeSeconds: number
}

/** A private half as it is kept: encrypted under the root key of `rootVersion`. */
export interface EncryptedKey {
  readonly encryptedPrivateKey: Uint8Array
  readonly rootVersion: number
}

/** A published signing key as it lies in the store. */
export type StoredSigningKey = SigningKeyFacts & EncryptedKey

/** A fresh key that is in no store yet. */
export type NewSigningKey = Pick<SigningKeyFacts, 'kid' | 'alg' | 'publicJwk'> & EncryptedKey

/** A published key that passed its self-test, with the signer that holds its private half. */
export interface SigningKey extends SigningKeyFacts {
  readonly signer: Signer
}

/** The JWK of a public key as Mayfly publishes it, with its RFC 7638 thumbprint as `kid`. */
export async function makePublicJwk(publicKey: KeyObject, alg: SigningAlg): Promise<PublicJwk> {
  const jwk = publicKey.export({ format: 'jwk' })
  const kid = await calculateJwkThumbprint(jwk as JWK)
  if (alg === 'ES256' && jwk.crv === 'P-256') {
    return { kty: 'EC', kid, use: 'sig', alg, crv: 'P-256', x: String(jwk.x), y: String(jwk.y) }
  }
  if (alg === 'RS256' && jwk.kty === 'RSA') {
    return { kty: 'RSA', kid, use: 'sig', alg, n: String(jwk.n), e: String(jwk.e) }
  }
  throw new Error(`a ${jwk.kty} key cannot sign ${alg}`)
}

/**
 * Signs a text and verifies it with the key as it is published: a private key that does not belong to its public one
 * would make tokens that nobody can verify.
 *
 * @throws KeyMaterialError
 */
export async function selfTest(signer: Signer, publicJwk: PublicJwk): Promise<void> {
  const probe = Buffer.from(`mayfly self-test ${publicJwk.kid}`)
  const thumbprint = await calculateJwkThumbprint(publicJwk as JWK)
  const signature = await signer.sign(probe)
  const key = createPublicKey({ key: { ...publicJwk }, format: 'jwk' })
  const verified = verifySignature('sha256', probe, { key, dsaEncoding: 'ieee-p1363' }, signature)
  if (!verified || thumbprint !== publicJwk.kid || signer.kid !== publicJwk.kid) {
    throw new KeyMaterialError(
      `signing key ${publicJwk.kid} does not match the public key in the database: put back the newest file that \`mayfly db backup\` wrote`,
    )
  }
}

/** Key material is missing, damaged, readable by others or not of this database. The message is one sentence that says what to do. */
export class KeyMaterialError extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'KeyMaterialError'
  }
}
