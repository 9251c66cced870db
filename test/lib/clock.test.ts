import { describe, expect, it } from 'vitest'
import { SteadyClock } from '../../src/lib/clock.ts'
import { ManualClock } from '../support/clock.ts'

const second = 1_000

describe('a steady clock', () => {
  it('goes on when wall time steps back, and neither back nor slower', () => {
    const clock = new ManualClock()
    const steady = new SteadyClock(clock, 0)
    const start = steady.nowMilliseconds()
    clock.advance(10)
    clock.step(-3_600)
    expect(steady.nowMilliseconds()).toBe(start + 10 * second)
    clock.advance(10)
    expect(steady.nowMilliseconds()).toBe(start + 20 * second)
  })

  it('follows wall time that steps ahead, and does not come back with it', () => {
    const clock = new ManualClock()
    const steady = new SteadyClock(clock, 0)
    const start = steady.nowMilliseconds()
    clock.step(3_600)
    expect(steady.nowMilliseconds()).toBe(start + 3_600 * second)
    clock.step(-3_600)
    expect(steady.nowMilliseconds()).toBe(start + 3_600 * second)
  })

  it('goes on from the latest moment that it is told of, at its start and later, and from no earlier one', () => {
    const clock = new ManualClock()
    const wall = clock.nowMilliseconds()
    const steady = new SteadyClock(clock, wall + 60 * second)
    expect(steady.nowMilliseconds()).toBe(wall + 60 * second)
    steady.adopt(wall + 90 * second)
    steady.adopt(wall)
    clock.advance(1)
    expect(steady.nowMilliseconds()).toBe(wall + 91 * second)
  })

  it('follows no wall time that is known to be wrong, and follows it when it is right', () => {
    const clock = new ManualClock()
    let isWrong = false
    const steady = new SteadyClock(clock, 0, () => isWrong)
    const start = steady.nowMilliseconds()
    isWrong = true
    clock.step(90)
    clock.advance(10)
    expect(steady.nowMilliseconds()).toBe(start + 10 * second)
    clock.step(-90)
    isWrong = false
    expect(steady.nowMilliseconds()).toBe(start + 10 * second)
    clock.step(90)
    expect(steady.nowMilliseconds()).toBe(start + 100 * second)
  })

  it('begins at no wall time that is known to be wrong', () => {
    const clock = new ManualClock()
    const right = clock.nowMilliseconds()
    let isWrong = true
    clock.step(3_600)
    const steady = new SteadyClock(clock, right - 10 * second, () => isWrong)
    expect(steady.nowMilliseconds()).toBe(right - 10 * second)
    clock.step(-3_600)
    isWrong = false
    expect(steady.nowMilliseconds()).toBe(right)
  })
})
