import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { ulidFloor } from '../../src/lib/id.ts'
import { judgeTicket, type RefreshFamily } from '../../src/token/family.ts'

const born = 1_800_000_000_000
const minute = 60_000
const family: RefreshFamily = {
  familyId: ulidFloor(born),
  clientId: 'billing',
  subject: 'billing',
  audience: 'https://api.example.test',
  scopes: ['read'],
  seed: new Uint8Array(16),
  generation: 5,
  generationAt: born + 10 * minute,
  rootVersion: 1,
  expiresAt: born + 70 * minute,
  familyExpiresAt: born + 24 * 60 * minute,
}

const judge = (
  generation: number,
  afterBirth: number,
  changes: Partial<RefreshFamily> = {},
  { tokensAfter = 0, wasGood = false } = {},
) =>
  judgeTicket(
    { ...family, ...changes },
    { generation, now: born + afterBirth, retryWindowMilliseconds: minute, tokensAfter, wasGood },
  )

describe('a presented ticket', () => {
  it.each([
    ['is used when it is the current one', 5, 10 * minute, { use: 'rotate' }],
    ['is used until its last millisecond', 5, 70 * minute - 1, { use: 'rotate' }],
    ['is refused when it has idled for too long', 5, 70 * minute, { refuse: 'refresh_expired' }],
    ['is a retry when it is the one before, inside the window', 4, 11 * minute - 1, { use: 'retry' }],
    [
      'ends the family when it is the one before, after the window',
      4,
      11 * minute,
      { end: 'retry_too_late', refuse: 'refresh_retry_too_late' },
    ],
    [
      'ends the family when its successor was used too, inside the window',
      3,
      10 * minute,
      { end: 'reused', refuse: 'refresh_reused' },
    ],
    ['ends the family when it is the first of all', 0, 60 * minute, { end: 'reused', refuse: 'refresh_reused' }],
    ['ends the family although that has idled', 1, 80 * minute, { end: 'reused', refuse: 'refresh_reused' }],
    [
      'ends the family when nobody has made it yet',
      6,
      10 * minute,
      { end: 'generation_ahead', refuse: 'refresh_generation_ahead' },
    ],
    ['is refused when the family is over', 5, 24 * 60 * minute, { refuse: 'refresh_expired' }],
    ['is refused when the family is over, a used one too', 1, 24 * 60 * minute, { refuse: 'refresh_expired' }],
  ])('%s', (_, generation, at, verdict) => {
    expect(
      judge(generation, at, { ...(at === 24 * 60 * minute ? { expiresAt: born + 24 * 60 * minute } : {}) }),
    ).toEqual(verdict)
  })

  it.each(['reused', 'retry_too_late', 'generation_ahead', 'revoked'] as const)(
    'is refused for ever once its family has ended as %s',
    (end) => {
      for (const generation of [0, 4, 5, 6]) {
        expect(judge(generation, 10 * minute, { end })).toEqual({ refuse: 'refresh_ended' })
      }
    },
  )

  it('is refused when all that its client had was ended after the family began', () => {
    expect(judge(5, 10 * minute, {}, { tokensAfter: born })).toEqual({ refuse: 'refresh_ended' })
    expect(judge(5, 10 * minute, {}, { tokensAfter: born - 1 })).toEqual({ use: 'rotate' })
  })

  it.each([
    ['is refused, and proves no theft, when its successor was used meanwhile', 3, 10, { refuse: 'refresh_overtaken' }],
    ['is refused, and proves no theft, when the window is over since', 4, 11, { refuse: 'refresh_overtaken' }],
    ['is a retry when another request has used it', 4, 10, { use: 'retry' }],
    [
      'ends the family when the store has gone back since',
      6,
      10,
      { end: 'generation_ahead', refuse: 'refresh_generation_ahead' },
    ],
  ])('that was good when its request was judged first, %s', (_, generation, minutes, verdict) => {
    expect(judge(generation, minutes * minute, {}, { wasGood: true })).toEqual(verdict)
  })

  it('I1 I3 is never used when another one is, and ends nothing while its answer may just have been lost', () => {
    const cases = fc.record({
      generation: fc.nat({ max: 10 }),
      at: fc.integer({ min: 10 * minute, max: 100 * minute }),
    })
    fc.assert(
      fc.property(cases, ({ generation, at }) => {
        const verdict = judge(generation, at)
        if ('use' in verdict && verdict.use === 'rotate') expect(generation).toBe(family.generation)
        if ('use' in verdict && verdict.use === 'retry') expect(generation).toBe(family.generation - 1)
        if ('end' in verdict) expect([family.generation]).not.toContain(generation)
        if (generation === family.generation - 1 && at < 11 * minute) expect(verdict).toEqual({ use: 'retry' })
      }),
      { seed: 20_261_125, numRuns: 1_000 },
    )
  })
})
