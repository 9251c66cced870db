import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { maxJwtLength, parseJwt } from '../../src/oauth/jwt.ts'
import { anyText } from '../support/text.ts'

const encode = (text: string | Uint8Array): string => Buffer.from(text).toString('base64url')
const header = encode('{"alg":"ES256"}')
const claims = encode('{"iss":"x"}')

/** A token of these parts, as raw JSON. */
const token = (head: string | Uint8Array, body: string | Uint8Array = '{}', signature = 'c2ln'): string =>
  `${encode(head)}.${encode(body)}.${signature}`

const withClaims = (body: string | Uint8Array): string => token('{"alg":"ES256"}', body)

describe('a signed JWT', () => {
  it('is taken apart into what it says, what is signed, and the signature', () => {
    const parsed = parseJwt(
      token('{"alg":"ES256","typ":"at+jwt","kid":"k"}', '{"iss":"i","aud":["a","b"],"exp":9,"more":{"x":[1,null]}}'),
    )
    expect(parsed).toMatchObject({
      header: { alg: 'ES256', typ: 'at+jwt', kid: 'k' },
      claims: { iss: 'i', aud: ['a', 'b'], exp: 9, more: { x: [1, null] } },
    })
    expect(Buffer.from(parsed?.signature ?? []).toString()).toBe('sig')
    expect(parsed?.signingInput).toBe(
      `${encode('{"alg":"ES256","typ":"at+jwt","kid":"k"}')}.${encode('{"iss":"i","aud":["a","b"],"exp":9,"more":{"x":[1,null]}}')}`,
    )
  })

  it('is whatever JSON.stringify writes, in the types that the RFCs give', () => {
    const text = fc.string({ unit: 'grapheme' }).filter((value) => !value.includes('\0'))
    const date = fc.nat({ max: Number.MAX_SAFE_INTEGER })
    const value = fc.jsonValue({ maxDepth: 4, noUnicodeString: false })
    const body = fc.record(
      {
        iss: text,
        sub: text,
        aud: fc.oneof(text, fc.array(text, { minLength: 1 })),
        exp: date,
        nbf: date,
        iat: date,
        x: value,
      },
      { requiredKeys: [] },
    )
    fc.assert(
      fc.property(body, (wanted) => {
        const json = JSON.stringify(wanted)
        fc.pre(json.length < 8_000 && json.isWellFormed() && !json.includes('\\u0000') && !/\\ud[89a-f]/.test(json))
        expect(parseJwt(withClaims(json))?.claims).toEqual(JSON.parse(json))
      }),
      { seed: 20_261_125 },
    )
  })

  it.each([
    ['nothing', ''],
    ['a word', 'garbage'],
    ['one dot', 'e30.e30'],
    ['three dots', `${header}.${claims}.c2ln.`],
    ['four dots', `${header}.${claims}.c2ln.c2ln.c2ln`],
    ['no signature', `${header}.${claims}.`],
    ['no claims', `${header}..c2ln`],
    ['no header', `.${claims}.c2ln`],
    ['padding', `${header}.${claims}.c2lnbg==`],
    ['base64 of the other alphabet', `${header}.${claims}.+/+/`],
    ['bits that stand for nothing', `${header}.${claims}.c2l`],
    ['a character that no whole byte needs', `${header}.${claims}.c2lnc`],
    ['a space before', ` ${header}.${claims}.c2ln`],
    ['a space inside', `${header}. ${claims}.c2ln`],
    ['a newline at the end', `${header}.${claims}.c2ln\n`],
    ['the general serialisation', '{"payload":"e30","signatures":[]}'],
    ['an encrypted token', 'e30.e30.e30.e30.e30'],
  ])('J28 is not %s', (_, text) => {
    expect(parseJwt(text)).toBeUndefined()
  })

  it.each([
    ['a list', '[]'],
    ['null', 'null'],
    ['a text', '"x"'],
    ['a number', '1'],
    ['no JSON', '{'],
    ['two documents', '{}{}'],
    ['a comment', '{}//'],
    ['a comma at the end', '{"a":1,}'],
    ['single quotes', "{'a':1}"],
    ['NaN', '{"a":NaN}'],
    ['a raw newline in a text', '{"a":"\n"}'],
    ['a BOM', '\ufeff{}'],
    ['NUL in a value', '{"a":"\\u0000"}'],
    ['NUL in a name', '{"\\u0000":1}'],
    ['NUL further down', '{"a":[{"b":["x\\u0000"]}]}'],
    ['half a surrogate pair', '{"a":"\\ud800"}'],
    ['the other half', '{"a":"\\udc00x"}'],
    ['a pair in the wrong order', '{"a":"\\udc00\\ud800"}'],
    ['half a pair in a name', '{"\\ud800":1}'],
    ['a name twice', '{"a":1,"a":1}'],
    ['a name twice, once escaped', '{"exp":1,"\\u0065xp":2}'],
    ['a name twice, far apart', '{"a":1,"b":{"a":2},"c":[],"a":3}'],
    ['a name twice further down', '{"a":[{"b":{"c":1,"c":2}}]}'],
    ['__proto__ twice', '{"__proto__":1,"__proto__":{}}'],
  ])('J32 has neither header nor claims with %s', (_, json) => {
    expect(parseJwt(withClaims(json))).toBeUndefined()
    const head = json.startsWith('{') ? json.replace('{', '{"alg":"ES256",').replace('"ES256",}', '"ES256"}') : json
    expect(parseJwt(token(head))).toBeUndefined()
  })

  it('J32 has no bytes that are not UTF-8', () => {
    for (const bytes of [[0xff], [0xc0, 0x80], [0xed, 0xa0, 0x80], [0xf8, 0x88, 0x80, 0x80, 0x80], [0xe2, 0x82]]) {
      const body = Buffer.concat([Buffer.from('{"a":"'), Buffer.from(bytes), Buffer.from('"}')])
      expect(parseJwt(withClaims(body)), bytes.join()).toBeUndefined()
      expect(
        parseJwt(token(Buffer.concat([Buffer.from('{"alg":"'), Buffer.from(bytes), Buffer.from('"}')]))),
      ).toBeUndefined()
    }
  })

  it('may name the same thing in different objects, and what looks like JSON in a text', () => {
    for (const json of [
      '{"a":{"a":{"a":1}},"b":[{"a":1},{"a":2}]}',
      '{"a":"{\\"a\\":1,\\"a\\":2}","b":"\\"b\\":","c":"\\\\"}',
      '{"a" : 1 ,\t"b"\n:\r2}',
      '{"a":"\\ud83d\\ude00","b":"\\u00e9"}',
      '{"":1," ":2}',
    ]) {
      expect(parseJwt(withClaims(json))?.claims, json).toEqual(JSON.parse(json))
    }
  })

  it.each([
    ['no alg', '{}'],
    ['a number for alg', '{"alg":1}'],
    ['null for alg', '{"alg":null}'],
    ['a list for typ', '{"alg":"ES256","typ":["at+jwt"]}'],
    ['a number for kid', '{"alg":"ES256","kid":1}'],
    ['an object for kid', '{"alg":"ES256","kid":{}}'],
    ['crit', '{"alg":"ES256","crit":["exp"]}'],
    ['an empty crit', '{"alg":"ES256","crit":[]}'],
    ['null for crit', '{"alg":"ES256","crit":null}'],
    ['b64', '{"alg":"ES256","b64":true}'],
    ['b64 with crit', '{"alg":"ES256","b64":false,"crit":["b64"]}'],
  ])('J10 J13 has no header with %s', (_, json) => {
    expect(parseJwt(token(json))).toBeUndefined()
  })

  it.each(['exp', 'nbf', 'iat'])('J15 has no %s but a whole number of seconds', (name) => {
    for (const value of [
      '-1',
      '1.5',
      '"1"',
      'null',
      '[1]',
      '{}',
      'true',
      '1e999',
      '-1e999',
      '9007199254740993',
      '1e300',
    ]) {
      expect(parseJwt(withClaims(`{"${name}":${value}}`)), value).toBeUndefined()
    }
    for (const value of ['0', '1', '9007199254740991', '1e3', '-0']) {
      expect(parseJwt(withClaims(`{"${name}":${value}}`)), value).toBeDefined()
    }
  })

  it.each(['iss', 'sub', 'jti', 'client_id', 'scope', 'sid'])('J33 has no %s but a text', (name) => {
    for (const value of ['7', 'true', 'null', '[]', '["x"]', '{}']) {
      expect(parseJwt(withClaims(`{"${name}":${value}}`)), value).toBeUndefined()
    }
    expect(parseJwt(withClaims(`{"${name}":"x"}`))).toBeDefined()
  })

  it('J20 has for aud a text or a list of texts', () => {
    for (const value of ['7', 'null', '[]', '[7]', '["x",7]', '[["x"]]', '{}', '{"x":1}', 'true']) {
      expect(parseJwt(withClaims(`{"aud":${value}}`)), value).toBeUndefined()
    }
    for (const value of ['"x"', '["x"]', '["x","y"]']) expect(parseJwt(withClaims(`{"aud":${value}}`))).toBeDefined()
  })

  it('J30 is at most 16 deep, and a deeper one is refused soon', () => {
    const nested = (depth: number): string => `{"a":${'['.repeat(depth - 1)}${']'.repeat(depth - 1)}}`
    expect(parseJwt(withClaims(nested(16)))).toBeDefined()
    for (const depth of [17, 1_000, 5_000]) expect(parseJwt(withClaims(nested(depth)))).toBeUndefined()
  })

  it('J29 is at most 16 KiB, and a longer one is refused unread', () => {
    const start = `${header}.${claims}.`
    // Either way the signature is whole bytes, so that the length alone is what can be wrong.
    expect((maxJwtLength - start.length) % 4).toBe(3)
    expect(parseJwt(start.padEnd(maxJwtLength, 'A'))).toBeDefined()
    expect(parseJwt(start.padEnd(maxJwtLength + 1, 'A'))).toBeUndefined()
    const began = performance.now()
    for (const text of ['.'.repeat(1_000_000), `${'a'.repeat(1_000_000)}.e30.x`, '"'.repeat(1_000_000)]) {
      expect(parseJwt(text)).toBeUndefined()
    }
    expect(performance.now() - began).toBeLessThan(50)
  })

  it('costs little whatever stands in it', () => {
    const bodies = [
      `{"a":"${'\\"'.repeat(5_900)}"}`,
      `[${'"a",'.repeat(2_900)}1]`,
      '"'.repeat(12_000),
      '{"a":'.repeat(2_400),
    ]
    for (const body of bodies) {
      const began = performance.now()
      parseJwt(withClaims(body))
      expect(performance.now() - began, body.slice(0, 10)).toBeLessThan(50)
    }
  })

  it('I21 is parsed or refused, whatever the text, and never an error', () => {
    const part = fc.oneof(
      fc.constantFrom('e30', 'bnVsbA', 'W10', '', header, claims, '_', '-', '=', 'é'),
      fc.json().map(encode),
      fc.base64String().map((text) => text.replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '')),
    )
    const tokens = fc.oneof(
      anyText(),
      fc.array(part, { maxLength: 5 }).map((parts) => parts.join('.')),
    )
    fc.assert(
      fc.property(tokens, (text) => {
        const parsed = parseJwt(text)
        if (parsed === undefined) return
        const signature = Buffer.from(parsed.signature).toString('base64url')
        expect(`${parsed.signingInput}.${signature}`).toBe(text)
        expect(typeof parsed.header.alg).toBe('string')
      }),
      { seed: 20_261_126, numRuns: 2_000 },
    )
  })

  it('has one spelling: no two texts are taken for the same bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 1, maxLength: 12 }), fc.nat(), fc.nat(63), (bytes, place, digit) => {
        const good = `${header}.${claims}.${encode(bytes)}`
        expect(parseJwt(good)).toBeDefined()
        const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
        const at = good.length - 1 - (place % encode(bytes).length)
        const other = good.slice(0, at) + alphabet.charAt(digit) + good.slice(at + 1)
        fc.pre(other !== good)
        const parsed = parseJwt(other)
        if (parsed !== undefined) expect(Buffer.from(parsed.signature)).not.toEqual(Buffer.from(bytes))
      }),
      { seed: 20_261_127, numRuns: 1_000 },
    )
  })
})
