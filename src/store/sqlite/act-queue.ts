/**
 * One commit for all who wait. Requests put whole acts into a queue; as soon as a turn of the event loop brings no new
 * one, what is there runs in one `BEGIN IMMEDIATE … COMMIT`, so that one flush of the disk serves them all. No promise
 * resolves before COMMIT.
 *
 * What can fail, and what follows:
 *
 *   BEGIN finds the database locked     the batch waits and tries again, for a second, and some times in any case:
 *                                       a process that was paused comes back with its second gone
 *   one act fails                       it alone is undone (by its savepoint, or because it is one statement)
 *   one act takes the transaction down  SQLITE_FULL, SQLITE_IOERR or RAISE(ROLLBACK) undo everything: nothing of the
 *                                       batch has happened, and nothing more of it may run, for outside a transaction
 *                                       each statement would commit by itself
 *   COMMIT fails                        nobody knows; all are told so
 *
 * Acts that are witnessed resolve only when the witness knows of them as well (`store/witness.ts`); when it cannot be told
 * they are rejected, though they are durable. The others of their batch do not wait.
 */
import Database from 'better-sqlite3'
import type { Clock } from '../../lib/clock.ts'
import { StoreUnavailable } from '../../lib/store-error.ts'
import type { StoreEvents } from '../store.ts'
import { isBusy } from './open.ts'
import { stampFile } from './stamp.ts'

const maxWaiting = 20_000
const maxActsPerBatch = 512
/** How long the first act may wait for those that arrive while it waits. */
const gatherMilliseconds = 8
/** How often acts that can wait get a commit of their own. */
const patientMilliseconds = 20
const busyMilliseconds = 1_000
const busyPauseMilliseconds = 5
const leastTries = 20

/** The transaction that an act runs in. */
export interface Batch {
  /** The registry sequence as of now, changes of earlier acts of the same batch included. */
  sequence: number
}

/** One atomic piece of work. It runs synchronously, inside the transaction of its batch. */
export interface Act<T> {
  /** Whether it is a single statement, which needs no savepoint to be atomic. */
  readonly single: boolean
  /** Whether an old copy of the store must not take it back unnoticed: whatever moves a sequence. */
  readonly witnessed?: boolean
  /** Whether it can wait a little for a commit of others. What strangers can bring about must not keep the disk busy. */
  readonly patient?: boolean
  run(batch: Batch): T
}

interface Waiting {
  readonly act: Act<unknown>
  readonly since: number
  /** How often BEGIN found the database locked. */
  tries: number
  resolve(value: unknown): void
  reject(error: unknown): void
}

/** What stands beside the store and remembers how far it had come. */
export interface ActWitness {
  /** Why witnessed acts are refused. */
  readonly refusal: Error | undefined
  /** Resolves when it knows of everything that is committed. @throws WitnessUnavailable */
  keep(): Promise<void>
}

type Outcome = { readonly value: unknown } | { readonly error: unknown }

export class ActQueue {
  readonly #sqlite: Database.Database
  readonly #clock: Clock
  readonly #events: StoreEvents
  readonly #begin: Database.Statement
  readonly #commit: Database.Statement
  readonly #rollback: Database.Statement
  readonly #savepoint: Database.Statement
  readonly #release: Database.Statement
  readonly #rollbackTo: Database.Statement
  readonly #readSequence: Database.Statement
  readonly #witness: ActWitness | undefined
  #waiting: Waiting[] = []
  #scheduled = false
  /** How many of those that cannot wait came since the last batch, now and at the last look. */
  #pressing = 0
  #seen = 0
  /** When there was last a commit for those alone that can wait, and the timer for the next one. */
  #indulgedAt = Number.NEGATIVE_INFINITY
  #indulgence: NodeJS.Timeout | undefined
  /** Batches whose witnessed acts are committed and not yet answered. */
  #keeping = 0
  #idle: (() => void)[] = []

