/** What any signer must do: the contract of `Signer`, run on every implementation. */
import { createPublicKey, randomBytes, verify } from 'node:crypto'
import { compactVerify, importJWK } from 'jose'
import { describe, expect, it } from 'vitest'
import type { Signer, SigningAlg } from '../../src/key/signer.ts'
import { type PublicJwk, selfTest } from '../../src/key/signing-key.ts'

/** A signer with the public half of its key. */
export interface SignerUnderTest {
  readonly signer: Signer
  readonly publicJwk: PublicJwk
}

/** Runs the contract suite on one kind of signer. */
export function testSigner(name: string, create: (alg: SigningAlg) => Promise<SignerUnderTest>): void {
  describe.each(['ES256', 'RS256'] as const)(`${name}: %s`, (alg) => {
    it('says which key and algorithm it is', async () => {
      const { signer, publicJwk } = await create(alg)
      expect(signer).toMatchObject({ alg, kid: publicJwk.kid })
    })

    it('signs what jose verifies, several hundred times', async () => {
      const { signer, publicJwk } = await create(alg)
      const key = await importJWK({ ...publicJwk }, alg)
      // Enough that r or s begin with zero bytes now and then: there a conversion from DER goes wrong.
      for (let i = 0; i < (alg === 'ES256' ? 600 : 20); i += 1) {
        const input = `${Buffer.from(JSON.stringify({ alg })).toString('base64url')}.${randomBytes(16).toString('base64url')}`
        const signature = Buffer.from(await signer.sign(Buffer.from(input)))
        if (alg === 'ES256') expect(signature.length).toBe(64)
        await compactVerify(`${input}.${signature.toString('base64url')}`, key, { algorithms: [alg] })
      }
    })

    it('signs many at a time, each its own', async () => {
      const { signer, publicJwk } = await create(alg)
      const key = createPublicKey({ key: { ...publicJwk }, format: 'jwk' })
      const inputs = Array.from({ length: 50 }, (_, i) => Buffer.from(`input ${i}`))
      const signatures = await Promise.all(inputs.map((input) => signer.sign(input)))
      signatures.forEach((signature, i) => {
        expect(verify('sha256', inputs[i] ?? Buffer.alloc(0), { key, dsaEncoding: 'ieee-p1363' }, signature)).toBe(true)
        expect(
          verify('sha256', inputs[(i + 1) % 50] ?? Buffer.alloc(0), { key, dsaEncoding: 'ieee-p1363' }, signature),
        ).toBe(false)
      })
    })

    it('passes its self-test, and not with the public key of another', async () => {
      const { signer, publicJwk } = await create(alg)
      await selfTest(signer, publicJwk)
      await expect(selfTest(signer, (await create(alg)).publicJwk)).rejects.toThrow(/does not match/)
    })
  })
}
