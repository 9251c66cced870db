import type { Actor, ChangeRecord } from '../../audit/event.ts'
import { makeUlid } from '../../lib/id.ts'
import { pause } from '../../lib/pause.ts'
import type { Secret } from '../../lib/secret.ts'
import { StoreUnavailable } from '../../lib/store-error.ts'
import type { CopyChange, CopyKey, CopyMark, CopyRow, CopySource, Standing } from '../copy/sides.ts'
import { requireMine, requireUnchanged } from '../copy/state.ts'
import { allTables, type CopyTable, parseKey, tableNamed } from '../copy/tables.ts'
import { StoreOpenError } from '../store.ts'
import { CopyConnection, failureBehind } from './copy-connection.ts'
import { countRows, readByKeys, readRows } from './copy-rows.ts'
import { createTriggers, dropTriggers, hasAllTriggers, readCopyState } from './copy-state.ts'
import { insertEvent, laterId, toEventValues } from './event-row.ts'
import { readStanding } from './guard.ts'
import { readState } from './migrate.ts'

/** How often all tables are asked for, and for how long: whoever works waits meanwhile. */
const mostLockAttempts = 60
const lockMilliseconds = 400
/** Now and then longer than `deadlock_timeout`, after which PostgreSQL ends an autovacuum that is in the way. */
const patientLockMilliseconds = 1_500
const patientEvery = 5
const lockPauseMilliseconds = 150
// `lock_not_available`, `deadlock_detected`.
const inTheWay = /^(?:55P03|40P01)$/

/** How far a store in a database has come, and a copy of it. */
export async function readWholeStanding(connection: CopyConnection): Promise<Standing> {
  const read = ({ text }: { readonly text: string }) => connection.query(text)
  const { storeId, registry = 0, mark = 0 } = (await readStanding({ read })) ?? {}
  return { storeId, registry, mark, state: await readCopyState(connection) }
}

/** A database that is copied from. */
export class PostgresCopySource implements CopySource {
  readonly location: string
  readonly #connection: CopyConnection
  #isLocked = false

  private constructor(connection: CopyConnection) {
    this.#connection = connection
    this.location = connection.location
  }

  /** @throws StoreOpenError */
  static async open(url: Secret, location: string): Promise<PostgresCopySource> {
    return new PostgresCopySource(await CopyConnection.open(url, location))
  }

  readStanding(): Promise<Standing> {
    return readWholeStanding(this.#connection)
  }

  async begin({ copyId, storeId, other, at }: CopyMark): Promise<void> {
    await this.#connection.transaction(async () => {
      await this.#connection.script('LOCK TABLE copy_state IN SHARE ROW EXCLUSIVE MODE')
      const state = await readCopyState(this.#connection)
      if (state !== undefined && state.state !== 'leaving' && state.state !== 'abandoned')
        throw new StoreOpenError(`${this.location} was moved meanwhile: run \`mayfly db copy\` again`)
      await this.#connection.script('DELETE FROM copy_change; DELETE FROM copy_state')
      await this.#connection.query(
        `INSERT INTO copy_state (id, state, copy_id, store_id, other, at) VALUES (1, 'leaving', $1, $2, $3, $4)`,
        [copyId, storeId, other, at],
      )
    })
    // After the mark: what a trigger sees that was made before it would not be written down.
    await createTriggers(this.#connection, { logs: true })
  }