  constructor(sqlite: Database.Database, clock: Clock, events: StoreEvents, witness?: ActWitness) {
    this.#sqlite = sqlite
    this.#witness = witness
    this.#clock = clock
    this.#events = events
    this.#begin = sqlite.prepare('BEGIN IMMEDIATE')
    this.#commit = sqlite.prepare('COMMIT')
    this.#rollback = sqlite.prepare('ROLLBACK')
    this.#savepoint = sqlite.prepare('SAVEPOINT act')
    this.#release = sqlite.prepare('RELEASE act')
    this.#rollbackTo = sqlite.prepare('ROLLBACK TO act')
    this.#readSequence = sqlite.prepare(`SELECT value FROM sequence WHERE name = 'registry'`).pluck()
  }

  /**
   * Runs an act in the next transaction; resolves when that is durable.
   *
   * @throws StoreUnavailable; WitnessUnavailable when it is done but not witnessed; what the act itself throws
   */
  submit<T>(act: Act<T>): Promise<T> {
    const refusal = act.witnessed ? this.#witness?.refusal : undefined
    if (refusal !== undefined) return Promise.reject(refusal)
    if (this.#waiting.length >= maxWaiting) {
      return Promise.reject(new StoreUnavailable('too many acts wait for the store'))
    }
    return new Promise<T>((resolve, reject) => {
      const since = this.#clock.monotonicMilliseconds()
      this.#waiting.push({ act, since, tries: 0, resolve: resolve as (value: unknown) => void, reject })
      if (act.patient) return this.#scheduleLater(since)
      this.#pressing += 1
      this.#schedule()
    })
  }

