/** DPoP proofs, without a server: RFC 9449 sections 4.2, 4.3, 8, 11.1. */
import { createHmac, createSecretKey, generateKeyPairSync, hash } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { makeNonce, type NonceKeys, nonceLifeSeconds } from '../../src/dpop/nonce.ts'
import { type ProofTerms, proofAlgs, takeProof, verifyProof } from '../../src/dpop/proof.ts'
import { OAuthError, type Reason, refusalOf } from '../../src/oauth/errors.ts'
import { athOf, makeProof, makeProofKey, malleate, type ProofParts, signRaw, signWith } from '../support/proof.ts'
import { anyText } from '../support/text.ts'

const url = 'https://as.example/token'
const now = Date.UTC(2026, 0, 2, 3, 4, 5)
const seconds = now / 1000
const key = makeProofKey()
const other = makeProofKey()
const secret = createSecretKey(Buffer.alloc(32, 7))
const keys: NonceKeys = { newestVersion: 1, keyOf: (version) => (version === 1 ? secret : undefined) }
const optional = { nonces: { required: false, keys } }
const required = { nonces: { required: true, keys } }

const verify = (proof: string, terms: Partial<ProofTerms> = {}) =>
  verifyProof(proof, { method: 'POST', urls: [url], now, ...terms })

const made = (parts: ProofParts = {}, with_ = key) => makeProof(with_, url, now, parts)

function refusal(proof: string, terms: Partial<ProofTerms> = {}): OAuthError {
  try {
    verify(proof, terms)
  } catch (error) {
    if (error instanceof OAuthError) return error
    throw error
  }
  throw new Error(`accepted: ${proof.slice(0, 200)}`)
}

const reasonOf = (proof: string, terms: Partial<ProofTerms> = {}): Reason => refusal(proof, terms).reason

const encode = (text: string | Uint8Array): string => Buffer.from(text).toString('base64url')