  readRows(table: CopyTable, after: CopyKey | undefined, limit: number): Promise<readonly CopyRow[]> {
    return readRows(this.#connection, table, after, limit)
  }

  readByKeys(table: CopyTable, keys: readonly CopyKey[]): Promise<readonly CopyRow[]> {
    return readByKeys(this.#connection, table, keys)
  }

  count(table: CopyTable): Promise<number> {
    return countRows(this.#connection, table)
  }

  async takeChanges(copyId: string, limit: number): Promise<readonly CopyChange[]> {
    await this.#requireMine(copyId)
    const rows = await this.#connection.query(
      // Whoever is overtaken after he has looked must not take what the later run needs.
      `DELETE FROM copy_change WHERE seq IN (SELECT seq FROM copy_change ORDER BY seq LIMIT $1)
       AND EXISTS (SELECT FROM copy_state WHERE copy_id = $2 AND state = 'leaving')
       RETURNING table_name AS "table", key`,
      [limit, copyId],
    )
    return rows.map(({ table, key }) => ({
      table: table as string,
      key: parseKey(tableNamed(table as string), key as string),
    }))
  }

  async lock(copyId: string): Promise<void> {
    const names = [...allTables.map(({ name }) => name), 'copy_state'].join(', ')
    for (let attempts = 1; !this.#isLocked; attempts += 1) {
      try {
        // Short: nobody who comes behind this may be held up for long, and whoever is in a circle with it goes first.
        const wait = attempts % patientEvery === 0 ? patientLockMilliseconds : lockMilliseconds
        await this.#connection.script(`BEGIN; SET LOCAL lock_timeout = ${wait}; LOCK TABLE ${names} IN EXCLUSIVE MODE`)
        this.#isLocked = true
      } catch (error) {
        await this.#connection.script('ROLLBACK')
        if (!inTheWay.test(failureBehind(error)?.state ?? '') || attempts === mostLockAttempts) throw error
        await pause(Math.random() * lockPauseMilliseconds)
      }
    }
    await this.#requireMine(copyId)
    const { newer } = await readState(this.#connection.asSession())
    requireUnchanged({ newer, hasTriggers: await hasAllTriggers(this.#connection) }, this.location)
  }

  async writeRecord(by: Actor, now: number, detail: Readonly<Record<string, string>>): Promise<string> {
    const [last] = await this.#connection.query('SELECT id FROM audit_event ORDER BY id DESC LIMIT 1')
    const id = laterId(makeUlid(now), last?.id as string | undefined)
    const { storeId = '' } = await this.readStanding()
    const event: ChangeRecord = { type: 'store.copied', storeId, actor: by, detail }
    await this.#connection.query(insertEvent, toEventValues(id, event, now))
    await this.#connection.script(`UPDATE sequence SET value = value + 1 WHERE name = 'registry'`)
    return id
  }

  async leave(copyId: string, eventId: string): Promise<void> {
    const marked = await this.#connection.query(
      `UPDATE copy_state SET state = 'left', event_id = $1 WHERE copy_id = $2 AND state = 'leaving' RETURNING 1`,
      [eventId, copyId],
    )
    if (marked.length !== 1) throw new StoreOpenError(`${this.location} was not marked as moved: nothing was moved`)
    try {
      await this.#connection.script('COMMIT')
      this.#isLocked = false
    } catch (cause) {
      throw new StoreUnavailable('the database cannot say whether it was done', { cause, outcomeUnknown: true })
    }
  }

  async rollback(): Promise<void> {
    if (this.#isLocked) await this.#connection.script('ROLLBACK')
    this.#isLocked = false
  }

  async abandon(copyId: string): Promise<void> {
    const isMine = await this.#connection.transaction(async () => {
      // A later run begins after this, with a list of its own.
      await this.#connection.script('LOCK TABLE copy_state IN SHARE ROW EXCLUSIVE MODE')
      const gone = await this.#connection.query(
        `DELETE FROM copy_state WHERE copy_id = $1 AND state IN ('leaving', 'abandoned') RETURNING 1`,
        [copyId],
      )
      if (gone.length > 0) await this.#connection.script('DELETE FROM copy_change')
      return gone.length > 0
    })
    if (isMine) await dropTriggers(this.#connection)
  }

  readStamp(): number {
    return 0
  }

  close(): Promise<void> {
    return this.#connection.close()
  }

  async #requireMine(copyId: string): Promise<void> {
    requireMine(await readCopyState(this.#connection), { copyId, expected: 'leaving' }, this.location)
  }
}
