/**
 * A backup takes the place of the database. Nobody may have the database open meanwhile, and whenever the process ends, the
 * old one or the new one lies there, whole:
 *
 *   1  the database is locked                                  whoever has it open keeps a lock: then nothing is done
 *   2  the backup is copied beside it, under another name,
 *      examined, brought up to date and accepted               a crash leaves a file that the next restore removes
 *   3  the database is left without a -wal                     all of it is in the one file, which is complete by itself
 *   4  it gets a second name, for whoever wants to look        the first one still leads to it
 *   5  the copy is renamed into its place, and with that the
 *      old one is out of it                                    one step; there is no moment without a database, in which
 *                                                              a start would make a new one
 *
 * Only the file that was named is copied: a -wal beside it is not a part of it. A -wal or -shm that still lies beside the
 * database at 4, because that is damaged or missing, is moved aside with it: SQLite would write it into the new one.
 */
import { randomBytes } from 'node:crypto'
import { existsSync, linkSync, lstatSync, renameSync, rmSync, statSync } from 'node:fs'
import { dirname } from 'node:path'
import Database from 'better-sqlite3'
import type { AuditEntry } from '../../audit/audit-store.ts'
import { type Clock, formatTimestamp } from '../../lib/clock.ts'
import { makeFolder } from '../../lib/make-folder.ts'
import { toEntry } from '../rows/audit-rows.ts'
import { type Restoring, StoreOpenError } from '../store.ts'
import type { WitnessRecord } from '../witness.ts'
import { syncPath } from './backup.ts'
import {
  type Backup,
  checkHeader,
  copyDurably,
  examine,
  isDamage,
  isSqlite,
  readIssuedUpTo,
  readStart,
  removeCopy,
  removeLeftovers,
} from './backup-copy.ts'
import { hasForeignWal, readStanding, type Standing } from './guard.ts'
import { checkIdentity, inUse, isBusy, isSameFile, toOpenError } from './open.ts'
import { openSqliteStore } from './sqlite-store.ts'
import { stampOffset } from './stamp.ts'

const busyMilliseconds = 500
const mostLost = 10_000

/** The database that is to be replaced. */
interface Present {
  readonly exists: boolean
  /** Holds the lock; absent where there is no database, or none that SQLite can read. */
  readonly sqlite: Database.Database | undefined
  readonly standing: Standing | undefined
  readonly issuedUpTo: number
  /** Its -wal is of another file, so that nothing in it can be relied on. */
  readonly isMixed: boolean
}

/**
 * Makes ready to put a backup in the place of a database. Whatever comes of it, `finish` or `abandon` must follow.
 *
 * @param place absolute path of the database, which need not exist
 * @param file absolute path of the backup
 * @throws StoreOpenError
 */
export function prepareRestore(
  place: string,
  file: string,
  { clock, remembered }: { readonly clock: Clock; readonly remembered: WitnessRecord },
): Restoring {
  checkHeader(file)
  if (isSameFile(place, file)) {
    throw new StoreOpenError(
      `${file} is the database itself: \`mayfly db restore --accept-current\` accepts it as it is`,
    )
  }
  const isMixed = existsSync(place) && hasForeignWal(place, remembered, readStart(place).readUInt32BE(stampOffset))
  const present = { ...openPresent(place), isMixed }
  const copy = `${place}.restore-${randomBytes(6).toString('hex')}.tmp`
  try {
    removeLeftovers(place)
    copyDurably(file, copy)
    const backup = examine(copy, file)
    requireSameStore(present, backup, { place, file })
    const store = openSqliteStore(copy, { create: true, examine: false, clock, evenIfMoved: true })
    return new Restore({ place, copy, clock, present, backup, store })
  } catch (error) {
    removeCopy(copy)
    present.sqlite?.close()
    throw toOpenError(error, place)
  }
}

function openPresent(place: string): Omit<Present, 'isMixed'> {
  const nothing = { sqlite: undefined, standing: undefined, issuedUpTo: 0 }
  if (!existsSync(place)) {
    makeFolder(dirname(place))
    return { exists: false, ...nothing }
  }
  if (existsSync(`${place}-journal`)) {
    throw new StoreOpenError(
      `${place}-journal lies beside the database, and Mayfly never makes one: move it away first`,
    )
  }
  if (!statSync(place).isFile())
    throw new StoreOpenError(`${place} is not a file: give MAYFLY_DATABASE_URL the path of one`)
  // SQLite would remove the -wal of a file whose first page it cannot read.
  if (statSync(place).size > 0 && !isSqlite(readStart(place))) return { exists: true, ...nothing }
  const sqlite = openFile(place)
  try {
    // From the first read on; a connection in WAL mode keeps a shared lock for as long as it lives, also when it is idle.
    sqlite.pragma('locking_mode = EXCLUSIVE')
    checkIdentity(sqlite, place)
    sqlite.exec('BEGIN EXCLUSIVE; COMMIT')
    return { exists: true, sqlite, standing: readStanding(sqlite), issuedUpTo: readIssuedUpTo(sqlite) }
  } catch (error) {
    sqlite.close()
    if (isBusy(error)) throw inUse(place, error)
    if (isDamage(error)) return { exists: true, ...nothing }
    throw toOpenError(error, place)
  }
}

