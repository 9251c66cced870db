/** What a move or a restore has left in a file, and beside it. */
import { readdirSync, statSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import type Database from 'better-sqlite3'
import { toRemains } from '../copy/state.ts'
import type { Remains } from '../store.ts'
import { readCopyState } from './copy-state.ts'

export function readRemains(sqlite: Database.Database, path: string): readonly Remains[] {
  const prefix = `${basename(path)}.before-restore-`
  const replaced = namesIn(dirname(path))
    .filter((name) => name.startsWith(prefix) && !/-(?:wal|shm)$/.test(name))
    .toSorted()
    .map((name): Remains => {
      const file = join(dirname(path), name)
      return { kind: 'replaced', file, bytes: statSync(file, { throwIfNoEntry: false })?.size ?? 0 }
    })
  return [...toRemains(readCopyState(sqlite)), ...replaced]
}

// A folder that may be entered and not listed is enough for SQLite: what lies in it is then nobody's to name.
function namesIn(folder: string): readonly string[] {
  try {
    return readdirSync(folder)
  } catch {
    return []
  }
}
