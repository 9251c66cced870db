import type { Clock } from '../../src/lib/clock.ts'

/** A clock that stands still until it is moved. Both its times move together. */
export class ManualClock implements Clock {
  #now: number
  #elapsed = 0

  constructor(now = Date.UTC(2026, 0, 2, 3, 4, 5)) {
    this.#now = now
  }

  nowMilliseconds(): number {
    return this.#now
  }

  monotonicMilliseconds(): number {
    return this.#elapsed
  }

  advance(seconds: number): void {
    this.#now += seconds * 1000
    this.#elapsed += seconds * 1000
  }

  /** Moves wall time alone, as a step of the machine's clock does. */
  step(seconds: number): void {
    this.#now += seconds * 1000
  }
}
