/** Which keys and signatures of certificates are strong enough, and how long is looked for a path; in test/client/certificate-path.test.ts is which path is one. */
import { createPublicKey, generateKeyPairSync, type KeyObject, randomBytes } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { vouchedUntil } from '../../src/client/certificate-path.ts'
import { type Certificate, readCertificate } from '../../src/client/x509.ts'
import { type Identity, makeAuthority, makeIdentity, makeKeys } from '../support/certificates.ts'
import { bits, certificateOf, commonName, extension, integer, sequence } from '../support/der-certificate.ts'

const now = Date.now()
const second = 1_000
const hour = 3_600_000

function read({ der }: Pick<Identity, 'der'>): Certificate {
  return readCertificate(Buffer.from(der, 'base64'))
}

function isVouchedFor(leaf: Certificate, authorities: readonly Certificate[], at = now): boolean {
  return vouchedUntil({ leaf, intermediates: [] }, authorities, at) !== undefined
}

const ed25519 = generateKeyPairSync('ed25519').privateKey
const ed448 = generateKeyPairSync('ed448').privateKey

/** An authority with this key, as its certificates call it. */
function authorityOf(key: KeyObject): Certificate {
  const isAuthority = sequence(Buffer.from([1, 1, 255]))
  return readCertificate(
    certificateOf({
      subject: commonName('Clients'),
      publicKey: spkiOf(key),
      signer: key,
      extensions: [extension('2.5.29.19', isAuthority), extension('2.5.29.15', bits(2, 4))],
    }),
  )
}

function spkiOf(key: KeyObject): Buffer {
  return createPublicKey(key).export({ type: 'spki', format: 'der' })
}

/** What authority `ed25519` signs of a key. */
function certify(publicKey: KeyObject): Certificate {
  return readCertificate(
    certificateOf({ publicKey: publicKey.export({ type: 'spki', format: 'der' }), signer: ed25519 }),
  )
}

/** An RSA key of this size that nobody has. */
function rsaKey(modulusBits: number, e: readonly number[] = [1, 0, 1]): KeyObject {
  const n = randomBytes(modulusBits / 8)
  n[0] = (n[0] ?? 0) | 0x80
  n[n.length - 1] = (n.at(-1) ?? 0) | 1
  const jwk = { kty: 'RSA', n: n.toString('base64url'), e: Buffer.from(e).toString('base64url') }
  return createPublicKey({ key: jwk, format: 'jwk' })
}

const ecKey = (namedCurve: string): KeyObject => generateKeyPairSync('ec', { namedCurve }).publicKey

describe('the key of a certificate', () => {
  it.each([
    { name: 'RSA of 2,048 bits', make: () => rsaKey(2048), good: true },
    { name: 'RSA of fewer', make: () => rsaKey(2040), good: false },
    { name: 'RSA of 8,192 bits', make: () => rsaKey(8192), good: true },
    { name: 'RSA of more', make: () => rsaKey(8200), good: false },
    { name: 'RSA with the exponent 2³² − 1', make: () => rsaKey(2048, [255, 255, 255, 255]), good: true },
    { name: 'RSA with a larger one', make: () => rsaKey(2048, [1, 0, 0, 0, 1]), good: false },
    {
      name: 'RSA for PSS alone',
      make: () => generateKeyPairSync('rsa-pss', { modulusLength: 2048 }).publicKey,
      good: false,
    },
    { name: 'P-256', make: () => ecKey('prime256v1'), good: true },
    { name: 'P-384', make: () => ecKey('secp384r1'), good: true },
    { name: 'P-521', make: () => ecKey('secp521r1'), good: true },
    { name: 'P-224', make: () => ecKey('secp224r1'), good: false },
    { name: 'secp256k1', make: () => ecKey('secp256k1'), good: false },
    { name: 'Ed25519', make: () => generateKeyPairSync('ed25519').publicKey, good: true },
    { name: 'Ed448', make: () => generateKeyPairSync('ed448').publicKey, good: true },
    { name: 'X25519', make: () => generateKeyPairSync('x25519').publicKey, good: false },
  ])('C13 may be $name: $good', ({ make, good }) => {
    expect(isVouchedFor(certify(make()), [authorityOf(ed25519)])).toBe(good)
  })
})

