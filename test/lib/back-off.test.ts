import { describe, expect, it } from 'vitest'
import { BackOff } from '../../src/lib/back-off.ts'
import { ManualClock } from '../support/clock.ts'

const limits = { firstMilliseconds: 200, mostMilliseconds: 3_000, livedWellMilliseconds: 60_000 }

function start() {
  const clock = new ManualClock()
  return { clock, backOff: new BackOff(clock, limits) }
}

describe('a back-off', () => {
  it('doubles up to its cap while what it is for never lives', () => {
    const { backOff } = start()
    expect(Array.from({ length: 7 }, () => backOff.noteEnd())).toEqual([200, 400, 800, 1_600, 3_000, 3_000, 3_000])
  })

  it('goes on doubling over lives that were too short, and begins anew after one that was not', () => {
    const { clock, backOff } = start()
    const live = (seconds: number): number => {
      backOff.noteBirth()
      clock.advance(seconds)
      return backOff.noteEnd()
    }
    expect([live(1), live(59.9), live(0), live(60), live(1)]).toEqual([200, 400, 800, 200, 400])
  })

  it('takes no step of wall time for a life', () => {
    const { clock, backOff } = start()
    backOff.noteEnd()
    backOff.noteBirth()
    clock.step(3_600)
    expect(backOff.noteEnd()).toBe(400)
  })

  it('counts no life for an end without a birth', () => {
    const { clock, backOff } = start()
    backOff.noteBirth()
    clock.advance(100)
    expect([backOff.noteEnd(), backOff.noteEnd()]).toEqual([200, 400])
  })
})
