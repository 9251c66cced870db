/**
 * A backup takes the place of what a database holds: one transaction, so whenever the process ends, the old or the new lies
 * there, whole. The backup is brought up to date and accepted as a file, and then loaded. What was there is not deleted: its
 * tables move into a schema of their own, for whoever wants to look.
 *
 * Nobody may work on the database meanwhile. Whoever has a connection to it is asked for before, and in the transaction its
 * tables are locked and its counters looked at once more.
 */
import type { AuditEntry } from '../../audit/audit-store.ts'
import { type Clock, formatTimestamp } from '../../lib/clock.ts'
import { ulidMilliseconds } from '../../lib/id.ts'
import { pause } from '../../lib/pause.ts'
import type { Secret } from '../../lib/secret.ts'
import type { StagedBackup } from '../copy/sides.ts'
import { allTables, type CopyTable, keyOf } from '../copy/tables.ts'
import { toEntry } from '../rows/audit-rows.ts'
import { type Restoring, StoreOpenError } from '../store.ts'
import { CopyConnection, failureBehind } from './copy-connection.ts'
import { countRows, insertRows } from './copy-rows.ts'
import { references } from './copy-target.ts'
import { Database } from './database.ts'
import { lockMigrations } from './fence.ts'
import { explainDatabase } from './location.ts'
import { applyPending, readMigrationState, requireOurs } from './migrate.ts'
import { asidePrefix } from './remains.ts'

const rowsAtOnce = 2_000
const mostLost = 10_000
/** Connections that were just closed are still there for a moment. */
const busyLooks = 20
const busyPauseMilliseconds = 50

/** The database whose content is to be replaced. */
interface Present {
  /** Its tables are there. */
  readonly exists: boolean
  readonly storeId: string | undefined
  readonly registry: number
  readonly mark: number
  readonly issuedUpTo: number
}

/**
 * Makes ready to put a backup in the place of what a database holds. Whatever comes of it, `finish` or `abandon` must follow.
 *
 * @throws StoreOpenError
 */
export async function prepareRestore(
  { url, location }: { readonly url: Secret; readonly location: string },
  stage: () => StagedBackup,
  clock: Clock,
): Promise<Restoring> {
  await requireOwn(url, location)
  const connection = await CopyConnection.open(url, location)
  let staged: StagedBackup | undefined
  try {
    await requireNobodyElse(connection)
    const present = await readPresent(connection)
    staged = stage()
    if (present.storeId !== undefined && present.storeId !== staged.storeId) {
      throw new StoreOpenError(
        `the file is a backup of another database than ${location}: give MAYFLY_DATABASE_URL its own, or an empty one`,
      )
    }
    const lost = present.storeId === undefined ? undefined : await readLost(connection, staged.lastEvent)
    return new Restore({ connection, clock, present, staged, lost })
  } catch (error) {
    await staged?.discard()
    await connection.close()
    throw error
  }
}

// One of another program, or of a newer version.
async function requireOwn(url: Secret, location: string): Promise<void> {
  const database = new Database(url)
  try {
    requireOurs(await readMigrationState(database), location)
  } catch (error) {
    throw explainDatabase(error, location)
  } finally {
    await database.close()
  }
}

const others = `SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
  AND application_name LIKE 'mayfly%'`

async function requireNobodyElse(connection: CopyConnection): Promise<void> {
  for (let looks = 1; (await connection.query(others)).length > 0; looks += 1) {
    if (looks === busyLooks) throw inUse(connection.location)
    await pause(busyPauseMilliseconds)
  }
}

function inUse(location: string, cause?: unknown): StoreOpenError {
  return new StoreOpenError(`${location} is in use: stop all servers, and let other commands end, first`, { cause })
}

async function readPresent(connection: CopyConnection): Promise<Present> {
  const nothing = { storeId: undefined, registry: 0, mark: 0, issuedUpTo: 0 }
  const [made] = await connection.query(`SELECT to_regclass('installation') IS NOT NULL AS made`)
  if (made?.made !== true) return { exists: false, ...nothing }
  const [row] = await connection.query(`SELECT (SELECT store_id FROM installation) AS "storeId",
    (SELECT value FROM sequence WHERE name = 'registry') AS registry, (SELECT value FROM sequence WHERE name = 'mark') AS mark,
    (SELECT jti FROM issuance ORDER BY jti DESC LIMIT 1) AS newest`)
  const newest = (row?.newest as string | null | undefined) ?? null
  return {
    exists: true,
    storeId: (row?.storeId as string | null) ?? undefined,
    registry: (row?.registry as number | null) ?? 0,
    mark: (row?.mark as number | null) ?? 0,
    issuedUpTo: newest === null ? 0 : ulidMilliseconds(newest),
  }
}

