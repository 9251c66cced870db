import { createPublicKey, type KeyObject, verify } from 'node:crypto'
import { toDerSignature } from '../lib/der-signature.ts'
import type { SigningAlg } from './signer.ts'
import type { KeyState, SigningKeyFacts } from './signing-key.ts'

/** The public half of a key of ours, ready to verify with. */
export interface VerifyingKey {
  readonly kid: string
  /** The one algorithm that it is used with (RFC 8725 section 3.1). */
  readonly alg: SigningAlg
  readonly state: KeyState
  /** Whether a signature in the form of JWS is of this key, on a signing input (ASCII). */
  verify(input: string, signature: Uint8Array): boolean
}

/** Makes the public half of a key ready; that takes as long as a verification. */
export function makeVerifyingKey({
  kid,
  alg,
  state,
  publicJwk,
}: Pick<SigningKeyFacts, 'kid' | 'alg' | 'state' | 'publicJwk'>): VerifyingKey {
  const key = createPublicKey({ key: { ...publicJwk }, format: 'jwk' })
  const verifyRaw = alg === 'ES256' ? verifyEs256 : verifyRs256
  return { kid, alg, state, verify: (input, signature) => verifyRaw(key, Buffer.from(input, 'latin1'), signature) }
}

// As with signing, OpenSSL takes twice as long for `ieee-p1363` as for DER.
function verifyEs256(key: KeyObject, input: Uint8Array, signature: Uint8Array): boolean {
  return signature.length === 64 && verify('sha256', input, key, toDerSignature(signature))
}

function verifyRs256(key: KeyObject, input: Uint8Array, signature: Uint8Array): boolean {
  return verify('sha256', input, key, signature)
}
