/** A file that `db backup` wrote, and copies of it: looked at before anything is done with them. */
import { closeSync, fsyncSync, openSync, readdirSync, readSync, rmSync, writeSync } from 'node:fs'
import { basename, dirname } from 'node:path'
import Database from 'better-sqlite3'
import { ulidMilliseconds } from '../../lib/id.ts'
import { StoreOpenError } from '../store.ts'
import { readStanding, type Standing } from './guard.ts'
import { applicationId, readMigrationState } from './migrate.ts'

const headerBytes = 100
const applicationIdOffset = 68
const chunkBytes = 1024 * 1024

/** What is known of a backup before it is brought up to date. */
export interface Backup {
  readonly standing: Standing
  /** The id of its newest record of a refusal or change. */
  readonly lastEvent: string
  readonly until: number
}

/** Whether a file begins as those of SQLite do. */
export function isSqlite(header: Buffer): boolean {
  return header.subarray(0, 16).toString('latin1') === 'SQLite format 3\0'
}

/** @throws StoreOpenError unless a file is one of ours */
export function checkHeader(file: string): void {
  const header = readStart(file)
  if (isSqlite(header) && header.readUInt32BE(applicationIdOffset) === applicationId) return
  throw new StoreOpenError(`${file} is no Mayfly database: give the path of a file that \`mayfly db backup\` wrote`)
}

/** The header of a file. @throws StoreOpenError when it cannot be read */
export function readStart(file: string): Buffer {
  const header = Buffer.alloc(headerBytes)
  try {
    const descriptor = openSync(file, 'r')
    try {
      readSync(descriptor, header)
    } finally {
      closeSync(descriptor)
    }
  } catch (cause) {
    const code = cause instanceof Error && 'code' in cause ? String(cause.code) : 'no code'
    throw new StoreOpenError(
      `${file} cannot be read (${code}): give the path of a file that \`mayfly db backup\` wrote, and let the user of this process read it`,
      { cause },
    )
  }
  return header
}

/** When the newest token was issued, milliseconds since the epoch; 0 where there is none. */
export function readIssuedUpTo(sqlite: Database.Database): number {
  const isMade = sqlite.prepare(`SELECT 1 FROM sqlite_schema WHERE name = 'issuance'`).get() !== undefined
  const newest = isMade ? sqlite.prepare('SELECT max(jti) FROM issuance').pluck().get() : undefined
  return typeof newest === 'string' ? ulidMilliseconds(newest) : 0
}

/** Whether SQLite found a file damaged. */
export function isDamage(error: unknown): boolean {
  return error instanceof Database.SqliteError && /^SQLITE_(?:CORRUPT|NOTADB)/.test(error.code)
}

/** Removes a file, and what SQLite lays beside it. */
export function removeCopy(copy: string): void {
  for (const end of ['', '-wal', '-shm', '-journal']) rmSync(`${copy}${end}`, { force: true })
}

/** Copies a file; it is on disk when this returns. */
export function copyDurably(from: string, to: string): void {
  const source = openSync(from, 'r')
  const target = openSync(to, 'wx', 0o600)
  try {
    const chunk = Buffer.alloc(chunkBytes)
    for (let length = readSync(source, chunk); length > 0; length = readSync(source, chunk)) {
      for (let written = 0; written < length; ) written += writeSync(target, chunk, written, length - written)
    }
    fsyncSync(target)
  } finally {
    closeSync(target)
    closeSync(source)
  }
}

/** Looks at a copy of a backup. @throws StoreOpenError when it is damaged, of a newer version, or has no keys */
export function examine(copy: string, file: string): Backup {
  const sqlite = new Database(copy)
  try {
    if (sqlite.pragma('quick_check(1)', { simple: true }) !== 'ok') throw damaged(file)
    if (readMigrationState(sqlite).newer)
      throw new StoreOpenError(`${file} was written by a newer Mayfly: use that version to restore it`)
    const standing = readStanding(sqlite)
    if (standing === undefined)
      throw new StoreOpenError(`${file} has no keys: it is a backup of a database that no server has ever started on`)
    const lastEvent = String(sqlite.prepare(`SELECT coalesce(max(id), '') FROM audit_event`).pluck().get())
    const until = Math.max(lastEvent === '' ? 0 : ulidMilliseconds(lastEvent), readIssuedUpTo(sqlite))
    return { standing, lastEvent, until }
  } catch (error) {
    throw isDamage(error) ? damaged(file, error) : error
  } finally {
    sqlite.close()
  }
}

function damaged(file: string, cause?: unknown): StoreOpenError {
  return new StoreOpenError(`${file} is damaged: take another file that \`mayfly db backup\` wrote`, { cause })
}

/** Removes what a restore, or a copy, that was killed had made beside a place. */
export function removeLeftovers(place: string, of: 'restore' | 'copy' = 'restore'): void {
  const prefix = `${basename(place)}.${of}-`
  for (const name of readdirSync(dirname(place))) {
    if (name.startsWith(prefix) && /^[0-9a-f]{12}\.tmp(?:-wal|-shm|-journal)?$/.test(name.slice(prefix.length)))
      rmSync(`${dirname(place)}/${name}`, { force: true })
  }
}
