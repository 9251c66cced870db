import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { RingClock, type RingMark } from '../../src/key/ring-clock.ts'
import { ManualClock } from '../support/server.ts'

const start = Date.UTC(2026, 0, 2, 3, 4, 5)
const fresh: RingMark = { highWater: 0, running: 0, resets: 0 }
const hour = 3600

function startAt(mark: Partial<RingMark> = {}) {
  const clock = new ManualClock(start)
  return { clock, ring: new RingClock(clock, { ...fresh, ...mark }) }
}

describe('the calendar', () => {
  it('is the wall clock, while that is right', () => {
    const { clock, ring } = startAt({ highWater: start - hour * 1000 })
    expect(ring.moment()).toEqual({ now: start, running: 0, wall: start, resets: 0 })
    clock.advance(hour)
    expect(ring.moment()).toMatchObject({ now: start + hour * 1000, wall: start + hour * 1000 })
  })

  it.each([hour, -hour])(
    'begins at the mark while its wall clock is known to be wrong, and believes it once it is right: %d s',
    (ahead) => {
      const clock = new ManualClock(start)
      let isWrong = true
      clock.step(ahead)
      const ring = new RingClock(clock, { ...fresh, highWater: start - 1000 }, () => isWrong)
      clock.advance(1)
      expect(ring.mark().highWater).toBeLessThanOrEqual(start)
      expect(ring.mark().highWater).toBeGreaterThanOrEqual(start - 1000)
      clock.step(-ahead)
      isWrong = false
      expect(ring.moment()).toMatchObject({ now: start + 1000, wall: start + 1000 })
      // Once alone: from now on it goes no faster than time does.
      clock.step(hour)
      clock.advance(1)
      expect(ring.moment().now).toBe(start + 2000)
    },
  )

  it('never goes back: it stands still until the wall clock has caught up', () => {
    const { clock, ring } = startAt()
    clock.advance(hour)
    expect(ring.moment().now).toBe(start + hour * 1000)
    clock.step(-hour)
    expect(ring.moment().now).toBe(start + hour * 1000)
    clock.advance(hour - 1)
    expect(ring.moment().now).toBe(start + hour * 1000)
    clock.advance(2)
    expect(ring.moment().now).toBe(start + hour * 1000 + 1000)
  })

  it('begins at the mark when the wall clock of a start is behind it, and stands still', () => {
    const { clock, ring } = startAt({ highWater: start + hour * 1000 })
    expect(ring.moment()).toMatchObject({ now: start + hour * 1000, wall: start })
    clock.advance(hour / 2)
    expect(ring.moment().now).toBe(start + hour * 1000)
  })

  it('believes the wall clock of a start that is ahead of the mark, however far', () => {
    expect(startAt({ highWater: 1 }).ring.moment().now).toBe(start)
  })

  it('does not follow a wall clock that jumps ahead while the process runs, and shows the difference', () => {
    const { clock, ring } = startAt()
    clock.step(30 * 24 * hour)
    clock.advance(10)
    expect(ring.moment()).toMatchObject({ now: start + 10_000, wall: start + (30 * 24 * hour + 10) * 1000 })
  })

  it('is right again at once when the wall clock comes back from a jump', () => {
    const { clock, ring } = startAt()
    for (const seconds of [hour, -hour]) {
      clock.step(seconds)
      clock.advance(10)
    }
    expect(ring.moment().now).toBe(start + 20_000)
  })
})

describe('running time', () => {
  it('goes on where it was stored, by the monotonic clock alone', () => {
    const { clock, ring } = startAt({ running: 7000 })
    clock.step(-hour)
    clock.advance(3)
    clock.step(hour * 9)
    expect(ring.moment().running).toBe(10_000)
    expect(ring.mark()).toMatchObject({ running: 10_000 })
  })

  it('takes over what another process has counted further, and nothing less', () => {
    const { clock, ring } = startAt()
    ring.adopt({ ...fresh, running: 60_000 })
    clock.advance(1)
    ring.adopt({ ...fresh, running: 59_000 })
    expect(ring.moment().running).toBe(61_000)
  })

  it('is counted anew from what is stored when the ring has changed', () => {
    const { clock, ring } = startAt()
    clock.advance(29)
    ring.recount({ ...fresh, running: 5000 })
    expect(ring.moment().running).toBe(5000)
    clock.advance(1)
    expect(ring.moment().running).toBe(6000)
  })
})

