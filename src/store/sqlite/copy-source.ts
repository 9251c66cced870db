import type Database from 'better-sqlite3'
import type { Actor, ChangeRecord } from '../../audit/event.ts'
import { makeUlid, nextUlid, ulidMilliseconds } from '../../lib/id.ts'
import { StoreUnavailable } from '../../lib/store-error.ts'
import type { CopyChange, CopyKey, CopyMark, CopyRow, CopySource, Standing } from '../copy/sides.ts'
import { requireMine, requireUnchanged } from '../copy/state.ts'
import { type CopyTable, parseKey, tableNamed } from '../copy/tables.ts'
import { StoreOpenError } from '../store.ts'
import { countRows, readByKeys, readRows } from './copy-rows.ts'
import { forgetCopy, readCopyState } from './copy-state.ts'
import { createChangeLog, createGuards, hasAllTriggers } from './copy-triggers.ts'
import { readStanding } from './guard.ts'
import { readMigrationState } from './migrate.ts'
import { openDatabase, toOpenError } from './open.ts'
import { StampReader, stampFile } from './stamp.ts'

/** Others write meanwhile, and each of their transactions is short. */
const busyMilliseconds = 10_000

/** How far a store in a file has come, and a copy of it. */
export function readWholeStanding(sqlite: Database.Database): Standing {
  const { storeId, registry = 0, mark = 0 } = readStanding(sqlite) ?? {}
  return { storeId, registry, mark, state: readCopyState(sqlite) }
}

/** Runs what better-sqlite3 does at once; what it throws is said in a sentence. */
export async function attempt<T>(path: string, run: () => T): Promise<T> {
  try {
    return run()
  } catch (error) {
    throw toOpenError(error, path)
  }
}

/** A file that is copied from. @throws StoreOpenError */
export class SqliteCopySource implements CopySource {
  readonly location: string
  readonly #sqlite: Database.Database
  readonly #stamp: StampReader

  constructor(path: string, now: number) {
    this.location = path
    this.#sqlite = openDatabase(path, { create: false, examine: false, now })
    this.#sqlite.pragma(`busy_timeout = ${busyMilliseconds}`)
    this.#stamp = new StampReader(path)
  }

  readStanding(): Promise<Standing> {
    return this.#attempt(() => readWholeStanding(this.#sqlite))
  }

