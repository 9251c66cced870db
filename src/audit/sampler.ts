/**
 * Refusals of strangers are recorded one by one up to a rate for each address, and above it counted. Whoever floods
 * the token endpoint must not be able to fill the disk; and whether a refusal is recorded must depend on the address
 * and the time alone, never on whether the client exists, or the trail's growth would tell.
 *
 * A window is a minute. The first `perAddress` refusals of an address in it are recorded, and so are the first
 * `overall` of all addresses together (whoever has a /64, or a botnet, has many). What is over is counted per address
 * and reason and written as one record when its window is closed.
 */
import type { Clock } from '../lib/clock.ts'
import type { Reason } from '../oauth/errors.ts'
import type { SampledRefusals } from './event.ts'

const windowMilliseconds = 60_000

export interface SamplerLimits {
  /** Refusals recorded one by one, per address and minute. */
  readonly perAddress: number
  /** The same for all addresses together. */
  readonly overall: number
  /** Addresses counted apart; what comes from further ones is counted under `*`. */
  readonly addresses: number
}

export const defaultSamplerLimits: SamplerLimits = { perAddress: 60, overall: 6_000, addresses: 10_000 }

/** Of processes that share a port each records its part. */
export function samplerLimitsFor(processes = 1): SamplerLimits {
  const { perAddress, overall, addresses } = defaultSamplerLimits
  return { perAddress: Math.ceil(perAddress / processes), overall: Math.ceil(overall / processes), addresses }
}

export class RefusalSampler {
  readonly #clock: Clock
  readonly #limits: SamplerLimits
  readonly #seen = new Map<string, number>()
  readonly #counted = new Map<string, Partial<Record<Reason, number>>>()
  #windowStart: number
  #overall = 0
  #closed: SampledRefusals[] = []

  constructor(clock: Clock, limits: SamplerLimits = defaultSamplerLimits) {
    this.#clock = clock
    this.#limits = limits
    this.#windowStart = clock.monotonicMilliseconds()
  }

  /** Whether this refusal is recorded by itself; if not, it has been counted. */
  admit(address: string, reason: Reason): boolean {
    this.#turnWindow()
    const bucket = this.#seen.has(address) || this.#seen.size < this.#limits.addresses ? address : '*'
    const seen = this.#seen.get(bucket) ?? 0
    this.#seen.set(bucket, seen + 1)
    if (seen < this.#limits.perAddress && this.#overall < this.#limits.overall) {
      this.#overall += 1
      return true
    }
    const counts = this.#counted.get(bucket) ?? {}
    counts[reason] = (counts[reason] ?? 0) + 1
    this.#counted.set(bucket, counts)
    return false
  }

  /** Counts of windows that are over, or of everything so far when `all` is set (at shutdown). Each is given out once. */
  take(all = false): SampledRefusals[] {
    this.#turnWindow()
    if (all) this.#closeWindow()
    const taken = this.#closed
    this.#closed = []
    return taken
  }

  #turnWindow(): void {
    const now = this.#clock.monotonicMilliseconds()
    if (now - this.#windowStart < windowMilliseconds) return
    this.#closeWindow()
    this.#windowStart = now
    this.#seen.clear()
    this.#overall = 0
  }

  #closeWindow(): void {
    for (const [address, counts] of this.#counted) {
      this.#closed.push({ type: 'token.refusals_sampled', address, counts })
    }
    this.#counted.clear()
  }
}
