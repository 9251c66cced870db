import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { WindowCounters } from '../../src/http/window-counters.ts'
import { ManualClock } from '../support/clock.ts'

function start(limits = {}) {
  const clock = new ManualClock()
  return { clock, counters: new WindowCounters(clock, { limit: 3, windowSeconds: 60, maxKeys: 10, ...limits }) }
}

async function addMany(counters: WindowCounters, key: string, count: number): Promise<void> {
  for (let i = 0; i < count; i += 1) await counters.add(key)
}

describe('counts in windows', () => {
  it('are full at the limit, and count on', async () => {
    const { counters } = start()
    expect(await counters.look('a')).toEqual({ used: 0, isFull: false, resetSeconds: 60 })
    await addMany(counters, 'a', 2)
    expect(await counters.look('a')).toMatchObject({ used: 2, isFull: false })
    expect(await counters.add('a')).toMatchObject({ used: 3, isFull: true })
    expect(await counters.add('a')).toMatchObject({ used: 4, isFull: true })
    expect(await counters.look('b')).toMatchObject({ used: 0, isFull: false })
  })

  it('begin with the first that is counted, and end after the window', async () => {
    const { clock, counters } = start()
    clock.advance(1_000)
    await addMany(counters, 'a', 3)
    clock.advance(59.5)
    expect(await counters.look('a')).toEqual({ used: 3, isFull: true, resetSeconds: 1 })
    clock.advance(0.5)
    expect(await counters.look('a')).toEqual({ used: 0, isFull: false, resetSeconds: 60 })
    expect(counters.size).toBe(0)
  })

  it('are not opened by a step of the wall clock', async () => {
    const { clock, counters } = start()
    await addMany(counters, 'a', 3)
    clock.step(3_600)
    expect(await counters.look('a')).toMatchObject({ isFull: true, resetSeconds: 60 })
    clock.step(-7_200)
    expect(await counters.look('a')).toMatchObject({ isFull: true, resetSeconds: 60 })
  })

  it('are full from the start of a window when the last one had more than twice the limit', async () => {
    const { clock, counters } = start()
    await addMany(counters, 'a', 7)
    await addMany(counters, 'b', 6)
    clock.advance(60)
    expect(await counters.look('a')).toEqual({ used: 0, isFull: true, resetSeconds: 60 })
    expect(await counters.look('b')).toMatchObject({ isFull: false })
    clock.advance(60)
    expect(await counters.look('a')).toMatchObject({ used: 0, isFull: false })
  })

  it('stay full for as long as somebody goes on regardless, and open one window after he stops', async () => {
    const { clock, counters } = start()
    for (let minute = 0; minute < 5; minute += 1) {
      expect(await counters.look('a')).toMatchObject({ isFull: minute > 0 })
      await addMany(counters, 'a', 10)
      clock.advance(60)
    }
    expect(await counters.look('a')).toMatchObject({ isFull: true })
    clock.advance(60)
    expect(await counters.look('a')).toMatchObject({ isFull: false })
  })

  it('forget what nobody has been at for two windows', async () => {
    const { clock, counters } = start()
    await addMany(counters, 'a', 100)
    clock.advance(120)
    expect(await counters.look('a')).toMatchObject({ used: 0, isFull: false })
  })

  it('take back what should not have counted, and never more than was counted', async () => {
    const { counters } = start()
    await counters.takeBack('a')
    await counters.add('a')
    await counters.takeBack('a')
    await counters.takeBack('a')
    expect(await counters.look('a')).toMatchObject({ used: 0 })
  })

  it('C11 keep a bounded number of keys: the one not seen for longest goes', async () => {
    const { counters } = start()
    await addMany(counters, 'first', 3)
    for (let i = 0; i < 9; i += 1) await counters.add(`other ${i}`)
    await counters.look('first')
    for (let i = 0; i < 1_000; i += 1) {
      await counters.add(`stranger ${i}`)
      await counters.look('first')
    }
    expect(counters.size).toBe(10)
    expect(await counters.look('first')).toMatchObject({ used: 3, isFull: true })
    expect(await counters.look('other 0')).toMatchObject({ used: 0 })
    expect(await counters.add('other 0')).toMatchObject({ used: 1 })
  })

  it('hold no timer, which would keep a process from ending', async () => {
    const { counters } = start()
    const before = process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length
    for (let i = 0; i < 100; i += 1) await counters.add(String(i))
    expect(process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length).toBe(before)
  })

  it('let through exactly so many of any number at a time', async () => {
    const { counters } = start({ limit: 100 })
    const counts = await Promise.all(Array.from({ length: 500 }, () => counters.add('a')))
    expect(counts.filter(({ used }) => used <= 100)).toHaveLength(100)
  })

  it('never refuse before the limit, whatever the times (seed 20261201)', async () => {
    const step = fc.record({ key: fc.constantFrom('a', 'b'), seconds: fc.nat(40) })
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 60 }), async (steps) => {
        const { clock, counters } = start()
        const times: Record<string, number[]> = { a: [], b: [] }
        for (const { key, seconds } of steps) {
          clock.advance(seconds)
          const now = clock.monotonicMilliseconds()
          const { isFull } = await counters.look(key)
          // Somebody who is refused has tried more often than the limit in this window or the one before.
          const lately = times[key]?.filter((at) => now - at < 120_000) ?? []
          if (isFull) expect(lately.length).toBeGreaterThanOrEqual(3)
          times[key]?.push(now)
          await counters.add(key)
        }
      }),
      { seed: 20_261_201, numRuns: 200 },
    )
  })
})
