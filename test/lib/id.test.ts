import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { isUlid, makeRequestId, makeUlid, nextUlid, ulidFloor, ulidMilliseconds } from '../../src/lib/id.ts'

const run = { seed: 20_260_102, numRuns: 500 }
const largest = 2 ** 48 - 1
const moment = fc.integer({ min: 0, max: largest })

describe('a ULID', () => {
  it('has 26 characters of Crockford base 32, and begins with 0 to 7', () => {
    fc.assert(
      fc.property(moment, (at) => {
        const ulid = makeUlid(at)
        expect(ulid).toMatch(/^[0-7][0-9A-HJKMNP-TV-Z]{25}$/)
        expect(isUlid(ulid)).toBe(true)
      }),
      run,
    )
  })

  it('gives its moment back', () => {
    fc.assert(
      fc.property(moment, (at) => {
        expect(ulidMilliseconds(makeUlid(at))).toBe(at)
        expect(ulidMilliseconds(ulidFloor(at))).toBe(at)
      }),
      run,
    )
  })

  it('sorts as text in the order of time', () => {
    fc.assert(
      fc.property(moment, moment, (a, b) => {
        fc.pre(a !== b)
        expect(makeUlid(a) < makeUlid(b)).toBe(a < b)
      }),
      run,
    )
  })

  it('is not below the floor of its moment, and below the floor of the next', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: largest - 1 }), (at) => {
        const ulid = makeUlid(at)
        expect(ulid >= ulidFloor(at)).toBe(true)
        expect(ulid < ulidFloor(at + 1)).toBe(true)
      }),
      run,
    )
  })

  it('is as the specification has it at both ends of 48 bits', () => {
    expect(ulidFloor(0)).toBe('00000000000000000000000000')
    expect(ulidFloor(1_469_918_176_385)).toBe('01ARYZ6S410000000000000000')
    expect(makeUlid(largest)).toMatch(/^7ZZZZZZZZZ[0-9A-HJKMNP-TV-Z]{16}$/)
    expect(ulidMilliseconds(makeUlid(largest))).toBe(largest)
  })

  it('never comes twice in one millisecond', () => {
    const made = Array.from({ length: 10_000 }, () => makeUlid(0))
    expect(new Set(made).size).toBe(made.length)
  })

  it('uses every character at every random place', () => {
    const made = Array.from({ length: 4_000 }, () => makeUlid(0))
    for (let place = 10; place < 26; place += 1) {
      expect(new Set(made.map((ulid) => ulid.charAt(place))).size).toBe(32)
    }
  })

  // A machine without a battery starts in 1970, and then what is older than the retention lies before the epoch.
  it.each([-2, -1_000, -90 * 86_400_000])(
    'has no floor above a real ULID for %i, a moment before the epoch',
    (milliseconds) => {
      expect(ulidFloor(milliseconds) <= makeUlid(0)).toBe(true)
    },
  )

  it.each([
    '',
    '0'.repeat(25),
    '0'.repeat(27),
    `8${'0'.repeat(25)}`,
    `0${'I'.repeat(25)}`,
    `0${'L'.repeat(25)}`,
    `0${'O'.repeat(25)}`,
    `0${'U'.repeat(25)}`,
    `0${'a'.repeat(25)}`,
    ` ${'0'.repeat(25)}`,
    `${'0'.repeat(26)}\n`,
    `${'0'.repeat(25)}é`,
  ])('is not %j', (text) => {
    expect(isUlid(text)).toBe(false)
  })

  it('is followed by the next, with none between them', () => {
    const zeros = '0'.repeat(16)
    const last = 'Z'.repeat(16)
    expect(nextUlid(`01ARYZ6S41${zeros}`)).toBe(`01ARYZ6S41${'0'.repeat(15)}1`)
    expect(nextUlid(`01ARYZ6S41${'0'.repeat(15)}H`)).toBe(`01ARYZ6S41${'0'.repeat(15)}J`)
    expect(nextUlid(`01ARYZ6S41${'0'.repeat(14)}9Z`)).toBe(`01ARYZ6S41${'0'.repeat(14)}A0`)
    expect(nextUlid(`01ARYZ6S41${last}`)).toBe(`01ARYZ6S42${zeros}`)
    expect(nextUlid(`0ZZZZZZZZZ${last}`)).toBe(`1000000000${zeros}`)
  })

  it('is followed by a ULID that sorts behind it', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: largest - 1 }), (at) => {
        const ulid = makeUlid(at)
        expect(nextUlid(ulid) > ulid).toBe(true)
        expect(isUlid(nextUlid(ulid))).toBe(true)
      }),
      run,
    )
  })

  it('has none behind the last of all', () => {
    expect(() => nextUlid(`7${'Z'.repeat(25)}`)).toThrow(RangeError)
    expect(nextUlid(`7${'Z'.repeat(24)}Y`)).toBe(`7${'Z'.repeat(25)}`)
  })

  it('follows req_ in the id of a request', () => {
    const requestId = makeRequestId(1_469_918_176_385)
    expect(requestId).toMatch(/^req_01ARYZ6S41/)
    expect(isUlid(requestId.slice(4))).toBe(true)
  })
})
