/**
 * How far a node knows what the others have done.
 *
 * The truth are two rows: the counters of the registry and of the marks. One statement reads both, as of one moment, with the
 * time that it is by the server's clock. Whoever must know what is so now waits for such a look, which all share who ask at
 * the same time. A server also looks by itself ten times a second, and whenever a notification says that something has
 * changed; so whoever may answer by what was so a moment ago need not wait. That is bounded, and this is why:
 *
 *   a look shows at least what was so when it began       so its age counts from there, not from its answer
 *   the age is compared when somebody wants to go by it   so a process that was paused, or whose timers are late, has no
 *                                                         fresh look, whatever it believed before
 *   wall time must agree that it is fresh                 for a machine that slept has counted no monotonic time
 *   what this process changes itself forgets the look     also one that is under way: the change may be missing in it
 *   a notification is only a hint                         without any, the looks find it
 *
 * So: what was acknowledged `recentMilliseconds` before a request began is in the answer to it, or there is none.
 */
import { type Clock, systemClock } from '../../lib/clock.ts'
import { pause } from '../../lib/pause.ts'
import type { SharedClock } from '../../lib/shared-clock.ts'
import { StoreUnavailable } from '../../lib/store-error.ts'
import { within } from '../../lib/within.ts'
import type { Sequences } from '../../registry/registry-store.ts'
import { type Database, notifyAll, type Row, type Statement } from './database.ts'
import { SharedRead } from './shared-read.ts'
import { Watcher } from './watcher.ts'

/** Answers that nothing is committed for may go by a look that began less long ago than this. */
export const recentMilliseconds = 200
/** How often a server looks. */
const lookEveryMilliseconds = 100
/** And not sooner again than this, however much is changed. */
const leastPauseMilliseconds = 5

/** How long a look is waited for; whoever comes while there is one waits for the next one too. */
const lookMilliseconds = 1_000

/** One statement, for two would be of two moments. */
const look: Statement = {
  name: 'look',
  text: `SELECT (SELECT value FROM sequence WHERE name = 'registry') AS registry,
      (SELECT value FROM sequence WHERE name = 'mark') AS mark,
      (extract(epoch FROM clock_timestamp()) * 1000)::float8 AS now, pg_is_in_recovery() AS "isReplica"`,
}

interface Recent extends Sequences {
  /** When the look began. */
  readonly monotonic: number
  readonly wall: number
}

/** What a horizon works with. */
export interface HorizonParts {
  readonly database: Pick<Database, 'read' | 'enter' | 'lend' | 'openWatch'>
  /** Is told the server's time. */
  readonly clock: SharedClock
  /** Tells how old a look is. That is no matter of the clock that tokens are dated by. */
  readonly stopwatch?: Clock
}

export class Horizon {
  readonly #parts: HorizonParts
  readonly #stopwatch: Clock
  readonly #shared = new SharedRead(() => this.#look())
  readonly #watcher: Watcher
  readonly #end = new AbortController()
  #recent: Recent | undefined
  /** Also when what it showed is forgotten: a change that fails must not hide that the database is away. */
  #lookedAt = Number.NaN
  #changes = 0
  #following: Promise<void> | undefined
  #isHinted = false
  #wake: (() => void) | undefined
  #announcing = false
  #announcesAgain = false
  #comparesClocks = false

  constructor(parts: HorizonParts) {
    this.#parts = parts
    this.#stopwatch = parts.stopwatch ?? systemClock
    this.#watcher = new Watcher(parts.database, () => this.#hear())
  }

  /** Both counters as of now. @throws StoreUnavailable */
  read(): Promise<Sequences> {
    return this.#parts.database.enter(() => this.#shared.read())
  }

  /** Both counters as of a moment that lies less than `recentMilliseconds` back; `undefined` when there was no look since. */
  recent(): Sequences | undefined {
    const recent = this.#recent
    return recent !== undefined && this.#isFresh(recent) ? { registry: recent.registry, mark: recent.mark } : undefined
  }

  /** Seconds since the last look began that was answered. */
  get ageSeconds(): number {
    return (this.#stopwatch.monotonicMilliseconds() - this.#lookedAt) / 1000
  }

  /** Compares clocks from now on. Resolves when that was done once. @throws StoreUnavailable */
  async compareClocks(): Promise<void> {
    this.#comparesClocks = true
    await this.read()
  }

  /** Begins to look by itself. */
  follow(): void {
    this.#following ??= this.#follow()
  }

  /** Forgets what was seen: this process has changed something, or may have. */
  forget(): void {
    this.#changes += 1
    this.#recent = undefined
  }

  /** Gives all nodes the hint that something has changed. Nobody waits for it, and nothing comes of it when it fails. */
  announce(): void {
    this.#announcesAgain = true
    if (this.#announcing) return
    this.#announcing = true
    void this.#announce()
  }

  /** Looks no more by itself. */
  async stop(): Promise<void> {
    this.#end.abort()
    this.#wake?.()
    await this.#following
    await this.#watcher.close()
  }

  #isFresh({ monotonic, wall }: Recent): boolean {
    const age = this.#stopwatch.monotonicMilliseconds() - monotonic
    const wallAge = Math.abs(this.#stopwatch.nowMilliseconds() - wall)
    return Math.max(age, wallAge) < recentMilliseconds
  }

  async #look(): Promise<Sequences> {
    const { clock } = this.#parts
    const changes = this.#changes
    const [monotonic, wall] = [this.#stopwatch.monotonicMilliseconds(), this.#stopwatch.nowMilliseconds()]
    const startedAt = clock.monotonicMilliseconds()
    const row = await within(this.#ask(), lookMilliseconds, () => new StoreUnavailable('the database does not answer'))
    // One that has been a primary may come back where it was, and be behind for ever.
    if (row?.isReplica === true) throw new StoreUnavailable('the database is a replica')
    const sequences = { registry: counterOf(row?.registry), mark: counterOf(row?.mark) }
    if (this.#comparesClocks && row !== undefined) {
      clock.note(row.now as number, startedAt, clock.monotonicMilliseconds())
    }
    this.#lookedAt = monotonic
    if (changes === this.#changes) this.#recent = { ...sequences, monotonic, wall }
    return sequences
  }

  // Not by the pool where there is another way: whoever waits in it must not wait for whoever looks, nor the other way round.
  async #ask(): Promise<Row | undefined> {
    const rows = (await this.#watcher.ask(look)) ?? (await this.#parts.database.read(look))
    return rows[0]
  }

  async #follow(): Promise<void> {
    const { signal } = this.#end
    while (!signal.aborted) {
      this.#isHinted = false
      this.#watcher.open()
      // Whoever asks hears of a failure himself.
      await this.#shared.read().catch(() => undefined)
      await pause(leastPauseMilliseconds, signal)
      if (!signal.aborted && !this.#isHinted) await this.#rest()
    }
  }

  #rest(): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, lookEveryMilliseconds - leastPauseMilliseconds)
      this.#wake = () => {
        clearTimeout(timer)
        resolve()
      }
    })
  }

  // A look that is under way may have begun before what the hint tells of.
  #hear(): void {
    this.#isHinted = true
    this.#wake?.()
  }

  // Many changes at a time are one hint. It need not be durable: what it tells of is.
  async #announce(): Promise<void> {
    const { database } = this.#parts
    while (this.#announcesAgain) {
      this.#announcesAgain = false
      await database.enter(() => database.lend((session) => session.script(notifyAll))).catch(() => undefined)
    }
    this.#announcing = false
  }
}

function counterOf(value: unknown): number {
  return (value as number | null | undefined) ?? 0
}