describe('a mark of another process', () => {
  it('takes the calendar ahead, and it goes on from there no faster than time', () => {
    const { clock, ring } = startAt()
    clock.step(hour)
    ring.adopt({ ...fresh, highWater: start + 1000 * 1000 })
    expect(ring.moment().now).toBe(start + 1000 * 1000)
    clock.advance(10)
    expect(ring.moment().now).toBe(start + 1010 * 1000)
  })

  it('does not take the calendar back', () => {
    const { ring } = startAt()
    ring.adopt({ ...fresh, highWater: start - 1 })
    expect(ring.moment().now).toBe(start)
  })

  it('sets the calendar back when somebody has reset it meanwhile, once', () => {
    const { clock, ring } = startAt({ highWater: start + 365 * 24 * hour * 1000 })
    ring.adopt({ highWater: start, running: 0, resets: 1 })
    expect(ring.moment()).toMatchObject({ now: start, resets: 1 })
    clock.advance(60)
    ring.adopt({ highWater: start, running: 0, resets: 1 })
    expect(ring.mark()).toEqual({ highWater: start + 60_000, running: 60_000, resets: 1 })
  })

  it('does not undo a reset when it is of before it', () => {
    const { ring } = startAt({ highWater: start + hour * 1000 })
    ring.adopt({ highWater: start, running: 0, resets: 1 })
    ring.adopt({ highWater: start + hour * 1000, running: 5, resets: 0 })
    expect(ring.moment()).toEqual({ now: start, running: 5, wall: start, resets: 1 })
  })
})

const run = { seed: 20_260_102, numRuns: 1_000 }
const seconds = fc.integer({ min: 0, max: 400 * 24 * hour })
const acts = fc.array(
  fc.oneof(
    fc.record({ kind: fc.constant('advance' as const), by: seconds }),
    fc.record({
      kind: fc.constant('step' as const),
      by: fc.integer({ min: -4000 * 24 * hour, max: 4000 * 24 * hour }),
    }),
    fc.record({ kind: fc.constant('restart' as const), which: fc.nat(2), isStored: fc.boolean() }),
    fc.record({ kind: fc.constant('store' as const), which: fc.nat(2) }),
  ),
  { maxLength: 40 },
)

/** Several processes on one mark, which is stored as a maximum. */
class Processes {
  readonly clock = new ManualClock(start)
  readonly rings = [0, 1, 2].map(() => new RingClock(this.clock, fresh))
  mark = fresh

  apply(act: { kind: string; by?: number; which?: number; isStored?: boolean }): void {
    if (act.kind === 'advance') this.clock.advance(act.by ?? 0)
    if (act.kind === 'step') this.clock.step(act.by ?? 0)
    if (act.kind === 'store' || act.isStored === true) this.store(act.which ?? 0)
    if (act.kind === 'restart') this.rings[act.which ?? 0] = new RingClock(this.clock, this.mark)
  }

  store(which: number): void {
    const mark = this.rings[which]?.mark() ?? fresh
    const { highWater, running } = this.mark
    this.mark = { highWater: Math.max(highWater, mark.highWater), running: Math.max(running, mark.running), resets: 0 }
    this.rings[which]?.adopt(this.mark)
  }
}

describe('whatever the clocks of the machine do', () => {
  it('the running time of all processes together is never more than the time that passed', () => {
    fc.assert(
      fc.property(acts, (all) => {
        const processes = new Processes()
        for (const act of all) {
          processes.apply(act)
          const passed = processes.clock.monotonicMilliseconds()
          for (const ring of processes.rings) expect(ring.moment().running).toBeLessThanOrEqual(passed)
        }
      }),
      run,
    )
  })

  it('neither the stored calendar nor the stored running time goes back', () => {
    fc.assert(
      fc.property(acts, (all) => {
        const processes = new Processes()
        for (const act of all) {
          const before = processes.mark
          processes.apply(act)
          expect(processes.mark.highWater).toBeGreaterThanOrEqual(before.highWater)
          expect(processes.mark.running).toBeGreaterThanOrEqual(before.running)
        }
      }),
      run,
    )
  })

  it('the calendar of a process never goes back, and is never later than its start and the time since', () => {
    fc.assert(
      fc.property(acts, fc.nat(4000 * 24 * hour), (all, ahead) => {
        const clock = new ManualClock(start)
        const ring = new RingClock(clock, { ...fresh, highWater: start + (ahead - 2000 * 24 * hour) * 1000 })
        const first = ring.moment().now
        let last = first
        for (const act of all) {
          if (act.kind === 'advance') clock.advance(act.by)
          if (act.kind === 'step') clock.step(act.by)
          const { now } = ring.moment()
          expect(now).toBeGreaterThanOrEqual(last)
          expect(now).toBeLessThanOrEqual(first + clock.monotonicMilliseconds())
          expect(now <= Math.max(last, clock.nowMilliseconds())).toBe(true)
          last = now
        }
      }),
      run,
    )
  })
})
