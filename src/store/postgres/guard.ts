/** What holds a store against its witness: when it is opened, and with every change. `sqlite/guard.ts` is the same for a file. */
import { WitnessUnavailable } from '../../lib/store-error.ts'
import type { Sequences } from '../../registry/registry-store.ts'
import { type StoreEvents, StoreOpenError } from '../store.ts'
import { covers, readWitness, Witness, type WitnessRecord } from '../witness.ts'
import type { Database } from './database.ts'

/** Where the witness of a store lies. */
export interface WitnessOptions {
  /** Absolute path. */
  readonly file: string
  /** Opens a store that is behind it, or whose witness cannot be read, for reading alone. */
  readonly tolerant?: boolean
}

/** How far a store has come. */
export interface Standing extends Sequences {
  readonly storeId: string
}

const standing = `SELECT store_id AS "storeId",
    (SELECT value FROM sequence WHERE name = 'registry') AS registry,
    (SELECT value FROM sequence WHERE name = 'mark') AS mark
  FROM installation`

const unread =
  'the witness could not be told, for the database no longer says how far it has come: when it is there again, `mayfly doctor` looks'

/** How far a store has come; `undefined` for one that nobody has claimed. @throws StoreUnavailable */
export async function readStanding(database: Pick<Database, 'read'>): Promise<Standing | undefined> {
  const [row] = await database.read({ text: standing })
  return row as Standing | undefined
}

export class PostgresGuard {
  readonly #witness: Witness
  readonly #tolerant: boolean
  readonly #record: WitnessRecord | undefined
  readonly #events: StoreEvents
  #database: Database | undefined
  #doubt: string | undefined

  // The witness is read before the database is: see `sqlite/guard.ts`.
  constructor({ file, tolerant = false }: WitnessOptions, events: StoreEvents) {
    this.#witness = new Witness(file)
    this.#tolerant = tolerant
    this.#events = events
    try {
      this.#record = readWitness(file)
    } catch (error) {
      if (!(error instanceof StoreOpenError)) throw error
      this.#doubt = error.message
    }
  }

  /** Why nothing may be changed. */
  get doubt(): string | undefined {
    return this.#doubt
  }

  /** Looks whether the database may be an old copy. @throws StoreOpenError unless tolerant; StoreUnavailable */
  async inspect(database: Database, location: string): Promise<void> {
    this.#database = database
    this.#doubt ??= doubtOf(await readStanding(database), this.#record, { location, file: this.#witness.path })
    if (this.#doubt !== undefined && !this.#tolerant) throw new StoreOpenError(this.#doubt)
  }

  /** @throws StoreOpenError when nothing may be changed */
  requireTrust(): void {
    if (this.#doubt !== undefined) throw new StoreOpenError(this.#doubt)
  }

  /** Resolves when the witness knows of everything that is committed; with `anew` it is written. @throws WitnessUnavailable */
  async keep(options?: { readonly anew: boolean }): Promise<void> {
    try {
      const now = this.#database === undefined ? undefined : await readStanding(this.#database)
      if (now !== undefined) await this.#witness.raise(now.storeId, now, options)
    } catch (error) {
      this.#events.onWitnessFailure?.(error)
      throw error instanceof WitnessUnavailable ? error : new WitnessUnavailable(unread, { cause: error })
    }
  }

  /** Lets the one change be made that removes the doubt. When it fails, the doubt is back. */
  async without<T>(change: () => Promise<T>): Promise<T> {
    const doubt = this.#doubt
    this.#doubt = undefined
    try {
      return await change()
    } catch (error) {
      this.#doubt = doubt
      throw error
    }
  }
}

function doubtOf(
  standing: Standing | undefined,
  record: WitnessRecord | undefined,
  { location, file }: { readonly location: string; readonly file: string },
): string | undefined {
  const known = standing === undefined ? undefined : record?.get(standing.storeId)
  if (standing === undefined || known === undefined || covers(standing, known)) return undefined
  return `${location} is an older copy of the database: it has come to change ${standing.registry} and mark ${standing.mark}, and its witness ${file} remembers ${known.registry} and ${known.mark}, so what was ended since would live again; stop all servers, then put back the newest dump, or accept this one with \`mayfly db restore --accept-current\``
}
