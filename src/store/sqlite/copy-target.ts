import type Database from 'better-sqlite3'
import type { CopyKey, CopyMark, CopyRow, CopyTarget, Standing, WholeTable } from '../copy/sides.ts'
import { isArriving, requireMine } from '../copy/state.ts'
import { type CopyTable, rowTables, wholeTables } from '../copy/tables.ts'
import { StoreOpenError } from '../store.ts'
import { countRows, deleteByKeys, insertRows, readRows } from './copy-rows.ts'
import { attempt, readWholeStanding } from './copy-source.ts'
import { forgetCopy, readCopyState } from './copy-state.ts'
import { createGuards } from './copy-triggers.ts'
import { openDatabase } from './open.ts'
import { stampFile } from './stamp.ts'

const busyMilliseconds = 10_000

/** A file that is copied to; it is made when it is not there. */
export class SqliteCopyTarget implements CopyTarget {
  readonly location: string
  readonly #sqlite: Database.Database

  /** @throws StoreOpenError */
  constructor(path: string, now: number) {
    this.location = path
    this.#sqlite = openDatabase(path, { create: true, examine: false, now })
    this.#sqlite.pragma(`busy_timeout = ${busyMilliseconds}`)
    // Parents and children are read at different moments; at the end all are looked at.
    this.#sqlite.pragma('foreign_keys = OFF')
  }

  readStanding(): Promise<Standing> {
    return this.#attempt(() => readWholeStanding(this.#sqlite))
  }

  isEmpty(): Promise<boolean> {
    return this.#attempt(() => this.#holdsNothing())
  }

  begin({ copyId, storeId, other, at }: CopyMark): Promise<void> {
    return this.#attempt(() =>
      this.#transact(() => {
        const { state } = readWholeStanding(this.#sqlite)
        const isEarlier = isArriving(state) && state?.storeId === storeId
        if (!isEarlier && !this.#holdsNothing())
          throw new StoreOpenError(`${this.location} is no longer empty: give --to an empty place`)
        forgetCopy(this.#sqlite)
        for (const { name } of rowTables) this.#sqlite.exec(`DELETE FROM ${name}`)
        this.#sqlite.exec('DELETE FROM signing_key; DELETE FROM root_key; DELETE FROM installation')
        createGuards(this.#sqlite)
        this.#sqlite
          .prepare(
            `INSERT INTO copy_state (id, state, copy_id, store_id, other, at) VALUES (1, 'arriving', ?, ?, ?, ?)`,
          )
          .run(copyId, storeId, other, at)
      }),
    )
  }

  put(copyId: string, table: CopyTable, rows: readonly CopyRow[]): Promise<void> {
    return this.#write(copyId, () => insertRows(this.#sqlite, table, rows))
  }

  replace(copyId: string, table: CopyTable, keys: readonly CopyKey[], rows: readonly CopyRow[]): Promise<void> {
    return this.#write(copyId, () => {
      deleteByKeys(this.#sqlite, table, keys)
      insertRows(this.#sqlite, table, rows)
    })
  }

  async arrive(copyId: string, eventId: string, whole: readonly WholeTable[]): Promise<void> {
    await this.#write(copyId, () => {
      // The guard of `installation` lets this transaction through.
      this.#sqlite.exec(`UPDATE copy_state SET state = 'filling'`)
      for (const { table, rows } of whole) {
        this.#sqlite.exec(`DELETE FROM ${table.name}`)
        insertRows(this.#sqlite, table, rows)
      }
      const broken = this.#sqlite.pragma('foreign_key_check') as unknown[]
      if (broken.length > 0)
        throw new StoreOpenError(`${broken.length} rows of the copy refer to rows that do not exist: nothing was moved`)
      stampFile(this.#sqlite)
      this.#sqlite.prepare(`UPDATE copy_state SET state = 'arrived', event_id = ?`).run(eventId)
    })
    // Before the witness is told how far the store has come: a main file without its stamp, left by a process that is killed
    // before it closes this, would be taken for an old one beside the -wal of another.
    await this.#attempt(() => {
      const busy = this.#sqlite.pragma('wal_checkpoint(TRUNCATE)', { simple: true })
      if (busy !== 0) throw new StoreOpenError(`${this.location} is read by somebody else: nothing was moved`)
    })
  }

  readRows(table: CopyTable, after: CopyKey | undefined, limit: number): Promise<readonly CopyRow[]> {
    return this.#attempt(() => readRows(this.#sqlite, table, after, limit))
  }

  count(table: CopyTable): Promise<number> {
    return this.#attempt(() => countRows(this.#sqlite, table))
  }

  hasEvent(id: string): Promise<boolean> {
    const select = this.#sqlite.prepare('SELECT 1 FROM audit_event WHERE id = ?')
    return this.#attempt(() => select.get(id) !== undefined)
  }

  open(eventId: string): Promise<void> {
    return this.#attempt(() =>
      this.#transact(() => {
        const state = readCopyState(this.#sqlite)
        if (state?.state !== 'arrived' || state.eventId !== eventId)
          throw new StoreOpenError(`${this.location} was changed meanwhile: run \`mayfly db copy\` again`)
        forgetCopy(this.#sqlite)
      }),
    )
  }

  async close(): Promise<void> {
    this.#sqlite.close()
  }

  #holdsNothing(): boolean {
    const tables = [...rowTables, ...wholeTables.filter(({ name }) => name === 'installation')]
    return readCopyState(this.#sqlite) === undefined && tables.every((table) => countRows(this.#sqlite, table) === 0)
  }

  #write<T>(copyId: string, run: () => T): Promise<T> {
    return this.#attempt(() =>
      this.#transact(() => {
        requireMine(readCopyState(this.#sqlite), { copyId, expected: 'arriving' }, this.location)
        return run()
      }),
    )
  }

  #transact<T>(run: () => T): T {
    return this.#sqlite.transaction(run).immediate()
  }

  #attempt<T>(run: () => T): Promise<T> {
    return attempt(this.location, run)
  }
}