describe('the signature of a certificate', () => {
  const { privateKey: rsa } = generateKeyPairSync('rsa', { modulusLength: 2048 })
  const { privateKey: ec } = generateKeyPairSync('ec', { namedCurve: 'prime256v1' })

  it.each([
    { hash: 'sha256', good: true },
    { hash: 'sha384', good: true },
    { hash: 'sha512', good: true },
    { hash: 'sha1', good: false },
  ] as const)('C13 may be made on $hash by RSA and ECDSA: $good', ({ hash, good }) => {
    for (const signer of [rsa, ec]) {
      const leaf = readCertificate(certificateOf({ signer, hash }))
      expect(isVouchedFor(leaf, [authorityOf(signer)])).toBe(good)
    }
  })

  it.each([
    ['RSA', rsa, ec],
    ['ECDSA', ec, rsa],
    ['Ed25519', ed25519, ed448],
    ['Ed448', ed448, ed25519],
  ])('C13 may be made with %s, by the key of its authority alone', (_, signer, other) => {
    const leaf = readCertificate(certificateOf({ signer }))
    expect(isVouchedFor(leaf, [authorityOf(signer)])).toBe(true)
    expect(isVouchedFor(leaf, [authorityOf(other)])).toBe(false)
  })

  it('C13 is not that of an authority of the same key whose name is another', async () => {
    const keys = await makeKeys()
    const by = await makeAuthority({ keys })
    const renamed = await makeAuthority({ keys, subject: 'CN=Renamed' })
    const leaf = read(await makeIdentity({ by }))
    expect(isVouchedFor(leaf, [read(by)])).toBe(true)
    expect(isVouchedFor(leaf, [read(renamed)])).toBe(false)
  })
})

describe('the key usage of a certificate', () => {
  it('is any where none stands, and none where it is empty', () => {
    const leafWith = (...extensions: Buffer[]) => readCertificate(certificateOf({ extensions, signer: ed25519 }))
    const usage = (...bytes: number[]) => extension('2.5.29.15', bits(...bytes))
    const authorities = [authorityOf(ed25519)]
    expect(isVouchedFor(leafWith(), authorities)).toBe(true)
    expect(isVouchedFor(leafWith(usage(7, 0x80)), authorities)).toBe(true)
    expect(isVouchedFor(leafWith(usage(0)), authorities)).toBe(false)
  })

  it('may be critical, as may the policies that it was issued under', () => {
    const critical = Buffer.from([1, 1, 255])
    const policies = extension('2.5.29.32', sequence(sequence(Buffer.from([6, 4, 0x55, 0x1d, 0x20, 0]))), critical)
    const leaf = readCertificate(certificateOf({ extensions: [policies], signer: ed25519 }))
    expect(isVouchedFor(leaf, [authorityOf(ed25519)])).toBe(true)
  })
})

describe('a certificate', () => {
  it('C13 is good from its first second to its last, while its authority goes on', async () => {
    const [notBefore, notAfter] = [now - hour, now + hour]
    const by = await makeAuthority({ notBefore: now - 9 * hour, notAfter: now + 9 * hour })
    const leaf = read(await makeIdentity({ by, notBefore, notAfter }))
    const isGoodAt = (at: number): boolean => isVouchedFor(leaf, [read(by)], at)
    expect([leaf.notBefore - second, leaf.notBefore, leaf.notAfter, leaf.notAfter + second].map(isGoodAt)).toEqual([
      false,
      true,
      true,
      false,
    ])
  })
})

describe('the path to an authority', () => {
  it('is looked for in twelve signatures, and five certificates that come along', async () => {
    const root = await makeAuthority()
    const leaf = read(await makeIdentity({ by: root }))
    const impostors = (await Promise.all(Array.from({ length: 12 }, () => makeAuthority()))).map(read)
    expect(isVouchedFor(leaf, [...impostors.slice(1), read(root)])).toBe(true)
    expect(isVouchedFor(leaf, [...impostors, read(root)])).toBe(false)
    const one = await makeAuthority({ by: root, subject: 'CN=One' })
    const below = read(await makeIdentity({ by: one }))
    const withOthers = (count: number): number | undefined =>
      vouchedUntil({ leaf: below, intermediates: [...impostors.slice(0, count), read(one)] }, [read(root)], now)
    expect(withOthers(4)).toBeDefined()
    expect(withOthers(5)).toBeUndefined()
  })

  it('is found beside a certificate that leads back to itself', async () => {
    const keys = await makeKeys()
    const root = await makeAuthority({ subject: 'CN=New' })
    const [alone, crossed] = [await makeAuthority({ keys }), await makeAuthority({ keys, by: root })]
    const leaf = read(await makeIdentity({ by: alone }))
    const intermediates = [read(alone), read(crossed)]
    expect(vouchedUntil({ leaf, intermediates }, [read(root)], now)).toBeDefined()
  })

  it('has an authority of any length below it where its own is a large number', async () => {
    const wide = readCertificate(
      certificateOf({
        subject: commonName('Clients'),
        publicKey: spkiOf(ed25519),
        signer: ed25519,
        extensions: [extension('2.5.29.19', sequence(Buffer.from([1, 1, 255]), integer(256)))],
      }),
    )
    expect(isVouchedFor(certify(ecKey('prime256v1')), [wide])).toBe(true)
  })
})
