/**
 * Where time comes from. Everything that needs the time takes a `Clock`, so that a test can freeze it.
 */
export interface Clock {
  /** Wall time, milliseconds since the epoch. May step in either direction. */
  nowMilliseconds(): number
  /** Milliseconds on a clock that only moves forward; its zero means nothing. For deadlines and durations. */
  monotonicMilliseconds(): number
}

/** The machine's clocks. */
export const systemClock: Clock = {
  nowMilliseconds: () => Date.now(),
  monotonicMilliseconds: () => performance.now(),
}

/** Whole seconds since the epoch, rounded down (RFC 7519 section 2, NumericDate without fractions). */
export function nowSeconds(clock: Clock): number {
  return Math.floor(clock.nowMilliseconds() / 1000)
}

/** RFC 3339 in UTC, to the millisecond. */
export function formatTimestamp(milliseconds: number): string {
  return new Date(milliseconds).toISOString()
}
