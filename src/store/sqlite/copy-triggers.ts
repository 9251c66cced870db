/** The triggers that a copy makes in a file (`store/copy/copy.ts`). */
import type Database from 'better-sqlite3'
import { mostChanges } from '../copy/state.ts'
import { allTables, type CopyTable, rowTables } from '../copy/tables.ts'
import { dropTriggers, namesOfTriggers } from './copy-state.ts'

const operations = ['INSERT', 'UPDATE', 'DELETE'] as const

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