async function readLost(connection: CopyConnection, lastEvent: string): Promise<readonly AuditEntry[]> {
  const rows = await connection.query(
    `SELECT id, type, client_id AS "clientId", request_id AS "requestId", detail, wall_at AS "wallAt" FROM audit_event
     WHERE id > $1 AND split_part(type, '.', 1) IN ('client', 'secret', 'key', 'resource') ORDER BY id LIMIT $2`,
    [lastEvent, mostLost],
  )
  return rows.map(({ wallAt, ...row }) => {
    const entry = toEntry(row as Parameters<typeof toEntry>[0])
    return wallAt === null ? entry : { ...entry, at: wallAt as number }
  })
}

interface Parts {
  readonly connection: CopyConnection
  readonly clock: Clock
  readonly present: Present
  readonly staged: StagedBackup
  readonly lost: readonly AuditEntry[] | undefined
}

class Restore implements Restoring {
  readonly #parts: Parts
  #over = false

  constructor(parts: Parts) {
    this.#parts = parts
  }

  get store() {
    return this.#parts.staged.store
  }

  get known() {
    const { registry, mark, issuedUpTo } = this.#parts.present
    return { registry, mark, issuedUpTo }
  }

  get until() {
    return this.#parts.staged.until
  }

  readLost(): readonly AuditEntry[] | undefined {
    return this.#parts.lost
  }

  async finish(): Promise<string | undefined> {
    const { connection, clock, present } = this.#parts
    const now = clock.nowMilliseconds()
    const aside = `${asidePrefix}${formatTimestamp(now).replaceAll(/[-:.TZ]/g, '')}`
    try {
      await connection.transaction(() => this.#replace(aside, now))
    } finally {
      await this.abandon()
    }
    return present.exists ? `${connection.location}, schema ${aside}` : undefined
  }

  async abandon(): Promise<void> {
    if (this.#over) return
    this.#over = true
    await this.#parts.staged.discard()
    await this.#parts.connection.close()
  }

  async #replace(aside: string, now: number): Promise<void> {
    const { connection, present } = this.#parts
    await requireNobodyElse(connection)
    await lockAll(connection, present)
    const { exists, storeId, registry, mark } = await readPresent(connection)
    const isAsBefore = exists === present.exists && storeId === present.storeId
    if (!isAsBefore || registry !== present.registry || mark !== present.mark) throw inUse(connection.location)
    if (present.exists) await moveAside(connection, aside)
    await applyPending(connection.asSession(), now)
    await connection.script(references('drop'))
    for (const table of allTables) await this.#load(table)
    await connection.script(references('add'))
  }

  async #load(table: CopyTable): Promise<void> {
    const { connection, staged } = this.#parts
    // What migrations put there.
    await connection.script(`DELETE FROM ${table.name}`)
    let loaded = 0
    for (let after: ReturnType<typeof keyOf> | undefined; ; ) {
      const rows = staged.readRows(table, after, rowsAtOnce)
      const last = rows.at(-1)
      if (last === undefined) break
      await insertRows(connection, table, rows)
      loaded += rows.length
      after = keyOf(table, last)
    }
    if ((await countRows(connection, table)) !== loaded)
      throw new StoreOpenError(`${table.name} was not written as a whole: nothing was changed`)
  }
}

// Where there are no tables nobody shall make them meanwhile, as a node that starts does.
async function lockAll(connection: CopyConnection, { exists }: Pick<Present, 'exists'>): Promise<void> {
  const names = allTables.map(({ name }) => name).join(', ')
  try {
    await connection.script(exists ? `${lockMigrations}; LOCK TABLE ${names} IN ACCESS EXCLUSIVE MODE` : lockMigrations)
  } catch (error) {
    throw /^(?:55P03|40P01)$/.test(failureBehind(error)?.state ?? '') ? inUse(connection.location, error) : error
  }
}

// All tables that the migrations made, whatever their version, and the function of the fence.
async function moveAside(connection: CopyConnection, aside: string): Promise<void> {
  const tables = await connection.query(
    `SELECT quote_ident(relname) AS name FROM pg_class WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace`,
  )
  await connection.script(`CREATE SCHEMA ${aside}`)
  for (const { name } of tables) await connection.script(`ALTER TABLE ${name} SET SCHEMA ${aside}`)
  await connection.script(
    `DO $$ BEGIN ALTER FUNCTION registry_fence() SET SCHEMA ${aside}; EXCEPTION WHEN undefined_function THEN NULL; END $$`,
  )
}
