/**
 * Applies the migrations that drizzle-kit wrote, all in one transaction, which PostgreSQL undoes as a whole. drizzle's own
 * migrator looks what is missing without a lock, so two nodes that start at once fail. Here both take an advisory lock
 * first: one does the work, the other waits and finds nothing to do.
 */
import { fileURLToPath } from 'node:url'
import { StoreOpenError } from '../store.ts'
import type { Database, Session } from './database.ts'
import { readMigrationFiles } from './drizzle.ts'
import { lockMigrations } from './fence.ts'

const folder = fileURLToPath(new URL('./migrations', import.meta.url))

/** What there is to do. */
export interface MigrationState {
  readonly pending: number
  /** The database was written by a newer program. */
  readonly newer: boolean
  /** There are tables, and none of ours. */
  readonly foreign: boolean
}

// Tables may be large, and nobody works on a database of another version meanwhile.
export const bePatient = `SET LOCAL statement_timeout = '10min'; SET LOCAL lock_timeout = '1min'`
const createLedger = `CREATE TABLE IF NOT EXISTS migration (
  position integer PRIMARY KEY, hash text COLLATE "C" NOT NULL, applied_at bigint NOT NULL)`
const countTables = `SELECT count(*) FILTER (WHERE relname = 'migration') AS ours, count(*) AS all
  FROM pg_class WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace`

/** Looks which migrations are missing. @throws StoreUnavailable */
export function readMigrationState(database: Database): Promise<MigrationState> {
  return database.lend(readState)
}

/** The same, on a connection that is lent already. */
export async function readState(session: Session): Promise<MigrationState> {
  const [tables] = await session.query({ text: countTables })
  const applied = tables?.ours === 0 ? [] : await readApplied(session)
  const known = readMigrationFiles({ migrationsFolder: folder })
  const newer = applied.some((hash, i) => known[i]?.hash !== hash)
  const foreign = tables?.ours === 0 && tables.all > 0
  return { pending: newer ? 0 : known.length - applied.length, newer, foreign }
}

async function readApplied(session: Session): Promise<readonly string[]> {
  const rows = await session.query({ text: 'SELECT hash FROM migration ORDER BY position' })
  return rows.map(({ hash }) => hash as string)
}

/**
 * Brings a database up to date. Safe when several nodes do it at once.
 *
 * @throws StoreOpenError when it belongs to another program, or a newer one; StoreUnavailable
 */
export function migrate(database: Database, now: number, location: string): Promise<void> {
  return database.lend(async (session) => {
    try {
      await session.script(`BEGIN; ${bePatient}; ${lockMigrations}`, { patient: true })
      requireOurs(await readState(session), location)
      await applyPending(session, now)
      await session.script('COMMIT')
    } catch (error) {
      await session.script('ROLLBACK').catch(() => undefined)
      throw error
    }
  })
}

/** @throws StoreOpenError for a database of another program, or a newer one */
export function requireOurs({ foreign, newer }: MigrationState, location: string): void {
  if (foreign) {
    throw new StoreOpenError(
      `${location} is a database of another program: give MAYFLY_DATABASE_URL an empty one (\`createdb mayfly\`)`,
    )
  }
  if (newer) {
    throw new StoreOpenError(
      `${location} was written by a newer Mayfly: use that version, or put back a dump made by this one`,
    )
  }
}

/** Makes what is missing, in a transaction that is open. */
export async function applyPending(session: Session, now: number): Promise<void> {
  await session.query({ text: createLedger })
  const applied = await readApplied(session)
  for (const [position, { sql, hash }] of readMigrationFiles({ migrationsFolder: folder }).entries()) {
    if (position < applied.length) continue
    for (const statement of sql) await session.script(statement, { patient: true })
    const values = [position, hash, now]
    await session.query({ text: 'INSERT INTO migration (position, hash, applied_at) VALUES ($1, $2, $3)', values })
  }
}
