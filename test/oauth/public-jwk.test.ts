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

  it('keeps of what was sent only what counts', () => {
    const { jwk } = parsePublicJwk({ ...keyFor.ES256, kid: 'one', use: 'sig', key_ops: ['verify'], note: 'x' })
    expect(jwk).toEqual({ kty: 'EC', crv: 'P-256', x: keyFor.ES256.x, y: keyFor.ES256.y, kid: 'one' })
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

describe('a public key is refused', () => {
  const { x, y } = keyFor.ES256
  it.each<[string, unknown]>([
    ['that is no object', 'key'],
    ['that is a list', [keyFor.ES256]],
    ['without a type', { x, y }],
    ['with its private half', jwkOf(ec.privateKey)],
    ['with the private half of RSA', jwkOf(rsa.privateKey)],
    ['that is symmetric', { kty: 'oct', k: 'c2VjcmV0' }],
    ['for encryption', { ...keyFor.RS256, use: 'enc' }],
    ['whose operations do not have verify', { ...keyFor.ES256, key_ops: ['sign'] }],
    ['J26 of RSA with 1024 bits', weak],
    ['J26 of RSA with exponent 1', { ...keyFor.RS256, e: 'AQ' }],
    ['J26 of RSA with an even exponent', { ...keyFor.RS256, e: 'AQAC' }],
    ['J26 of RSA with an even modulus', { ...keyFor.RS256, n: evenOf(String(keyFor.RS256.n)) }],
    ['of RSA with an enormous modulus', { ...keyFor.RS256, n: Buffer.alloc(2048, 255).toString('base64url') }],
    ['J26 with a point that is off its curve', { ...keyFor.ES256, y: x }],
    ['of another curve', p384],
    ['with a coordinate that is too short', { ...keyFor.ES256, x: 'AQ' }],
    ['whose number has another spelling', { ...keyFor.ES256, x: `${String(x)}=` }],
    ['whose number has leading zeros', { ...keyFor.RS256, e: 'AAEAAQ' }],
    ['with a kid that is no text', { ...keyFor.ES256, kid: 7 }],
    ['with a kid that is too long', { ...keyFor.ES256, kid: 'k'.repeat(257) }],
    ['with an algorithm that is none of ours', { ...keyFor.ES256, alg: 'HS256' }],
    ['with an algorithm of another type', { ...keyFor.ES256, alg: 'RS256' }],
  ])('%s', (_, jwk) => {
    expect(() => parsePublicJwk(jwk)).toThrow(PublicJwkError)
  })
})

function evenOf(n: string): string {
  const bytes = Buffer.from(n, 'base64url')
  bytes[bytes.length - 1] = (bytes.at(-1) ?? 0) & 0xfe
  return bytes.toString('base64url')
}
