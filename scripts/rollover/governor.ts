/**
 * Slows time down while the machine is busy. What takes 100 ms takes 24 s of a time that runs 240 times faster; a request
 * must still take little of the time between two rotations, or the run would measure the machine.
 */

import type { TimeKeeper } from './fast-clock.ts'
import { rules } from './plan.ts'

const everyMilliseconds = 300
const remembered = 40
/** How many requests, one after the other, must fit between two rotations. */
const requestsPerInterval = 25
const leastSpeed = 5
const acceleration = 1.1

export class Governor {
  readonly #time: TimeKeeper
  readonly #mostSpeed: number
  readonly #latencies: number[] = []
  #timer: NodeJS.Timeout | undefined
  #due = 0
  /** The least speed that there was. */
  least = Number.POSITIVE_INFINITY

  constructor(time: TimeKeeper, mostSpeed: number) {
    this.#time = time
    this.#mostSpeed = mostSpeed
  }

  start(): void {
    this.#due = performance.now() + everyMilliseconds
    this.#timer = setInterval(() => this.#adjust(), everyMilliseconds)
  }

  stop(): void {
    clearInterval(this.#timer)
  }

  /** Notes how long a request took, in milliseconds of the machine. */
  note(latency: number): void {
    this.#latencies.push(latency)
    if (this.#latencies.length > remembered) this.#latencies.shift()
  }

  #adjust(): void {
    const lag = performance.now() - this.#due
    this.#due = performance.now() + everyMilliseconds
    const sorted = this.#latencies.toSorted((a, b) => a - b)
    const usual = sorted[Math.floor(sorted.length * 0.8)] ?? 1
    const bearable = (rules.intervalSeconds * 1000) / (requestsPerInterval * Math.max(1, usual, lag))
    const wanted = Math.max(leastSpeed, Math.min(this.#mostSpeed, bearable))
    this.#time.setSpeed(Math.min(wanted, this.#time.speed * acceleration))
    this.least = Math.min(this.least, this.#time.speed)
  }
}
