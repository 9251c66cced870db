import { randomBytes } from 'node:crypto'
import { existsSync, renameSync } from 'node:fs'
import { dirname } from 'node:path'
import type Database from 'better-sqlite3'
import type { BackupFile } from '../copy/sides.ts'
import { wholeTables } from '../copy/tables.ts'
import { StoreOpenError } from '../store.ts'
import { syncPath } from './backup.ts'
import { removeCopy } from './backup-copy.ts'
import { insertRows } from './copy-rows.ts'
import { openDatabase } from './open.ts'
import { stampFile } from './stamp.ts'

/** Begins a backup of a store that lies elsewhere, as `writeBackup` writes one of a file. @throws StoreOpenError */
export function createBackupFile(file: string, now: number): BackupFile {
  if (existsSync(file)) throw new StoreOpenError(`${file} exists: give the backup a new name`)
  const temporary = `${file}.${randomBytes(6).toString('hex')}.tmp`
  const sqlite = openTemporary(temporary, file, now)
  let isOver = false
  const discard = (): void => {
    if (isOver) return
    isOver = true
    sqlite.close()
    removeCopy(temporary)
  }
  return {
    put: (table, rows) => {
      try {
        sqlite.transaction(() => insertRows(sqlite, table, rows)).immediate()
      } catch (cause) {
        discard()
        throw unwritten(file, cause)
      }
    },
    finish: () => {
      try {
        const broken = sqlite.pragma('foreign_key_check') as unknown[]
        if (broken.length > 0) throw new Error(`${broken.length} rows refer to rows that do not exist`)
        sqlite.transaction(() => stampFile(sqlite)).immediate()
        sqlite.close()
        isOver = true
        syncPath(temporary)
        renameSync(temporary, file)
        syncPath(dirname(file))
      } catch (cause) {
        discard()
        removeCopy(temporary)
        throw unwritten(file, cause)
      }
    },
    discard,
  }
}

function openTemporary(temporary: string, file: string, now: number): Database.Database {
  try {
    const sqlite = openDatabase(temporary, { create: true, examine: false, now })
    // One file alone, which is flushed at the end: until then it may be lost.
    sqlite.pragma('journal_mode = DELETE')
    sqlite.pragma('synchronous = OFF')
    sqlite.pragma('foreign_keys = OFF')
    // What migrations put there.
    for (const { name } of wholeTables) sqlite.exec(`DELETE FROM ${name}`)
    return sqlite
  } catch (cause) {
    if (existsSync(temporary)) removeCopy(temporary)
    throw unwritten(file, cause)
  }
}

function unwritten(file: string, cause: unknown): StoreOpenError {
  return new StoreOpenError(`the backup ${file} cannot be written: look for room and permission in that folder`, {
    cause,
  })
}
