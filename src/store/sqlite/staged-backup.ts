import { randomBytes } from 'node:crypto'
import Database from 'better-sqlite3'
import type { Clock } from '../../lib/clock.ts'
import type { StagedBackup } from '../copy/sides.ts'
import { StoreOpenError } from '../store.ts'
import { checkHeader, copyDurably, examine, removeCopy, removeLeftovers } from './backup-copy.ts'
import { readRows } from './copy-rows.ts'
import { openSqliteStore } from './sqlite-store.ts'

/**
 * Copies a backup beside itself and brings it up to date there, for a store that lies elsewhere.
 *
 * @param file absolute path
 * @throws StoreOpenError
 */
export function stageBackup(file: string, clock: Clock): StagedBackup {
  checkHeader(file)
  const copy = `${file}.restore-${randomBytes(6).toString('hex')}.tmp`
  let reader: Database.Database | undefined
  removeLeftovers(file)
  try {
    copyBeside(file, copy)
    const { standing, lastEvent, until } = examine(copy, file)
    const store = openSqliteStore(copy, { create: true, examine: false, clock, evenIfMoved: true })
    return {
      store,
      storeId: standing.storeId,
      lastEvent,
      until,
      readRows: (table, after, limit) => {
        reader ??= new Database(copy, { readonly: true })
        return readRows(reader, table, after, limit)
      },
      discard: async () => {
        reader?.close()
        await store.close()
        removeCopy(copy)
      },
    }
  } catch (error) {
    removeCopy(copy)
    throw error
  }
}

function copyBeside(file: string, copy: string): void {
  try {
    copyDurably(file, copy)
  } catch (cause) {
    throw new StoreOpenError(
      `${copy} cannot be written, where the backup is brought up to date: put the backup into a folder with room that the user of this process can write to`,
      { cause },
    )
  }
}
