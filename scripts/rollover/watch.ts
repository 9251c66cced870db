/** Looks at the database while the servers work with it: how far the run is, and whether anybody holds the write lock. */
import Database from 'better-sqlite3'
import { ulidMilliseconds } from '../../src/lib/id.ts'

const lockTries = 30

export class Watch {
  readonly #sqlite: Database.Database
  readonly #position: Database.Statement
  readonly #activations: Database.Statement
  #seen = 0
  #activated = 0
  /** When the last key began to sign, milliseconds since the epoch. */
  lastActivation = 0

  constructor(path: string) {
    this.#sqlite = new Database(path, { timeout: 0 })
    this.#position = this.#sqlite.prepare('SELECT max(position) FROM witness').pluck()
    this.#activations = this.#sqlite
      .prepare(`SELECT id FROM witness WHERE position > ? AND position <= ? AND kind = 'activated'`)
      .pluck()
  }

  /** How much has been committed. */
  position(): number {
    return (this.#position.get() as number | null) ?? 0
  }

  /** How many keys have begun to sign, the first ones included. */
  activations(): number {
    const until = this.position()
    const ids = this.#activations.all(this.#seen, until) as string[]
    this.#seen = until
    this.#activated += ids.length
    this.lastActivation = Math.max(this.lastActivation, ...ids.map(ulidMilliseconds))
    return this.#activated
  }

  /** Whether the write lock can be had within some 50 ms. */
  async canWrite(): Promise<boolean> {
    for (let tries = 0; tries < lockTries; tries += 1) {
      try {
        this.#sqlite.exec('BEGIN IMMEDIATE')
        this.#sqlite.exec('ROLLBACK')
        return true
      } catch {
        await new Promise((resolve) => setTimeout(resolve, 1))
      }
    }
    return false
  }

  close(): void {
    this.#sqlite.close()
  }
}
