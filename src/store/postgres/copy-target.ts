import type { Secret } from '../../lib/secret.ts'
import type { CopyKey, CopyMark, CopyRow, CopyTarget, Standing, WholeTable } from '../copy/sides.ts'
import { requireMine, requireReceiving } from '../copy/state.ts'
import { allTables, type CopyTable, rowTables, wholeTables } from '../copy/tables.ts'
import { StoreOpenError } from '../store.ts'
import { CopyConnection } from './copy-connection.ts'
import { countRows, deleteByKeys, insertRows, readRows } from './copy-rows.ts'
import { readWholeStanding } from './copy-source.ts'
import { createTriggers, dropTriggers, readCopyState } from './copy-state.ts'
import { lockMigrations } from './fence.ts'
import { applyPending, bePatient, readState, requireOurs } from './migrate.ts'

/** A database that is copied to; its tables are made when they are not there. */
export class PostgresCopyTarget implements CopyTarget {
  readonly location: string
  readonly #connection: CopyConnection

  private constructor(connection: CopyConnection) {
    this.#connection = connection
    this.location = connection.location
  }

  /** @throws StoreOpenError */
  static async open(url: Secret, location: string): Promise<PostgresCopyTarget> {
    return new PostgresCopyTarget(await CopyConnection.open(url, location))
  }

  async hasTables(): Promise<boolean> {
    const [row] = await this.#connection.query(`SELECT to_regclass('copy_state') IS NOT NULL AS made`)
    return row?.made === true
  }

  async prepare(mark: CopyMark): Promise<void> {
    await this.#requireUnclaimed(mark)
    const session = this.#connection.asSession()
    return this.#connection.transaction(async () => {
      await this.#connection.script(`${bePatient}; ${lockMigrations}`)
      const migrations = await readState(session)
      requireOurs(migrations, this.location)
      if (migrations.pending > 0) await applyPending(session, mark.at)
      await this.#requireReceiving(mark)
      // What an earlier run has left keeps its mark, for that run may be in its last transaction.
      if ((await readCopyState(this.#connection)) === undefined) await this.#writeMark(mark)
    })
  }

  readStanding(): Promise<Standing> {
    return readWholeStanding(this.#connection)
  }

  async begin(mark: CopyMark): Promise<void> {
    await this.#connection.transaction(async () => {
      await this.#requireReceiving(mark)
      const names = [...rowTables.map(({ name }) => name), 'signing_key', 'root_key', 'installation', 'copy_change']
      // First of all, for the guards look at it.
      await this.#connection.script(`DELETE FROM copy_state; TRUNCATE ${names.join(', ')}`)
      await this.#connection.script(references('drop'))
      await this.#writeMark(mark)
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

  // Before anything is locked: where the place was mistaken, servers work on it.
  async #requireUnclaimed({ storeId }: CopyMark): Promise<void> {
    const [row] = await this.#connection.query(`SELECT to_regclass('installation') IS NOT NULL AS made`)
    if (row?.made !== true || (await this.#connection.query('SELECT 1 FROM installation')).length === 0) return
    const state = (await this.hasTables()) ? await readCopyState(this.#connection) : undefined
    requireReceiving({ state, isEmpty: false }, storeId, this.location)
  }

  /** Nobody else claims the place, or takes it over, until the transaction ends. */
  async #requireReceiving({ storeId }: CopyMark): Promise<void> {
    await this.#connection.script('LOCK TABLE copy_state, installation IN ACCESS EXCLUSIVE MODE')
    const state = await readCopyState(this.#connection)
    requireReceiving({ state, isEmpty: await this.#isEmpty() }, storeId, this.location)
  }

  async #isEmpty(): Promise<boolean> {
    for (const table of [...rowTables, ...wholeTables.filter(({ name }) => name === 'installation')]) {
      if ((await countRows(this.#connection, table)) > 0) return false
    }
    return true
  }

  async #writeMark({ copyId, storeId, other, at }: CopyMark): Promise<void> {
    await this.#connection.query(
      `INSERT INTO copy_state (id, state, copy_id, store_id, other, at) VALUES (1, 'arriving', $1, $2, $3, $4)`,
      [copyId, storeId, other, at],
    )
    await createTriggers(this.#connection, { logs: false })
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
