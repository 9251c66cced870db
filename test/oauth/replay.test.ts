import { describe, expect, it } from 'vitest'
import { makeReplayUse } from '../../src/oauth/replay.ts'

const keyOf = (...[kind, names]: [kind: 'assertion' | 'proof', names: readonly string[]]): string => {
  const { key } = makeReplayUse(kind, names, 1)
  expect(key).toBeInstanceOf(Uint8Array)
  expect(key.length).toBe(32)
  return Buffer.from(key).toString('hex')
}

describe('the use of a statement', () => {
  it('JA-07 is the same for the same names, and is remembered until its moment', () => {
    const use = makeReplayUse('proof', ['key', 'jti'], 1_800_000_000_000)
    expect(use).toEqual(makeReplayUse('proof', ['key', 'jti'], 1_800_000_000_000))
    expect(use).toMatchObject({ kind: 'proof', expiresAt: 1_800_000_000_000 })
    expect(keyOf('proof', ['key', 'jti'])).toBe(Buffer.from(use.key).toString('hex'))
  })

  it('is never that of another: not of another kind, maker or id, nor of names that are cut elsewhere', () => {
    const keys = [
      keyOf('proof', ['a', 'b']),
      keyOf('assertion', ['a', 'b']),
      keyOf('proof', ['a', 'c']),
      keyOf('proof', ['c', 'b']),
      keyOf('proof', ['b', 'a']),
      keyOf('proof', ['ab', '']),
      keyOf('proof', ['a","b']),
      keyOf('proof', ['a', 'b', '']),
      keyOf('proof', ['a']),
      keyOf('proof', []),
    ]
    expect(new Set(keys).size).toBe(keys.length)
  })
})
