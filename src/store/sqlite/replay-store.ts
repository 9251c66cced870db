import type { ReplayStore } from '../../client/replay-store.ts'
import { StoreUnavailable } from '../../lib/store-error.ts'
import type { ReplayUse } from '../../oauth/replay.ts'
import { type Connection, read } from './connection.ts'

/** Statements that count once. Inside an act the write lock is held, and nobody comes between the look and the rows. */
export interface Replays {
  /** The kind of one that has counted, or is over: it may have counted and been forgotten while its process was paused. */
  find(uses: readonly ReplayUse[]): ReplayUse['kind'] | undefined
  /** Makes those count that have not. */
  write(uses: readonly ReplayUse[]): void
}

export function createReplays({ sqlite, clock }: Connection): Replays {
  const find = sqlite.prepare('SELECT 1 FROM replay WHERE key = ?').pluck()
  const calendar = sqlite.prepare('SELECT max(high_water) FROM ring_mark').pluck()
  const insert = sqlite.prepare('INSERT INTO replay (key, expires_at) VALUES (?, ?)')
  return {
    find: (uses) => {
      if (uses.length === 0) return undefined
      // Rows are forgotten by the calendar, which goes on where wall time steps back. What is stored of it is behind by less
      // than rows are kept too long.
      const now = Math.max(clock.nowMilliseconds(), Number(calendar.get() ?? 0))
      return uses.find(({ key, expiresAt }) => expiresAt <= now || find.get(key) !== undefined)?.kind
    },
    write: (uses) => {
      for (const { key, expiresAt } of uses) {
        if (insert.run(key, expiresAt).changes !== 1) throw new StoreUnavailable('a use was not written')
      }
    },
  }
}

export function createReplayStore(connection: Connection): ReplayStore {
  const { sqlite, acts } = connection
  const replays = createReplays(connection)
  const prune = sqlite.prepare(
    'DELETE FROM replay WHERE key IN (SELECT key FROM replay WHERE expires_at < ? ORDER BY expires_at LIMIT ?)',
  )
  return {
    useOnce: (uses) =>
      acts.submit({
        single: uses.length < 2,
        run: () => {
          const replayed = replays.find(uses)
          if (replayed === undefined) replays.write(uses)
          return replayed
        },
      }),
    findUsed: (uses) => read(() => replays.find(uses)),
    pruneReplays: (before, limit) => acts.submit({ single: true, run: () => prune.run(before, limit).changes }),
  }
}
