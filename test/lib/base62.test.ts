import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { encodeBase62, encodeBase62Number } from '../../src/lib/base62.ts'

const run = { seed: 20_260_102, numRuns: 500 }
const alphabet = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'

function decode(text: string): bigint {
  return [...text].reduce((value, character) => value * 62n + BigInt(alphabet.indexOf(character)), 0n)
}

describe('base 62', () => {
  it.each([
    [0n, 1, '0'],
    [0n, 4, '0000'],
    [9n, 1, '9'],
    [10n, 1, 'A'],
    [35n, 1, 'Z'],
    [36n, 1, 'a'],
    [61n, 1, 'z'],
    [62n, 2, '10'],
    [61n, 6, '00000z'],
    [0xffff_ffffn, 6, '4gfFC3'],
  ])('writes %s in %i characters as %s', (value, length, text) => {
    expect(encodeBase62(value, length)).toBe(text)
  })

  it('cuts nothing off a number that needs more characters', () => {
    expect(encodeBase62(62n ** 4n, 2)).toBe('10000')
    expect(encodeBase62Number(62 ** 4, 2)).toBe('10000')
  })

  it('has a text for 256 bits in 43 characters, and they stand for the same number', () => {
    fc.assert(
      fc.property(fc.bigInt({ min: 0n, max: 2n ** 256n - 1n }), (value) => {
        const text = encodeBase62(value, 43)
        expect(text).toMatch(/^[0-9A-Za-z]{43}$/)
        expect(decode(text)).toBe(value)
      }),
      run,
    )
  })

  it('writes a number below 2^53 as it writes the bigint', () => {
    fc.assert(
      fc.property(fc.maxSafeNat(), (value) => {
        expect(encodeBase62Number(value, 6)).toBe(encodeBase62(BigInt(value), 6))
      }),
      run,
    )
  })
})
