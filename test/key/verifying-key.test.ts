import { generateKeyPairSync, sign } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { convertDerSignature } from '../../src/key/signers/local.ts'
import { makePublicJwk } from '../../src/key/signing-key.ts'
import { makeVerifyingKey } from '../../src/key/verifying-key.ts'
import { toDerSignature } from '../../src/lib/der-signature.ts'

describe('a verifying key', () => {
  it('takes what its private half signed, and nothing else', async () => {
    for (const alg of ['ES256', 'RS256'] as const) {
      const { publicKey, privateKey } =
        alg === 'ES256'
          ? generateKeyPairSync('ec', { namedCurve: 'P-256' })
          : generateKeyPairSync('rsa', { modulusLength: 2048 })
      const publicJwk = await makePublicJwk(publicKey, alg)
      const key = makeVerifyingKey({ kid: publicJwk.kid, alg, state: 'active', publicJwk })
      const options = alg === 'ES256' ? { key: privateKey, dsaEncoding: 'ieee-p1363' as const } : privateKey
      for (let i = 0; i < 20; i += 1) {
        const signature = sign('sha256', Buffer.from(`x${i}`), options)
        expect(key.verify(`x${i}`, signature)).toBe(true)
        expect(key.verify(`y${i}`, signature)).toBe(false)
        signature[i] = (signature[i] ?? 0) ^ 1
        expect(key.verify(`x${i}`, signature)).toBe(false)
      }
    }
  })

  it('J26 takes no other spelling of a signature: a zero before its second half, or another length', async () => {
    const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
    const publicJwk = await makePublicJwk(publicKey, 'ES256')
    const key = makeVerifyingKey({ kid: publicJwk.kid, alg: 'ES256', state: 'active', publicJwk })
    const good = sign('sha256', Buffer.from('x'), { key: privateKey, dsaEncoding: 'ieee-p1363' })
    const [r, s] = [good.subarray(0, 32), good.subarray(32)]
    expect(key.verify('x', good)).toBe(true)
    for (const other of [
      Buffer.concat([r, Buffer.alloc(1), s]),
      Buffer.concat([good, Buffer.alloc(1)]),
      good.subarray(0, 63),
      toDerSignature(good),
      Buffer.alloc(0),
    ])
      expect(key.verify('x', other)).toBe(false)
  })

  it('writes DER as OpenSSL does, for every pair of numbers', () => {
    const number = fc.uint8Array({ minLength: 32, maxLength: 32 })
    const small = fc.nat(0xffff).map((n) => Uint8Array.from([...Array(30).fill(0), n >> 8, n & 255]))
    fc.assert(
      fc.property(fc.oneof(number, small), fc.oneof(number, small), (r, s) => {
        const raw = Buffer.concat([r, s])
        expect(Buffer.from(convertDerSignature(toDerSignature(raw)))).toEqual(raw)
      }),
      { seed: 20_261_125 },
    )
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
    for (let i = 0; i < 200; i += 1) {
      const der = sign('sha256', Buffer.from(String(i)), privateKey)
      expect(Buffer.from(toDerSignature(convertDerSignature(der)))).toEqual(der)
    }
  })
})
