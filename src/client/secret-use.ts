import { LRUCache } from 'lru-cache'
import type { Clock } from '../lib/clock.ts'
import type { SecretId } from './client-secret.ts'
import type { ClientStore } from './client-store.ts'

/** How old a noted use may be before it is noted again. */
export const useGranularityMilliseconds = 5 * 60_000

const maxPending = 10_000
const maxPerWrite = 500

/**
 * Remembers which secrets were used, and writes it now and then, off the path of requests: when a secret was last used
 * need not be known to the second, and a write for each token would be a row for each token.
 */
export class SecretUse {
  readonly #store: ClientStore
  readonly #clock: Clock
  readonly #pending = new Map<SecretId, number>()
  // What was written lately: the registry does not move for it, so clients in memory do not learn it.
  readonly #written = new LRUCache<SecretId, number>({ max: 100_000 })

  constructor(store: ClientStore, clock: Clock) {
    this.#store = store
    this.#clock = clock
  }

  /** Notes one use; `lastUsedAt` is what the store knows. */
  note(secretId: SecretId, lastUsedAt: number | undefined): void {
    const now = this.#clock.nowMilliseconds()
    const known = Math.max(lastUsedAt ?? 0, this.#written.get(secretId) ?? 0)
    if (Math.abs(now - known) < useGranularityMilliseconds) return
    if (this.#pending.size < maxPending || this.#pending.has(secretId)) this.#pending.set(secretId, now)
  }

  /** Writes what was noted, in small acts. What cannot be written stays noted. @throws StoreUnavailable */
  async flush(): Promise<void> {
    while (this.#pending.size > 0) {
      const part = new Map([...this.#pending].slice(0, maxPerWrite))
      await this.#store.noteSecretUse(part)
      for (const [secretId, at] of part) {
        this.#written.set(secretId, at)
        if (this.#pending.get(secretId) === at) this.#pending.delete(secretId)
      }
    }
  }
}