describe('a DPoP proof', () => {
  it.each(proofAlgs)('DP-01 is good with %s, and names its key by the RFC 7638 thumbprint', (alg) => {
    const each = makeProofKey(alg)
    expect(verify(made({}, each))).toMatchObject({ jkt: each.jkt, use: { kind: 'proof' } })
  })

  it('DP-01 is good as RFC 9449 section 5 has it', () => {
    const figure =
      'eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19.eyJqdGkiOiItQndDM0VTYzZhY2MybFRjIiwiaHRtIjoiUE9TVCIsImh0dSI6Imh0dHBzOi8vc2VydmVyLmV4YW1wbGUuY29tL3Rva2VuIiwiaWF0IjoxNTYyMjYyNjE2fQ.2-GxA6T8lP4vfrg8v-FdWP0A0zdrj8igiMLvqRMUvwnQg4PtFLbdLXiOSsX0x7NVY-FNyJK70nfbV37xRZT3Lg'
    const terms = { urls: ['https://server.example.com/token'], now: 1_562_262_616_000 }
    expect(verify(figure, terms).jkt).toBe('0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I')
  })

  it('DP-02 is one header, or there is none', () => {
    expect(takeProof([])).toBeUndefined()
    expect(takeProof(['x'])).toBe('x')
    expect(() => takeProof(['x', 'x'])).toThrow('proof_repeated')
  })

  it('DP-02 C17 is a signed JWT in compact form, and no list of them', () => {
    const good = made()
    const [head, body, tail] = good.split('.')
    const bad = [
      '',
      ' ',
      ',',
      'garbage',
      `${good},${good}`,
      `${good}, ${good}`,
      ` ${good}`,
      `${good}.`,
      `${head}.${body}`,
      `${head}.${body}.`,
      `${good}.${tail}.${tail}`,
      JSON.stringify({ protected: head, payload: body, signature: tail }),
      JSON.stringify({ payload: body, signatures: [{ protected: head, signature: tail }] }),
    ]
    for (const each of bad) expect(reasonOf(each), each).toBe('proof_malformed')
  })

  it.each(['typ', 'alg', 'jwk'])('DP-03 is none without %s', (name) => {
    expect(reasonOf(made({ header: { [name]: undefined } }))).toMatch(/^proof_(?:type_wrong|malformed|key_unfit)$/)
  })

  it.each(['jti', 'htm', 'htu', 'iat'])('DP-03 J33 is none without %s, or with one of another type', (name) => {
    for (const value of [undefined, null, true, [], {}, [url], name === 'iat' ? '1' : 1]) {
      expect(reasonOf(made({ claims: { [name]: value } })), JSON.stringify(value)).toMatch(
        /^proof_(?:claim_missing|malformed)$/,
      )
    }
  })

  it.each(['JWT', 'at+jwt', 'DPOP+JWT', 'application/dpop+jwt', 'dpop+jwt ', 'client-authentication+jwt', ''])(
    'DP-04 J18 is none with typ %j',
    (typ) => {
      expect(reasonOf(made({ header: { typ } }))).toBe('proof_type_wrong')
    },
  )

  it.each(['none', 'None', 'NONE', 'nOnE', '', 'HS256', 'ES384', 'ES512', 'RS512', 'es256', 'XX999', 'ES256K'])(
    'DP-05 J04 J34 is none with alg %j, whatever its signature',
    (alg) => {
      expect(reasonOf(made({ header: { alg } }))).toBe('proof_alg_unsupported')
    },
  )

  it('DP-05 J04 is none without a signature', () => {
    const unsigned = made({ header: { alg: 'none' } }).replace(/[^.]*$/, '')
    expect(reasonOf(unsigned)).toBe('proof_malformed')
  })

  it('DP-05 has a key of the type that its alg is of', () => {
    const all = proofAlgs.map((alg) => makeProofKey(alg))
    for (const each of all) {
      for (const { alg, jwk } of all) {
        const same = each.jwk.kty === jwk.kty
        const proof = made({ header: { alg } }, each)
        // Whoever names an algorithm that fits the key, and signs by another, has no signature.
        if (!same) expect(reasonOf(proof), `${each.alg} as ${alg}`).toBe('proof_key_unfit')
        else if ((each.alg === 'PS256') !== (alg === 'PS256') && each.jwk.kty === 'RSA')
          expect(reasonOf(proof), `${each.alg} as ${alg}`).toBe('proof_signature_wrong')
        else expect(verify(proof).jkt).toBe(each.jkt)
      }
    }
  })

  it('DP-05 J01 J02 is none when a MAC by a public key stands for a signature', () => {
    const { jwk } = key
    const claims = JSON.stringify({ jti: 'a', htm: 'POST', htu: url, iat: seconds })
    for (const alg of ['HS256', 'ES256']) {
      const input = `${encode(JSON.stringify({ typ: 'dpop+jwt', alg, jwk }))}.${encode(claims)}`
      for (const mac of [JSON.stringify(jwk), Buffer.from(String(jwk.x), 'base64url')]) {
        const proof = `${input}.${createHmac('sha256', mac).update(input).digest('base64url')}`
        expect(reasonOf(proof)).toBe(alg === 'HS256' ? 'proof_alg_unsupported' : 'proof_signature_wrong')
      }
    }
  })

  it('DP-06 J06 is signed by the key that it shows, whole and unchanged', () => {
    expect(reasonOf(made({ header: { jwk: other.jwk } }))).toBe('proof_signature_wrong')
    const [head, , tail] = made().split('.')
    const body = encode(JSON.stringify({ jti: 'changed', htm: 'POST', htu: url, iat: seconds }))
    expect(reasonOf(`${head}.${body}.${tail}`)).toBe('proof_signature_wrong')
    const flip = (proof: string, at: number): string => {
      const [h, b, t = ''] = proof.split('.')
      const bytes = Buffer.from(t, 'base64url')
      bytes[at] = (bytes[at] ?? 0) ^ 1
      return `${h}.${b}.${bytes.toString('base64url')}`
    }
    for (const at of [0, 31, 32, 63]) expect(reasonOf(flip(made(), at))).toBe('proof_signature_wrong')
  })

  it('J26 is none with a signature of nothing, in DER, cut or stretched', () => {
    const [head, body, tail = ''] = made().split('.')
    const good = Buffer.from(tail, 'base64url')
    const der = Buffer.concat([
      Buffer.from([0x30, 68, 2, 32]),
      good.subarray(0, 32),
      Buffer.from([2, 32]),
      good.subarray(32),
    ])
    for (const bytes of [Buffer.alloc(64), der, good.subarray(0, 63), Buffer.concat([good, Buffer.alloc(1)])]) {
      expect(reasonOf(`${head}.${body}.${bytes.toString('base64url')}`)).toBe('proof_signature_wrong')
    }
  })

  it('DP-07 C18 J26 shows a public key alone, strong and of a curve that is known', () => {
    const weak = generateKeyPairSync('rsa', { modulusLength: 1024 })
    const p521 = generateKeyPairSync('ec', { namedCurve: 'P-521' })
    const bad: readonly unknown[] = [
      key.privateKey.export({ format: 'jwk' }),
      { ...key.jwk, k: 'AAAA' },
      { ...key.jwk, d: null },
      { kty: 'oct', k: encode('secret') },
      weak.publicKey.export({ format: 'jwk' }),
      p521.publicKey.export({ format: 'jwk' }),
      { ...key.jwk, y: other.jwk.y },
      { ...key.jwk, x: `${String(key.jwk.x)}=` },
      { ...key.jwk, use: 'enc' },
      { ...key.jwk, alg: 'RS256' },
      { kty: 'EC', crv: 'P-256' },
      {},
      [],
      [key.jwk],
      JSON.stringify(key.jwk),
      null,
      0,
      { __proto__: null, kty: '__proto__' },
    ]
    for (const jwk of bad) expect(reasonOf(made({ header: { jwk } })), JSON.stringify(jwk)).toBe('proof_key_unfit')
  })

  it('keeps for the log why its key was not taken, and is no proof of ours when that is our fault', () => {
    expect(refusal(made({ header: { jwk: { ...key.jwk, use: 'enc' } } })).cause).toMatchObject({
      name: 'PublicJwkError',
      message: 'its use is not sig',
    })
    const takeKey = (): never => {
      throw new Error('out of memory')
    }
    expect(() => verify(made(), { takeKey })).toThrow('out of memory')
  })

  it('C18 J07 J08 J09 J10 DP-27 has no key but its jwk: what else names one is not looked at', () => {
    const header = {
      kid: '../../../../dev/null',
      jku: 'http://127.0.0.1:9/',
      x5u: 'http://127.0.0.1:9/',
      x5c: ['AAAA'],
      x5t: 'AAAA',
    }
    expect(verify(made({ header })).jkt).toBe(key.jkt)
    expect(verify(made({ header: { jwk: { ...key.jwk, kid: 'a name', 'x-more': 1 } } })).jkt).toBe(key.jkt)
    expect(reasonOf(made({ header: { ...header, jwk: undefined } }))).toBe('proof_key_unfit')
    for (const kid of [['a'], 1, {}, null]) expect(reasonOf(made({ header: { kid } }))).toBe('proof_malformed')
  })

  it.each([{ crit: ['x'] }, { crit: [] }, { crit: ['alg'] }, { crit: ['b64'], b64: false }, { b64: false }])(
    'J13 is none with %j',
    (header) => {
      expect(reasonOf(made({ header }))).toBe('proof_malformed')
    },
  )

  it.each(['GET', 'post', 'Post', '', ' POST', 'POST ', '*'])('DP-08 is none for POST with htm %j', (htm) => {
    expect(reasonOf(made({ claims: { htm } }))).toMatch(/^proof_method_wrong$/)
  })

  it.each([
    'https://as.example',
    'https://as.example/',
    'https://as.example/revoke',
    'https://as.example/token/',
    'https://as.example/Token',
    'https://evil.test/token',
    'http://as.example/token',
    'https://as.example:8443/token',
    'https://user@as.example/token',
    'https://as.example@evil.test/token',
    '/token',
    'token',
    '',
    'https://as.example\\token',
  ])('DP-09 C15 is none for the token endpoint with htu %j', (htu) => {
    expect(reasonOf(made({ claims: { htu } }))).toBe('proof_url_wrong')
  })

  it.each([
    `${url}?x=1`,
    `${url}#f`,
    `${url}?x=1#f`,
    'HTTPS://AS.Example:443/%74oken',
    'https://as.example/a/../token',
  ])('DP-10 DP-11 C15 is good with htu %s', (htu) => {
    expect(verify(made({ claims: { htu } })).jkt).toBe(key.jkt)
  })

  it('DP-12 is good for any URL that the endpoint is known under', () => {
    const urls = [url, 'https://mtls.as.example/token']
    for (const htu of urls) expect(verify(made({ claims: { htu } }), { urls }).jkt).toBe(key.jkt)
    expect(reasonOf(made(), { urls: [] })).toBe('proof_url_wrong')
    expect(reasonOf(made({ claims: { htu: 'token' } }), { urls: ['token'] })).toBe('proof_url_wrong')
  })

  it.each([0, -10, -60, 1, 10])('DP-13 J17 is good %i s from its date', (shift) => {
    expect(verify(made({ claims: { iat: seconds + shift } })).jkt).toBe(key.jkt)
  })

  it.each([-61, -3_600, -365 * 86_400, 11, 60, 3_600, 10 * 365 * 86_400])(
    'DP-13 J17 is none %i s from its date',
    (shift) => {
      expect(reasonOf(made({ claims: { iat: seconds + shift } }))).toBe('proof_out_of_time')
    },
  )

  it.each(['"1767323045"', '-1', '1.5', '1e999', '9007199254740993', '[1]', 'null', 'true'])(
    'DP-13 J15 is none with the date %s',
    (iat) => {
      const claims = `{"jti":"a","htm":"POST","htu":"${url}","iat":${iat}}`
      expect(reasonOf(signRaw(key, JSON.stringify({ typ: 'dpop+jwt', alg: 'ES256', jwk: key.jwk }), claims))).toMatch(
        /^proof_(?:malformed|claim_missing)$/,
      )
    },
  )

  it('DP-27 may have exp and nbf, which are kept to, and claims of others, which are not read', () => {
    const more = { exp: seconds + 30, nbf: seconds, foo: { bar: [1] }, ath: 'x', iss: 'y', aud: ['z'] }
    expect(verify(made({ claims: more })).jkt).toBe(key.jkt)
    expect(reasonOf(made({ claims: { exp: seconds - 10 } }))).toBe('proof_out_of_time')
    expect(verify(made({ claims: { exp: seconds - 9 } })).jkt).toBe(key.jkt)
    expect(reasonOf(made({ claims: { nbf: seconds + 11 } }))).toBe('proof_out_of_time')
    expect(verify(made({ claims: { nbf: seconds + 10 } })).jkt).toBe(key.jkt)
    for (const exp of ['soon', 1.5, -1]) expect(reasonOf(made({ claims: { exp } }))).toBe('proof_malformed')
  })

  it('DP-14 has a jti of 256 bytes at most', () => {
    expect(verify(made({ claims: { jti: 'j'.repeat(256) } })).jkt).toBe(key.jkt)
    for (const jti of ['j'.repeat(257), 'ö'.repeat(129)])
      expect(reasonOf(made({ claims: { jti } }))).toBe('proof_malformed')
    expect(reasonOf(made({ claims: { jti: '' } }))).toBe('proof_claim_missing')
  })

  it('J28 J29 is refused unread when it is too long', () => {
    const started = performance.now()
    for (const each of ['.'.repeat(1_000_000), 'a'.repeat(1_000_000), made({ claims: { pad: 'p'.repeat(16_384) } })])
      expect(reasonOf(each)).toBe('proof_malformed')
    expect(performance.now() - started).toBeLessThan(500)
  })

  it('J30 is none with claims or a key in too many brackets', () => {
    const deep = (text: string): string => `${'['.repeat(2_000)}${']'.repeat(2_000)}`.padEnd(text.length)
    const claims = `{"jti":"a","htm":"POST","htu":"${url}","iat":${seconds},"x":${deep('')}}`
    const header = JSON.stringify({ typ: 'dpop+jwt', alg: 'ES256', jwk: key.jwk })
    expect(reasonOf(signRaw(key, header, claims))).toBe('proof_malformed')
    expect(reasonOf(signRaw(key, `${header.slice(0, -1)},"x":${deep('')}}`, claims.replace(/,"x".*/, '}')))).toBe(
      'proof_malformed',
    )
  })

  it.each([
    ['a claim twice', (text: string) => text.replace('{', '{"htm":"GET",')],
    ['a claim twice, once escaped', (text: string) => text.replace('{', '{"h\\u0074u":"x",')],
    ['a BOM', (text: string) => `\uFEFF${text}`],
    ['NUL', (text: string) => text.replace('"jti":"', '"jti":"\\u0000')],
    ['half a pair', (text: string) => text.replace('"jti":"', '"jti":"\\ud800')],
  ])('J32 is none with %s', (_, change) => {
    const claims = JSON.stringify({ jti: 'a', htm: 'POST', htu: url, iat: seconds })
    const header = JSON.stringify({ typ: 'dpop+jwt', alg: 'ES256', jwk: key.jwk })
    expect(verify(signRaw(key, header, claims)).jkt).toBe(key.jkt)
    expect(reasonOf(signRaw(key, header, change(claims)))).toBe('proof_malformed')
  })

  it('J32 is none with two keys, or bytes that are not UTF-8', () => {
    const claims = JSON.stringify({ jti: 'a', htm: 'POST', htu: url, iat: seconds })
    const jwk = JSON.stringify(key.jwk)
    const twice = `{"typ":"dpop+jwt","alg":"ES256","jwk":${JSON.stringify(other.jwk)},"jwk":${jwk}}`
    expect(reasonOf(signRaw(key, twice, claims))).toBe('proof_malformed')
    const input = `${encode(JSON.stringify({ typ: 'dpop+jwt', alg: 'ES256', jwk: key.jwk }))}.${encode(Buffer.from('{"jti":"\xff"}', 'latin1'))}`
    expect(reasonOf(`${input}.${signWith(key, input).toString('base64url')}`)).toBe('proof_malformed')
  })
})

