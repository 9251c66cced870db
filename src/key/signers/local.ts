import { constants, type KeyObject, sign } from 'node:crypto'
import type { Signer, SigningAlg } from '../signer.ts'

/**
 * A signer whose private key lies in this process.
 *
 * ES256 signs on the event loop: the call takes 35 µs, a trip to the thread pool more. It asks OpenSSL for DER and
 * converts, because asking for `ieee-p1363` takes twice as long as both. RS256 takes 400 µs and goes to the pool.
 */
export function createLocalSigner(kid: string, alg: SigningAlg, privateKey: KeyObject): Signer {
  return { kid, alg, sign: alg === 'ES256' ? signEs256(privateKey) : signRs256(privateKey) }
}

function signEs256(key: KeyObject): Signer['sign'] {
  return async (input) => convertDerSignature(sign('sha256', input, key))
}

function signRs256(key: KeyObject): Signer['sign'] {
  const options = { key, padding: constants.RSA_PKCS1_PADDING }
  return (input) =>
    new Promise((resolve, reject) => {
      sign('sha256', input, options, (error, signature) => (error === null ? resolve(signature) : reject(error)))
    })
}

/**
 * A P-256 signature from DER (SEQUENCE of two INTEGERs, RFC 3279 section 2.2.3) to the 64 bytes of JWS.
 *
 * @throws Error when it is not the DER that OpenSSL writes
 */
export function convertDerSignature(der: Uint8Array): Uint8Array {
  const raw = new Uint8Array(64)
  const s = copyInteger(der, 2, raw, 0)
  const end = copyInteger(der, s, raw, 32)
  if (der[0] !== 0x30 || der[1] !== der.length - 2 || end !== der.length) throw new Error('not a DER signature')
  return raw
}

// Copies the INTEGER at `from` into 32 big-endian bytes at `to`; returns where the next element begins.
function copyInteger(der: Uint8Array, from: number, raw: Uint8Array, to: number): number {
  const length = der[from + 1] ?? 0
  if (der[from] !== 0x02 || length < 1 || length > 33) throw new Error('not a DER signature')
  const end = from + 2 + length
  // A leading zero keeps a large number positive in DER; the fixed-length form has no sign.
  const start = length === 33 ? from + 3 : from + 2
  raw.set(der.subarray(start, end), to + 32 - (end - start))
  return end
}
