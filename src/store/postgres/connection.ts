/**
 * How the parts of the store change something.
 *
 *   one statement       `Database.persist`
 *   several statements  a transaction, made again when somebody else was in the way
 *   a registry change   a transaction that holds the registry row from its first statement on, so that changes happen one after
 *                       the other, and moves the sequence in its last message, behind the gate (`fence.ts`)
 *
 * When the answer to COMMIT is lost, the transaction may have happened or may be under way. It holds the row that it began
 * with, so whoever locks that row waits until it is over; then the audit record that it wrote is there, and it is done, or
 * is not, and it is made again. One without a record has changed nothing that anybody relies on, and may be made twice.
 */
import type { Actor, AuditEvent, Change, ChangeRecord } from '../../audit/event.ts'
import type { Clock } from '../../lib/clock.ts'
import { makeUlid, ulidCeiling, ulidMilliseconds } from '../../lib/id.ts'
import { pause } from '../../lib/pause.ts'
import { StoreUnavailable } from '../../lib/store-error.ts'
import { longestTokenLifeMilliseconds, nodeSkewMilliseconds } from '../../token/mark-store.ts'
import type { StoreEvents } from '../store.ts'
import { type Database, Doubt, isLost, type Persisted, type Row, type Session, type Statement } from './database.ts'
import { drizzle } from './drizzle.ts'
import { insertEvent, insertInOrder, laterId, toEventValues } from './event-row.ts'
import { DatabaseFailure } from './failure.ts'
import { closeGate } from './fence.ts'
import type { PostgresGuard } from './guard.ts'
import type { Horizon } from './horizon.ts'

const mostAttempts = 6
const attemptPauseMilliseconds = 15

/** What the parts of the store share. */
export interface Connection {
  readonly clock: Clock
  /** Lets an act begin that consists of others, which go by `within`. @throws StoreUnavailable when the store is closed */
  enter<T>(act: () => Promise<T>): Promise<T>
  readonly within: Pick<Connection, 'read' | 'persist'>
  /** Runs a statement that changes nothing. @throws StoreUnavailable */
  read(statement: Statement): Promise<readonly Row[]>
  /** Runs one statement that may be made twice. @throws StoreUnavailable */
  persist(make: () => Statement, again?: (failure: DatabaseFailure) => boolean): Promise<Persisted>
  /** Runs several statements in one transaction. @throws StoreUnavailable; what `work` throws */
  transaction<T>(work: (tx: Transaction) => Promise<T>, options?: TransactionOptions): Promise<T>
  /**
   * A change to the registry: what `run` does, its audit records, and the registry sequence, in one transaction. When
   * `run` returns no event, nothing had to change and the sequence stays.
   *
   * @throws StoreUnavailable; WitnessUnavailable; what `run` throws
   */
  change<T>(by: Actor, run: (tx: Transaction) => Promise<Changed<T>>): Promise<T>
  /** For what an old copy of the database must not take back unnoticed. @throws WitnessUnavailable; StoreOpenError where nothing may be changed */
  witnessed<T>(act: () => Promise<T>): Promise<T>
}

export interface TransactionOptions {
  /** Whether changes of the registry wait for this one from its first statement on. */
  readonly locksRegistry?: boolean
}

/** One transaction. */
export interface Transaction extends Pick<Session, 'query'> {
  readonly db: ReturnType<typeof drizzle>
  /** Appends to the audit trail, after all that was in it, whatever the clock shows. */
  writeEvent(event: AuditEvent): Promise<void>
  /** Lets nobody issue until the transaction is over; all that was issued until now can be seen. */
  closeGate(): Promise<void>
  /** The moment up to which the tokens of a client, or of all, are to be dead when they are ended now. */
  endOfTokens(clientId?: string): Promise<number>
  /** Has the registry sequence moved with the commit. Only for one that locks the registry. */
  moveRegistry(): void
}

/** What a change did. */
export interface Changed<T> {
  readonly value: T
  readonly events: readonly (Change & Pick<ChangeRecord, 'detail'>)[]
}

