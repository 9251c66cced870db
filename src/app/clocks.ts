/** By which time what ends, ends. */
import type { RingClock } from '../key/ring-clock.ts'
import type { Clock } from '../lib/clock.ts'

/**
 * A secret has expired when either clock says so. The calendar alone stays behind for ever on a machine that slept, for
 * monotonic time does not count sleep; wall time alone revives what had expired when it steps back.
 */
export function expiryClock(clock: Clock, ringClock: RingClock): Clock {
  return {
    nowMilliseconds: () => {
      const { now, wall } = ringClock.moment()
      return Math.max(now, wall)
    },
    monotonicMilliseconds: () => clock.monotonicMilliseconds(),
  }
}

/** What must not be forgotten too soon goes by the calendar, which does not jump ahead. */
export function calendarOf(clock: Clock, ringClock: RingClock): Clock {
  return {
    nowMilliseconds: () => ringClock.moment().now,
    monotonicMilliseconds: () => clock.monotonicMilliseconds(),
  }
}
