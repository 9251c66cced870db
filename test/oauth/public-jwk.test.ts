import { createHmac, generateKeyPairSync, type KeyObject, sign } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { type ForeignAlg, foreignAlgs, isSameAlg, PublicJwkError, parsePublicJwk } from '../../src/oauth/public-jwk.ts'

const ec = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 })
const ed = generateKeyPairSync('ed25519')

type Jwk = Readonly<Record<string, unknown>>

function jwkOf(key: KeyObject): Jwk {
  return { ...key.export({ format: 'jwk' }) }
}

const input = 'header.payload'

function signWith(alg: ForeignAlg): Uint8Array {
  const bytes = Buffer.from(input)
  if (alg === 'ES256') return sign('sha256', bytes, { key: ec.privateKey, dsaEncoding: 'ieee-p1363' })
  if (alg === 'RS256') return sign('sha256', bytes, rsa.privateKey)
  if (alg === 'PS256') return sign('sha256', bytes, { key: rsa.privateKey, padding: 6, saltLength: 32 })
  return sign(null, bytes, ed.privateKey)
}

const keyFor: Readonly<Record<ForeignAlg, Jwk>> = {
  ES256: jwkOf(ec.publicKey),
  RS256: jwkOf(rsa.publicKey),
  PS256: jwkOf(rsa.publicKey),
  Ed25519: jwkOf(ed.publicKey),
  EdDSA: jwkOf(ed.publicKey),
}

describe('a public key of others', () => {
  it.each(foreignAlgs)('verifies %s, and nothing that was changed', (alg) => {
    const key = parsePublicJwk(keyFor[alg])
    const signature = signWith(alg)
    expect(key.verify(alg, input, signature)).toBe(true)
    expect(key.verify(alg, `${input}x`, signature)).toBe(false)
    const bent = Uint8Array.from(signature)
    bent[8] = (bent[8] ?? 0) ^ 1
    expect(key.verify(alg, input, bent)).toBe(false)
  })

  it('verifies under its own algorithm alone', () => {
    const key = parsePublicJwk({ ...keyFor.RS256, alg: 'RS256' })
    expect(key.fits('RS256')).toBe(true)
    for (const alg of ['PS256', 'ES256', 'Ed25519'] as const) {
      expect(key.fits(alg)).toBe(false)
      expect(key.verify(alg, input, signWith('RS256'))).toBe(false)
    }
    expect(key.verify('PS256', input, signWith('PS256'))).toBe(false)
  })

  it('has two names for the one algorithm of Ed25519', () => {
    const key = parsePublicJwk({ ...keyFor.Ed25519, alg: 'EdDSA' })
    expect(key.fits('Ed25519')).toBe(true)
    expect(isSameAlg('Ed25519', 'EdDSA')).toBe(true)
    for (const alg of foreignAlgs) {
      expect(isSameAlg(alg, alg)).toBe(true)
      expect(isSameAlg(alg, 'Ed25519')).toBe(alg === 'Ed25519' || alg === 'EdDSA')
      expect(isSameAlg('EdDSA', alg)).toBe(alg === 'Ed25519' || alg === 'EdDSA')
    }
    expect(isSameAlg('RS256', 'PS256')).toBe(false)
  })

  it('has the thumbprint of RFC 7638 section 3.1', () => {
    const n =
      '0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw'
    const key = parsePublicJwk({ kty: 'RSA', n, e: 'AQAB', alg: 'RS256', kid: '2011-04-29' })
    expect(key.thumbprint).toBe('NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs')
  })

  it('has the thumbprint of RFC 9449 section 6.1', () => {
    const key = parsePublicJwk({
      kty: 'EC',
      crv: 'P-256',
      x: 'l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs',
      y: '9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA',
    })
    expect(key.thumbprint).toBe('0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I')
  })

  it('has the thumbprint of RFC 8037 appendix A.3', () => {
    const key = parsePublicJwk({ kty: 'OKP', crv: 'Ed25519', x: '11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo' })
    expect(key.thumbprint).toBe('kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k')
  })

  it('keeps of what was sent only what counts', () => {
    const { crv, kty, x, y } = keyFor.ES256
    const { jwk } = parsePublicJwk({ ...keyFor.ES256, kid: 'one', use: 'sig', key_ops: ['verify'], note: 'x' })
    expect(jwk).toStrictEqual({ kty, crv, x, y, kid: 'one' })
    expect(parsePublicJwk({ ...keyFor.ES256, alg: 'ES256' }).jwk).toStrictEqual({ kty, crv, x, y, alg: 'ES256' })
  })

  it.each([
    ['the exponent 3', { e: 'Aw' }],
    ['an exponent of 8 bytes', { e: numberOf(8) }],
    ['8192 bits', { n: numberOf(1024) }],
  ])('J26 is of RSA with %s', (_, members) => {
    expect(parsePublicJwk({ ...keyFor.RS256, ...members }).fits('RS256')).toBe(true)
  })

  it('is named by up to 256 printable characters', () => {
    for (const kid of ['k', '~ k', 'k'.repeat(256)]) expect(parsePublicJwk({ ...keyFor.ES256, kid }).jwk.kid).toBe(kid)
  })

  it('J26 verifies no signature of another length, and none in DER', () => {
    const key = parsePublicJwk(keyFor.ES256)
    const good = signWith('ES256')
    const der = sign('sha256', Buffer.from(input), ec.privateKey)
    // With a zero before its second half it stands for the same two numbers.
    const stretched = Buffer.concat([good.subarray(0, 32), Buffer.alloc(1), good.subarray(32)])
    for (const bytes of [der, stretched, good.subarray(0, 63), Buffer.concat([good, Buffer.alloc(1)]), Buffer.alloc(0)])
      expect(key.verify('ES256', input, bytes)).toBe(false)
  })

  it('J02 never verifies a MAC that was made with it', () => {
    const pem = ec.publicKey.export({ type: 'spki', format: 'pem' })
    const mac = createHmac('sha256', pem).update(input).digest()
    const key = parsePublicJwk(keyFor.ES256)
    for (const alg of foreignAlgs) expect(key.verify(alg, input, mac)).toBe(false)
  })
})

