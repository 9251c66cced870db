/**
 * The two clocks of a key ring.
 *
 * The calendar says when something is due. It is wall time behind a high-water mark that is stored: it never goes
 * back, so nothing that has ended begins again, and while a process runs it moves no faster than the monotonic clock,
 * so a wall clock that jumps ahead takes nothing with it. A wall clock that is behind the mark holds it still.
 *
 * Running time says whether enough time has really passed. It counts the monotonic time of running processes, of all
 * of them together as of one, and is stored too. What needs time to pass for its safety (a key must have been published
 * long enough, a token must have died) is measured on it: a machine that slept, or that started with a wrong date, has
 * published nothing meanwhile, whatever its calendar says.
 *
 * Between two stores of the mark a process may die: then some running time is lost, which delays and never hastens.
 */
import type { Clock } from '../lib/clock.ts'

/** How far, at the most, the stored running time is behind that of a running process. */
export const saveMilliseconds = 30_000

/** What is stored of both clocks. Milliseconds. */
export interface RingMark {
  /** The latest moment that the calendar has shown, since the epoch. */
  readonly highWater: number
  /** How long processes have run on this store. */
  readonly running: number
  /** How often somebody has set the calendar back by hand. */
  readonly resets: number
}

/** A moment on both clocks. Milliseconds. */
export interface RingMoment {
  /** The calendar, since the epoch. */
  readonly now: number
  readonly running: number
  /** The machine's wall clock at that moment; behind `now` when it stepped back, ahead when it jumped. */
  readonly wall: number
  readonly resets: number
}

export class RingClock {
  readonly #clock: Clock
  #calendar: { readonly at: number; readonly monotonic: number }
  #running: { readonly at: number; readonly monotonic: number }
  readonly #isWrong: () => boolean
  /** Whether it has believed its wall clock yet. */
  #hasBegun = false
  #shown: number
  #resets: number

  /**
   * A process that starts believes its wall clock, unless the mark is already beyond it: once, and not before it is right. What
   * it showed while it was wrong would be stored, and every other process would take it over.
   *
   * @param isWrong whether wall time is known to be wrong
   */
  constructor(clock: Clock, mark: RingMark, isWrong: () => boolean = () => false) {
    const monotonic = clock.monotonicMilliseconds()
    this.#clock = clock
    this.#isWrong = isWrong
    this.#shown = mark.highWater
    this.#calendar = { at: this.#shown, monotonic }
    this.#running = { at: mark.running, monotonic }
    this.#resets = mark.resets
    this.#begin()
  }

  #begin(): void {
    if (this.#hasBegun || this.#isWrong()) return
    this.#hasBegun = true
    this.#shown = Math.max(this.#shown, this.#clock.nowMilliseconds())
    this.#calendar = { at: this.#shown, monotonic: this.#clock.monotonicMilliseconds() }
  }

  moment(): RingMoment {
    this.#begin()
    const wall = this.#clock.nowMilliseconds()
    const monotonic = this.#clock.monotonicMilliseconds()
    const bounded = Math.min(wall, this.#calendar.at + monotonic - this.#calendar.monotonic)
    this.#shown = Math.max(this.#shown, Math.floor(bounded))
    const running = Math.floor(this.#running.at + monotonic - this.#running.monotonic)
    return { now: this.#shown, running, wall, resets: this.#resets }
  }

  /** Takes over what other processes have stored, where they are further, or where somebody has set the calendar. */
  adopt(mark: RingMark): void {
    const { now, running } = this.moment()
    const monotonic = this.#clock.monotonicMilliseconds()
    const isSet = mark.resets > this.#resets
    // A mark of before a reset that this process knows of would undo it.
    if (isSet || (mark.resets === this.#resets && mark.highWater > now)) {
      this.#resets = mark.resets
      this.#shown = mark.highWater
      this.#calendar = { at: mark.highWater, monotonic }
    }
    if (mark.running > running) this.#running = { at: mark.running, monotonic }
  }

  /**
   * Takes over the stored running time even where it is less. Once another process has begun something on the ring, what
   * this one had run before and not stored must not count towards it.
   */
  recount({ running }: RingMark): void {
    this.#running = { at: running, monotonic: this.#clock.monotonicMilliseconds() }
  }

  /** What to store. */
  mark(): RingMark {
    const { now, running, resets } = this.moment()
    return { highWater: now, running, resets }
  }
}
