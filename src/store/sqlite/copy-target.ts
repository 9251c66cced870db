import { randomBytes } from 'node:crypto'
import { existsSync, statSync } from 'node:fs'
import { dirname } from 'node:path'
import type Database from 'better-sqlite3'
import { makeFolder } from '../../lib/make-folder.ts'
import type { CopyKey, CopyMark, CopyRow, CopyTarget, Standing, WholeTable } from '../copy/sides.ts'
import { requireMine, requireReceiving } from '../copy/state.ts'
import { type CopyTable, rowTables, wholeTables } from '../copy/tables.ts'
import { StoreOpenError } from '../store.ts'
import { syncPath } from './backup.ts'
import { removeCopy, removeLeftovers } from './backup-copy.ts'
import { countRows, deleteByKeys, insertRows, readRows } from './copy-rows.ts'
import { attempt, readWholeStanding } from './copy-source.ts'
import { forgetCopy, readCopyState } from './copy-state.ts'
import { createGuards } from './copy-triggers.ts'
import { readStanding } from './guard.ts'
import { type Inspector, type OpenOptions, openDatabase } from './open.ts'
import { putWhereNothingIs } from './restore.ts'
import { stampFile } from './stamp.ts'

const busyMilliseconds = 10_000

/** A file that is copied to; it is made when it is not there. */
export class SqliteCopyTarget implements CopyTarget {
  readonly location: string
  #opened: Database.Database | undefined

  constructor(path: string) {
    this.location = path
  }

  async hasTables(): Promise<boolean> {
    // One that is empty is as good as none.
    return (statSync(this.location, { throwIfNoEntry: false })?.size ?? 0) > 0
  }

  async prepare(mark: CopyMark): Promise<void> {
    await this.#attempt(() => {
      // Whoever starts at the same time has it empty for a moment: then it is his.
      if (!existsSync(this.location)) makeMarkedFile(this.location, mark)
      // One that was killed as the file had both names has left a second name of what will be a database.
      else removeLeftovers(this.location, 'copy')
      const markIt = (sqlite: Database.Database): void => markEmpty(sqlite, this.location, mark)
      this.#open({ create: true, now: mark.at, onMigrate: markIt, inspector: unclaimedFile(mark) })
      this.#transact(() => markIt(this.#sqlite))
    })
  }

  readStanding(): Promise<Standing> {
    return this.#attempt(() => readWholeStanding(this.#sqlite))
  }

  begin(mark: CopyMark): Promise<void> {
    return this.#attempt(() =>
      this.#transact(() => {
        requireReceivingFile(this.#sqlite, this.location, mark)
        forgetCopy(this.#sqlite)
        for (const { name } of rowTables) this.#sqlite.exec(`DELETE FROM ${name}`)
        this.#sqlite.exec('DELETE FROM signing_key; DELETE FROM root_key; DELETE FROM installation')
        writeMark(this.#sqlite, mark)
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
    this.#opened?.close()
  }

  get #sqlite(): Database.Database {
    return this.#opened ?? this.#open({ create: false, now: 0 })
  }

  #open(options: Omit<OpenOptions, 'examine'>): Database.Database {
    const sqlite = openDatabase(this.location, { ...options, examine: false })
    this.#opened = sqlite
    sqlite.pragma(`busy_timeout = ${busyMilliseconds}`)
    // Parents and children are read at different moments; at the end all are looked at.
    sqlite.pragma('foreign_keys = OFF')
    return sqlite
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

function requireReceivingFile(sqlite: Database.Database, location: string, { storeId }: CopyMark): void {
  const tables = [...rowTables, ...wholeTables.filter(({ name }) => name === 'installation')]
  const isEmpty = tables.every((table) => countRows(sqlite, table) === 0)
  requireReceiving({ state: readCopyState(sqlite), isEmpty }, storeId, location)
}

// Before anything is locked: where the place was mistaken, a server works on it.
function unclaimedFile({ storeId }: CopyMark): Inspector {
  return {
    inspectFile: () => undefined,
    inspect: (sqlite, path) => {
      if (readStanding(sqlite) !== undefined)
        requireReceiving({ state: readCopyState(sqlite), isEmpty: false }, storeId, path)
    },
  }
}

// Only inside a transaction. What an earlier run has left keeps its mark, for that run may be in its last transaction.
function markEmpty(sqlite: Database.Database, location: string, mark: CopyMark): void {
  requireReceivingFile(sqlite, location, mark)
  if (readCopyState(sqlite) === undefined) writeMark(sqlite, mark)
}

function writeMark(sqlite: Database.Database, { copyId, storeId, other, at }: CopyMark): void {
  createGuards(sqlite)
  sqlite
    .prepare(`INSERT INTO copy_state (id, state, copy_id, store_id, other, at) VALUES (1, 'arriving', ?, ?, ?, ?)`)
    .run(copyId, storeId, other, at)
}

/** Makes a file under another name, and has it appear in its place with the mark in it. @throws StoreOpenError */
function makeMarkedFile(path: string, mark: CopyMark): void {
  const temporary = `${path}.copy-${randomBytes(6).toString('hex')}.tmp`
  makeFolder(dirname(path))
  removeLeftovers(path, 'copy')
  try {
    const sqlite = openDatabase(temporary, { create: true, examine: false, now: mark.at })
    try {
      sqlite.transaction(() => writeMark(sqlite, mark)).immediate()
      // All of it into the one file that gets the name; on a full disk closing says nothing.
      sqlite.pragma('wal_checkpoint(TRUNCATE)')
    } finally {
      sqlite.close()
    }
    if (existsSync(`${temporary}-wal`)) throw new StoreOpenError(`${path} cannot be written: look for room on its disk`)
    putWhereNothingIs(temporary, path)
    syncPath(dirname(path))
  } finally {
    removeCopy(temporary)
  }
}
