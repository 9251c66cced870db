/** What holds a SQLite store against its witness: when it is opened, and with every change. */
import Database from 'better-sqlite3'
import type { Sequences } from '../../registry/registry-store.ts'
import { StoreOpenError } from '../store.ts'
import { covers, readWitness, Witness, type WitnessRecord } from '../witness.ts'
import type { Inspector } from './open.ts'
import { hasWal, StampReader } from './stamp.ts'

/** How far a store has come. */
export interface Standing extends Sequences {
  readonly storeId: string
}

/** Where the witness of a store lies. */
export interface WitnessOptions {
  /** Absolute path. */
  readonly file: string
  /** Opens a store that is behind it, or whose witness cannot be read, for reading alone. */
  readonly tolerant?: boolean
}

const standingQuery = `SELECT store_id AS storeId,
    (SELECT value FROM sequence WHERE name = 'registry') AS registry,
    coalesce((SELECT value FROM sequence WHERE name = 'mark'), 0) AS mark
  FROM installation`

/** How far a store has come, whatever its version; `undefined` for one that nobody has claimed. */
export function readStanding(sqlite: Database.Database): Standing | undefined {
  const isMade = sqlite.prepare(`SELECT 1 FROM sqlite_schema WHERE name = 'installation'`).get() !== undefined
  return isMade ? (sqlite.prepare(standingQuery).get() as Standing | undefined) : undefined
}

export class WitnessGuard implements Inspector {
  readonly #witness: Witness
  readonly #tolerant: boolean
  readonly #record: WitnessRecord | undefined
  #doubt: string | undefined
  #stamp: StampReader | undefined
  #select: Database.Statement | undefined

  // The witness is read before the database is: it is written after the commit, so what a process that works meanwhile adds
  // to both cannot look as if the database were behind.
  constructor({ file, tolerant = false }: WitnessOptions) {
    this.#witness = new Witness(file)
    this.#tolerant = tolerant
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

  /** Looks whether the -wal beside it is of a later one, before SQLite makes one of both. @throws StoreOpenError */
  inspectFile(path: string): void {
    this.#stamp = new StampReader(path)
    if (!hasForeignWal(path, this.#record, this.#stamp.read())) return
    throw new StoreOpenError(
      `${path} is an older copy of the database beside the ${path}-wal of a later one: stop the server, then put back the newest backup with \`mayfly db restore FILE\`, or move that -wal away and accept the copy with \`mayfly db restore --accept-current\``,
    )
  }

  /** Looks whether it may be an old copy. @throws StoreOpenError unless tolerant */
  inspect(sqlite: Database.Database, path: string): void {
    this.#doubt ??= doubtOf(readStanding(sqlite), this.#record, { path, file: this.#witness.path })
    if (this.#doubt !== undefined && !this.#tolerant) throw new StoreOpenError(this.#doubt)
  }

  /** Resolves when the witness knows of everything that is committed; with `anew` it is written. @throws WitnessUnavailable */
  async keep(sqlite: Database.Database, options?: { readonly anew: boolean }): Promise<void> {
    this.#select ??= sqlite.prepare(standingQuery)
    const standing = this.#select.get() as Standing | undefined
    if (standing === undefined) return
    const file = this.#stamp?.readDurable() ?? 0
    await this.#witness.raise(standing.storeId, { ...standing, file }, options)
  }

  /** Only when the database is closed. */
  release(): void {
    this.#stamp?.close()
    this.#stamp = undefined
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

/** Whether a file has not come as far as it had when changes that lie in a -wal beside it were made. */
export function hasForeignWal(path: string, record: WitnessRecord | undefined, stamp: number): boolean {
  if (record === undefined || !hasWal(path)) return false
  if ([...record.values()].every(({ file }) => file <= stamp)) return false
  const storeId = readStoreId(path)
  return storeId !== undefined && (record.get(storeId)?.file ?? 0) > stamp
}

// A connection that only reads writes no -wal into the file when it is closed.
function readStoreId(path: string): string | undefined {
  const sqlite = new Database(path, { readonly: true })
  try {
    return readStanding(sqlite)?.storeId
  } catch {
    // It is opened once more, and then what is wrong with it is said.
    return undefined
  } finally {
    sqlite.close()
  }
}

function doubtOf(
  standing: Standing | undefined,
  record: WitnessRecord | undefined,
  { path, file }: { readonly path: string; readonly file: string },
): string | undefined {
  const known = standing === undefined ? undefined : record?.get(standing.storeId)
  if (standing === undefined || known === undefined || covers(standing, known)) return undefined
  return `${path} is an older copy of the database: it has come to change ${standing.registry} and mark ${standing.mark}, and its witness ${file} remembers ${known.registry} and ${known.mark}, so what was ended since would live again; stop the server, then put back the newest backup with \`mayfly db restore FILE\`, or accept this one with \`mayfly db restore --accept-current\``
}