describe('the use of a proof', () => {
  it('I17 C16 is one for each key and jti, however it is spelt', () => {
    const claims = { jti: 'once' }
    const one = verify(made({ claims })).use.key
    const spellings = [
      malleate(made({ claims })),
      made({ claims: { ...claims, htu: 'HTTPS://AS.EXAMPLE:443/token?x' } }),
      made({ claims: { ...claims, iat: seconds - 5, foo: 1 } }),
      made({ claims, header: { jwk: { ...key.jwk, kid: 'x' }, kid: 'y' } }),
      made({ claims, header: { jwk: { y: key.jwk.y, x: key.jwk.x, crv: 'P-256', kty: 'EC' } } }),
    ]
    for (const each of spellings) expect(verify(each).use.key).toEqual(one)
    expect(verify(made({ claims: { jti: 'twice' } })).use.key).not.toEqual(one)
    expect(verify(made({ claims }, other)).use.key).not.toEqual(one)
  })

  it('is told apart although jti and key could be cut elsewhere', () => {
    const uses = ['a', 'a"', '","a', '\u00e1', 'a\u0301'].map((jti) => verify(made({ claims: { jti } })).use.key)
    expect(new Set(uses.map((use) => Buffer.from(use).toString('hex'))).size).toBe(uses.length)
  })

  it('J24 is remembered for as long as the proof could be used', () => {
    const shifts = fc.integer({ min: -60, max: 10 })
    const later = fc.integer({ min: 0, max: 80_000 })
    fc.assert(
      fc.property(shifts, later, (shift, elapsed) => {
        const proof = made({ claims: { iat: seconds + shift } })
        const { expiresAt } = verify(proof).use
        if (now + elapsed < expiresAt) expect(verify(proof, { now: now + elapsed }).jkt).toBe(key.jkt)
        else expect(reasonOf(proof, { now: now + elapsed })).toBe('proof_out_of_time')
      }),
      { seed: 20_261_201, numRuns: 200 },
    )
  })
})

