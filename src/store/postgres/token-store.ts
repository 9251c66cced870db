import { ulidCeiling, ulidFloor, ulidMilliseconds } from '../../lib/id.ts'
import { longestTokenLifeMilliseconds } from '../../token/mark-store.ts'
import { countAt, type HourlyCount } from '../../token/quota.ts'
import type { TokenStore } from '../../token/token-store.ts'
import { toIssuanceRecord } from '../rows/issuance-rows.ts'
import { columnsOf } from './columns.ts'
import type { Connection } from './connection.ts'
import { RecordQueue } from './record-queue.ts'
import { recordAlone, recordWithActs } from './record-statement.ts'
import { issuance } from './schema.ts'

const byJti = `SELECT ${columnsOf(issuance)} FROM issuance WHERE jti = $1`

// Whoever only checks signatures believes ended tokens too, so the last of all counts.
const live = `SELECT max(expires_at) AS last, count(*) FILTER (
    WHERE jti > $1
      AND NOT EXISTS (SELECT 1 FROM mark WHERE kind = 'jti' AND id = jti)
      AND NOT EXISTS (SELECT 1 FROM mark WHERE kind = 'family' AND id = family_id)
  ) AS count
  FROM issuance WHERE jti >= $2 AND client_id = $3 AND expires_at > $4`
const hourlyCount = 'SELECT hour, issued FROM client_hour WHERE client_id = $1'
const lastUse = 'SELECT jti FROM issuance WHERE jti >= $1 AND secret_id = $2 ORDER BY jti DESC LIMIT 1'

export function createTokenStore(connection: Connection): TokenStore {
  const alone = new RecordQueue(connection.within, recordAlone)
  const together = new RecordQueue(connection.within, (acts, waits) => recordWithActs(acts, connection.clock, waits))

  return {
    recordIssuance: (record, sequence, acts = {}) => {
      const { change, uses = [], tokensPerHour } = acts
      const isAlone = change === undefined && uses.length === 0 && tokensPerHour === undefined
      const queue = isAlone ? alone : together
      return connection.enter(() => queue.record({ record, sequence, acts }))
    },
    readHourlyCount: async (clientId) => {
      const [row] = await connection.read({ text: hourlyCount, values: [clientId] })
      return countAt(row as HourlyCount | undefined, connection.clock.nowMilliseconds())
    },
    findIssuance: async (jti) => {
      const [row] = await connection.read({ name: 'find_issuance', text: byJti, values: [jti] })
      return row === undefined ? undefined : toIssuanceRecord(row as typeof issuance.$inferSelect)
    },
    readLiveTokens: async (clientId, now, endedBefore = 0) => {
      // No token lives longer than that, so none of before it is alive.
      const from = ulidFloor(now - longestTokenLifeMilliseconds)
      const values = [ulidCeiling(endedBefore), from, clientId, Math.floor(now / 1000)]
      const [row] = await connection.read({ text: live, values })
      return row?.last === null ? { count: 0 } : { count: row?.count as number, lastExpiresAt: row?.last as number }
    },
    findLastUse: async (secretId, since) => {
      const [row] = await connection.read({ text: lastUse, values: [ulidFloor(since), secretId] })
      return row === undefined ? undefined : ulidMilliseconds(row.jti as string)
    },
  }
}
