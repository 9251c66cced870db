/** Opening the file: everything that can be wrong with it is said in one sentence, before anything is changed. */
import { closeSync, existsSync, fsyncSync, openSync, readSync, statfsSync, statSync } from 'node:fs'
import { dirname } from 'node:path'
import Database from 'better-sqlite3'
import { makeFolder } from '../../lib/make-folder.ts'
import { StoreOpenError } from '../store.ts'
import { applicationId, migrate, readMigrationState } from './migrate.ts'

/** How to open. */
export interface OpenOptions {
  /** Make the file when it is not there, and bring its tables up to date. */
  readonly create: boolean
  /** Look for damage: all of a small file, of a large one what decisions read. */
  readonly examine: boolean
  /** Refuse a file that any other connection has open, and keep others from opening it. */
  readonly exclusive?: boolean
  /** Milliseconds since the epoch, for the record of applied migrations. */
  readonly now: number
  /** Looks at it before anything in it is changed. */
  readonly inspector?: Inspector
  /** Runs in the transaction that brings the tables up to date. @throws to leave them as they are */
  onMigrate?(sqlite: Database.Database): void
}

/** Who may refuse a database. */
export interface Inspector {
  /** Before SQLite has opened it. @throws StoreOpenError to refuse it */
  inspectFile(path: string): void
  /** Before it is brought up to date. @throws StoreOpenError to refuse it */
  inspect(sqlite: Database.Database, path: string): void
}

// A connection waits this long, on the event loop, for another process's lock; the act queue tries again around it.
const busyMilliseconds = 20
const busyMillisecondsAtStart = 5_000
// For how many pauses of `busyMilliseconds` a journal may be that of a process that makes the file.
const journalLooks = 50
// Whoever has it open keeps it open.
const busyMillisecondsExclusive = 500
// 3.51.3 mends a race that could corrupt a WAL database (https://sqlite.org/wal.html, "the WAL-reset bug").
const oldestSqlite = [3, 51, 3] as const
const journalLimitBytes = 64 * 1024 * 1024
// Looking through all of a file takes 4 ms a megabyte, and a start shall take half a second.
const smallFileBytes = 8 * 1024 * 1024
const networkFilesystems = new Map([
  [0x6969, 'NFS'],
  [0xff534d42, 'CIFS'],
  [0xfe534d42, 'SMB'],
  [0x517b, 'SMB'],
])
const registryTables = [
  'installation',
  'sequence',
  'root_key',
  'signing_key',
  'resource',
  'client',
  'client_secret',
  'client_audience',
]

/**
 * Opens a database file.
 *
 * @param path absolute
 * @throws StoreOpenError
 */
export function openDatabase(path: string, options: OpenOptions): Database.Database {
  const isNew = !existsSync(path)
  if (isNew && !options.create) {
    throw new StoreOpenError(
      `there is no database at ${path}: \`mayfly serve\` or \`mayfly db migrate\` makes one, MAYFLY_DATABASE_URL names another`,
    )
  }
  try {
    if (isNew) createFile(path)
    checkSurroundings(path)
    const { ino } = statSync(path)
    options.inspector?.inspectFile(path)
    const timeout = options.exclusive ? busyMillisecondsExclusive : busyMillisecondsAtStart
    return prepare(new Database(path, { timeout }), { path, ino }, options)
  } catch (error) {
    if (options.exclusive && isBusy(error)) throw inUse(path, error)
    throw toOpenError(error, path)
  }
}

// The audit trail is nobody's business: the file is for its owner alone, and SQLite gives the -wal the same mode.
function createFile(path: string): void {
  makeFolder(dirname(path))
  closeSync(openSync(path, 'a', 0o600))
  const folder = openSync(dirname(path), 'r')
  fsyncSync(folder)
  closeSync(folder)
}

