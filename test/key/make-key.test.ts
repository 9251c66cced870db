import { createPrivateKey, createPublicKey } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { makeSigningKey } from '../../src/key/make-key.ts'
import { decryptPrivateKey, makeRootKey } from '../../src/key/root-key.ts'
import { makePublicJwk, type NewSigningKey } from '../../src/key/signing-key.ts'

const root = makeRootKey(3)

function privateHalfOf({ kid, encryptedPrivateKey }: NewSigningKey) {
  const key = Buffer.from(decryptPrivateKey(root, 'store', kid, encryptedPrivateKey))
  return createPrivateKey({ key, format: 'der', type: 'pkcs8' })
}

describe('a fresh signing key', () => {
  it.each([
    ['ES256', 'ec', { namedCurve: 'prime256v1' }],
    ['RS256', 'rsa', { modulusLength: 2048, publicExponent: 65_537n }],
  ] as const)(
    'for %s has the type and size that it must, and its private half under the root',
    async (alg, type, details) => {
      const made = await makeSigningKey(root, 'store', alg)
      expect(made).toMatchObject({ alg, rootVersion: 3, kid: made.publicJwk.kid })
      const privateKey = privateHalfOf(made)
      expect([privateKey.asymmetricKeyType, privateKey.asymmetricKeyDetails]).toEqual([type, details])
      await expect(makePublicJwk(createPublicKey(privateKey), alg)).resolves.toEqual(made.publicJwk)
    },
  )

  it('has a kid that no command line takes for an option', async () => {
    // One thumbprint in 64 begins with a hyphen.
    const made = await Promise.all(Array.from({ length: 1_000 }, () => makeSigningKey(root, 'store', 'ES256')))
    for (const key of made) {
      expect(key.kid).toMatch(/^\w[\w-]{42}$/)
      expect(key.kid).toBe(key.publicJwk.kid)
    }
    expect(new Set(made.map(({ kid }) => kid)).size).toBe(1_000)
  })
})
