/** Looks at the database while the servers work with it: how far the run is, and whether anybody holds the write lock. */
import { ulidMilliseconds } from '../../src/lib/id.ts'
import type { RigDatabase } from '../rig-database.ts'

const lockTries = 30

export class Watch {
  readonly #database: RigDatabase
  #seen = 0
  #activated = 0
  #counting: Promise<number> = Promise.resolve(0)
  /** When the last key began to sign, milliseconds since the epoch. */
  lastActivation = 0

  constructor(database: RigDatabase) {
    this.#database = database
  }

  /** How much has been committed. */
  async position(): Promise<number> {
    const [row] = await this.#database.read<{ position: number | null }>(
      'SELECT max(position) AS position FROM witness',
    )
    return row?.position ?? 0
  }

  /** How many keys have begun to sign, the first ones included. */
  activations(): Promise<number> {
    this.#counting = this.#counting.then(() => this.#count())
    return this.#counting
  }

  async #count(): Promise<number> {
    const until = await this.position()
    const rows = await this.#database.read<{ id: string }>(
      `SELECT id FROM witness WHERE position > ${this.#seen} AND position <= ${until} AND kind = 'activated'`,
    )
    this.#seen = until
    this.#activated += rows.length
    this.lastActivation = Math.max(this.lastActivation, ...rows.map(({ id }) => ulidMilliseconds(id)))
    return this.#activated
  }

  /** Whether the write lock can be had within some 50 ms. PostgreSQL has none that a paused process could keep from others. */
  async canWrite(): Promise<boolean> {
    for (let tries = 0; tries < lockTries && this.#database.kind === 'sqlite'; tries += 1) {
      try {
        await this.#database.run('BEGIN IMMEDIATE')
        await this.#database.run('ROLLBACK')
        return true
      } catch {
        await new Promise((resolve) => setTimeout(resolve, 1))
      }
    }
    return this.#database.kind !== 'sqlite'
  }
}
