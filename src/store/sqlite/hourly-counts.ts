import { StoreUnavailable } from '../../lib/store-error.ts'
import { countAt, type HourlyCount } from '../../token/quota.ts'
import type { Connection } from './connection.ts'

/** Tokens of clients with a quota, and nothing for those without; inside an act: the write lock is held, and nobody comes between the look and the row. */
export interface HourlyCounts {
  read(clientId: string): HourlyCount
  /** Whether one more is too many. */
  isUsedUp(clientId: string, tokensPerHour: number | undefined): boolean
  /** Counts one. */
  add(clientId: string, tokensPerHour: number | undefined): void
}

export function createHourlyCounts({ sqlite, clock }: Connection): HourlyCounts {
  const find = sqlite.prepare('SELECT hour, issued FROM client_hour WHERE client_id = ?')
  const write = sqlite.prepare(
    `INSERT INTO client_hour (client_id, hour, issued) VALUES (?, ?, ?)
     ON CONFLICT (client_id) DO UPDATE SET hour = excluded.hour, issued = excluded.issued`,
  )
  const last = (clientId: string) => find.get(clientId) as HourlyCount | undefined
  const read = (clientId: string) => countAt(last(clientId), clock.nowMilliseconds())
  return {
    read,
    isUsedUp: (clientId, tokensPerHour) => {
      if (tokensPerHour === undefined) return false
      const { hour, issued } = read(clientId)
      if (issued < tokensPerHour) return false
      // The hour of a wrong clock is left behind, or it would be left again and again and never end.
      if (last(clientId)?.hour !== hour) write.run(clientId, hour, issued)
      return true
    },
    add: (clientId, tokensPerHour) => {
      if (tokensPerHour === undefined) return
      const { hour, issued } = read(clientId)
      if (write.run(clientId, hour, issued + 1).changes !== 1) throw new StoreUnavailable('a token was not counted')
    },
  }
}
