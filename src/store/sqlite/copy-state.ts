// What each start reads. The triggers are apart, since their list of tables needs the schema of PostgreSQL to be loaded.
/** The mark that a copy leaves in a file (`store/copy/copy.ts`). */
import Database from 'better-sqlite3'
import { StoreUnavailable } from '../../lib/store-error.ts'
import type { CopyState } from '../copy/sides.ts'

const selectState = `SELECT state, copy_id AS copyId, store_id AS storeId, other, at, event_id AS eventId FROM copy_state`

/** How far a copy has come; `undefined` where there is none, and in a file of before there were any. */
export function readCopyState(sqlite: Database.Database): CopyState | undefined {
  const isMade = sqlite.prepare(`SELECT 1 FROM sqlite_schema WHERE name = 'copy_state'`).get() !== undefined
  return isMade ? (sqlite.prepare(selectState).get() as CopyState | undefined) : undefined
}

/** The same of a file that nobody has opened, without a change to it; `undefined` also where it cannot be read. */
export function readStateOfFile(path: string): CopyState | undefined {
  const sqlite = new Database(path, { readonly: true })
  try {
    return readCopyState(sqlite)
  } catch {
    return undefined
  } finally {
    sqlite.close()
  }
}

/** A look whether the store has left while it was open. @returns what throws StoreUnavailable then */
export function createPresenceCheck(sqlite: Database.Database): () => void {
  const select = sqlite.prepare(`SELECT other FROM copy_state WHERE state = 'left'`).pluck()
  return () => {
    const other = select.get() as string | undefined
    if (other !== undefined) throw new StoreUnavailable(`the database has moved to ${other}`)
  }
}

/** Takes away all triggers that a copy made. */
export function dropTriggers(sqlite: Database.Database): void {
  for (const name of namesOfTriggers(sqlite)) sqlite.exec(`DROP TRIGGER ${name}`)
}

/** The triggers that a copy made, and nobody took away. */
export function namesOfTriggers(sqlite: Database.Database): readonly string[] {
  return sqlite
    .prepare(`SELECT name FROM sqlite_schema WHERE type = 'trigger' AND name GLOB 'copy_*'`)
    .pluck()
    .all() as string[]
}

/** Forgets a copy: the store lives where this is called. Only inside a transaction. */
export function forgetCopy(sqlite: Database.Database): void {
  sqlite.exec('DELETE FROM copy_state; DELETE FROM copy_change')
  dropTriggers(sqlite)
}
