/** The mark that a copy leaves in a file, and the triggers that it makes there (`store/copy/copy.ts`). */
import type Database from 'better-sqlite3'
import { StoreUnavailable } from '../../lib/store-error.ts'
import type { CopyState } from '../copy/sides.ts'
import { mostChanges } from '../copy/state.ts'
import { allTables, type CopyTable, rowTables } from '../copy/tables.ts'

const selectState = `SELECT state, copy_id AS copyId, store_id AS storeId, other, at, event_id AS eventId FROM copy_state`
const operations = ['INSERT', 'UPDATE', 'DELETE'] as const

/** How far a copy has come; `undefined` where there is none, and in a file of before there were any. */
export function readCopyState(sqlite: Database.Database): CopyState | undefined {
  const isMade = sqlite.prepare(`SELECT 1 FROM sqlite_schema WHERE name = 'copy_state'`).get() !== undefined
  return isMade ? (sqlite.prepare(selectState).get() as CopyState | undefined) : undefined
}

/** A look whether the store has left while it was open. @returns what throws StoreUnavailable then */
export function createPresenceCheck(sqlite: Database.Database): () => void {
  const select = sqlite.prepare(`SELECT other FROM copy_state WHERE state = 'left'`).pluck()
  return () => {
    const other = select.get() as string | undefined
    if (other !== undefined) throw new StoreUnavailable(`the database has moved to ${other}`)
  }
}

/**
 * Makes the triggers that refuse writes where the store has left or is not wholly there. They take the whole transaction down:
 * what shared it must not be answered as if something else of it were durable.
 */
export function createGuards(sqlite: Database.Database): void {
  dropTriggers(sqlite)
  for (const { name } of allTables) {
    const closed = name === 'installation' ? `'left', 'arrived', 'arriving'` : `'left', 'arrived'`
    for (const operation of operations) {
      sqlite.exec(`CREATE TRIGGER copy_guard_${name}_${operation} BEFORE ${operation} ON ${name}
        WHEN (SELECT state FROM copy_state) IN (${closed})
        BEGIN SELECT RAISE(ROLLBACK, (SELECT iif(state = 'left', 'the database has moved to ', 'the database is an incomplete copy of ')
          || other FROM copy_state)); END`)
    }
  }
}

/** Makes the triggers that write down what is changed. */
export function createChangeLog(sqlite: Database.Database): void {
  for (const table of rowTables) {
    for (const operation of operations) {
      sqlite.exec(`CREATE TRIGGER copy_log_${table.name}_${operation} AFTER ${operation} ON ${table.name}
        WHEN (SELECT state FROM copy_state) = 'leaving'
        BEGIN INSERT INTO copy_change (table_name, key) VALUES ('${table.name}', ${keyJson(table, operation)}); END`)
    }
  }
  // Looked at here, and not before each change: who is not written down must be known to the copy.
  sqlite.exec(`CREATE TRIGGER copy_log_full AFTER INSERT ON copy_change
    WHEN NEW.seq - (SELECT min(seq) FROM copy_change) >= ${mostChanges}
    BEGIN UPDATE copy_state SET state = 'abandoned' WHERE state = 'leaving'; END`)
}

function keyJson({ key }: CopyTable, operation: (typeof operations)[number]): string {
  const row = operation === 'DELETE' ? 'OLD' : 'NEW'
  const values = key.map(({ name, type }) => (type === 'bytea' ? `hex(${row}.${name})` : `${row}.${name}`))
  return `json_array(${values.join(', ')})`
}

/** Whether nobody has taken a trigger away since both kinds were made. */
export function hasAllTriggers(sqlite: Database.Database): boolean {
  return namesOfTriggers(sqlite).length === (allTables.length + rowTables.length) * operations.length + 1
}

function dropTriggers(sqlite: Database.Database): void {
  for (const name of namesOfTriggers(sqlite)) sqlite.exec(`DROP TRIGGER ${name}`)
}

function namesOfTriggers(sqlite: Database.Database): readonly string[] {
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
