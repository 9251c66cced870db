/**
 * Compressed time: a clock that runs `speed` times faster than the machine's. All processes of a run count from one
 * origin on CLOCK_MONOTONIC, which they share, so that they agree to the microsecond whatever wall time does.
 *
 * What is compressed: everything that a calendar or a running time says, of the key ring, the tokens, the audit trail
 * and the verifiers. What is not: timers, deadlines of requests, the network, the disk. So a hiccup of 100 ms looks like
 * one of `100 ms × speed` to whoever reads this clock.
 */
import type { Clock } from '../../src/lib/clock.ts'

/** What a process must know to have the same time as the others. */
export interface Pace {
  /** `process.hrtime.bigint()` when time began, as text: it travels as JSON. */
  readonly originNanoseconds: string
  /** The wall time that it then was. */
  readonly startMilliseconds: number
  readonly speed: number
}

export function beginPace(speed: number): Pace {
  return { originNanoseconds: String(process.hrtime.bigint()), startMilliseconds: Date.now(), speed }
}

export class FastClock implements Clock {
  readonly #origin: bigint
  readonly #start: number
  readonly #speed: number

  /** @param offsetMilliseconds by how much its wall time is wrong */
  constructor({ originNanoseconds, startMilliseconds, speed }: Pace, offsetMilliseconds = 0) {
    this.#origin = BigInt(originNanoseconds)
    this.#start = startMilliseconds + offsetMilliseconds
    this.#speed = speed
  }

  nowMilliseconds(): number {
    return Math.floor(this.#start + this.monotonicMilliseconds())
  }

  monotonicMilliseconds(): number {
    return (Number(process.hrtime.bigint() - this.#origin) / 1e6) * this.#speed
  }
}

/**
 * Puts a clock in the place of the machine's for everything in this process that asks `Date` or `performance`. Libraries
 * may keep a reference when they are loaded: call it before they are imported.
 */
export function installClock(clock: Clock): void {
  const RealDate = Date
  class FastDate extends RealDate {
    constructor(...parts: unknown[]) {
      if (parts.length === 0) super(clock.nowMilliseconds())
      else super(...(parts as [number]))
    }

    static override now(): number {
      return clock.nowMilliseconds()
    }
  }
  globalThis.Date = FastDate as DateConstructor
  Object.defineProperty(performance, 'now', { value: () => clock.monotonicMilliseconds() })
}
