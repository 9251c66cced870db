import { LRUCache } from 'lru-cache'
import type { AuditStore } from '../audit/audit-store.ts'
import type { Origin, QuotaWarned } from '../audit/event.ts'
import type { Client } from '../client/client.ts'
import { describeError, type Log } from '../lib/log.ts'
import { isNearQuota } from './quota.ts'
import type { TokenStore } from './token-store.ts'

const maxClients = 20_000

export interface QuotaWatchParts {
  readonly store: Pick<TokenStore, 'readHourlyCount'> & Pick<AuditStore, 'recordRefusal'>
  readonly log: Log
  /** Called for each warning. */
  onWarned(): void
}

/** Tells people of a client that has had most of its quota, once for each hour, client and process. */
export class QuotaWatch {
  readonly #parts: QuotaWatchParts
  /** The hour that each client was last told of in. */
  readonly #told = new LRUCache<string, number>({ max: maxClients })

  constructor(parts: QuotaWatchParts) {
    this.#parts = parts
  }

  /** After a token was issued. Never fails: the token is out, whether or not people hear of it. */
  async note({ clientId, tokensPerHour }: Client, { requestId, address }: Origin): Promise<void> {
    if (tokensPerHour === undefined) return
    const { store, log, onWarned } = this.#parts
    try {
      const { hour, issued } = await store.readHourlyCount(clientId)
      if (!isNearQuota(issued, tokensPerHour) || this.#told.get(clientId) === hour) return
      this.#told.set(clientId, hour)
      onWarned()
      log.warn({ client_id: clientId, issued, tokens_per_hour: tokensPerHour }, 'quota nearly used up')
      const event: QuotaWarned = { type: 'quota.warned', clientId, issued, tokensPerHour, requestId, address }
      await store.recordRefusal(event)
    } catch (error) {
      log.error({ client_id: clientId, err: describeError(error) }, 'quota warning not recorded')
    }
  }
}