function checkSurroundings(path: string): void {
  if (!statSync(path).isFile())
    throw new StoreOpenError(`${path} is not a file: give MAYFLY_DATABASE_URL the path of one`)
  const network = networkFilesystems.get(Number(statfsSync(path).type))
  if (network !== undefined) {
    throw new StoreOpenError(
      `${path} lies on ${network}, whose locks SQLite cannot rely on: put the database on a local disk`,
    )
  }
  if (hasForeignJournal(path)) {
    throw new StoreOpenError(
      `${path}-journal lies beside the database but is not part of it (its journal is ${path}-wal): restore a backup of this database, or move that file away if you know that it is foreign`,
    )
  }
}

// A new file has such a journal for a moment, until it is in WAL mode: another process may be making it just now. One of a
// file that is no longer new goes away by itself then, or is none of ours.
function hasForeignJournal(path: string): boolean {
  const pause = new Int32Array(new SharedArrayBuffer(4))
  for (let looks = 0; existsSync(`${path}-journal`); looks += 1) {
    if (!isWal(path)) return false
    if (looks === journalLooks) return true
    Atomics.wait(pause, 0, 0, busyMilliseconds)
  }
  return false
}

// The write version in the header: 2 is WAL (https://sqlite.org/fileformat2.html, section 1.3.3).
function isWal(path: string): boolean {
  const header = Buffer.alloc(19)
  const file = openSync(path, 'r')
  try {
    readSync(file, header, 0, header.length, 0)
  } finally {
    closeSync(file)
  }
  return header[18] === 2
}

interface Place {
  readonly path: string
  /** The inode number of the file that is opened. */
  readonly ino: number
}

function prepare(sqlite: Database.Database, { path, ino }: Place, options: OpenOptions): Database.Database {
  try {
    // First of all: it counts from the first look at the file on, and in WAL mode every connection that has looked keeps a
    // shared lock for as long as it lives, also when it is idle.
    if (options.exclusive) sqlite.pragma('locking_mode = EXCLUSIVE')
    checkVersion(sqlite)
    checkIdentity(sqlite, path)
    if (options.exclusive) sqlite.exec('BEGIN EXCLUSIVE; COMMIT')
    // The first read may have waited for a restore, and this connection still have the file that was moved aside: its -wal
    // would become that of the new one.
    if (statSync(path).ino !== ino) throw new StoreOpenError(`${path} was replaced while it was opened: try again`)
    options.inspector?.inspect(sqlite, path)
    setPragmas(sqlite)
    bringUpToDate(sqlite, path, options)
    if (options.examine) examine(sqlite, path)
    assertDurable(sqlite)
    sqlite.pragma(`busy_timeout = ${busyMilliseconds}`)
    return sqlite
  } catch (error) {
    sqlite.close()
    throw error
  }
}

function checkVersion(sqlite: Database.Database): void {
  const version = String(sqlite.prepare('SELECT sqlite_version()').pluck().get())
  const parts = version.split('.').map(Number)
  const difference = oldestSqlite.map((oldest, i) => (parts[i] ?? 0) - oldest).find((n) => n !== 0) ?? 0
  if (difference < 0)
    throw new StoreOpenError(
      `SQLite ${version} can corrupt this database, ${oldestSqlite.join('.')} or newer is needed: run \`npm ci\``,
    )
}

/** @throws StoreOpenError for a database of another program */
export function checkIdentity(sqlite: Database.Database, path: string): void {
  const isEmpty = sqlite.prepare('SELECT count(*) FROM sqlite_schema').pluck().get() === 0
  const id = sqlite.pragma('application_id', { simple: true })
  if (!isEmpty && id !== applicationId)
    throw new StoreOpenError(`${path} is a database of another program: give MAYFLY_DATABASE_URL another path`)
}

function setPragmas(sqlite: Database.Database): void {
  sqlite.pragma('journal_mode = WAL')
  sqlite.pragma('synchronous = FULL')
  sqlite.pragma('foreign_keys = ON')
  sqlite.pragma('trusted_schema = OFF')
  sqlite.pragma(`journal_size_limit = ${journalLimitBytes}`)
  sqlite.pragma('cache_size = -16000')
}

