/**
 * Counts by key, each in windows that begin with the first thing counted. rate-limiter-flexible keeps the numbers; when a
 * window is over is told by our own clock, for that library goes by the machine's and holds a timer for each key, and how
 * many keys there are is bounded, for strangers choose them: the ones not seen for longest go.
 *
 *   up to the limit         counted
 *   above                   counted too, and full until the window is over
 *   above twice the limit   the next window is full from its start: whoever goes on regardless does not get another
 *                           allowance each minute, and whoever stops is let in again after one window
 */
import { createRequire } from 'node:module'
import { LRUCache } from 'lru-cache'
import type { Clock } from '../lib/clock.ts'

// The package's index loads its clients for twenty databases, which takes as long as a fifth of a start.
const RateLimiterMemory = createRequire(import.meta.url)(
  'rate-limiter-flexible/lib/RateLimiterMemory.js',
) as typeof import('rate-limiter-flexible').RateLimiterMemory

export interface WindowLimits {
  /** How many a window takes. */
  readonly limit: number
  readonly windowSeconds: number
  /** Keys counted apart. */
  readonly maxKeys: number
}

/** What stands under a key. */
export interface Count {
  readonly used: number
  /** Whether the next one is too many. */
  readonly isFull: boolean
  /** Until the window is over, rounded up; that of a fresh window when there is none. */
  readonly resetSeconds: number
}

interface Window {
  /** On the monotonic clock, so that a step of wall time opens nothing. */
  readonly startedAt: number
  readonly isCarried: boolean
  /** What was last seen to stand there. */
  used: number
}

export class WindowCounters {
  readonly #clock: Clock
  readonly #limits: WindowLimits
  readonly #windowMilliseconds: number
  // Its expiry is off: a key lives as long as its window below.
  readonly #numbers: InstanceType<typeof RateLimiterMemory>
  readonly #windows: LRUCache<string, Window>

  constructor(clock: Clock, limits: WindowLimits) {
    this.#clock = clock
    this.#limits = limits
    this.#windowMilliseconds = limits.windowSeconds * 1000
    this.#numbers = new RateLimiterMemory({ points: limits.limit, duration: 0, keyPrefix: '' })
    this.#windows = new LRUCache({
      max: limits.maxKeys,
      dispose: (_, key, reason) => {
        if (reason !== 'set') void this.#numbers.delete(key)
      },
    })
  }

  /** How many keys are held. */
  get size(): number {
    return this.#windows.size
  }

  get limit(): number {
    return this.#limits.limit
  }

  get windowSeconds(): number {
    return this.#limits.windowSeconds
  }

  /** What stands under a key at the moment of the call. */
  async look(key: string): Promise<Count> {
    const window = this.#windowOf(key)
    if (window === undefined) return this.#toCount(0, undefined)
    const number = await this.#numbers.get(key)
    return this.#toCount(number?.consumedPoints ?? 0, window)
  }

  /** Counts one, at the moment of the call, and tells what stands there with it. */
  async add(key: string): Promise<Count> {
    const window = this.#windowOf(key) ?? this.#open(key, this.#clock.monotonicMilliseconds(), false)
    const { consumedPoints } = await this.#numbers.penalty(key)
    window.used = consumedPoints
    return this.#toCount(consumedPoints, window)
  }

  /** Whether a key was full when something was last added to it, without waiting for the answer. */
  wasFull(key: string): boolean {
    const window = this.#windowOf(key)
    return window !== undefined && (window.isCarried || window.used >= this.#limits.limit)
  }

  /** Takes one back that should not have counted. */
  async takeBack(key: string): Promise<void> {
    const window = this.#windowOf(key)
    if (window === undefined || window.used === 0) return
    const { consumedPoints } = await this.#numbers.reward(key)
    window.used = consumedPoints
  }

  #windowOf(key: string): Window | undefined {
    const window = this.#windows.get(key)
    if (window === undefined) return undefined
    const age = this.#clock.monotonicMilliseconds() - window.startedAt
    if (age < this.#windowMilliseconds) return window
    this.#windows.delete(key)
    if (window.used <= 2 * this.#limits.limit || age >= 2 * this.#windowMilliseconds) return undefined
    return this.#open(key, window.startedAt + this.#windowMilliseconds, true)
  }

  #open(key: string, startedAt: number, isCarried: boolean): Window {
    const window = { startedAt, isCarried, used: 0 }
    this.#windows.set(key, window)
    return window
  }

  #toCount(used: number, window: Window | undefined): Count {
    const startedAt = window?.startedAt ?? this.#clock.monotonicMilliseconds()
    const left = startedAt + this.#windowMilliseconds - this.#clock.monotonicMilliseconds()
    return {
      used,
      isFull: used >= this.#limits.limit || window?.isCarried === true,
      resetSeconds: Math.max(1, Math.ceil(left / 1000)),
    }
  }
}
