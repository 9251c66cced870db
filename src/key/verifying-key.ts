import { createPublicKey, type KeyObject, verify } from 'node:crypto'
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

/** The 64 bytes of a JWS signature with P-256 as DER: a SEQUENCE of two INTEGERs (RFC 3279 section 2.2.3). */
export function toDerSignature(raw: Uint8Array): Uint8Array {
  const integers = [toDerInteger(raw.subarray(0, 32)), toDerInteger(raw.subarray(32))]
  const body = Buffer.concat(integers)
  return Buffer.concat([Uint8Array.of(0x30, body.length), body])
}

// As short as it can be, and with a leading zero where it would look negative.
function toDerInteger(bytes: Uint8Array): Uint8Array {
  let start = 0
  while (start < bytes.length - 1 && bytes[start] === 0) start += 1
  const digits = bytes.subarray(start)
  const sign = (digits[0] ?? 0) >= 0x80 ? [0] : []
  return Buffer.concat([Uint8Array.of(0x02, sign.length + digits.length, ...sign), digits])
}
