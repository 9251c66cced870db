/**
 * Wall time as all processes on one store are to have it. What they compare (ends, windows, moments) must not depend on whose
 * clock is wrong, so the store says what time it is, every time that it is asked for anything new, and between two such
 * answers our monotonic clock tells how it goes on. A clock that is within two seconds of that counts as right, and is what
 * is used, for that is finer than any answer. One that is further off is not believed: what the store's clock must show is
 * used in its place, from the very moment that our own was set wrong, and whoever issues tokens stops until it is right:
 * within a second and a half, or a clock that is two seconds off would be right and wrong in turn, with every answer, and so
 * would whoever asks a load balancer for a node that is ready.
 *
 * An answer takes its time, and nobody knows when in between the store looked at its clock. So much is left in doubt: a
 * clock is off when that is certain, and right again when that is. Of two answers that agree the finer one goes on to count: a process that was paused for an hour while it
 * asked would else believe a clock that is half an hour off.
 */
import type { Clock } from './clock.ts'

/** How far the clocks of processes on one store may differ. */
export const toleratedOffsetMilliseconds = 2_000
/** How near one must be again that was further off. */
export const regainedOffsetMilliseconds = 1_500

/** What the store's clock showed. */
interface Told {
  readonly at: number
  readonly monotonic: number
  /** So much sooner or later. */
  readonly doubt: number
}

export class SharedClock implements Clock {
  readonly #own: Clock
  readonly #onTurn: ((offsetMilliseconds: number | undefined) => void) | undefined
  #told: Told | undefined
  #isOff = false
  #toldOff = false

  /** `onTurn` hears how far the clock is off when it begins to be, and `undefined` when it is right again. */
  constructor(own: Clock, onTurn?: (offsetMilliseconds: number | undefined) => void) {
    this.#own = own
    this.#onTurn = onTurn
  }

  /** Takes what the store's clock showed, between two moments of our monotonic clock. Milliseconds. */
  note(at: number, startedAt: number, endedAt: number): void {
    const doubt = (endedAt - startedAt) / 2
    const told = { at, monotonic: startedAt + doubt, doubt }
    if (this.#told === undefined || !isFiner(this.#told, told)) this.#told = told
    if (this.isOff === this.#toldOff) return
    this.#toldOff = !this.#toldOff
    this.#onTurn?.(this.#toldOff ? this.offsetMilliseconds : undefined)
  }

  /** How far the own clock is ahead of the store's, as far as that is certain; below zero when it is behind. */
  get offsetMilliseconds(): number {
    const ahead = this.#ahead
    return Math.sign(ahead) * Math.max(0, Math.abs(ahead) - this.#doubt)
  }

  /** Whether nothing may be issued by this clock. It remembers what it was. */
  get isOff(): boolean {
    this.#isOff = this.#isOff
      ? Math.abs(this.#ahead) + this.#doubt > regainedOffsetMilliseconds
      : Math.abs(this.#ahead) - this.#doubt > toleratedOffsetMilliseconds
    return this.#isOff
  }

  nowMilliseconds(): number {
    return this.#told !== undefined && this.isOff ? Math.floor(this.#expected(this.#told)) : this.#own.nowMilliseconds()
  }

  monotonicMilliseconds(): number {
    return this.#own.monotonicMilliseconds()
  }

  get #doubt(): number {
    return this.#told?.doubt ?? 0
  }

  get #ahead(): number {
    return this.#told === undefined ? 0 : this.#own.nowMilliseconds() - this.#expected(this.#told)
  }

  #expected({ at, monotonic }: Told): number {
    return at + this.#own.monotonicMilliseconds() - monotonic
  }
}

// Monotonic time of two machines goes apart by less than anybody counts here, until they do not agree.
function isFiner(before: Told, told: Told): boolean {
  const apart = Math.abs(before.at + told.monotonic - before.monotonic - told.at)
  return before.doubt < told.doubt && apart <= before.doubt + told.doubt
}
