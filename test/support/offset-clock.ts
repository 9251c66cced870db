import { type Clock, systemClock } from '../../src/lib/clock.ts'

/** The machine's clock, wrong by as much as it is told. Its monotonic time is right. */
export class OffsetClock implements Clock {
  offsetSeconds = 0

  nowMilliseconds(): number {
    return systemClock.nowMilliseconds() + this.offsetSeconds * 1000
  }

  monotonicMilliseconds(): number {
    return systemClock.monotonicMilliseconds()
  }
}
