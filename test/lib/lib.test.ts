import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { encodeBase62, encodeBase62Number } from '../../src/lib/base62.ts'
import { formatDuration, parseDuration } from '../../src/lib/duration.ts'
import { isUlid, makeRequestId, makeUlid, ulidFloor, ulidMilliseconds } from '../../src/lib/id.ts'
import { describeError } from '../../src/lib/log.ts'
import { OAuthError, reasons, refusalOf } from '../../src/oauth/errors.ts'
import { isResourceIndicator } from '../../src/oauth/resource-indicator.ts'
import { formatScope, parseScope } from '../../src/oauth/scope.ts'

const seed = 20_260_206
const moment = fc.integer({ min: 0, max: 2 ** 48 - 1 })

describe('a duration', () => {
  it.each([
    ['30s', 30],
    ['5m', 300],
    ['24h', 86_400],
    ['7d', 604_800],
    ['1s', 1],
  ])('%s is %i seconds', (text, seconds) => {
    expect(parseDuration(text)).toBe(seconds)
  })

  it.each(['', '5', 'm', '0s', '05m', '-5m', '5M', '5 m', '5m ', '1h30m', '1e3s', '9999999999s', '5\n'])(
    'is not %j',
    (text) => {
      expect(parseDuration(text)).toBeUndefined()
    },
  )

  it(`is written so that it is read back (seed ${seed})`, () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 99_999_999 }), (seconds) => {
        expect(parseDuration(formatDuration(seconds))).toBe(seconds)
      }),
      { seed },
    )
  })
})

describe('a ULID', () => {
  it('has 48 bits of time and 80 random ones, in 26 characters', () => {
    expect(isUlid(makeUlid(0))).toBe(true)
    expect(makeUlid(0).slice(0, 10)).toBe('0000000000')
    expect(makeUlid(2 ** 48 - 1).slice(0, 10)).toBe('7ZZZZZZZZZ')
    expect(makeRequestId(0)).toMatch(/^req_[0-9A-HJKMNP-TV-Z]{26}$/)
  })

  it(`sorts by its time, and gives it back (seed ${seed})`, () => {
    fc.assert(
      fc.property(moment, moment, (a, b) => {
        expect(ulidMilliseconds(makeUlid(a))).toBe(a)
        expect(ulidFloor(a) <= makeUlid(a)).toBe(true)
        if (a < b) expect(makeUlid(a) < ulidFloor(b)).toBe(true)
      }),
      { seed },
    )
  })

  it('uses every character in every random place, and never repeats', () => {
    const made = Array.from({ length: 20_000 }, () => makeUlid(1))
    expect(new Set(made).size).toBe(20_000)
    for (let place = 10; place < 26; place += 1) expect(new Set(made.map((ulid) => ulid[place])).size).toBe(32)
  })

  it.each([
    '',
    '8ZZZZZZZZZZZZZZZZZZZZZZZZZ',
    '0000000000000000000000000I',
    '01',
    makeUlid(0).toLowerCase().replace(/^0+/, 'a'),
  ])('is not %j', (text) => {
    expect(isUlid(text)).toBe(false)
  })
})

describe('base 62', () => {
  it(`is the same for numbers and bigints (seed ${seed})`, () => {
    fc.assert(
      fc.property(fc.nat(), (value) => {
        expect(encodeBase62Number(value, 6)).toBe(encodeBase62(BigInt(value), 6))
      }),
      { seed },
    )
    expect(encodeBase62(61n, 3)).toBe('00z')
  })
})

describe('an error in the log', () => {
  it('shows name, message, code and cause, and no stack', () => {
    const cause = Object.assign(new TypeError('inner'), { code: 'E1' })
    const shown = describeError(new Error('outer', { cause }))
    expect(shown).toMatchObject({
      type: 'Error',
      message: 'outer',
      cause: { type: 'TypeError', message: 'inner', code: 'E1' },
    })
    expect(JSON.stringify(shown)).not.toContain('\\n')
    expect(describeError('text')).toEqual({ type: 'string' })
  })
})

describe('the table of refusals', () => {
  it.each(reasons)('HTTP-13 tells the caller of %s in the allowed characters alone', (reason) => {
    const { error, status, description } = refusalOf(reason)
    expect(description).toMatch(/^[\x20-\x21\x23-\x5B\x5D-\x7E]+$/)
    expect(error).toMatch(/^[a-z_]+$/)
    expect([400, 404, 405, 413, 500, 503]).toContain(status)
    expect(new OAuthError(reason).message).toBe(reason)
  })

  it('I19 shows one face for every failed authentication', () => {
    const faces = reasons.filter((reason) => refusalOf(reason).error === 'invalid_client').map(refusalOf)
    expect(faces.length).toBeGreaterThan(10)
    expect(new Set(faces.map((face) => JSON.stringify(face))).size).toBe(1)
  })

  it('I21 blames the caller with 4xx and itself with 5xx', () => {
    const ours = reasons.filter((reason) => refusalOf(reason).status >= 500).sort()
    expect(ours).toEqual([
      'fault',
      'issuer_changed',
      'not_ready',
      'overloaded',
      'registry_moving',
      'secret_check_busy',
      'store_unavailable',
    ])
  })
})

describe('a scope', () => {
  it('is a set of tokens', () => {
    expect([...parseScope('b a b')]).toEqual(['b', 'a'])
    expect(formatScope(['b', 'a'])).toBe('b a')
    expect(formatScope([])).toBeUndefined()
  })

  it.each(['', ' ', 'a  b', ' a', 'a ', 'a\tb', '"', '\\', '\u00e9', 'a\n', 'a\u00a0b', 'x'.repeat(129)])(
    'is not %j',
    (text) => {
      expect(() => parseScope(text)).toThrow('scope_malformed')
    },
  )
})

describe('a resource indicator', () => {
  it.each([
    'https://api.example.com',
    'https://api.example.com/v1?x=1',
    'urn:example:api',
    'spiffe://td/ns/a',
    'api:billing',
    'http://127.0.0.1:3000',
  ])('may be %s', (text) => expect(isResourceIndicator(text)).toBe(true))

  it.each([
    '',
    'api',
    '/v1',
    '//x',
    'https://a#b',
    'https://a b',
    'https://\u00e9',
    'https://a/%zz',
    'https://',
    '1a:b',
    'a:',
    'https://a/"',
    'https://a/\\',
    'https://a\n',
    `https://a/${'x'.repeat(512)}`,
  ])('may not be %j', (text) => expect(isResourceIndicator(text)).toBe(false))
})