  /** Resolves when nothing waits any more. */
  drain(): Promise<void> {
    if (this.#waiting.length === 0 && this.#keeping === 0) return Promise.resolve()
    if (this.#waiting.length > 0) this.#schedule()
    return new Promise((resolve) => this.#idle.push(resolve))
  }

  #schedule(): void {
    clearTimeout(this.#indulgence)
    this.#indulgence = undefined
    if (this.#scheduled) return
    this.#scheduled = true
    setImmediate(() => this.#flushWhenAllAreHere())
  }

  // The first goes at once; a flood of them shares a commit now and then, or goes with those that cannot wait.
  #scheduleLater(now: number): void {
    if (this.#scheduled || this.#indulgence !== undefined) return
    const left = this.#indulgedAt + patientMilliseconds - now
    if (left <= 0) this.#schedule()
    else this.#indulgence = setTimeout(() => this.#schedule(), left)
  }

  // Each turn of the loop brings the requests that arrived during the last one, and one flush of the disk can serve them
  // too. Nobody waits for what may come: a turn without a new act ends the gathering, and so do a few milliseconds.
  #flushWhenAllAreHere(): void {
    const [first] = this.#waiting
    const grew = this.#pressing > this.#seen
    this.#seen = this.#pressing
    const isYoung = first !== undefined && this.#clock.monotonicMilliseconds() - first.since < gatherMilliseconds
    if (grew && isYoung && this.#waiting.length < maxActsPerBatch) setImmediate(() => this.#flushWhenAllAreHere())
    else this.#flush()
  }

  #flush(): void {
    this.#scheduled = false
    if (this.#pressing === 0) this.#indulgedAt = this.#clock.monotonicMilliseconds()
    this.#pressing = 0
    this.#seen = 0
    const batch = this.#waiting.splice(0, maxActsPerBatch)
    if (batch.length > 0) this.#runBatch(batch)
    if (this.#waiting.length > 0) this.#schedule()
    else this.#tellIdle()
  }

  #tellIdle(): void {
    if (this.#waiting.length === 0 && this.#keeping === 0) for (const idle of this.#idle.splice(0)) idle()
  }

  #runBatch(batch: readonly Waiting[]): void {
    const started = this.#clock.monotonicMilliseconds()
    if (!this.#beginOrWait(batch)) return
    const outcomes = this.#runActs(batch)
    if (outcomes === undefined || !this.#commitAll(batch)) return
    this.#events.onCommit?.(batch.length, (this.#clock.monotonicMilliseconds() - started) / 1000)
    const done = batch.map((waiting, i) => ({ waiting, outcome: outcomes[i] }))
    const isKept = ({ waiting, outcome }: Done): boolean => waiting.act.witnessed === true && isValue(outcome)
    done.filter((each) => !isKept(each)).forEach(tell)
    const kept = done.filter(isKept)
    if (kept.length > 0) void this.#tellWhenKept(kept)
  }

  // An act that found nothing to change waits too: what it found may be a change whose witness could not be told.
  async #tellWhenKept(kept: readonly Done[]): Promise<void> {
    this.#keeping += 1
    try {
      await this.#witness?.keep()
      kept.forEach(tell)
    } catch (error) {
      this.#events.onWitnessFailure?.(error)
      for (const { waiting } of kept) waiting.reject(toStoreError(error))
    } finally {
      this.#keeping -= 1
      this.#tellIdle()
    }
  }

  #beginOrWait(batch: readonly Waiting[]): boolean {
    try {
      this.#begin.run()
      return true
    } catch (error) {
      if (isBusy(error)) this.#waitForLock(batch, error)
      else this.#fail(batch, error)
      return false
    }
  }

  // Another process writes. Those who waited too long are told; the others go to the front of the queue again.
  #waitForLock(batch: readonly Waiting[], error: unknown): void {
    const now = this.#clock.monotonicMilliseconds()
    for (const waiting of batch) waiting.tries += 1
    const patient = batch.filter(({ since, tries }) => tries < leastTries || now - since < busyMilliseconds)
    this.#fail(
      batch.filter((waiting) => !patient.includes(waiting)),
      error,
    )
    this.#waiting = [...patient, ...this.#waiting]
    if (this.#waiting.length === 0) return
    this.#scheduled = true
    setTimeout(() => this.#flush(), busyPauseMilliseconds)
  }

  #runActs(batch: readonly Waiting[]): readonly Outcome[] | undefined {
    const outcomes: Outcome[] = []
    try {
      const state: Batch = { sequence: this.#readSequence.get() as number }
      for (const { act } of batch) {
        const outcome = act.single ? runSingle(act, state) : this.#runInSavepoint(act, state)
        if ('error' in outcome && !this.#sqlite.inTransaction) throw outcome.error
        outcomes.push(outcome)
      }
      if (batch.some(({ act }) => act.witnessed)) stampFile(this.#sqlite)
      return outcomes
    } catch (error) {
      this.#rollbackIfOpen()
      this.#fail(batch, error)
      return undefined
    }
  }

  #runInSavepoint(act: Act<unknown>, state: Batch): Outcome {
    const { sequence } = state
    this.#savepoint.run()
    try {
      const value = act.run(state)
      this.#release.run()
      return { value }
    } catch (error) {
      state.sequence = sequence
      if (!this.#sqlite.inTransaction) return { error }
      this.#rollbackTo.run()
      this.#release.run()
      return { error: toStoreError(error) }
    }
  }

  #commitAll(batch: readonly Waiting[]): boolean {
    try {
      this.#commit.run()
      return true
    } catch (error) {
      this.#rollbackIfOpen()
      this.#fail(batch, error, true)
      return false
    }
  }

  #rollbackIfOpen(): void {
    try {
      if (this.#sqlite.inTransaction) this.#rollback.run()
    } catch (error) {
      this.#events.onFailure?.(error)
    }
  }

  #fail(batch: readonly Waiting[], cause: unknown, outcomeUnknown = false): void {
    if (batch.length === 0) return
    this.#events.onFailure?.(cause)
    const error = toStoreError(cause, outcomeUnknown)
    for (const waiting of batch) waiting.reject(error)
  }
}

interface Done {
  readonly waiting: Waiting
  readonly outcome: Outcome | undefined
}

function isValue(outcome: Outcome | undefined): outcome is { readonly value: unknown } {
  return outcome !== undefined && 'value' in outcome
}

function tell({ waiting, outcome }: Done): void {
  if (isValue(outcome)) waiting.resolve(outcome.value)
  else waiting.reject(outcome?.error)
}

function runSingle(act: Act<unknown>, state: Batch): Outcome {
  try {
    return { value: act.run(state) }
  } catch (error) {
    return { error: toStoreError(error) }
  }
}

/** What SQLite threw, in the words of the store; what an act threw of its own stays as it is. */
export function toStoreError(error: unknown, outcomeUnknown = false): unknown {
  const isClosed = error instanceof TypeError && error.message.includes('connection is not open')
  const isForeign = error instanceof Database.SqliteError || isClosed
  if (!isForeign && !outcomeUnknown) return error
  return new StoreUnavailable('the database cannot do it', { cause: error, outcomeUnknown })
}