  begin({ copyId, storeId, other, at }: CopyMark): Promise<void> {
    return this.#attempt(() =>
      this.#transact(() => {
        const { state } = readWholeStanding(this.#sqlite)
        if (state !== undefined && state.state !== 'leaving' && state.state !== 'abandoned')
          throw new StoreOpenError(`${this.location} was moved meanwhile: run \`mayfly db copy\` again`)
        forgetCopy(this.#sqlite)
        createGuards(this.#sqlite)
        createChangeLog(this.#sqlite)
        this.#sqlite
          .prepare(`INSERT INTO copy_state (id, state, copy_id, store_id, other, at) VALUES (1, 'leaving', ?, ?, ?, ?)`)
          .run(copyId, storeId, other, at)
      }),
    )
  }

  readRows(table: CopyTable, after: CopyKey | undefined, limit: number): Promise<readonly CopyRow[]> {
    return this.#attempt(() => readRows(this.#sqlite, table, after, limit))
  }

  readByKeys(table: CopyTable, keys: readonly CopyKey[]): Promise<readonly CopyRow[]> {
    return this.#attempt(() => readByKeys(this.#sqlite, table, keys))
  }

  count(table: CopyTable): Promise<number> {
    return this.#attempt(() => countRows(this.#sqlite, table))
  }

  takeChanges(copyId: string, limit: number): Promise<readonly CopyChange[]> {
    // Whoever is overtaken after he has looked must not take what the later run needs.
    const take = this.#sqlite.prepare(
      `DELETE FROM copy_change WHERE seq IN (SELECT seq FROM copy_change ORDER BY seq LIMIT ?)
       AND EXISTS (SELECT 1 FROM copy_state WHERE copy_id = ? AND state = 'leaving')
       RETURNING table_name AS "table", key`,
    )
    return this.#attempt(() => {
      this.#requireMine(copyId)
      const isIdle = this.#sqlite.prepare('SELECT 1 FROM copy_change LIMIT 1').get() === undefined
      // Whoever deletes nothing would wait for the write lock all the same.
      const taken = isIdle ? [] : (take.all(limit, copyId) as { table: string; key: string }[])
      return taken.map(({ table, key }) => ({ table, key: parseKey(tableNamed(table), key) }))
    })
  }

  lock(copyId: string): Promise<void> {
    return this.#attempt(() => {
      this.#sqlite.exec('BEGIN IMMEDIATE')
      this.#requireMine(copyId)
      requireUnchanged(
        { ...readMigrationState(this.#sqlite), hasTriggers: hasAllTriggers(this.#sqlite) },
        this.location,
      )
    })
  }

  writeRecord(by: Actor, now: number, detail: Readonly<Record<string, string>>): Promise<string> {
    return this.#attempt(() => {
      const last = this.#sqlite.prepare('SELECT max(id) FROM audit_event').pluck().get() as string | null
      const fresh = makeUlid(now)
      const id = last === null || fresh > last ? fresh : nextUlid(last)
      const { storeId = '' } = readWholeStanding(this.#sqlite)
      const { type, ...rest }: ChangeRecord = { type: 'store.copied', storeId, detail, actor: by }
      const isDatedByClock = Math.abs(ulidMilliseconds(id) - now) <= 1_000
      this.#sqlite
        .prepare('INSERT INTO audit_event (id, type, detail) VALUES (?, ?, ?)')
        .run(id, type, JSON.stringify(isDatedByClock ? rest : { ...rest, wallAt: now }))
      this.#sqlite.exec(`UPDATE sequence SET value = value + 1 WHERE name = 'registry'`)
      return id
    })
  }

  async leave(copyId: string, eventId: string): Promise<void> {
    await this.#attempt(() => {
      stampFile(this.#sqlite)
      const { changes } = this.#sqlite
        .prepare(`UPDATE copy_state SET state = 'left', event_id = ? WHERE copy_id = ? AND state = 'leaving'`)
        .run(eventId, copyId)
      if (changes !== 1) throw new StoreOpenError(`${this.location} was not marked as moved: nothing was moved`)
    })
    try {
      this.#sqlite.exec('COMMIT')
    } catch (cause) {
      throw new StoreUnavailable('the database cannot say whether it was done', { cause, outcomeUnknown: true })
    }
    // So that a copy of the main file alone has the fence as well.
    await this.#attempt(() => void this.#sqlite.pragma('wal_checkpoint(PASSIVE)')).catch(() => undefined)
  }

  async rollback(): Promise<void> {
    await this.#attempt(() => {
      if (this.#sqlite.inTransaction) this.#sqlite.exec('ROLLBACK')
    })
  }

  abandon(copyId: string): Promise<void> {
    return this.#attempt(() =>
      this.#transact(() => {
        const { state } = readWholeStanding(this.#sqlite)
        const isMine = state?.copyId === copyId && (state.state === 'leaving' || state.state === 'abandoned')
        if (isMine) forgetCopy(this.#sqlite)
      }),
    )
  }

  readStamp(): number {
    return this.#stamp.readDurable()
  }

  async close(): Promise<void> {
    this.#sqlite.close()
    this.#stamp.close()
  }

  #requireMine(copyId: string): void {
    requireMine(readCopyState(this.#sqlite), { copyId, expected: 'leaving' }, this.location)
  }

  #transact<T>(run: () => T): T {
    return this.#sqlite.transaction(run).immediate()
  }

  #attempt<T>(run: () => T): Promise<T> {
    return attempt(this.location, run)
  }
}
