import { describe, expect, it } from 'vitest'
import { SeenProofs } from '../../src/dpop/seen-proofs.ts'
import { makeReplayUse } from '../../src/oauth/replay.ts'

const use = (jti: string, expiresAt = 1_000) => makeReplayUse('proof', ['key', jti], expiresAt)

describe('proofs that were seen', () => {
  it('C16 are new once', () => {
    const seen = new SeenProofs()
    expect(seen.isFirst(use('a'), 0)).toBe(true)
    expect(seen.isFirst(use('a'), 0)).toBe(false)
    expect(seen.isFirst(use('b'), 0)).toBe(true)
    expect(seen.isFirst(makeReplayUse('proof', ['other', 'a'], 1_000), 0)).toBe(true)
  })

  it('are known as long as they could come again, and forgotten then', () => {
    const seen = new SeenProofs()
    seen.isFirst(use('a', 1_000), 0)
    expect(seen.isFirst(use('a', 1_000), 999)).toBe(false)
    seen.isFirst(use('b', 2_000), 1_000)
    expect(seen.size).toBe(1)
  })

  it('F36 are bounded in number: the oldest go first', () => {
    const seen = new SeenProofs(3)
    for (let i = 0; i < 1_000; i += 1) expect(seen.isFirst(use(String(i)), 0)).toBe(true)
    expect(seen.size).toBe(3)
    expect(seen.isFirst(use('999'), 0)).toBe(false)
    expect(seen.isFirst(use('0'), 0)).toBe(true)
  })
})
