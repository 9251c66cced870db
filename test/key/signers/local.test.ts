import { createPrivateKey, createPublicKey } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { makeSigningKey } from '../../../src/key/make-key.ts'
import { decryptPrivateKey, makeRootKey } from '../../../src/key/root-key.ts'
import { convertDerSignature, createLocalSigner } from '../../../src/key/signers/local.ts'
import { makePublicJwk } from '../../../src/key/signing-key.ts'
import { testSigner } from '../../suites/signer.ts'

testSigner('local signer', async (alg) => {
  const root = makeRootKey(1)
  const { kid, publicJwk, encryptedPrivateKey } = await makeSigningKey(root, 'store', alg)
  const der = Buffer.from(decryptPrivateKey(root, 'store', kid, encryptedPrivateKey))
  const privateKey = createPrivateKey({ key: der, format: 'der', type: 'pkcs8' })
  return { signer: createLocalSigner(kid, alg, privateKey), publicJwk }
})

/** A positive INTEGER of DER. */
function derInteger(bytes: Uint8Array): Buffer {
  let start = 0
  while (start < bytes.length - 1 && bytes[start] === 0) start += 1
  const body = Buffer.from(bytes.subarray(start))
  const padded = (body[0] ?? 0) > 0x7f ? Buffer.concat([Buffer.from([0]), body]) : body
  return Buffer.concat([Buffer.from([0x02, padded.length]), padded])
}

function der(r: Uint8Array, s: Uint8Array): Buffer {
  const body = Buffer.concat([derInteger(r), derInteger(s)])
  return Buffer.concat([Buffer.from([0x30, body.length]), body])
}

const number = fc.uint8Array({ minLength: 32, maxLength: 32 })
const small = fc.nat(31).chain((zeros) => number.map((bytes) => bytes.map((byte, i) => (i < zeros ? 0 : byte))))

describe('the conversion of a DER signature', () => {
  it('keeps r and s, however many zeros they begin with', () => {
    fc.assert(
      fc.property(small, small, (r, s) => {
        expect(Buffer.from(convertDerSignature(der(r, s)))).toEqual(Buffer.concat([r, s]))
      }),
      { seed: 20_260_101, numRuns: 2_000 },
    )
  })

  it('refuses whatever is not such a signature, and nothing else happens', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 90 }), (bytes) => {
        try {
          expect(convertDerSignature(bytes)).toHaveLength(64)
        } catch (error) {
          expect(String(error)).toContain('not a DER signature')
        }
      }),
      { seed: 20_260_102, numRuns: 5_000 },
    )
  })

  it('refuses a signature that is cut, has a tail, or a number of 34 bytes', () => {
    const good = der(new Uint8Array(32).fill(0x81), new Uint8Array(32).fill(0x7f))
    for (const bad of [
      good.subarray(0, -1),
      Buffer.concat([good, Buffer.from([0])]),
      der(new Uint8Array(33).fill(0x81), new Uint8Array(1)),
      Buffer.alloc(0),
    ]) {
      expect(() => convertDerSignature(bad)).toThrow(/not a DER signature/)
    }
  })
})

describe('a public JWK', () => {
  it('refuses a key that cannot sign the algorithm', async () => {
    const { publicJwk } = await makeSigningKey(makeRootKey(1), 'store', 'ES256')
    const key = createPublicKey({ key: { ...publicJwk }, format: 'jwk' })
    await expect(makePublicJwk(key, 'RS256')).rejects.toThrow(/cannot sign/)
  })
})
