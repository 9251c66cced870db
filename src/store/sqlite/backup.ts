import { randomBytes } from 'node:crypto'
import { closeSync, existsSync, fsyncSync, openSync, renameSync, unlinkSync } from 'node:fs'
import { dirname } from 'node:path'
import type Database from 'better-sqlite3'
import { StoreOpenError } from '../store.ts'

/**
 * Writes a copy as of one moment, while others read and write. `VACUUM INTO` reads in one transaction, where the
 * backup API would start anew at each write of another process. The copy is written beside its place, flushed and then
 * renamed into it: it is there whole, or not at all.
 *
 * @throws StoreOpenError when something is at that path already
 */
export function writeBackup(sqlite: Database.Database, file: string): void {
  if (existsSync(file)) throw new StoreOpenError(`${file} exists: give the backup a new name`)
  const temporary = `${file}.${randomBytes(6).toString('hex')}.tmp`
  try {
    // Made first, so that it is never readable by others; VACUUM INTO takes an empty file.
    closeSync(openSync(temporary, 'wx', 0o600))
    sqlite.prepare('VACUUM INTO ?').run(temporary)
    syncPath(temporary)
    renameSync(temporary, file)
    syncPath(dirname(file))
  } catch (cause) {
    if (existsSync(temporary)) unlinkSync(temporary)
    throw new StoreOpenError(`the backup ${file} cannot be written: look for room and permission in that folder`, {
      cause,
    })
  }
}

/** Flushes a file or a folder. */
export function syncPath(path: string): void {
  const descriptor = openSync(path, 'r')
  try {
    fsyncSync(descriptor)
  } finally {
    closeSync(descriptor)
  }
}