describe('a proof of before the store went back', () => {
  const nonceStart = Math.floor(now / 60_000) * 60_000
  const nonce = makeNonce(keys, now)

  it.each<[string, NonNullable<ProofParts['claims']>, number, Partial<ProofTerms>]>([
    ['by its date', {}, now - 10_000, {}],
    ['dated ahead', { iat: seconds + 10 }, now, {}],
    ['by the minute of its nonce', { nonce, iat: seconds - 200 }, nonceStart, optional],
    ['by that, although it is dated ahead', { nonce, iat: seconds + 290 }, nonceStart, required],
    ['by its date, when that is too far ahead for its nonce', { nonce, iat: seconds + 300 }, now, required],
  ])('I17 is not taken: %s', (_, claims, moment, terms) => {
    const proof = made({ claims })
    expect(reasonOf(proof, { ...terms, usesUnknownUpTo: moment })).toBe('proof_use_unknown')
    expect(verify(proof, { ...terms, usesUnknownUpTo: moment - 1 }).jkt).toBe(key.jkt)
  })
})

describe('a nonce in a proof', () => {
  const nonce = makeNonce(keys, now)

  it('DP-15 is asked for where one is required, with one to use', () => {
    const refused = refusal(made(), required)
    expect(refusalOf(refused.reason)).toMatchObject({ error: 'use_dpop_nonce', status: 400 })
    expect(verify(made({ claims: { nonce: refused.nonce } }), required).jkt).toBe(key.jkt)
  })

  it.each([
    ['of nobody', 'eyJ7S_zG.eyJH0-Z.HX4w-7v'],
    ['that is over', makeNonce(keys, now - 400_000)],
    ['of later', makeNonce(keys, now + 120_000)],
    ['of another server', makeNonce({ newestVersion: 1, keyOf: () => createSecretKey(Buffer.alloc(32, 8)) }, now)],
    ['that is empty', ''],
  ])('DP-15 C19 is not good %s: the answer is the same with each, and has a new one', (_, bad) => {
    for (const terms of [optional, required]) {
      const refused = refusal(made({ claims: { nonce: bad } }), terms)
      expect([refused.reason, refused.nonce]).toEqual(['proof_nonce_unknown', nonce])
      expect(refusalOf(refused.reason)).toBe(refusalOf('proof_nonce_missing'))
    }
  })

  it('is text', () => {
    for (const bad of [1, null, [nonce], {}])
      expect(reasonOf(made({ claims: { nonce: bad } }), optional)).toBe('proof_malformed')
  })

  it('is given to none whose proof is not signed', () => {
    const refused = refusal(made({ header: { jwk: other.jwk } }), required)
    expect([refused.reason, refused.nonce]).toEqual(['proof_signature_wrong', undefined])
  })

  it('DP-16 is good with one jti after another, and followed by the next when there is one', () => {
    for (let i = 0; i < 3; i += 1) expect(verify(made({ claims: { nonce } }), required)).not.toHaveProperty('nextNonce')
    const later = now + 60_000
    const proof = makeProof(key, url, later, { claims: { nonce } })
    expect(verify(proof, { ...required, now: later }).nextNonce).toBe(makeNonce(keys, later))
  })

  it('DP-17 is asked for again from who leaves it out', () => {
    verify(made({ claims: { nonce } }), required)
    expect(reasonOf(made(), required)).toBe('proof_nonce_missing')
  })

  it('is given to a client whose clock is off by minutes, and then its clock does no harm', () => {
    for (const shift of [-300, -61, 11, 300]) {
      const iat = seconds + shift
      const refused = refusal(made({ claims: { iat } }), optional)
      expect([refused.reason, refused.nonce]).toEqual(['proof_clock_off', nonce])
      expect(verify(made({ claims: { iat, nonce } }), optional).jkt).toBe(key.jkt)
      expect(verify(made({ claims: { iat, nonce } }), required).jkt).toBe(key.jkt)
    }
    for (const shift of [-301, -3_600, 301, 3_600]) {
      for (const claims of [{ iat: seconds + shift }, { iat: seconds + shift, nonce }])
        expect(reasonOf(made({ claims }), optional), String(shift)).toBe('proof_out_of_time')
    }
  })

  it('I26 J24 is remembered with its proof for as long as that could be used', () => {
    const span = fc.integer({ min: -300, max: 300 })
    const later = fc.integer({ min: 0, max: 700_000 })
    fc.assert(
      fc.property(span, later, (shift, elapsed) => {
        const proof = made({ claims: { iat: seconds + shift, nonce } })
        const { expiresAt } = verify(proof, required).use
        expect(expiresAt).toBeLessThanOrEqual(now + nonceLifeSeconds * 1000)
        const at = { ...required, now: now + elapsed }
        if (at.now < expiresAt) expect(verify(proof, at).jkt).toBe(key.jkt)
        else expect(reasonOf(proof, at)).toMatch(/^proof_(?:nonce_unknown|out_of_time)$/)
      }),
      { seed: 20_261_201, numRuns: 200 },
    )
  })

  it('is not given to who has none and needs none', () => {
    expect(verify(made(), optional)).not.toHaveProperty('nextNonce')
  })

  it('is not read where there are none', () => {
    expect(verify(made({ claims: { nonce: 'of somebody else' } })).jkt).toBe(key.jkt)
  })
})

