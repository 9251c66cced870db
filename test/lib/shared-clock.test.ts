import { describe, expect, it } from 'vitest'
import { SharedClock } from '../../src/lib/shared-clock.ts'
import { ManualClock } from '../support/clock.ts'

const noon = Date.UTC(2026, 0, 2, 12)

/** A clock that is right, and what is heard of it. */
function start() {
  const own = new ManualClock(noon)
  const turns: (number | undefined)[] = []
  const clock = new SharedClock(own, (offset) => turns.push(offset))
  let offset = 0
  /** The store answers after so many milliseconds, when its own clock shows `offset` less than ours did at the start. */
  const ask = (takesMilliseconds = 0) => {
    const at = own.nowMilliseconds() - offset
    const startedAt = own.monotonicMilliseconds()
    own.advance(takesMilliseconds / 1000)
    clock.note(at + takesMilliseconds / 2, startedAt, own.monotonicMilliseconds())
  }
  const step = (seconds: number) => {
    own.step(seconds)
    offset += seconds * 1000
  }
  return { own, clock, turns, ask, step }
}

describe('a clock that is held against the store', () => {
  it('is believed before anybody has told what time it is', () => {
    const { own, clock } = start()
    own.step(3600)
    expect([clock.nowMilliseconds(), clock.isOff, clock.offsetMilliseconds]).toEqual([noon + 3_600_000, false, 0])
  })

  it.each([2, -2])('is believed when it is off by %d s, and no further', (seconds) => {
    const { own, clock, ask, step } = start()
    step(seconds)
    ask()
    expect([clock.nowMilliseconds(), clock.isOff]).toEqual([own.nowMilliseconds(), false])
    expect(clock.offsetMilliseconds).toBe(seconds * 1000)
    step(Math.sign(seconds) / 1000)
    ask()
    expect([clock.nowMilliseconds(), clock.isOff]).toEqual([noon, true])
  })

  it.each([90, -90])(
    'F15 is not believed from the moment that it is set wrong by %d s, before the store is asked again',
    (seconds) => {
      const { own, clock, ask, step } = start()
      ask()
      own.advance(0.05)
      step(seconds)
      expect([clock.nowMilliseconds(), clock.isOff]).toEqual([noon + 50, true])
      own.advance(7)
      expect(clock.nowMilliseconds()).toBe(noon + 7_050)
      expect(clock.monotonicMilliseconds()).toBe(own.monotonicMilliseconds())
      step(-seconds)
      expect([clock.nowMilliseconds(), clock.isOff]).toEqual([own.nowMilliseconds(), false])
    },
  )

  it.each([1, -1])('does not come and go with every look when it is two seconds off: %d', (way) => {
    const { clock, turns, ask, step } = start()
    step(way * 1.998)
    for (let i = 0; i < 10; i += 1) {
      step(way * (i % 2 === 0 ? 0.004 : -0.004))
      ask()
      expect([i, clock.isOff]).toEqual([i, true])
    }
    expect(turns).toEqual([way * 2_002])
  })

  it.each([1, -1])('is believed again within a second and a half, and no further off: %d', (way) => {
    const { own, clock, turns, ask, step } = start()
    step(way * 1.501)
    ask()
    expect(clock.isOff).toBe(false)
    step(way * 0.5)
    ask()
    step(way * -0.5)
    ask()
    expect([clock.nowMilliseconds(), clock.isOff]).toEqual([noon, true])
    step(way * -0.001)
    expect([clock.nowMilliseconds(), clock.isOff]).toEqual([own.nowMilliseconds(), false])
    ask()
    expect(turns).toEqual([way * 2_001, undefined])
    // And as long as it is not further off than two seconds.
    step(way * 0.5)
    ask()
    expect(clock.isOff).toBe(false)
  })

  it('is not believed again for an answer that took long, which may hide as much', () => {
    const { own, clock } = start()
    clock.note(noon - 2_400, 0, 0)
    expect(clock.isOff).toBe(true)
    // The store's clock was set: what it said before agrees no more.
    own.advance(2)
    const now = own.nowMilliseconds()
    clock.note(now - 2_000, 0, 2_000)
    expect([clock.offsetMilliseconds, clock.isOff]).toEqual([0, true])
    clock.note(now - 1_400, 1_800, 2_000)
    expect(clock.isOff).toBe(false)
  })

  it('says once that it is off, by how much, and once that it is right again', () => {
    const { turns, ask, step } = start()
    ask()
    step(90)
    ask()
    ask()
    step(-90)
    ask()
    ask()
    step(-3)
    ask()
    expect(turns).toEqual([90_000, undefined, -3_000])
  })

  it('is not blamed for an answer that took long, by as much as nobody can know', () => {
    const { own, clock } = start()
    // Asked at 0, answered at 6 s: the store may have looked at its clock at the start, or at the end.
    own.advance(6)
    for (const lookedAt of [0, 3, 6]) {
      clock.note(noon + lookedAt * 1000, 0, 6_000)
      expect([lookedAt, clock.isOff]).toEqual([lookedAt, false])
    }
    clock.note(noon - 2_001, 0, 6_000)
    expect(clock.isOff).toBe(true)
    expect(clock.offsetMilliseconds).toBe(2_001)
  })

  it.each([90, -90])('is not believed by who was paused for an hour while he asked: %d s off', (seconds) => {
    const { own, clock, ask, step } = start()
    ask(2)
    step(seconds)
    ask(3_600_000)
    expect([clock.nowMilliseconds(), clock.isOff]).toEqual([own.nowMilliseconds() - seconds * 1000, true])
  })

  it('is held against the coarser answer where the finer one cannot be right any more: the store’s clock was set, or we slept', () => {
    const { own, clock, ask, step } = start()
    ask(2)
    // Sleep that monotonic time has not counted.
    own.step(3600)
    ask(200)
    expect([clock.nowMilliseconds(), clock.isOff]).toEqual([own.nowMilliseconds(), false])
    step(90)
    ask(200)
    expect(clock.isOff).toBe(true)
  })

  it('shows whole milliseconds, whatever the store has shown', () => {
    const { own, clock } = start()
    clock.note(noon + 90_000.7, 0, 0)
    expect(clock.nowMilliseconds()).toBe(noon + 90_000)
    own.advance(0.0005)
    expect(Number.isInteger(clock.nowMilliseconds())).toBe(true)
  })
})
