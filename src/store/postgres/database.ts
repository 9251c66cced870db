/**
 * Connections to one PostgreSQL, and what is done when one of them fails.
 *
 * Everything has a limit: connections, those who wait for one, the time to connect, to wait for a lock, to run a statement,
 * to wait for its answer, and to leave a transaction open.
 *
 * A statement whose answer is lost may have been done, or may still be running. Those that change something are therefore
 * made so that they can be made twice: the second one finds what the first one wrote, waits for it where it is still under
 * way (they meet at the same key or row), and does it where it was undone. So the answer is what the second one finds, and
 * only when there is no database to ask for a while, nobody knows.
 */
import pg from 'pg'
import { systemClock } from '../../lib/clock.ts'
import { pause } from '../../lib/pause.ts'
import type { Secret } from '../../lib/secret.ts'
import { StoreUnavailable } from '../../lib/store-error.ts'
import { DatabaseFailure, failureOfConnect, failureOfSent } from './failure.ts'

const maxConnections = 10
/** What processes that share a machine have together, and what each needs in any case: two statements under way, and others beside. */
const sharedConnections = 20
const leastConnections = 4
/** Acts that wait for a connection. */
const maxWaiting = 5_000
const connectMilliseconds = 2_000
const statementMilliseconds = 2_000
const lockMilliseconds = 1_000
/** A little longer than the server gives itself. */
const answerMilliseconds = 3_500
/** What a process that was paused may hold up others for. */
const idleInTransactionMilliseconds = 3_000
const idleMilliseconds = 60_000
const patientMilliseconds = 11 * 60_000

/** How long an answer that was lost is looked for. */
const doubtMilliseconds = 1_500
const doubtPauseMilliseconds = 50
/** How often an act is made again that somebody else was in the way of. */
const mostConflicts = 6
const conflictPauseMilliseconds = 10

/** One statement. With a name it is prepared once on each connection. */
export interface Statement {
  readonly name?: string
  readonly text: string
  readonly values?: readonly unknown[]
  /** Rows as lists, in the order of the columns. */
  readonly rowMode?: 'array'
}

/** A row by the names of its columns; whoever wrote the statement knows them. */
// biome-ignore lint/suspicious/noExplicitAny: the driver cannot know what a statement returns
export type Row = Readonly<Record<string, any>>

/** One connection, for as long as it is lent. */
export interface Session {
  /** @throws DatabaseFailure */
  query(statement: Statement): Promise<readonly Row[]>
  /**
   * Several statements in one message, without values.
   *
   * @param options `patient`: they may take minutes
   * @returns the rows of the last one that has any
   * @throws DatabaseFailure
   */
  script(text: string, options?: { readonly patient: boolean }): Promise<readonly Row[]>
}

/** A connection beside the pool, on which notifications arrive. */
export interface Watch extends Pick<Session, 'query'> {
  /** Whether nobody has seen it end. */
  readonly isOpen: boolean
  end(): void
}

/** How many connections there are, and who waits for one. */
export interface ConnectionUse {
  readonly inUse: number
  readonly idle: number
  readonly waiting: number
  readonly limit: number
}

const channel = 'mayfly'
/** Tells all that something has changed. Need not be durable. One message, so one transaction. */
export const notifyAll = `SET LOCAL synchronous_commit = off; NOTIFY ${channel}`

/** What came of a statement that may have been made twice. */
export interface Persisted {
  readonly rows: readonly Row[]
  /** An earlier try was answered by nothing: what is found may be its work. */
  readonly wasLost: boolean
}

export class Database {
  readonly #options: pg.ClientConfig
  readonly #pool: pg.Pool
  readonly #limit: number
  #isClosed = false
  #running = 0
  #idle: (() => void)[] = []

