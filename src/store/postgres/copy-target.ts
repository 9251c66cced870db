import type { Secret } from '../../lib/secret.ts'
import type { CopyKey, CopyMark, CopyRow, CopyTarget, Standing, WholeTable } from '../copy/sides.ts'
import { isArriving, requireMine } from '../copy/state.ts'
import { allTables, type CopyTable, rowTables, wholeTables } from '../copy/tables.ts'
import { StoreOpenError } from '../store.ts'
import { CopyConnection } from './copy-connection.ts'
import { countRows, deleteByKeys, insertRows, readRows } from './copy-rows.ts'
import { readWholeStanding } from './copy-source.ts'
import { createTriggers, dropTriggers, readCopyState } from './copy-state.ts'
import { Database } from './database.ts'
import { explainDatabase } from './location.ts'
import { migrate, readMigrationState, requireOurs } from './migrate.ts'

/** A database that is copied to; its tables are made when they are not there. */
export class PostgresCopyTarget implements CopyTarget {
  readonly location: string
  readonly #connection: CopyConnection

  private constructor(connection: CopyConnection) {
    this.#connection = connection
    this.location = connection.location
  }

  /** @throws StoreOpenError */
  static async open(url: Secret, location: string, now: number): Promise<PostgresCopyTarget> {
    const database = new Database(url)
    try {
      const state = await readMigrationState(database)
      requireOurs(state, location)
      if (state.pending > 0) await migrate(database, now, location)
    } catch (error) {
      throw explainDatabase(error, location)
    } finally {
      await database.close()
    }
    return new PostgresCopyTarget(await CopyConnection.open(url, location))
  }

  readStanding(): Promise<Standing> {
    return readWholeStanding(this.#connection)
  }

  async isEmpty(): Promise<boolean> {
    if ((await readCopyState(this.#connection)) !== undefined) return false
    for (const table of [...rowTables, ...wholeTables.filter(({ name }) => name === 'installation')]) {
      if ((await countRows(this.#connection, table)) > 0) return false
    }
    return true
  }

  async begin({ copyId, storeId, other, at }: CopyMark): Promise<void> {
    await this.#connection.transaction(async () => {
      await this.#connection.script('LOCK TABLE copy_state, installation IN ACCESS EXCLUSIVE MODE')
      const state = await readCopyState(this.#connection)
      const isEarlier = isArriving(state) && state?.storeId === storeId
      if (!isEarlier && !(await this.isEmpty()))
        throw new StoreOpenError(`${this.location} is no longer empty: give --to an empty place`)
      const names = [...rowTables.map(({ name }) => name), 'signing_key', 'root_key', 'installation', 'copy_change']
      // First of all, for the guards look at it.
      await this.#connection.script(`DELETE FROM copy_state; TRUNCATE ${names.join(', ')}`)
      await this.#connection.script(references('drop'))
      await this.#connection.query(
        `INSERT INTO copy_state (id, state, copy_id, store_id, other, at) VALUES (1, 'arriving', $1, $2, $3, $4)`,
        [copyId, storeId, other, at],
      )
      await createTriggers(this.#connection, { logs: false })
    })
  }

  put(copyId: string, table: CopyTable, rows: readonly CopyRow[]): Promise<void> {
    return this.#write(copyId, () => insertRows(this.#connection, table, rows))
  }

  replace(copyId: string, table: CopyTable, keys: readonly CopyKey[], rows: readonly CopyRow[]): Promise<void> {
    return this.#write(copyId, async () => {
      await deleteByKeys(this.#connection, table, keys)
      await insertRows(this.#connection, table, rows)
    })
  }

  arrive(copyId: string, eventId: string, whole: readonly WholeTable[]): Promise<void> {
    return this.#write(copyId, async () => {
      // The guard of `installation` lets this transaction through.
      await this.#connection.script(`UPDATE copy_state SET state = 'filling'`)
      for (const { table, rows } of whole) {
        await this.#connection.script(`DELETE FROM ${table.name}`)
        await insertRows(this.#connection, table, rows)
      }
      await this.#connection.script(references('add'))
      await this.#connection.query(`UPDATE copy_state SET state = 'arrived', event_id = $1`, [eventId])
    })
  }

  readRows(table: CopyTable, after: CopyKey | undefined, limit: number): Promise<readonly CopyRow[]> {
    return readRows(this.#connection, table, after, limit)
  }

  count(table: CopyTable): Promise<number> {
    return countRows(this.#connection, table)
  }

  async hasEvent(id: string): Promise<boolean> {
    return (await this.#connection.query('SELECT 1 FROM audit_event WHERE id = $1', [id])).length > 0
  }

  async open(eventId: string): Promise<void> {
    const opened = await this.#connection.query(
      `DELETE FROM copy_state WHERE state = 'arrived' AND event_id = $1 RETURNING 1`,
      [eventId],
    )
    if (opened.length !== 1)
      throw new StoreOpenError(`${this.location} was changed meanwhile: run \`mayfly db copy\` again`)
    await dropTriggers(this.#connection)
  }

  close(): Promise<void> {
    return this.#connection.close()
  }

  #write<T>(copyId: string, run: () => Promise<T>): Promise<T> {
    return this.#connection.transaction(async () => {
      // Whoever takes the place over waits for this.
      await this.#connection.script('SELECT 1 FROM copy_state FOR SHARE')
      requireMine(await readCopyState(this.#connection), { copyId, expected: 'arriving' }, this.location)
      return run()
    })
  }
}

/** The statements that take all foreign keys off the tables, or put them back. */
export function references(how: 'drop' | 'add'): string {
  return allTables
    .flatMap((table) =>
      table.references.map(({ name, statement }) =>
        how === 'add' ? statement : `ALTER TABLE ${table.name} DROP CONSTRAINT IF EXISTS ${name}`,
      ),
    )
    .join('; ')
}
