import { createSecretKey, randomBytes } from 'node:crypto'
import { crc32 } from 'node:zlib'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { encodeBase62Number } from '../../src/lib/base62.ts'
import { isTicketOf, makeTicket, parseTicket } from '../../src/token/ticket.ts'

const key = createSecretKey(Buffer.alloc(32, 1))
const seed = Buffer.alloc(16, 2)
const familyId = '01JDJ5Q0000000000000000000'
const derivation = { rootVersion: 1, familyId, generation: 7 }

describe('a refresh ticket', () => {
  it('is mfr_, ids, 256 bits and a checksum, in characters that need no escaping', () => {
    expect(makeTicket(derivation, seed, key)).toMatch(/^mfr_0001[0-9A-Z]{26}0{7}7[0-9A-Za-z]{43}[0-9A-Za-z]{6}$/)
  })

  it('is what it was in the first version: those that were handed out stay good', () => {
    const text = 'mfr_000101JDJ5Q000000000000000000000000007GgYwkRt2bfHOpCblL6MmAP7iMu40MVVQw5mdxuqFs053s1Ul7'
    expect(makeTicket(derivation, seed, key)).toBe(text)
  })

  it('is the same bytes whenever it is made', () => {
    expect(makeTicket(derivation, seed, key)).toBe(
      makeTicket({ ...derivation }, Buffer.from(seed), createSecretKey(key.export())),
    )
  })

  it('reads back as what it was made of, whatever that is', () => {
    const numbers = fc.record({ rootVersion: fc.nat({ max: 62 ** 4 - 1 }), generation: fc.nat({ max: 62 ** 6 }) })
    fc.assert(
      fc.property(numbers, (some) => {
        const parts = parseTicket(makeTicket({ familyId, ...some }, seed, key))
        expect(parts).toMatchObject({ familyId, ...some })
        expect(parts !== undefined && isTicketOf(parts, seed, key)).toBe(true)
      }),
      { seed: 20_261_125, numRuns: 300 },
    )
  })

  it.each([
    ['another generation', { ...derivation, generation: 8 }, seed, key],
    ['another family', { ...derivation, familyId: '01JDJ5Q0000000000000000001' }, seed, key],
    ['another root', { ...derivation, rootVersion: 2 }, seed, key],
    ['another seed', derivation, randomBytes(16), key],
    ['another key', derivation, seed, createSecretKey(randomBytes(32))],
  ])('is not that of %s', (_, other, otherSeed, otherKey) => {
    const presented = parseTicket(makeTicket(derivation, seed, key))
    const { mac = '' } = parseTicket(makeTicket(other, otherSeed, otherKey)) ?? {}
    expect(mac).not.toBe(presented?.mac)
    expect(presented !== undefined && isTicketOf({ ...presented, mac }, seed, key)).toBe(false)
  })

  it('is refused with any one character changed', () => {
    const ticket = makeTicket(derivation, seed, key)
    for (let i = 0; i < ticket.length; i += 1) {
      const changed = ticket.slice(0, i) + (ticket[i] === 'A' ? 'B' : 'A') + ticket.slice(i + 1)
      expect(parseTicket(changed), `at ${i}`).toBeUndefined()
    }
  })

  it.each([
    ['nothing', ''],
    ['one with more before it, and a checksum of all', prefixed('x')],
    ['two in a row, with a checksum of both', prefixed(makeTicket(derivation, seed, key))],
    ['a client secret', `mfs_${'A'.repeat(65)}`],
    ['an access token', 'eyJhbGciOiJFUzI1NiJ9.e30.c2ln'],
    ['one with a space behind', `${makeTicket(derivation, seed, key)} `],
    ['one with a line break behind', `${makeTicket(derivation, seed, key)}\n`],
    ['two in a row', makeTicket(derivation, seed, key).repeat(2)],
    ['one that is cut off', makeTicket(derivation, seed, key).slice(0, -1)],
    ['64 KiB', `mfr_${'A'.repeat(65_536)}`],
  ])('is refused when it is %s', (_, text) => {
    expect(parseTicket(text)).toBeUndefined()
  })
})

/** A ticket with a text before it, and the checksum that belongs to both. */
function prefixed(text: string): string {
  const body = text + makeTicket(derivation, seed, key).slice(0, -6)
  return body + encodeBase62Number(crc32(body), 6)
}