  /** `processes`: how many of this machine use the database. */
  constructor(url: Secret, processes = 1) {
    this.#limit = Math.min(maxConnections, Math.max(leastConnections, Math.floor(sharedConnections / processes)))
    this.#options = {
      connectionString: url.reveal(),
      application_name: 'mayfly',
      connectionTimeoutMillis: connectMilliseconds,
      statement_timeout: statementMilliseconds,
      lock_timeout: lockMilliseconds,
      query_timeout: answerMilliseconds,
      idle_in_transaction_session_timeout: idleInTransactionMilliseconds,
      keepAlive: true,
      types: { getTypeParser },
    }
    this.#pool = new pg.Pool({
      ...this.#options,
      max: this.#limit,
      idleTimeoutMillis: idleMilliseconds,
      onConnect: async (client) => {
        client.on('error', () => undefined)
        await client.query(prepareSession)
      },
    })
    // A connection that breaks while nobody uses it is dropped by the pool; while somebody does, his statement fails.
    this.#pool.on('error', () => undefined)
  }

  get use(): ConnectionUse {
    const { totalCount, idleCount, waitingCount } = this.#pool
    return { inUse: totalCount - idleCount, idle: idleCount, waiting: waitingCount, limit: this.#limit }
  }

  /** Opens a connection that hears when something has changed. @throws whatever is in the way */
  async openWatch(onNotification: () => void): Promise<Watch> {
    const client = new pg.Client({ ...this.#options, application_name: 'mayfly watch' })
    let isOpen = true
    for (const event of ['error', 'end'] as const) {
      client.on(event, () => {
        isOpen = false
      })
    }
    client.on('notification', onNotification)
    const end = (): void => {
      isOpen = false
      client.end().catch(() => undefined)
    }
    try {
      await client.connect()
      await client.query(prepareSession)
      await client.query(`LISTEN ${channel}`)
    } catch (error) {
      end()
      throw error
    }
    return {
      get isOpen() {
        return isOpen
      },
      query: sessionOf(client).query,
      end,
    }
  }

  /** Runs a statement that changes nothing. @throws StoreUnavailable */
  async read(statement: Statement): Promise<readonly Row[]> {
    try {
      return await this.lend((session) => session.query(statement))
    } catch (error) {
      // Connections that were kept over a restart of the server are found out when they are used.
      if (!isLost(error)) throw error
      return this.lend((session) => session.query(statement))
    }
  }

  /**
   * Runs a statement that may be made twice, until its answer is known.
   *
   * @param make is called before each try, when a connection is there
   * @param again which failures besides conflicts are none when it is made again
   * @throws StoreUnavailable
   */
  async persist(make: () => Statement, again: (failure: DatabaseFailure) => boolean = never): Promise<Persisted> {
    const doubt = new Doubt()
    for (let conflicts = 0; ; ) {
      try {
        const rows = await this.lend((session) => session.query(make()))
        return { rows, wasLost: doubt.isRaised }
      } catch (error) {
        const failure = doubt.consider(error)
        if (failure.isConflict || again(failure)) {
          conflicts += 1
          if (conflicts >= mostConflicts) throw doubt.explain(failure)
          await pause(Math.random() * conflictPauseMilliseconds * conflicts)
        } else await doubt.wait(failure)
      }
    }
  }

  /** Lets an act begin, and waits for its end when it is closed. @throws StoreUnavailable when it is closed already */
  async enter<T>(act: () => Promise<T>): Promise<T> {
    if (this.#isClosed) throw new StoreUnavailable('the store is closed')
    this.#running += 1
    try {
      return await act()
    } finally {
      this.#running -= 1
      if (this.#running === 0) for (const idle of this.#idle.splice(0)) idle()
    }
  }

  /** Lends a connection. One whose state is not known is not used again. @throws StoreUnavailable */
  async lend<T>(use: (session: Session) => Promise<T>): Promise<T> {
    if (this.#pool.waitingCount >= maxWaiting) throw new StoreUnavailable('too many acts wait for the database')
    const client = await this.#pool.connect().catch((error: unknown) => {
      throw failureOfConnect(error)
    })
    try {
      const value = await use(sessionOf(client))
      client.release()
      return value
    } catch (error) {
      client.release(isLost(error))
      throw error
    }
  }

  /** Waits for the acts that have begun; from now on no other begins. */
  async close(): Promise<void> {
    if (this.#isClosed) return
    this.#isClosed = true
    if (this.#running > 0) await new Promise<void>((resolve) => this.#idle.push(resolve))
    await this.#pool.end()
  }
}

/** What is not known yet of an act whose answer was lost. */
export class Doubt {
  // How long one waits for a server is no matter of the clock that tokens are dated by.
  readonly #clock = systemClock
  #until: number | undefined

  get isRaised(): boolean {
    return this.#until !== undefined
  }

  /** Notes that an answer was lost. @throws what is not the database's */
  consider(error: unknown): DatabaseFailure {
    if (!(error instanceof DatabaseFailure)) throw error
    if (error.lost) this.#until ??= this.#clock.monotonicMilliseconds() + doubtMilliseconds
    return error
  }

  /** Waits before the database is asked again. @throws StoreUnavailable when there is no doubt, or no time left to clear it */
  async wait(failure: DatabaseFailure): Promise<void> {
    if (this.#until === undefined || this.#clock.monotonicMilliseconds() >= this.#until) throw this.explain(failure)
    await pause(doubtPauseMilliseconds)
  }

  /** A failure, and whether what was asked for may have been done all the same. */
  explain(failure: DatabaseFailure): StoreUnavailable {
    if (!this.isRaised || failure.outcomeUnknown) return failure
    return new StoreUnavailable('the database cannot say whether it was done', { cause: failure, outcomeUnknown: true })
  }
}

// Whatever the server's default is, an acknowledged commit must be durable. And statements are planned once on a connection: one
// that was planned while a table was empty must not go through all of it when it has a million rows.
const prepareSession = `SELECT set_config('enable_seqscan', 'off', false),
  CASE WHEN current_setting('synchronous_commit') IN ('off', 'local') THEN set_config('synchronous_commit', 'on', false) END`

function sessionOf(client: pg.ClientBase): Session {
  const run = async (
    query: pg.QueryConfig & { readonly query_timeout?: number },
  ): Promise<pg.QueryResult | pg.QueryResult[]> => {
    try {
      return await client.query(query)
    } catch (error) {
      throw failureOfSent(error)
    }
  }
  return {
    query: async ({ values = [], ...statement }) => rowsOf(await run({ ...statement, values: [...values] })),
    script: async (text, { patient } = { patient: false }) =>
      rowsOf(await run({ text, ...(patient ? { query_timeout: patientMilliseconds } : {}) })),
  }
}

function rowsOf(result: pg.QueryResult | readonly pg.QueryResult[]): readonly Row[] {
  const results = 'rows' in result ? [result] : result
  return results.findLast(({ rows }) => rows.length > 0)?.rows ?? []
}

// Counters and times: below 2^53, as in all that is written here.
const int8 = 20

/** What is read of a value, by its type. */
export function getTypeParser(type: number, format?: 'text' | 'binary'): (value: string) => unknown {
  return type === int8 ? Number : pg.types.getTypeParser(type, format as 'text')
}

/** Whether an answer was lost. */
export function isLost(error: unknown): boolean {
  return error instanceof DatabaseFailure && error.lost
}

function never(): boolean {
  return false
}
