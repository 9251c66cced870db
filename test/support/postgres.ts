/** A real PostgreSQL for tests: a server for each file, and a database of its own for each test. */
import pg from 'pg'
import { afterAll, beforeAll, onTestFinished } from 'vitest'
import { PostgresServer } from '../../scripts/postgres-server.ts'
import { parseSettings } from '../../src/config/settings.ts'
import { openStoreAt, type StorePlace } from '../../src/store/open-store.ts'

export { password } from '../../scripts/postgres-server.ts'

// As they are after the migrations.
const sweep = `DROP FUNCTION IF EXISTS break CASCADE; SET session_replication_role = replica;
  DO $$ DECLARE name text; BEGIN
    FOR name IN SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND relname <> 'migration'
    LOOP EXECUTE format('DELETE FROM %I', name); END LOOP;
  END $$;
  INSERT INTO sequence VALUES ('registry', 0), ('mark', 0); INSERT INTO ring_mark VALUES (1, 0, 0, 0)`

/** A server, and databases on it for tests. */
export class TestPostgres {
  readonly #server: PostgresServer
  #made = 0
  /** Databases whose tests are over: emptying one is quicker than making one. */
  readonly #used: string[] = []

  private constructor(server: PostgresServer) {
    this.#server = server
  }

  static async make(): Promise<TestPostgres> {
    const made = new TestPostgres(await PostgresServer.make())
    await made.#makeTemplate()
    return made
  }

  start(): Promise<void> {
    return this.#server.start()
  }

  /** As `PostgresServer.stop`. */
  stop(how?: 'fast' | 'immediate'): Promise<void> {
    return this.#server.stop(how)
  }

  destroy(): Promise<void> {
    return this.#server.destroy()
  }

  urlOf(database: string): string {
    return this.#server.urlOf(database)
  }

  /** Statements as the owner of all databases. */
  query(database: string, text: string, values?: readonly unknown[]): Promise<readonly pg.QueryResultRow[]> {
    return this.#server.query(database, text, values)
  }

  /** A database for the test, with tables unless it shall be empty. @returns its URL */
  async makeDatabase({ empty } = { empty: false }): Promise<string> {
    const used = empty ? undefined : this.#used.pop()
    const name = used ?? `test_${++this.#made}`
    if (used !== undefined) await this.query(name, sweep)
    else await this.query('postgres', `CREATE DATABASE ${name} TEMPLATE ${empty ? 'template0' : 'migrated'}`)
    if (!empty) onTestFinished(() => void this.#used.push(name))
    return this.urlOf(name)
  }

  /** A database with the same in it, which nobody has open. @returns its URL */
  async cloneDatabase(url: string): Promise<string> {
    const name = `test_${++this.#made}`
    await this.query('postgres', `CREATE DATABASE ${name} TEMPLATE ${url.split('/').at(-1)}`)
    return this.urlOf(name)
  }

  // Migrating takes longer than copying what is migrated.
  async #makeTemplate(): Promise<void> {
    await this.query('postgres', 'CREATE DATABASE migrated')
    const store = await openStoreAt(placeOf(this.urlOf('migrated')), { create: true, examine: false })
    await store.close()
  }
}

/** A database as the settings name it. */
export function placeOf(url: string): StorePlace {
  return parseSettings({ MAYFLY_DATABASE_URL: url }, '/')
}

/** A server for all tests of a file. */
export function usePostgres(): () => TestPostgres {
  let server: TestPostgres | undefined
  beforeAll(async () => {
    server = await TestPostgres.make()
  })
  afterAll(() => server?.destroy())
  return () => {
    if (server === undefined) throw new Error('PostgreSQL has not been started')
    return server
  }
}

/** A connection of the test's own, which ends with it. */
export async function connect(url: string): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: url })
  client.on('error', () => undefined)
  await client.connect()
  onTestFinished(() => client.end())
  return client
}
