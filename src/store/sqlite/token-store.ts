import type { IssuanceRecord } from '../../audit/event.ts'
import { ulidCeiling, ulidFloor, ulidMilliseconds } from '../../lib/id.ts'
import { StoreUnavailable } from '../../lib/store-error.ts'
import type { ReplayUse } from '../../oauth/replay.ts'
import type { FamilyChange } from '../../token/family-store.ts'
import { longestTokenLifeMilliseconds } from '../../token/mark-store.ts'
import type { RecordOutcome, TokenStore } from '../../token/token-store.ts'
import { toIssuanceRecord, toIssuanceValues } from '../rows/issuance-rows.ts'
import { type Connection, read } from './connection.ts'
import { eq, sql } from './drizzle.ts'
import { createFamilyChanges } from './family-store.ts'
import { createHourlyCounts } from './hourly-counts.ts'
import { createReplays } from './replay-store.ts'
import { issuance } from './schema.ts'

export function createTokenStore(connection: Connection): TokenStore {
  const { db, sqlite, acts } = connection
  const { placeholder } = sql
  const changeFamily = createFamilyChanges(connection)
  const replays = createReplays(connection)
  const hourly = createHourlyCounts(connection)
  // By hand and by position: this runs for every token, and drizzle takes as long to hand the values over as SQLite to write them.
  const insert = sqlite.prepare(
    `INSERT INTO issuance (jti, client_id, subject, grant_type, secret_id, audience, scope, kid, expires_at, request_id, address,
       family_id, refresh_generation, confirmation, previous_jti)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
  )
  const byJti = db
    .select()
    .from(issuance)
    .where(eq(issuance.jti, placeholder('jti')))
    .prepare()

  const findObstacle = (
    { clientId }: IssuanceRecord,
    uses: readonly ReplayUse[],
    tokensPerHour: number | undefined,
  ): RecordOutcome | undefined => {
    const replayed = replays.find(uses)
    if (replayed !== undefined) return `${replayed}_replayed`
    return hourly.isUsedUp(clientId, tokensPerHour) ? 'quota_used_up' : undefined
  }

  // Whoever only checks signatures believes ended tokens too, so the last of all counts.
  const live = sqlite.prepare(
    `SELECT max(expires_at) AS last, count(*) FILTER (
       WHERE jti > ?
         AND NOT EXISTS (SELECT 1 FROM mark WHERE kind = 'jti' AND id = jti)
         AND NOT EXISTS (SELECT 1 FROM mark WHERE kind = 'family' AND id = family_id)
     ) AS count
     FROM issuance WHERE jti >= ? AND client_id = ? AND expires_at > ?`,
  )
  const lastUse = sqlite
    .prepare('SELECT jti FROM issuance WHERE jti >= ? AND secret_id = ? ORDER BY jti DESC LIMIT 1')
    .pluck()

  return {
    recordIssuance: (record, sequence, { change, uses = [], tokensPerHour } = {}) =>
      acts.submit<RecordOutcome>({
        single: isSingle(change, uses) && tokensPerHour === undefined,
        run: (batch) => {
          // The fence. The write lock is held, so nothing can move between here and COMMIT.
          if (batch.sequence !== sequence) return 'moved'
          const obstacle = findObstacle(record, uses, tokensPerHour)
          if (obstacle !== undefined) return obstacle
          if (change !== undefined && !changeFamily(change, record.jti)) return 'moved'
          replays.write(uses)
          hourly.add(record.clientId, tokensPerHour)
          const { changes } = insert.run(...toIssuanceValues(record, change))
          // Somebody's trigger may have swallowed it.
          if (changes !== 1) throw new StoreUnavailable('the record of a token was not written')
          return 'recorded'
        },
      }),
    readHourlyCount: (clientId) => read(() => hourly.read(clientId)),
    findIssuance: (jti) =>
      read(() => {
        const row = byJti.get({ jti })
        return row === undefined ? undefined : toIssuanceRecord(row)
      }),
    readLiveTokens: (clientId, now, endedBefore = 0) =>
      read(() => {
        // No token lives longer than that, so none of before it is alive.
        const from = ulidFloor(now - longestTokenLifeMilliseconds)
        const row = live.get(ulidCeiling(endedBefore), from, clientId, Math.floor(now / 1000)) as LiveRow
        return row.last === null ? { count: 0 } : { count: row.count, lastExpiresAt: row.last }
      }),
    findLastUse: (secretId, since) =>
      read(() => {
        const jti = lastUse.get(ulidFloor(since), secretId) as string | undefined
        return jti === undefined ? undefined : ulidMilliseconds(jti)
      }),
  }
}

function isSingle(change: FamilyChange | undefined, uses: readonly ReplayUse[]): boolean {
  return uses.length === 0 && (change === undefined || change.kind === 'retry')
}

interface LiveRow {
  readonly count: number
  readonly last: number | null
}
