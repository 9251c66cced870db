import type { ReplayUse } from '../oauth/replay.ts'

/** Who knows which proofs have been seen. */
export interface ProofMemory {
  /** Whether a use is the first of its proof; it is known from then on. `now`: milliseconds since the epoch. */
  isFirst(use: ReplayUse, now: number): boolean | Promise<boolean>
}

const proofsInMemory = 100_000

/**
 * Proofs that one process has seen, while they could come again. It is for services, which cannot write for each request:
 * another process, or the same one after a restart, does not know of them. Above the bound the oldest are forgotten.
 *
 * @see RFC 9449 section 11.1
 */
export class SeenProofs implements ProofMemory {
  readonly #max: number
  /** Until when each could come again, in the order in which they came. */
  readonly #until = new Map<string, number>()

  constructor(max = proofsInMemory) {
    this.#max = max
  }

  get size(): number {
    return this.#until.size
  }

  isFirst({ key, expiresAt }: ReplayUse, now: number): boolean {
    const name = Buffer.from(key).toString('base64url')
    if (this.#until.has(name)) return false
    this.#forget(now)
    this.#until.set(name, expiresAt)
    return true
  }

  // Those in front came first and are over first, but for a minute or so: that much more is kept than need be.
  #forget(now: number): void {
    for (const [name, until] of this.#until) {
      if (until > now && this.#until.size < this.#max) return
      this.#until.delete(name)
    }
  }
}
