import { createPublicKey, generateKeyPairSync, type JsonWebKey, type KeyObject } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import type { Signer } from '../../src/key/signer.ts'
import { createLocalSigner } from '../../src/key/signers/local.ts'
import {
  isPublished,
  KeyMaterialError,
  keyStates,
  makePublicJwk,
  type PublicJwk,
  selfTest,
} from '../../src/key/signing-key.ts'

const ec = generateKeyPairSync('ec', { namedCurve: 'P-256' })

async function make(keys: { publicKey: KeyObject; privateKey: KeyObject }): Promise<[Signer, PublicJwk]> {
  const publicJwk = await makePublicJwk(keys.publicKey, 'ES256')
  return [createLocalSigner(publicJwk.kid, 'ES256', keys.privateKey), publicJwk]
}

describe('a published key', () => {
  it('has the RFC 7638 thumbprint as its kid: the vector of section 3.1', async () => {
    const n =
      '0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMs' +
      'tn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1' +
      'n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw'
    const key = createPublicKey({ key: { kty: 'RSA', n, e: 'AQAB' }, format: 'jwk' })
    await expect(makePublicJwk(key, 'RS256')).resolves.toEqual({
      kty: 'RSA',
      kid: 'NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs',
      use: 'sig',
      alg: 'RS256',
      n,
      e: 'AQAB',
    })
  })

  it('of a curve has its point and no private member', async () => {
    const { x, y } = ec.publicKey.export({ format: 'jwk' }) as JsonWebKey
    await expect(makePublicJwk(ec.publicKey, 'ES256')).resolves.toEqual({
      kty: 'EC',
      kid: expect.stringMatching(/^[\w-]{43}$/),
      use: 'sig',
      alg: 'ES256',
      crv: 'P-256',
      x,
      y,
    })
  })

  it.each([
    ['ES256', 'EC', generateKeyPairSync('ec', { namedCurve: 'P-384' })],
    ['ES256', 'RSA', generateKeyPairSync('rsa', { modulusLength: 1024 })],
    ['RS256', 'EC', ec],
    ['ES256', 'OKP', generateKeyPairSync('ed25519')],
    ['RS256', 'OKP', generateKeyPairSync('ed25519')],
  ] as const)('is refused for %s when it is another %s key', async (alg, kty, { publicKey }) => {
    await expect(makePublicJwk(publicKey, alg)).rejects.toThrow(`a ${kty} key cannot sign ${alg}`)
  })

  it('is in one of five states', () => {
    expect(keyStates).toEqual(['staged', 'active', 'retiring', 'retired', 'compromised'])
  })

  it('stands in the JWKS until it is retired or compromised', () => {
    expect(keyStates.filter(isPublished)).toEqual(['staged', 'active', 'retiring'])
  })
})

describe('the self-test of a key', () => {
  it('signs a text that is no token', async () => {
    const [signer, publicJwk] = await make(ec)
    const signed: string[] = []
    const watched: Signer = {
      ...signer,
      sign: (input) => {
        signed.push(Buffer.from(input).toString())
        return signer.sign(input)
      },
    }
    await expect(selfTest(watched, publicJwk)).resolves.toBeUndefined()
    expect(signed).toEqual([`mayfly self-test ${publicJwk.kid}`])
  })

  it('F19 is failed by a private key that is not that of the published one', async () => {
    const [, publicJwk] = await make(ec)
    const other = generateKeyPairSync('ec', { namedCurve: 'P-256' })
    const impostor = createLocalSigner(publicJwk.kid, 'ES256', other.privateKey)
    await expect(selfTest(impostor, publicJwk)).rejects.toThrow(KeyMaterialError)
    await expect(selfTest(impostor, publicJwk)).rejects.toThrow(
      `signing key ${publicJwk.kid} does not match the public key in the database: put back the newest file that \`mayfly db backup\` wrote`,
    )
  })

  it('F19 is failed by a published key under the kid of another', async () => {
    const [signer, publicJwk] = await make(ec)
    await expect(selfTest({ ...signer, kid: 'other' }, { ...publicJwk, kid: 'other' })).rejects.toThrow(
      /does not match/,
    )
  })

  it('F19 is failed by a signer under the kid of another', async () => {
    const [signer, publicJwk] = await make(ec)
    await expect(selfTest({ ...signer, kid: 'other' }, publicJwk)).rejects.toThrow(/does not match/)
  })
})

describe('the refusal of key material', () => {
  it('is one sentence, and keeps what caused it', () => {
    const error = new KeyMaterialError('what to do', { cause: 'why' })
    expect({ name: error.name, message: error.message, cause: error.cause }).toEqual({
      name: 'KeyMaterialError',
      message: 'what to do',
      cause: 'why',
    })
  })
})
