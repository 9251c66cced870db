/**
 * A connection of its own on which a node hears that something has changed, and looks. When it is lost, notifications are
 * lost with it; nothing else is, for who looks then goes by the pool until there is another one.
 */
import { systemClock } from '../../lib/clock.ts'
import { within } from '../../lib/within.ts'
import type { Database, Row, Statement, Watch } from './database.ts'

/** How long an answer is waited for before it is looked for elsewhere. */
const answerMilliseconds = 500
/** How long it is waited before another connection is tried. */
const retryMilliseconds = 250

export class Watcher {
  readonly #database: Pick<Database, 'openWatch'>
  readonly #onHint: () => void
  #watch: Watch | undefined
  #opening: Promise<void> | undefined
  #triedAt = Number.NEGATIVE_INFINITY
  #isClosed = false

  constructor(database: Pick<Database, 'openWatch'>, onHint: () => void) {
    this.#database = database
    this.#onHint = onHint
  }

  /** Sees to it that there is a connection, some time. */
  open(): void {
    const now = systemClock.monotonicMilliseconds()
    if (this.#watch?.isOpen === true || this.#opening !== undefined || now < this.#triedAt + retryMilliseconds) return
    this.#triedAt = now
    this.#opening = this.#open().finally(() => {
      this.#opening = undefined
    })
  }

  /** Runs a statement that changes nothing. @returns `undefined` when there is no connection, or it is lost */
  async ask(statement: Statement): Promise<readonly Row[] | undefined> {
    const watch = this.#watch
    if (watch?.isOpen !== true) return undefined
    try {
      return await within(watch.query(statement), answerMilliseconds, () => new Error('no answer'))
    } catch {
      this.#watch = undefined
      watch.end()
      return undefined
    }
  }

  async close(): Promise<void> {
    this.#isClosed = true
    await this.#opening
    this.#watch?.end()
  }

  async #open(): Promise<void> {
    const watch = await this.#database.openWatch(this.#onHint).catch(() => undefined)
    if (this.#isClosed) watch?.end()
    else this.#watch = watch
  }
}