describe('hostile proofs', () => {
  const json = fc.jsonValue({ maxDepth: 3 })

  it('are refused with a reason of their own, and never with a fault', () => {
    const mangle = fc.tuple(fc.nat(), fc.nat({ max: 20 }), anyText()).map(([at, length, text]) => {
      const good = made()
      const start = at % good.length
      return good.slice(0, start) + text + good.slice(start + length)
    })
    const signed = fc
      .tuple(
        fc.dictionary(fc.constantFrom('typ', 'alg', 'jwk', 'kid', 'x'), json),
        fc.dictionary(fc.constantFrom('jti', 'htm', 'htu', 'iat', 'exp', 'nonce', 'ath'), json),
      )
      .map(([header, claims]) => made({ header, claims }))
    const members = fc.constantFrom('kty', 'crv', 'x', 'y', 'n', 'e', 'd', 'use', 'key_ops', 'alg', 'kid')
    const keyed = fc.dictionary(members, json).map((jwk) => made({ header: { jwk: { ...key.jwk, ...jwk } } }))
    fc.assert(
      fc.property(fc.oneof(mangle, signed, keyed, anyText()), (proof) => {
        try {
          expect(verify(proof, optional).jkt).toBe(key.jkt)
        } catch (error) {
          if (!(error instanceof OAuthError)) throw error
          expect(error.reason).toMatch(/^proof_/)
          expect(error.message).toBe(error.reason)
        }
      }),
      { seed: 20_261_201, numRuns: 1_500 },
    )
  })
})

describe('a proof for a service', () => {
  it('DP-22 DP-23 is for the token that comes with it', () => {
    const token = 'Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU'
    expect(hash('sha256', token, 'base64url')).toBe('fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo')
    expect(verify(made({ claims: { ath: athOf(token) } }), { token }).jkt).toBe(key.jkt)
    for (const ath of [undefined, '', athOf('other'), `${athOf(token)}=`, [athOf(token)], 1])
      expect(reasonOf(made({ claims: { ath } }), { token })).toBe('proof_token_wrong')
  })
})