function openFile(place: string): Database.Database {
  try {
    return new Database(place, { timeout: busyMilliseconds })
  } catch (error) {
    throw toOpenError(error, place)
  }
}

function requireSameStore(
  { standing }: Present,
  backup: Backup,
  { place, file }: { readonly place: string; readonly file: string },
): void {
  if (standing === undefined || standing.storeId === backup.standing.storeId) return
  throw new StoreOpenError(
    `${file} is a backup of another database than ${place}: give MAYFLY_DATABASE_URL the path of its own, or move ${place} away if it shall take that place`,
  )
}

interface Parts {
  readonly place: string
  readonly copy: string
  readonly clock: Clock
  readonly present: Present
  readonly backup: Backup
  readonly store: Restoring['store']
}

class Restore implements Restoring {
  readonly #parts: Parts
  #over = false

  constructor(parts: Parts) {
    this.#parts = parts
  }

  get store() {
    return this.#parts.store
  }

  get known() {
    const { standing, issuedUpTo } = this.#parts.present
    return { registry: standing?.registry ?? 0, mark: standing?.mark ?? 0, issuedUpTo }
  }

  get until() {
    return this.#parts.backup.until
  }

  readLost(): readonly AuditEntry[] | undefined {
    const { present, backup } = this.#parts
    if (present.standing === undefined || present.sqlite === undefined || present.isMixed) return undefined
    try {
      const rows = present.sqlite
        .prepare(
          `SELECT id, type, client_id AS clientId, request_id AS requestId, detail FROM audit_event
           WHERE id > ? AND substr(type, 1, instr(type, '.')) IN ('client.', 'secret.', 'key.', 'resource.')
           ORDER BY id LIMIT ?`,
        )
        .all(backup.lastEvent, mostLost)
      return (rows as Parameters<typeof toEntry>[0][]).map(toEntry)
    } catch {
      // Damage that the lock did not meet.
      return undefined
    }
  }

  async finish(): Promise<string | undefined> {
    const { place, copy, clock, present, store } = this.#parts
    try {
      await store.close()
      if (existsSync(`${copy}-wal`)) throw new StoreOpenError(`${copy} cannot be written: look for room on its disk`)
      syncPath(copy)
      leaveWal(present)
      const stamp = formatTimestamp(clock.nowMilliseconds()).replaceAll(/[-:.]/g, '')
      const kept = `${place}.before-restore-${stamp}`
      keepAside(place, kept, present)
      putInPlace(copy, place, present)
      syncPath(dirname(place))
      return present.exists ? kept : undefined
    } catch (error) {
      throw toOpenError(error, place)
    } finally {
      await this.abandon()
    }
  }

  async abandon(): Promise<void> {
    if (this.#over) return
    this.#over = true
    await this.#parts.store.close()
    removeCopy(this.#parts.copy)
    this.#parts.present.sqlite?.close()
  }
}

// Out of WAL mode: the -wal is written into the file and removed, and when this connection is closed, which is when the new
// file lies there, it has none to remove. The journal stays in memory, for one on disk that a crash left would be taken for
// foreign; the one page that changes is written at once.
function leaveWal({ sqlite }: Present): void {
  if (sqlite === undefined) return
  const mode = sqlite.pragma('journal_mode = MEMORY', { simple: true })
  if (mode !== 'memory')
    throw new StoreOpenError(`${sqlite.name}-wal cannot be written into the database: look for room there`)
  // What a crash left of it says nothing any more.
  rmSync(`${sqlite.name}-shm`, { force: true })
}

function keepAside(place: string, kept: string, { exists }: Present): void {
  for (const end of ['-wal', '-shm']) {
    if (existsSync(`${place}${end}`)) renameSync(`${place}${end}`, `${kept}${end}`)
  }
  if (exists) {
    try {
      linkSync(place, kept)
    } catch {
      // Not every file system has second names.
      copyDurably(place, kept)
    }
  }
  syncPath(dirname(place))
}

function putInPlace(copy: string, place: string, { exists }: Present): void {
  if (exists) renameSync(copy, place)
  else putWhereNothingIs(copy, place)
}

/**
 * Puts a file in a place where nothing is. Unlike a rename, a link replaces nothing that a start has made meanwhile. Not every
 * file system has links.
 *
 * @throws StoreOpenError when something is there
 */
export function putWhereNothingIs(copy: string, place: string): void {
  try {
    linkSync(copy, place)
  } catch (cause) {
    if (existsSync(place)) throw new StoreOpenError(`${place} was made meanwhile: stop the server first`, { cause })
    // A rename would put the file in the place of the link, on a disk that was not meant.
    if (lstatSync(place, { throwIfNoEntry: false }) !== undefined)
      throw new StoreOpenError(`${place} is a link to where nothing is: give the path that it leads to`, { cause })
    renameSync(copy, place)
  }
}
