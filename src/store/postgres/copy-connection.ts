/** One connection for a copy: its statements may take minutes, and nobody waits in a queue for it. */
import pg from 'pg'
import type { Secret } from '../../lib/secret.ts'
import { getTypeParser, type Row, type Session } from './database.ts'
import { type DatabaseFailure, failureOfConnect, failureOfSent } from './failure.ts'
import { explainDatabase } from './location.ts'

const connectMilliseconds = 5_000
const statementMilliseconds = 30 * 60_000
const lockMilliseconds = 5_000
/** In the last transaction the other side may have to look through all that was copied. */
const idleInTransactionMilliseconds = 10 * 60_000

export class CopyConnection {
  readonly location: string
  readonly #client: pg.Client

  private constructor(client: pg.Client, location: string) {
    this.#client = client
    this.location = location
  }

  /** @throws StoreOpenError */
  static async open(url: Secret, location: string): Promise<CopyConnection> {
    const client = new pg.Client({
      connectionString: url.reveal(),
      application_name: 'mayfly copy',
      connectionTimeoutMillis: connectMilliseconds,
      statement_timeout: statementMilliseconds,
      lock_timeout: lockMilliseconds,
      idle_in_transaction_session_timeout: idleInTransactionMilliseconds,
      keepAlive: true,
      types: { getTypeParser },
    })
    client.on('error', () => undefined)
    try {
      await client.connect()
      await client.query(
        `SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') IN ('off', 'local')`,
      )
      return new CopyConnection(client, location)
    } catch (error) {
      await client.end().catch(() => undefined)
      throw explainDatabase(failureOfConnect(error), location)
    }
  }

  /** @throws StoreOpenError with one sentence, and the `DatabaseFailure` as its cause */
  async query(text: string, values: readonly unknown[] = []): Promise<readonly Row[]> {
    try {
      return (await this.#client.query(text, [...values])).rows as Row[]
    } catch (error) {
      throw explainDatabase(failureOfSent(error), this.location)
    }
  }

  /** Rows as lists, in the order of the columns. @throws as `query` */
  async queryLists(text: string, values: readonly unknown[] = []): Promise<readonly (readonly unknown[])[]> {
    try {
      return (await this.#client.query({ text, values: [...values], rowMode: 'array' })).rows as unknown[][]
    } catch (error) {
      throw explainDatabase(failureOfSent(error), this.location)
    }
  }

  /** Several statements without values, in one message. @throws as `query` */
  async script(text: string): Promise<void> {
    try {
      await this.#client.query(text)
    } catch (error) {
      throw explainDatabase(failureOfSent(error), this.location)
    }
  }

  /** As those of the store use one. */
  asSession(): Session {
    return {
      query: ({ text, values = [] }) => this.query(text, values),
      script: async (text) => {
        await this.script(text)
        return []
      },
    }
  }

  /** @throws what `work` throws; StoreOpenError */
  async transaction<T>(work: () => Promise<T>): Promise<T> {
    await this.script('BEGIN')
    try {
      const value = await work()
      await this.script('COMMIT')
      return value
    } catch (error) {
      await this.script('ROLLBACK').catch(() => undefined)
      throw error
    }
  }

  async close(): Promise<void> {
    await this.#client.end().catch(() => undefined)
  }
}

/** What a statement failed with, behind the sentence. */
export function failureBehind(error: unknown): DatabaseFailure | undefined {
  return error instanceof Error ? (error.cause as DatabaseFailure | undefined) : undefined
}
