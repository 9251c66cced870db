import { describe, expect, it } from 'vitest'
import { longestTokenLifeMilliseconds, type Mark, type MarkDelta } from '../../src/token/mark-store.ts'
import { MarkSet, markGraceMilliseconds } from '../../src/token/marks.ts'
import { startTestIssuer } from '../support/issuer.ts'
import { ManualClock } from '../support/server.ts'

const minute = 60_000

/** A store of marks that counts how often it is read. */
function toyStore() {
  const rows: (Mark & { sequence: number })[] = []
  let counter = 0
  const asked: number[] = []
  return {
    asked,
    add: (mark: Mark) => {
      counter += 1
      rows.push({ ...mark, sequence: counter })
    },
    rewind: (sequence: number) => {
      counter = sequence
      rows.splice(0, rows.length, ...rows.filter((row) => row.sequence <= sequence))
    },
    readMarkSequence: async (): Promise<number> => counter,
    readMarks: async (after: number): Promise<MarkDelta> => {
      asked.push(after)
      return { sequence: counter, marks: rows.filter((row) => row.sequence > after) }
    },
  }
}

describe('the marks in memory', () => {
  it('I6 are not taken from a replica that is behind the counter, nor kept when another look found an older database', async () => {
    const store = toyStore()
    let answer: (() => Promise<MarkDelta>) | undefined
    let counter: number | undefined
    const readMarks = (after: number) => answer?.() ?? store.readMarks(after)
    const readMarkSequence = async () => counter ?? (await store.readMarkSequence())
    const marks = new MarkSet({ readMarks, readMarkSequence }, new ManualClock(0))
    for (const id of ['a', 'b', 'c']) store.add({ kind: 'jti', id, expiresAt: minute })
    await marks.refresh()

    counter = 4
    await expect(marks.refresh()).rejects.toMatchObject({
      name: 'StoreUnavailable',
      message: 'marks are behind their counter',
    })
    expect([marks.isAt(3), marks.isAt(4)]).toEqual([true, false])

    // One has begun to read what follows on `c`; the database goes back to `a`, and the answer comes after two more.
    const late = Promise.withResolvers<MarkDelta>()
    const isAsked = Promise.withResolvers<void>()
    answer = () => {
      isAsked.resolve()
      return late.promise
    }
    const reading = marks.refresh()
    await isAsked.promise
    answer = undefined
    counter = undefined
    store.rewind(1)
    await marks.refresh()
    expect(marks.isAt(1)).toBe(true)
    for (const id of ['d', 'e', 'f']) store.add({ kind: 'jti', id, expiresAt: minute })
    late.resolve({ sequence: 4, marks: [{ kind: 'jti', id: 'f', expiresAt: minute }] })
    await reading
    await marks.refresh()
    for (const id of ['a', 'd', 'e', 'f']) expect([id, marks.ends({ jti: id })]).toEqual([id, 'jti'])
  })

  it('I6 are as the store has them after each look, which reads only what is new', async () => {
    const store = toyStore()
    const marks = new MarkSet(store, new ManualClock(0))
    await marks.refresh()
    expect(store.asked).toEqual([])
    store.add({ kind: 'jti', id: 'a', expiresAt: minute })
    expect(marks.ends({ jti: 'a' })).toBeUndefined()
    await marks.refresh()
    store.add({ kind: 'family', id: 'f', expiresAt: minute })
    await marks.refresh()
    await marks.refresh()
    expect(store.asked).toEqual([0, 1])
    expect(marks.sequence).toBe(2)
    expect(marks.ends({ jti: 'a' })).toBe('jti')
    expect(marks.ends({ jti: 'b', sid: 'f' })).toBe('family')
    expect(marks.ends({ jti: 'a', sid: 'f' })).toBe('jti')
  })

  it('do not take a family for a token of the same id, nor a token for a family', async () => {
    const store = toyStore()
    const marks = new MarkSet(store, new ManualClock(0))
    store.add({ kind: 'jti', id: 'x', expiresAt: minute })
    store.add({ kind: 'family', id: 'y', expiresAt: minute })
    await marks.refresh()
    expect(marks.ends({ jti: 'y', sid: 'x' })).toBeUndefined()
    expect(marks.ends({ jti: 'z' })).toBeUndefined()
    expect(marks.ends({ jti: '__proto__', sid: 'constructor' })).toBeUndefined()
  })

  it('are read anew when the counter has gone back: it is another database', async () => {
    const store = toyStore()
    const marks = new MarkSet(store, new ManualClock(0))
    for (const id of ['a', 'b', 'c']) store.add({ kind: 'jti', id, expiresAt: minute })
    await marks.refresh()
    store.rewind(1)
    await marks.refresh()
    expect(['a', 'b', 'c'].map((jti) => marks.ends({ jti }))).toEqual(['jti', undefined, undefined])
    expect(marks.sequence).toBe(1)
  })

  it('outlive what they end: a day, which is the most that a setting takes, and clocks ten minutes apart', () => {
    expect(longestTokenLifeMilliseconds).toBe((24 * 60 + 10) * minute)
    expect(markGraceMilliseconds).toBe(10 * minute)
  })

  it('are dropped when what they end is dead by itself, a while later, and not before', async () => {
    const clock = new ManualClock(0)
    const store = toyStore()
    const marks = new MarkSet(store, clock)
    store.add({ kind: 'jti', id: 'a', expiresAt: minute })
    store.add({ kind: 'family', id: 'f', expiresAt: 30 * minute })
    await marks.refresh()
    clock.advance((minute + markGraceMilliseconds) / 1000)
    await marks.refresh()
    expect(marks.size).toBe(2)
    clock.advance(minute / 1000)
    await marks.refresh()
    expect([marks.size, marks.ends({ jti: 'a' }), marks.ends({ jti: 'x', sid: 'f' })]).toEqual([1, undefined, 'family'])
    clock.advance(3_600)
    await marks.refresh()
    expect(marks.size).toBe(0)
    expect(marks.sequence).toBe(2)
  })

  it('are dropped too while every answer goes by what is in memory', async () => {
    const clock = new ManualClock(0)
    const store = toyStore()
    const marks = new MarkSet(store, clock)
    store.add({ kind: 'jti', id: 'a', expiresAt: minute })
    await marks.refresh()
    clock.advance(3_600)
    expect([marks.isAt(1), marks.size]).toEqual([true, 0])
  })

  it('miss none, however looks and marks of several processes interleave', async () => {
    const { store, clock } = await startTestIssuer()
    const marks = new MarkSet(store, clock)
    const expiresAt = clock.nowMilliseconds() + minute
    await Promise.all(
      Array.from({ length: 200 }, async (_, i) => {
        const event = { type: 'token.revoked', jti: `t${i}`, clientId: `c${i % 3}`, actor: 'cli:test' } as const
        await store.revokeToken({ expiresAt }, event)
        await marks.refresh()
        expect(marks.ends({ jti: `t${i}` })).toBe('jti')
      }),
    )
    expect(marks.size).toBe(200)
  })

  it('are never empty for somebody who looks while they are read anew', async () => {
    const store = toyStore()
    const marks = new MarkSet(store, new ManualClock(0))
    for (const id of ['a', 'b']) store.add({ kind: 'jti', id, expiresAt: minute })
    await marks.refresh()
    store.rewind(1)
    const pending = marks.refresh()
    for (let turn = 0; turn < 5; turn += 1) {
      expect(marks.ends({ jti: 'a' })).toBe('jti')
      await Promise.resolve()
    }
    await pending
    expect(marks.ends({ jti: 'a' })).toBe('jti')
  })
})