// better-sqlite3 is compiled to lower `synchronous` to NORMAL on a WAL database. With NORMAL a power loss takes
// acknowledged writes away, so it is read back after the first page was touched, at every open.
function assertDurable(sqlite: Database.Database): void {
  const mode = sqlite.pragma('journal_mode', { simple: true })
  const synchronous = sqlite.pragma('synchronous', { simple: true })
  if (mode !== 'wal' || synchronous !== 2) {
    throw new StoreOpenError(
      `the database opened with journal_mode=${mode} and synchronous=${synchronous}, which can lose what was acknowledged: put it on a local disk that it can write to`,
    )
  }
}

function bringUpToDate(sqlite: Database.Database, path: string, options: OpenOptions): void {
  const state = readMigrationState(sqlite)
  if (state.newer)
    throw new StoreOpenError(
      `${path} was written by a newer Mayfly: use that version, or restore a backup made by this one`,
    )
  if (state.pending === 0) return
  if (!options.create) throw new StoreOpenError(`${path} is of an older Mayfly: run \`mayfly db migrate\``)
  migrate(sqlite, options.now, () => options.onMigrate?.(sqlite))
}

function examine(sqlite: Database.Database, path: string): void {
  const isSmall = statSync(path).size <= smallFileBytes
  const found = isSmall
    ? sqlite.pragma('quick_check(1)', { simple: true })
    : registryTables
        .map((table) => sqlite.pragma(`quick_check('${table}')`, { simple: true }))
        .find((row) => row !== 'ok')
  if (found !== undefined && found !== 'ok') throw damaged(path)
}

function damaged(path: string, cause?: unknown): StoreOpenError {
  return new StoreOpenError(
    `${path} is damaged: keep a copy of it, then put back the newest file that \`mayfly db backup\` wrote`,
    { cause },
  )
}

/** Whether two names lead to one file. */
export function isSameFile(a: string, b: string): boolean {
  const [one, two] = [a, b].map((path) => statSync(path, { throwIfNoEntry: false }))
  return one !== undefined && one.ino === two?.ino && one.dev === two.dev
}

/** Whether SQLite found a lock of another connection. */
export function isBusy(error: unknown): boolean {
  return error instanceof Database.SqliteError && error.code.startsWith('SQLITE_BUSY')
}

/** Somebody has a file open that must be nobody's. */
export function inUse(path: string, cause: unknown): StoreOpenError {
  return new StoreOpenError(`${path} is in use: stop the server, and let other commands end, first`, { cause })
}

/** What SQLite or the file system threw, as one sentence that says what to do; what it does not know, as it is. */
export function toOpenError(error: unknown, path: string): unknown {
  if (!(error instanceof Error) || !('code' in error) || typeof error.code !== 'string') return error
  const { code } = error
  if (/^SQLITE_(?:CORRUPT|NOTADB)/.test(code)) return damaged(path, error)
  if (/^SQLITE_BUSY/.test(code))
    return new StoreOpenError(`${path} is locked by another process: end that process or wait for it`, { cause: error })
  // The -shm cannot grow: SQLite has no better word for a disk that is full when the file is opened.
  if (/^SQLITE_(?:FULL|IOERR_SHMSIZE)|^ENOSPC$/.test(code))
    return new StoreOpenError(`the disk of ${path} is full: make room and try again`, { cause: error })
  if (/^(?:SQLITE_(?:READONLY|CANTOPEN|IOERR|PERM)|EACCES|EROFS|EPERM|ENOENT|ENOTDIR|EEXIST)/.test(code)) {
    return new StoreOpenError(
      `${path} or its folder cannot be written (${code}): let the user of this process write there, or give MAYFLY_DATABASE_URL another path`,
      { cause: error },
    )
  }
  return error
}
