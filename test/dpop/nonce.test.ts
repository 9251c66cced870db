import { createSecretKey, randomBytes } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { makeNonce, type NonceKeys, nonceLifeSeconds, readNonce } from '../../src/dpop/nonce.ts'

const now = Date.UTC(2026, 0, 2, 3, 4, 5)
const minute = 60_000

function keysOf(
  versions: readonly number[],
  bytes: (version: number) => Uint8Array = (version) => Buffer.alloc(32, version),
): NonceKeys {
  const keys = new Map(versions.map((version) => [version, createSecretKey(bytes(version))]))
  return { newestVersion: Math.max(...versions), keyOf: (version) => keys.get(version) }
}

const keys = keysOf([1])

describe('a nonce', () => {
  it('DP-16 is good where it was made and in every process with the same key', () => {
    const nonce = makeNonce(keys, now)
    expect(readNonce(nonce, keys, now)).toBeGreaterThan(now)
    expect(readNonce(nonce, keysOf([1]), now)).toBe(readNonce(nonce, keys, now))
  })

  it('has only the characters that RFC 9449 section 8 allows, and cannot be guessed without the key', () => {
    const nonce = makeNonce(keys, now)
    expect(nonce).toMatch(/^[\x21\x23-\x5B\x5D-\x7E]+$/)
    expect(nonce.length).toBe(32)
    expect(
      makeNonce(
        keysOf([1], () => randomBytes(32)),
        now,
      ).slice(11),
    ).not.toBe(nonce.slice(11))
  })

  it('changes each minute, and is the same for all who ask within one', () => {
    const start = Math.floor(now / minute) * minute
    expect(makeNonce(keys, start)).toBe(makeNonce(keys, start + minute - 1))
    expect(makeNonce(keys, start + minute)).not.toBe(makeNonce(keys, start))
  })

  it('C19 is over five minutes after its minute began, and not before', () => {
    const start = Math.floor(now / minute) * minute
    const end = start + nonceLifeSeconds * 1000
    const nonce = makeNonce(keys, now)
    expect(readNonce(nonce, keys, now)).toBe(end)
    expect(readNonce(nonce, keys, end - 1)).toBe(end)
    expect(readNonce(nonce, keys, end)).toBeUndefined()
    expect(readNonce(nonce, keys, end + 365 * 86_400_000)).toBeUndefined()
  })

  it('I26 is no good yet for a clock that is far behind, and is for one that is a little behind', () => {
    const start = Math.floor(now / minute) * minute
    const nonce = makeNonce(keys, start)
    expect(readNonce(nonce, keys, start - 10_000)).toBeDefined()
    expect(readNonce(nonce, keys, start - 10_001)).toBeUndefined()
  })

  it('of an older root is good until it is over, and made no more', () => {
    const nonce = makeNonce(keys, now)
    const both = keysOf([1, 2])
    expect(readNonce(nonce, both, now)).toBeDefined()
    expect(readNonce(makeNonce(both, now), keysOf([2]), now)).toBeDefined()
    expect(readNonce(nonce, keysOf([2]), now)).toBeUndefined()
    expect(readNonce(nonce, both, now + 5 * minute)).toBeUndefined()
  })

  it('C19 of another server is none', () => {
    const other = keysOf([1], () => randomBytes(32))
    expect(readNonce(makeNonce(other, now), keys, now)).toBeUndefined()
  })

  it.each(['', 'x', 'A'.repeat(32), 'A'.repeat(31), 'A'.repeat(33), `${'A'.repeat(31)}=`, `${'A'.repeat(31)}\n`, '…'])(
    'is not %j',
    (text) => {
      expect(readNonce(text, keys, now)).toBeUndefined()
    },
  )

  it('is spoilt by whatever stands before or behind it', () => {
    const nonce = makeNonce(keys, now)
    for (const text of [`!${nonce}`, `${nonce}!`, ` ${nonce}`, `${nonce}=`, `${nonce}\n`, `"${nonce}"`])
      expect(readNonce(text, keys, now), text).toBeUndefined()
  })

  it('is made by nobody without the key of the newest root', () => {
    expect(() => makeNonce({ ...keys, newestVersion: 2 }, now)).toThrow('there is no key to make nonces with')
  })

  it('is spoilt by any change of a character', () => {
    const nonce = makeNonce(keys, now)
    const change = fc.tuple(fc.nat({ max: 31 }), fc.constantFrom(...'ABCxyz019-_'))
    fc.assert(
      fc.property(change, ([at, character]) => {
        const changed = nonce.slice(0, at) + character + nonce.slice(at + 1)
        fc.pre(changed !== nonce)
        expect(readNonce(changed, keys, now)).toBeUndefined()
      }),
      { seed: 20_261_201 },
    )
  })

  it('I26 is never good outside its five minutes, whatever the clock does', () => {
    const moments = fc.array(fc.integer({ min: -600_000, max: 600_000 }), { minLength: 1, maxLength: 20 })
    fc.assert(
      fc.property(moments, fc.nat({ max: minute }), (steps, offset) => {
        const made = now + offset
        const start = Math.floor(made / minute) * minute
        const nonce = makeNonce(keys, made)
        let at = made
        for (const step of steps) {
          at += step
          const isInside = at >= start - 10_000 && at < start + 5 * minute
          expect(readNonce(nonce, keys, at) !== undefined).toBe(isInside)
        }
      }),
      { seed: 20_261_201 },
    )
  })
})
