/**
 * Compressed time: a clock that runs faster than the machine's. A small file says how fast and from where, and every
 * process of a run reads it each time it asks, so all agree to some microseconds, one that was just paused included, and the
 * rig can slow time down for all of them when the machine is busy.
 *
 * What is compressed: everything that a calendar or a running time says, of the key ring, the tokens, the audit trail
 * and the verifiers. What is not: timers, deadlines of requests, the network, the disk. So a hiccup of 100 ms looks like
 * one of `100 ms × speed` to whoever reads this clock.
 */
import { closeSync, openSync, readSync, writeSync } from 'node:fs'
import type { Clock } from '../../src/lib/clock.ts'

/**
 * From a moment on CLOCK_MONOTONIC, which all processes share, so much time had passed and passes so fast. The moment
 * stands at both ends, so that a reader sees when it has read half of a change.
 */
interface Pace {
  readonly originNanoseconds: bigint
  readonly elapsedMilliseconds: number
  readonly speed: number
}

const bytes = 40

/** What one process reads time from. */
export class FastClock implements Clock {
  readonly #file: number
  readonly #buffer = Buffer.alloc(bytes)
  readonly #offset: number
  readonly #factor: number

  /**
   * @param path of the file that `TimeKeeper` writes
   * @param wrong by how many milliseconds its wall time is off, and by what factor all of it is too fast
   */
  constructor(path: string, { offset = 0, factor = 1 } = {}) {
    this.#file = openSync(path, 'r')
    this.#offset = offset
    this.#factor = factor
  }

  nowMilliseconds(): number {
    const { start, elapsed } = this.#read()
    return Math.floor(start + this.#offset + elapsed)
  }

  monotonicMilliseconds(): number {
    return this.#read().elapsed
  }

  /** How long it takes, in milliseconds of the machine, until so many of this clock have passed. */
  toRealMilliseconds(milliseconds: number): number {
    return milliseconds / this.#read().speed
  }

  #read(): { start: number; elapsed: number; speed: number } {
    for (;;) {
      readSync(this.#file, this.#buffer, 0, bytes, 0)
      const origin = this.#buffer.readBigInt64LE(0)
      if (origin !== this.#buffer.readBigInt64LE(32)) continue
      const speed = this.#buffer.readDoubleLE(16)
      const passed = (Number(process.hrtime.bigint() - origin) / 1e6) * speed
      const elapsed = (this.#buffer.readDoubleLE(8) + passed) * this.#factor
      return { start: this.#buffer.readDoubleLE(24), elapsed, speed }
    }
  }
}

/** The one who says how fast time runs. */
export class TimeKeeper {
  readonly #file: number
  readonly #start = Date.now()
  #pace: Pace

  constructor(path: string, speed: number) {
    this.#file = openSync(path, 'w')
    this.#pace = { originNanoseconds: process.hrtime.bigint(), elapsedMilliseconds: 0, speed }
    this.#write()
  }

  get speed(): number {
    return this.#pace.speed
  }

  /** Goes on from now at another speed. */
  setSpeed(speed: number): void {
    const { originNanoseconds: before, elapsedMilliseconds } = this.#pace
    const now = process.hrtime.bigint()
    const elapsed = elapsedMilliseconds + (Number(now - before) / 1e6) * this.#pace.speed
    this.#pace = { originNanoseconds: now, elapsedMilliseconds: elapsed, speed }
    this.#write()
  }

  close(): void {
    closeSync(this.#file)
  }

  #write(): void {
    const buffer = Buffer.alloc(bytes)
    buffer.writeBigInt64LE(this.#pace.originNanoseconds, 0)
    buffer.writeDoubleLE(this.#pace.elapsedMilliseconds, 8)
    buffer.writeDoubleLE(this.#pace.speed, 16)
    buffer.writeDoubleLE(this.#start, 24)
    buffer.writeBigInt64LE(this.#pace.originNanoseconds, 32)
    writeSync(this.#file, buffer, 0, bytes, 0)
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
