import type { Secret } from '../../lib/secret.ts'
import type { BackupFile } from '../copy/sides.ts'
import { allTables, type CopyTable, keyOf } from '../copy/tables.ts'
import { CopyConnection } from './copy-connection.ts'
import { readRows } from './copy-rows.ts'

const rowsAtOnce = 2_000

/** Writes a copy as of one moment, while others read and write. @throws StoreOpenError */
export async function writeBackup(url: Secret, location: string, file: BackupFile): Promise<void> {
  const connection = await CopyConnection.open(url, location)
  try {
    await connection.script('BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY')
    for (const table of allTables) await writeTable(connection, table, file)
    await connection.script('COMMIT')
    file.finish()
  } finally {
    file.discard()
    await connection.close()
  }
}

async function writeTable(connection: CopyConnection, table: CopyTable, file: BackupFile): Promise<void> {
  for (let after: ReturnType<typeof keyOf> | undefined; ; ) {
    const rows = await readRows(connection, table, after, rowsAtOnce)
    const last = rows.at(-1)
    if (last === undefined) return
    file.put(table, rows)
    after = keyOf(table, last)
  }
}
