/**
 * Records of tokens wait here for a moment: those that come while statements are under way go into the next one together.
 * One flush of the disk serves them all, and one look at the registry. Nobody waits for what may come, nor for what stands in
 * the way of another: those are tried again apart from the rest, and so is each of a statement that one of them makes fail.
 */
import { StoreUnavailable } from '../../lib/store-error.ts'
import type { RecordOutcome } from '../../token/token-store.ts'
import type { Connection } from './connection.ts'
import type { Statement } from './database.ts'
import { DatabaseFailure } from './failure.ts'
import { type Recorded, startCounting, type TokenAct } from './record-statement.ts'
import { findKnown } from './replay-store.ts'

const maxWaiting = 20_000
const maxTogether = 256
/** Statements at a time: while these are under way, the next one gathers. */
const maxRunning = 2

interface Waiting {
  readonly act: TokenAct
  resolve(outcome: RecordOutcome): void
  reject(error: unknown): void
}

/** The statement that records some of them, and that waits for what is locked or does not. */
type MakeStatement = (acts: readonly TokenAct[], waits: boolean) => Statement

type Found = RecordOutcome | 'busy' | 'uncounted' | undefined

// What a statement says of its values, or a trigger of a row; not of time or room, which all of them lack.
const ownFault = /^(?:22|23|44|P0)/

const findWritten = 'SELECT jti FROM issuance WHERE jti = ANY($1::text[])'

export class RecordQueue {
  readonly #connection: Connection['within']
  readonly #make: MakeStatement
  #waiting: Waiting[] = []
  #running = 0
  #isScheduled = false

  constructor(connection: Connection['within'], make: MakeStatement) {
    this.#connection = connection
    this.#make = make
  }

  /** Records a token, if all that it rests on is still so. @throws StoreUnavailable */
  record(act: TokenAct): Promise<RecordOutcome> {
    if (this.#waiting.length >= maxWaiting) {
      return Promise.reject(new StoreUnavailable('too many acts wait for the database'))
    }
    return new Promise((resolve, reject) => {
      this.#waiting.push({ act, resolve, reject })
      this.#schedule()
    })
  }

  // Those who come in the same turn of the event loop go together.
  #schedule(): void {
    if (this.#isScheduled || this.#running >= maxRunning || this.#waiting.length === 0) return
    this.#isScheduled = true
    setImmediate(() => {
      this.#isScheduled = false
      void this.#run(this.#waiting.splice(0, maxTogether))
      this.#schedule()
    })
  }

  async #run(batch: readonly Waiting[]): Promise<void> {
    this.#running += 1
    try {
      await this.#recordAll(batch)
    } finally {
      this.#running -= 1
      this.#schedule()
    }
  }

  async #recordAll(batch: readonly Waiting[], waits = false): Promise<void> {
    try {
      const found = await this.#write(
        batch.map(({ act }) => act),
        waits,
      )
      for (const [i, waiting] of batch.entries()) tell(waiting, found[i])
      const later = (what: Found) => batch.filter((_, i) => found[i] === what)
      // The next ones do not wait for these.
      void this.#recordLater(later('busy'))
      void this.#recordLater(later('uncounted'), true)
    } catch (error) {
      const isOwnFault = error instanceof DatabaseFailure && ownFault.test(error.state ?? '') && !error.lost
      if (!isOwnFault || batch.length === 1) for (const { reject } of batch) reject(error)
      else for (const each of batch) await this.#recordAll([each], waits)
    }
  }

  async #recordLater(batch: readonly Waiting[], isUncounted = false): Promise<void> {
    if (batch.length === 0) return
    try {
      const clients = batch.map(({ act }) => act.record.clientId)
      if (isUncounted) await this.#connection.persist(() => startCounting(clients))
    } catch (error) {
      for (const { reject } of batch) reject(error)
      return
    }
    await this.#recordAll(batch, true)
  }

  async #write(acts: readonly TokenAct[], waits: boolean): Promise<readonly Found[]> {
    // Who used a statement at the same moment is found by the next try; among many, each has its own.
    const isUsedMeanwhile = (failure: DatabaseFailure): boolean => failure.isDuplicate && acts.length === 1
    const { rows, wasLost } = await this.#connection.persist(() => this.#make(acts, waits), isUsedMeanwhile)
    const recorded = rows[0] as Recorded
    const written = new Set(recorded.written)
    // Perhaps the first try has done it, and this one found its work.
    if (wasLost) for (const jti of await this.#find(acts)) written.add(jti)
    return acts.map((act, i) => {
      if (written.has(act.record.jti)) return 'recorded'
      return (waits ? undefined : obstacleOf(i, recorded)) ?? outcomeOf(act, i, recorded)
    })
  }

  async #find(acts: readonly TokenAct[]): Promise<readonly string[]> {
    const values = [acts.map(({ record }) => record.jti)]
    return (await this.#connection.read({ text: findWritten, values })).map(({ jti }) => jti as string)
  }
}

function tell({ resolve, reject }: Waiting, found: Found): void {
  if (found === undefined) reject(new StoreUnavailable('the record of a token was not written'))
  else if (found !== 'busy' && found !== 'uncounted') resolve(found)
}

/** What stands in the way for a moment. */
function obstacleOf(i: number, { busy, uncounted }: Recorded): 'busy' | 'uncounted' | undefined {
  if (uncounted.includes(i)) return 'uncounted'
  return busy.includes(i) ? 'busy' : undefined
}

/** Why a token was not recorded; `undefined` where nothing stood in its way. */
function outcomeOf({ sequence, acts }: TokenAct, i: number, recorded: Recorded): RecordOutcome | undefined {
  if (recorded.sequence !== sequence) return 'moved'
  const replayed = findKnown(acts.uses ?? [], recorded.known)
  if (replayed !== undefined) return `${replayed}_replayed`
  if (recorded.spent.includes(i)) return 'quota_used_up'
  // It has a row now, or somebody's trigger has swallowed it.
  if (recorded.uncounted.includes(i)) return undefined
  return acts.change === undefined ? undefined : 'moved'
}