/** What changes have to do with besides the database. */
export interface ConnectionParts {
  readonly events: StoreEvents
  readonly guard: PostgresGuard | undefined
  readonly horizon: Pick<Horizon, 'forget' | 'announce'>
}

export function createConnection(
  database: Database,
  clock: Clock,
  { events, guard, horizon }: ConnectionParts,
): Connection {
  const observed = async <T>(act: () => Promise<T>): Promise<T> => {
    const started = clock.monotonicMilliseconds()
    try {
      const value = await act()
      events.onCommit?.(1, (clock.monotonicMilliseconds() - started) / 1000)
      return value
    } catch (error) {
      if (error instanceof StoreUnavailable) events.onFailure?.(error)
      throw error
    }
  }

  const within: Connection['within'] = {
    read: (statement) => database.read(statement),
    persist: (make, again) => observed(() => database.persist(make, again)),
  }

  const connection: Connection = {
    clock,
    enter: (act) => database.enter(act),
    within,
    read: (statement) => database.enter(() => within.read(statement)),
    persist: (make, again) => database.enter(() => within.persist(make, again)),
    transaction: (work, options = {}) => database.enter(() => observed(() => transact(database, clock, work, options))),
    change: (by, run) =>
      connection.witnessed(() => connection.transaction((tx) => runChange(tx, by, run), { locksRegistry: true })),
    witnessed: async (act) => {
      guard?.requireTrust()
      const value = await act().finally(() => {
        // Also what failed may have been done. Whoever hears of it here must find it here at once.
        horizon.forget()
        horizon.announce()
      })
      await guard?.keep()
      return value
    },
  }
  return connection
}

async function runChange<T>(tx: Transaction, by: Actor, run: (tx: Transaction) => Promise<Changed<T>>): Promise<T> {
  const { value, events } = await run(tx)
  for (const event of events) await tx.writeEvent({ ...event, actor: by })
  if (events.length > 0) tx.moveRegistry()
  return value
}

async function transact<T>(
  database: Database,
  clock: Clock,
  work: (tx: Transaction) => Promise<T>,
  options: TransactionOptions,
): Promise<T> {
  const doubt = new Doubt()
  for (let attempts = 1; ; attempts += 1) {
    const attempt = new Attempt<T>(clock, options)
    try {
      return await database.lend((session) => attempt.run(session, work))
    } catch (error) {
      if (!(error instanceof DatabaseFailure)) throw error
      if (attempt.wasCommitted && error.lost && (await isDone(database, attempt, doubt, error)))
        return attempt.value as T
      const mayBeMadeAgain = error.isConflict || error.lost
      if (!mayBeMadeAgain || attempts === mostAttempts) throw failed(error)
      await pause(Math.random() * attemptPauseMilliseconds * attempts)
    }
  }
}

// Where it was not committed, it was undone: that is no doubt.
function failed(error: DatabaseFailure): StoreUnavailable {
  return new StoreUnavailable('the database cannot do it', { cause: error.cause })
}

/** Whether a transaction happened whose COMMIT was not answered. @throws StoreUnavailable when nobody can tell */
async function isDone(
  database: Database,
  { recordId }: Attempt<unknown>,
  doubt: Doubt,
  first: DatabaseFailure,
): Promise<boolean> {
  for (let error = first; ; ) {
    doubt.consider(error)
    await doubt.wait(error)
    try {
      return await database.lend(async (session) => {
        await session.query({
          text: `SELECT 1 FROM sequence WHERE name IN ('registry', 'mark') ORDER BY name FOR SHARE`,
        })
        const found = await session.query({ text: 'SELECT 1 FROM audit_event WHERE id = $1', values: [recordId ?? ''] })
        return found.length > 0
      })
    } catch (again) {
      error = doubt.consider(again)
    }
  }
}

/** One try of a transaction. */
class Attempt<T> implements Omit<Transaction, 'query'> {
  readonly #clock: Clock
  readonly #locksRegistry: boolean
  #session: Session | undefined
  #db: ReturnType<typeof drizzle> | undefined
  #lastId: string | undefined
  #movesRegistry = false
  /** The first audit record that it wrote. */
  recordId: string | undefined
  /** Whether COMMIT was sent. */
  wasCommitted = false
  value: T | undefined

