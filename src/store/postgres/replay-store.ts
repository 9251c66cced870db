import type { ReplayStore } from '../../client/replay-store.ts'
import { StoreUnavailable } from '../../lib/store-error.ts'
import type { ReplayUse } from '../../oauth/replay.ts'
import type { Connection } from './connection.ts'
import type { DatabaseFailure } from './failure.ts'

/**
 * Uses are forgotten by the calendar of the ring, which goes on where wall time steps back. What is stored of it is behind by
 * less than they are kept too long.
 */
export const calendar = '(SELECT high_water FROM ring_mark)'

// What has counted before is found by the first part; what counts at the same moment, by the key itself: then the statement
// fails as a whole and is made again, and the first part finds it.
// What is over may have counted, and been forgotten, while its process was paused.
const findKnownKeys = `SELECT u.key FROM unnest($1::bytea[], $2::bigint[]) AS u(key, expires_at)
    WHERE u.expires_at <= greatest($3, ${calendar}) OR EXISTS (SELECT FROM replay WHERE replay.key = u.key)`
const useAll = `WITH known AS MATERIALIZED (${findKnownKeys}),
  used AS (
    INSERT INTO replay (key, expires_at)
    SELECT u.key, u.expires_at FROM unnest($1::bytea[], $2::bigint[]) AS u(key, expires_at)
    WHERE NOT EXISTS (SELECT FROM known) RETURNING 1
  )
  SELECT ARRAY(SELECT key FROM known) AS known, (SELECT count(*) FROM used) AS used`

const prune = `WITH old AS (SELECT key FROM replay WHERE expires_at < $1 ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED)
  DELETE FROM replay USING old WHERE replay.key = old.key RETURNING 1`

/** The kind of the first that is among known ones. */
export function findKnown(uses: readonly ReplayUse[], known: readonly Buffer[]): ReplayUse['kind'] | undefined {
  return uses.find(({ key }) => known.some((other) => other.equals(key)))?.kind
}

// Whether somebody else used a statement at the same moment.
function isUsedMeanwhile(failure: DatabaseFailure): boolean {
  return failure.isDuplicate
}

export function createReplayStore(connection: Connection): ReplayStore {
  const valuesOf = (uses: readonly ReplayUse[]): readonly unknown[] => [
    uses.map(({ key }) => Buffer.from(key)),
    uses.map(({ expiresAt }) => expiresAt),
    connection.clock.nowMilliseconds(),
  ]
  return {
    useOnce: async (uses) => {
      const make = () => ({ name: 'use_once', text: useAll, values: valuesOf(uses) })
      const { rows, wasLost } = await connection.persist(make, isUsedMeanwhile)
      const replayed = findKnown(uses, (rows[0]?.known ?? []) as Buffer[])
      // Perhaps it was this one that used it. Nobody can tell, and it must not count twice.
      if (replayed !== undefined && wasLost)
        throw new StoreUnavailable('a use may have counted', { outcomeUnknown: true })
      if (replayed === undefined && rows[0]?.used !== uses.length) throw new StoreUnavailable('a use was not written')
      return replayed
    },
    findUsed: async (uses) => {
      const rows = await connection.read({ name: 'find_used', text: findKnownKeys, values: valuesOf(uses) })
      const known = rows.map(({ key }) => key as Buffer)
      return findKnown(uses, known)
    },
    pruneReplays: async (before, limit) =>
      (await connection.persist(() => ({ text: prune, values: [before, limit] }))).rows.length,
  }
}
