/**
 * The marks of a store, in memory, as of the last look at it. Each use begins with that look: one read of the counter, and
 * of what is new when it has moved. So what another process has ended counts at the next request here.
 *
 * As many are kept as the store keeps: a thousand a client, and each only until what it ends would be dead by itself.
 */
import type { Clock } from '../lib/clock.ts'
import { StoreUnavailable } from '../lib/store-error.ts'
import type { AccessTokenClaims } from '../oauth/claims.ts'
import type { Mark, MarkStore } from './mark-store.ts'

/**
 * A mark is kept for so long after its end. Clocks of processes on one store are a little apart, and who thinks that a token
 * lives must find its mark.
 */
export const markGraceMilliseconds = 10 * 60_000

const dropEveryMilliseconds = 60_000

export class MarkSet {
  readonly #store: Pick<MarkStore, 'readMarkSequence' | 'readMarks'>
  readonly #clock: Pick<Clock, 'nowMilliseconds'>
  #expiries = noMarks()
  #sequence = 0
  #dropAt: number

  /** `clock` must not jump ahead: marks of tokens that live would be dropped. */
  constructor(store: Pick<MarkStore, 'readMarkSequence' | 'readMarks'>, clock: Pick<Clock, 'nowMilliseconds'>) {
    this.#store = store
    this.#clock = clock
    this.#dropAt = clock.nowMilliseconds() + dropEveryMilliseconds
  }

  /** The counter that the marks are as of. */
  get sequence(): number {
    return this.#sequence
  }

  get size(): number {
    return this.#expiries.jti.size + this.#expiries.family.size
  }

  /** Brings the marks up to date. @throws StoreUnavailable */
  async refresh(): Promise<void> {
    const sequence = await this.#store.readMarkSequence()
    if (sequence > this.#sequence) await this.#readOn(sequence)
    // A counter that went back is another database: nothing that was read of the last one counts.
    else if (sequence < this.#sequence) await this.#readAnew()
    this.#dropDead()
  }

  /** Whether the marks are as of a value of the counter: all up to it, and none after. */
  isAt(sequence: number): boolean {
    this.#dropDead()
    return this.#sequence === sequence
  }

  /** Whether a token was ended, by itself or with its family. */
  ends({ jti, sid }: Pick<AccessTokenClaims, 'jti' | 'sid'>): Mark['kind'] | undefined {
    if (this.#expiries.jti.has(jti)) return 'jti'
    return sid !== undefined && this.#expiries.family.has(sid) ? 'family' : undefined
  }

  async #readOn(until: number): Promise<void> {
    const after = this.#sequence
    const { sequence, marks } = await this.#store.readMarks(after)
    // They came from a place that is not as far as the one that told the counter: what it lacks may be what is asked for.
    if (sequence < until) throw new StoreUnavailable('marks are behind their counter')
    // Somebody else found that the counter had gone back, and has read less than what these follow on.
    if (this.#sequence < after) return this.#readAnew()
    for (const { kind, id, expiresAt } of marks) this.#expiries[kind].set(id, expiresAt)
    this.#sequence = Math.max(this.#sequence, sequence)
  }

  // Put in place as a whole: somebody else may be about to look, who must not find a set that is half read.
  async #readAnew(): Promise<void> {
    const { sequence, marks } = await this.#store.readMarks(0)
    this.#expiries = noMarks()
    for (const { kind, id, expiresAt } of marks) this.#expiries[kind].set(id, expiresAt)
    this.#sequence = sequence
  }

  #dropDead(): void {
    const now = this.#clock.nowMilliseconds()
    if (now < this.#dropAt) return
    this.#dropAt = now + dropEveryMilliseconds
    for (const expiries of Object.values(this.#expiries)) {
      for (const [id, expiresAt] of expiries) if (expiresAt + markGraceMilliseconds < now) expiries.delete(id)
    }
  }
}

function noMarks(): Readonly<Record<Mark['kind'], Map<string, number>>> {
  return { jti: new Map(), family: new Map() }
}
