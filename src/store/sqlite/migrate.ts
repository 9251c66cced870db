/**
 * Applies the migrations that drizzle-kit wrote. drizzle's own migrator opens a deferred transaction after it has
 * looked what is missing, so two processes that start at once fail; and it cannot turn foreign keys off, so that a
 * parent table that is rebuilt empties its children. This one looks and applies under one write lock, with foreign
 * keys off, and checks them before it commits.
 */
import { fileURLToPath } from 'node:url'
import type Database from 'better-sqlite3'
import { StoreOpenError } from '../store.ts'
import { readMigrationFiles } from './drizzle.ts'

const folder = fileURLToPath(new URL('./migrations', import.meta.url))

/** Marks a file as a Mayfly database (SQLite's `application_id`): `MAYF` in ASCII. */
export const applicationId = 0x4d415946

/** What there is to do. */
export interface MigrationState {
  readonly pending: number
  /** The database was written by a newer program. */
  readonly newer: boolean
}

/** Looks which migrations are missing. */
export function readMigrationState(sqlite: Database.Database): MigrationState {
  const applied = readApplied(sqlite)
  const known = readMigrationFiles({ migrationsFolder: folder })
  const newer = applied.some((hash, i) => known[i]?.hash !== hash)
  return { pending: newer ? 0 : known.length - applied.length, newer }
}

/**
 * Brings a database up to date. Safe when several processes do it at once: the first does the work, the others find
 * nothing to do.
 *
 * @param also what is to be done in the same transaction
 * @throws StoreOpenError when the result would break a foreign key
 */
export function migrate(sqlite: Database.Database, now: number, also: () => void = () => undefined): void {
  // Inside a transaction this pragma does nothing, so it goes first.
  sqlite.pragma('foreign_keys = OFF')
  try {
    const run = (): void => {
      applyPending(sqlite, now)
      also()
    }
    sqlite.transaction(run).immediate()
  } finally {
    sqlite.pragma('foreign_keys = ON')
  }
}

function applyPending(sqlite: Database.Database, now: number): void {
  sqlite.exec(
    'CREATE TABLE IF NOT EXISTS migration (position INTEGER PRIMARY KEY, hash TEXT NOT NULL, applied_at INTEGER NOT NULL) STRICT',
  )
  sqlite.pragma(`application_id = ${applicationId}`)
  const applied = readApplied(sqlite)
  const record = sqlite.prepare('INSERT INTO migration (position, hash, applied_at) VALUES (?, ?, ?)')
  readMigrationFiles({ migrationsFolder: folder }).forEach((migration, position) => {
    if (position < applied.length) return
    for (const statement of migration.sql) sqlite.exec(statement)
    record.run(position, migration.hash, now)
  })
  const broken = sqlite.pragma('foreign_key_check') as unknown[]
  if (broken.length > 0) {
    throw new StoreOpenError(
      `a migration would leave ${broken.length} rows that refer to nothing: nothing was changed; report this`,
    )
  }
}

function readApplied(sqlite: Database.Database): readonly string[] {
  const exists = sqlite.prepare(`SELECT 1 FROM sqlite_schema WHERE name = 'migration'`).get() !== undefined
  if (!exists) return []
  return sqlite.prepare('SELECT hash FROM migration ORDER BY position').pluck().all() as string[]
}
