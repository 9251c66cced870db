import { createPrivateKey, createPublicKey, generateKeyPairSync } from 'node:crypto'
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

describe('the parts of a DER signature', () => {
  const good = der(new Uint8Array(32).fill(0x41), new Uint8Array(32).fill(0x42))
  const sAt = 2 + 2 + 32

  it.each([
    ['another type for the sequence', 0, 0x31],
    ['a sequence that is longer than it says', 1, good.length - 3],
    ['a sequence that is shorter than it says', 1, good.length - 1],
    ['another type for r', 2, 0x03],
    ['another type for s', sAt, 0x04],
    ['an r of no bytes', 3, 0],
    ['an s of no bytes', sAt + 1, 0],
    ['an r of 34 bytes', 3, 34],
    ['an s of 34 bytes', sAt + 1, 34],
  ])('are refused with %s', (_, at, byte) => {
    const changed = Buffer.from(good)
    changed[at] = byte
    expect(() => convertDerSignature(changed)).toThrow(/^not a DER signature$/)
  })

  it('are refused with a number of no bytes, though all lengths are right', () => {
    expect(() => convertDerSignature(Buffer.from([0x30, 5, 0x02, 0, 0x02, 1, 7]))).toThrow(/^not a DER signature$/)
    expect(() => convertDerSignature(Buffer.from([0x30, 5, 0x02, 1, 7, 0x02, 0]))).toThrow(/^not a DER signature$/)
  })

  it('are refused with something behind them, though the length counts it', () => {
    expect(() => convertDerSignature(Buffer.from([0x30, 7, 0x02, 1, 7, 0x02, 1, 7, 0]))).toThrow(
      /^not a DER signature$/,
    )
  })

  it('are refused with numbers of 34 bytes, though all lengths are right', () => {
    const long = Buffer.concat([Buffer.from([0x02, 34]), Buffer.alloc(34)])
    for (const numbers of [
      [long, Buffer.from([0x02, 1, 7])],
      [Buffer.from([0x02, 1, 7]), long],
    ]) {
      const bytes = Buffer.concat([Buffer.from([0x30, 39]), ...numbers])
      expect(() => convertDerSignature(bytes)).toThrow(/^not a DER signature$/)
    }
  })
})

describe('a local signer', () => {
  const { privateKey } = generateKeyPairSync('x25519')

  it.each(['ES256', 'RS256'] as const)(
    'rejects what its key cannot sign by %s, rather than sign it otherwise',
    async (alg) => {
      await expect(createLocalSigner('kid', alg, privateKey).sign(Buffer.from('x'))).rejects.toThrow()
    },
  )
})

describe('a public JWK', () => {
  it('refuses a key that cannot sign the algorithm', async () => {
    const { publicJwk } = await makeSigningKey(makeRootKey(1), 'store', 'ES256')
    const key = createPublicKey({ key: { ...publicJwk }, format: 'jwk' })
    await expect(makePublicJwk(key, 'RS256')).rejects.toThrow(/cannot sign/)
  })
})
