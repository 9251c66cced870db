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

/**
 * Wall time that never goes back and never stands still: for lives and windows that must neither begin again nor last longer
 * when a clock is stepped. Where wall time falls behind it goes on by monotonic time; where wall time jumps ahead it follows,
 * for a machine that slept has counted no monotonic time. It follows no wall time that is known to be wrong: that of a
 * database whose clock was stepped and set right again would stay with whoever looked meanwhile, and nobody else.
 */
export class SteadyClock implements Clock {
  readonly #clock: Clock
  readonly #isWrong: () => boolean
  #last: { readonly at: number; readonly monotonic: number }

  /** `start`: the latest moment that is known to have been, milliseconds since the epoch. `isWrong`: whether wall time is. */
  constructor(clock: Clock, start: number, isWrong: () => boolean = () => false) {
    this.#clock = clock
    this.#isWrong = isWrong
    const at = isWrong() ? start : Math.max(start, clock.nowMilliseconds())
    this.#last = { at, monotonic: clock.monotonicMilliseconds() }
  }

  nowMilliseconds(): number {
    const monotonic = this.#clock.monotonicMilliseconds()
    const went = this.#last.at + monotonic - this.#last.monotonic
    const at = this.#isWrong() ? went : Math.max(went, this.#clock.nowMilliseconds())
    this.#last = { at, monotonic }
    return Math.floor(this.#last.at)
  }

  monotonicMilliseconds(): number {
    return this.#clock.monotonicMilliseconds()
  }

  /** Goes on from a later moment that is known to have been. */
  adopt(moment: number): void {
    this.nowMilliseconds()
    this.#last = { ...this.#last, at: Math.max(this.#last.at, moment) }
  }
}

/** Whole seconds since the epoch, rounded down (RFC 7519 section 2, NumericDate without fractions). */
export function nowSeconds(clock: Clock): number {
  return Math.floor(clock.nowMilliseconds() / 1000)
}

/** RFC 3339 in UTC, to the millisecond. */
export function formatTimestamp(milliseconds: number): string {
  return new Date(milliseconds).toISOString()
}
