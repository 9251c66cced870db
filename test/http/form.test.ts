import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { parseForm } from '../../src/http/form.ts'
import { OAuthError } from '../../src/oauth/errors.ts'

const seed = 20_260_201

function reasonOf(body: string): string {
  try {
    parseForm(body)
    return 'parsed'
  } catch (error) {
    return error instanceof OAuthError ? error.reason : String(error)
  }
}

describe('a form body', () => {
  it('HTTP-11 decodes the vector of RFC 6749 appendix B', () => {
    expect(parseForm('a=+%25%26%2B%C2%A3%E2%82%AC').get('a')).toBe(' %&+\u00a3\u20ac')
    expect(parseForm('a=%20b+c').get('a')).toBe(' b c')
  })

  it('takes an empty value, a bare name and empty pairs as absent', () => {
    const form = parseForm('&a=&b&&c=x&')
    expect([form.get('a'), form.get('b'), form.get('c'), form.get('d')]).toEqual([undefined, undefined, 'x', undefined])
  })

  it('lets resource and audience repeat, in order and without empty ones', () => {
    const form = parseForm('resource=b&resource=&resource=a&audience=x&audience=x')
    expect(form.getAll('resource')).toEqual(['b', 'a'])
    expect(form.getAll('audience')).toEqual(['x', 'x'])
    expect(parseForm('resource=b').getAll('audience')).toEqual([])
  })

  it('reads names that JavaScript has a meaning for', () => {
    const form = parseForm('__proto__=a&constructor=b&toString=c')
    expect([form.get('__proto__'), form.get('constructor'), form.get('hasOwnProperty')]).toEqual(['a', 'b', undefined])
  })

  it.each(['a=1&a=1', 'a=1&a=2', 'a=&a=x', 'a&a', 'a=1&%61=2', '__proto__=1&__proto__=2', 'a+b=1&a%20b=1'])(
    'HTTP-04 refuses the repetition in %j',
    (body) => expect(reasonOf(body)).toBe('parameter_repeated'),
  )

  it.each([
    '%',
    'a=%',
    'a=%4',
    'a=%zz',
    '%zz=a',
    'a=%E2%82',
    'a=%FF',
    'a=%C0%80',
    'a=%ED%A0%80',
    'a=%F4%90%80%80',
    'a=%00',
    '%00=a',
    'a=\u00e9',
    'a=b\n',
    '\0',
    'a=\x7f',
  ])('HTTP-12 refuses %j as malformed', (body) => expect(reasonOf(body)).toBe('form_malformed'))

  it('HTTP-12 takes 100 parameters and refuses 101, also when they are empty', () => {
    const body = (count: number): string => Array.from({ length: count }, (_, i) => `p${i}=`).join('&')
    expect(reasonOf(body(100))).toBe('parsed')
    expect(reasonOf(body(101))).toBe('parameters_too_many')
    expect(reasonOf('&'.repeat(100))).toBe('parameters_too_many')
  })

  it(`parses or refuses whatever it is given (seed ${seed})`, () => {
    const pieces = fc.array(
      fc.constantFrom('a', 'resource', '=', '&', '%', '+', '%41', '%00', '%C3%A9', '%FF', '\u00e9', '\n', ' '),
      { maxLength: 40 },
    )
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          pieces.map((list) => list.join('')),
        ),
        (body) => {
          expect(['parsed', 'form_malformed', 'parameter_repeated', 'parameters_too_many']).toContain(reasonOf(body))
        },
      ),
      { seed, numRuns: 5_000 },
    )
  })

  it(`reads back what URLSearchParams wrote (seed ${seed})`, () => {
    const text = fc
      .string({ unit: 'grapheme', minLength: 1 })
      .filter((value) => value.isWellFormed() && !value.includes('\0'))
    fc.assert(
      fc.property(fc.uniqueArray(fc.tuple(text, text), { selector: ([name]) => name, maxLength: 20 }), (pairs) => {
        const form = parseForm(new URLSearchParams(pairs).toString())
        for (const [name, value] of pairs) expect(form.get(name)).toBe(value)
      }),
      { seed, numRuns: 1_000 },
    )
  })
})
