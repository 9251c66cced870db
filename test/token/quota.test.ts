import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { AuditEvent } from '../../src/audit/event.ts'
import { countAt, type HourlyCount, isNearQuota, restOfHourSeconds } from '../../src/token/quota.ts'
import { QuotaWatch } from '../../src/token/quota-watch.ts'
import { makeClient } from '../support/client.ts'

const hour = 3_600_000
const at = (hours: number, minutes = 0): number => hours * hour + minutes * 60_000

describe('the hour of a quota', () => {
  it.each([
    ['begins with the first token', undefined, at(10, 5), { hour: 10, issued: 0 }],
    ['goes on while it lasts', { hour: 10, issued: 7 }, at(10, 59), { hour: 10, issued: 7 }],
    ['begins anew with the next', { hour: 10, issued: 7 }, at(11), { hour: 11, issued: 0 }],
    ['goes on when the clock steps back', { hour: 10, issued: 7 }, at(9, 59), { hour: 10, issued: 7 }],
    ['goes on when it steps back a day', { hour: 34, issued: 7 }, at(10), { hour: 34, issued: 7 }],
    [
      'is left, with its count, when a wrong clock had opened it',
      { hour: 35, issued: 7 },
      at(10),
      { hour: 10, issued: 7 },
    ],
  ])('%s', (_, last, now, expected) => expect(countAt(last, now)).toEqual(expected))

  it('never has more than the quota, however the clock is stepped by less than a day (seed 20261202)', () => {
    const step = fc.integer({ min: -12 * 60, max: 12 * 60 })
    fc.assert(
      fc.property(fc.array(step, { maxLength: 200 }), (minutes) => {
        const quota = 3
        const issued = new Map<number, number>()
        let last: HourlyCount | undefined
        const start = at(1_000)
        for (const minute of minutes) {
          const count = countAt(last, start + minute * 60_000)
          if (count.issued >= quota) continue
          last = { hour: count.hour, issued: count.issued + 1 }
          issued.set(last.hour, (issued.get(last.hour) ?? 0) + 1)
        }
        for (const count of issued.values()) expect(count).toBeLessThanOrEqual(quota)
      }),
      { seed: 20_261_202 },
    )
  })

  it.each([
    [at(10), 3_600],
    [at(10) + 1, 3_600],
    [at(10) + 1_000, 3_599],
    [at(11) - 1_000, 1],
    [at(11) - 1, 1],
  ])('at %i is over in %i s', (now, seconds) => expect(restOfHourSeconds(now)).toBe(seconds))

  it('is over later when it is that of a clock that has stepped back, and never at once', () => {
    expect(restOfHourSeconds(at(10), 12)).toBe(3 * 3_600)
    for (const now of [at(11), at(11) + 1, at(12)]) expect(restOfHourSeconds(now, 10)).toBe(1)
  })

  it.each([
    [79, 100, false],
    [80, 100, true],
    [1, 1, true],
    [0, 1, false],
    [2, 3, false],
    [3, 3, true],
  ])('%i of %i tokens: people are told %s', (issued, quota, told) => expect(isNearQuota(issued, quota)).toBe(told))
})

describe('the watch on quotas', () => {
  const origin = { requestId: 'req_x', address: '192.0.2.1' } as const

  function start(readHourlyCount: () => Promise<HourlyCount>, fails = false) {
    const events: AuditEvent[] = []
    const lines: (readonly [fields: object, message: string])[] = []
    let warned = 0
    const write = (fields: object, message: string) => void lines.push([fields, message])
    const watch = new QuotaWatch({
      store: {
        readHourlyCount,
        recordRefusal: async (event) => {
          if (fails) throw new Error('no store')
          events.push(event)
        },
      },
      log: { debug: write, info: write, warn: write, error: write },
      onWarned: () => {
        warned += 1
      },
    })
    return { watch, events, lines, warned: () => warned }
  }

  it('tells of a client once an hour', async () => {
    let count: HourlyCount = { hour: 1, issued: 7 }
    const { watch, events, lines, warned } = start(async () => count)
    const note = () => watch.note(makeClient({ clientId: 'billing', tokensPerHour: 10 }), origin)
    await note()
    expect(events).toEqual([])
    count = { hour: 1, issued: 8 }
    await note()
    count = { hour: 1, issued: 9 }
    await note()
    expect(events).toEqual([{ type: 'quota.warned', clientId: 'billing', issued: 8, tokensPerHour: 10, ...origin }])
    expect(lines).toEqual([[{ client_id: 'billing', issued: 8, tokens_per_hour: 10 }, 'quota nearly used up']])
    count = { hour: 2, issued: 10 }
    await note()
    expect([events.length, warned()]).toEqual([2, 2])
  })

  it('asks nothing for a client without a quota', async () => {
    const { watch, lines } = start(() => Promise.reject(new Error('asked')))
    await watch.note(makeClient(), origin)
    expect(lines).toEqual([])
  })

  it('does not fail the request when it cannot be told', async () => {
    const client = makeClient({ tokensPerHour: 1 })
    for (const { watch, lines } of [
      start(() => Promise.reject(new Error('no store'))),
      start(async () => ({ hour: 1, issued: 1 }), true),
    ]) {
      await expect(watch.note(client, origin)).resolves.toBeUndefined()
      expect(lines.at(-1)).toEqual([
        { client_id: 'billing', err: expect.objectContaining({ message: 'no store' }) },
        'quota warning not recorded',
      ])
    }
  })
})