  constructor(clock: Clock, { locksRegistry = false }: TransactionOptions) {
    this.#clock = clock
    this.#locksRegistry = locksRegistry
  }

  async run(session: Session, work: (tx: Transaction) => Promise<T>): Promise<T> {
    this.#session = session
    try {
      await this.#begin(session)
      this.value = await work(this)
    } catch (error) {
      throw await this.#rollback(session, causeOf(error))
    }
    await this.#commit(session)
    return this.value as T
  }

  async #begin(session: Session): Promise<void> {
    const locked = await session.script(this.#locksRegistry ? `BEGIN; ${lockRegistry}` : 'BEGIN')
    if (this.#locksRegistry && locked.length === 0) throw new StoreUnavailable('the registry sequence is missing')
  }

  // One message from the gate to the commit: a process that is paused holds up nobody.
  async #commit(session: Session): Promise<void> {
    this.wasCommitted = true
    try {
      await session.script(this.#movesRegistry ? `${closeGate}; ${moveRegistry}; COMMIT` : 'COMMIT')
    } catch (error) {
      throw isLost(error) ? error : await this.#rollback(session, error)
    }
  }

  // What could not be rolled back is, as soon as the connection ends.
  async #rollback(session: Session, error: unknown): Promise<unknown> {
    if (isLost(error)) return error
    return session.script('ROLLBACK').then(
      () => error,
      (broken: unknown) => (error instanceof StoreUnavailable ? broken : error),
    )
  }

  query(statement: Statement): Promise<readonly Row[]> {
    if (this.#session === undefined) throw new Error('the transaction has not begun')
    return this.#session.query(statement)
  }

  get db(): ReturnType<typeof drizzle> {
    const query = async ({ text, rowMode }: Statement, values: readonly unknown[] = []) => ({
      rows: await this.query({ text, values, ...(rowMode === undefined ? {} : { rowMode }) }),
    })
    this.#db ??= drizzle({ client: { query } as never })
    return this.#db
  }

  async writeEvent(event: AuditEvent): Promise<void> {
    const now = this.#clock.nowMilliseconds()
    const id = laterId(makeUlid(now), this.#lastId)
    const [done] = await this.query({
      name: 'write_event',
      text: insertInOrder,
      values: toEventValues(id, event, now),
    })
    this.#lastId = done?.present === true ? id : await this.#writeLater(laterId(id, done?.last as string), event, now)
    this.recordId ??= this.#lastId
  }

  async #writeLater(id: string, event: AuditEvent, now: number): Promise<string> {
    const written = await this.query({ text: insertEvent, values: toEventValues(id, event, now) })
    if (written.length !== 1) throw new StoreUnavailable('an audit record was not written')
    return id
  }

  async closeGate(): Promise<void> {
    await this.query({ text: closeGate })
  }

  async endOfTokens(clientId?: string): Promise<number> {
    // A clock that has stepped back may have dated tokens ahead of it; whoever issues them may have one that is ahead.
    const now = this.#clock.nowMilliseconds()
    const [ahead] = await this.query({
      text: `SELECT jti FROM issuance WHERE jti > $1 AND ($2::text IS NULL OR client_id = $2) ORDER BY jti DESC LIMIT 1`,
      values: [ulidCeiling(now), clientId ?? null],
    })
    const dated = ahead === undefined ? now : ulidMilliseconds(ahead.jti as string)
    // What is dated further ahead is not valid until then, and nobody shall wait for so long.
    return Math.min(dated, now + longestTokenLifeMilliseconds) + nodeSkewMilliseconds
  }

  moveRegistry(): void {
    if (!this.#locksRegistry) throw new Error('the registry is not locked')
    this.#movesRegistry = true
  }
}

const lockRegistry = `SELECT value FROM sequence WHERE name = 'registry' FOR UPDATE`
const moveRegistry = `UPDATE sequence SET value = value + 1 WHERE name = 'registry'`

// drizzle puts every failure into one of its own, whose message has the values of the statement.
function causeOf(error: unknown): unknown {
  return error instanceof Error && error.cause instanceof DatabaseFailure ? error.cause : error
}
