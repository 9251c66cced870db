import type { Clock } from './clock.ts'

export interface BackOffLimits {
  readonly firstMilliseconds: number
  readonly mostMilliseconds: number
  /** Whoever has lived so long begins anew. */
  readonly livedWellMilliseconds: number
}

/** How long to wait before something is begun again: twice as long after each short life, up to a cap. */
export class BackOff {
  readonly #clock: Clock
  readonly #limits: BackOffLimits
  #next: number
  #bornAt: number | undefined

  constructor(clock: Clock, limits: BackOffLimits) {
    this.#clock = clock
    this.#limits = limits
    this.#next = limits.firstMilliseconds
  }

  /** It lives now. */
  noteBirth(): void {
    this.#bornAt = this.#clock.monotonicMilliseconds()
  }

  /** It is over, or never lived. @returns how many milliseconds to wait */
  noteEnd(): number {
    const { firstMilliseconds, mostMilliseconds, livedWellMilliseconds } = this.#limits
    const lived = this.#bornAt === undefined ? 0 : this.#clock.monotonicMilliseconds() - this.#bornAt
    this.#bornAt = undefined
    if (lived >= livedWellMilliseconds) this.#next = firstMilliseconds
    const wait = this.#next
    this.#next = Math.min(2 * wait, mostMilliseconds)
    return wait
  }
}