const weak = jwkOf(generateKeyPairSync('rsa', { modulusLength: 1024 }).publicKey)
const p384 = jwkOf(generateKeyPairSync('ec', { namedCurve: 'P-384' }).publicKey)

const privateMembers = ['d', 'p', 'q', 'dp', 'dq', 'qi', 'oth', 'k']
const leaks = 'it has a private or symmetric part, which must never leave its owner: send the public half'
const noNumber = (name: string): string => `its ${name} is not the base64url of a number of that key`

describe('a public key is refused, and whoever registers it is told why', () => {
  const { x, y } = keyFor.ES256
  it.each<[string, string, unknown]>([
    ['that is no object', 'it is no JWK object', 'key'],
    ['that is nothing', 'it is no JWK object', null],
    ['that is a list', 'it is no JWK object', [keyFor.ES256]],
    ['without a type', 'its kty is none of EC, RSA, OKP', { x, y }],
    ['of a type that is not known', 'its kty is none of EC, RSA, OKP', { ...keyFor.ES256, kty: 'AKP' }],
    ['with its private half', leaks, jwkOf(ec.privateKey)],
    ['with the private half of RSA', leaks, jwkOf(rsa.privateKey)],
    ['that is symmetric', leaks, { kty: 'oct', k: 'c2VjcmV0' }],
    ...privateMembers.map((name): [string, string, unknown] => [
      `C18 with ${name}, whatever that is`,
      leaks,
      { ...keyFor.RS256, [name]: null },
    ]),
    ['for encryption', 'its use is not sig', { ...keyFor.RS256, use: 'enc' }],
    ['whose operations do not have verify', 'its key_ops do not have verify', { ...keyFor.ES256, key_ops: ['sign'] }],
    ['whose operations are no list', 'its key_ops do not have verify', { ...keyFor.ES256, key_ops: 'verify' }],
    ['J26 of RSA with 1024 bits', 'it is an RSA key of 1024 bits: at least 2048', weak],
    [
      'J26 of RSA with a bit too few',
      'it is an RSA key of 2047 bits: at least 2048',
      { ...keyFor.RS256, n: numberOf(256, 0x7f) },
    ],
    ['J26 of RSA with exponent 1', 'its RSA modulus or exponent is none', { ...keyFor.RS256, e: 'AQ' }],
    ['J26 of RSA with an even exponent', 'its RSA modulus or exponent is none', { ...keyFor.RS256, e: 'AQAC' }],
    ['of RSA with an exponent of 9 bytes', 'its RSA modulus or exponent is none', { ...keyFor.RS256, e: numberOf(9) }],
    [
      'J26 of RSA with an even modulus',
      'its RSA modulus or exponent is none',
      { ...keyFor.RS256, n: evenOf(String(keyFor.RS256.n)) },
    ],
    ['of RSA with more than 8192 bits', noNumber('n'), { ...keyFor.RS256, n: numberOf(1025) }],
    ['of RSA without a modulus', noNumber('n'), { ...keyFor.RS256, n: undefined }],
    ['of RSA with an empty modulus', noNumber('n'), { ...keyFor.RS256, n: '' }],
    ['of RSA with an empty exponent', noNumber('e'), { ...keyFor.RS256, e: '' }],
    ['whose exponent is a JSON number', noNumber('e'), { ...keyFor.RS256, e: 65_537 }],
    [
      'J26 with a point that is off its curve',
      'it is no key: its numbers do not belong together',
      { ...keyFor.ES256, y: x },
    ],
    ['of a longer curve', 'its curve is not P-256', p384],
    ['of a curve that is as long', 'its curve is not P-256', { ...keyFor.ES256, crv: 'secp256k1' }],
    ['J26 of Curve25519 for key agreement', 'its curve is not Ed25519', { ...keyFor.Ed25519, crv: 'X25519' }],
    ['with a coordinate that is too short', noNumber('x'), { ...keyFor.ES256, x: 'AQ' }],
    ['with a coordinate that is too long', noNumber('y'), { ...keyFor.ES256, y: numberOf(33) }],
    ['whose number has another spelling', noNumber('x'), { ...keyFor.ES256, x: `${String(x)}=` }],
    ['whose number has leading zeros', noNumber('e'), { ...keyFor.RS256, e: 'AAEAAQ' }],
    ...[7, '', 'k'.repeat(257), 'k\n', 'schlüssel', null].map((kid): [string, string, unknown] => [
      `with the kid ${JSON.stringify(kid).slice(0, 20)}`,
      'its kid is no text of 1 to 256 printable ASCII characters',
      { ...keyFor.ES256, kid },
    ]),
    [
      'with an algorithm that is none of ours',
      'its alg is none of ES256, RS256, PS256, Ed25519, EdDSA',
      { ...keyFor.ES256, alg: 'HS256' },
    ],
    ['with an algorithm of another type', 'its alg does not fit its type', { ...keyFor.ES256, alg: 'RS256' }],
  ])('%s: %s', (_, message, jwk) => {
    let refusal: unknown
    try {
      parsePublicJwk(jwk)
    } catch (error) {
      refusal = error
    }
    expect(refusal).toBeInstanceOf(PublicJwkError)
    expect(refusal).toMatchObject({ name: 'PublicJwkError', message })
  })
})

/** An odd number of so many bytes, in base64url. */
function numberOf(length: number, first = 0xff): string {
  const bytes = Buffer.alloc(length, 0xff)
  bytes[0] = first
  return bytes.toString('base64url')
}

function evenOf(n: string): string {
  const bytes = Buffer.from(n, 'base64url')
  bytes[bytes.length - 1] = (bytes.at(-1) ?? 0) & 0xfe
  return bytes.toString('base64url')
}
