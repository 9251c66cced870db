/**
 * A writer of the plainest kind, which shows that the rig can tell durable from not: it says on stdout what it has
 * committed.
 *
 *   node plain-writer.ts DATABASE FULL|NORMAL
 */
import { writeSync } from 'node:fs'
import Database from 'better-sqlite3'

const [file = '', synchronous = ''] = process.argv.slice(2)
const sqlite = new Database(file)
sqlite.pragma('journal_mode = WAL')
sqlite.pragma(`synchronous = ${synchronous}`)
sqlite.exec('CREATE TABLE IF NOT EXISTS written (n INTEGER PRIMARY KEY, filler TEXT) STRICT')
const insert = sqlite.prepare('INSERT INTO written (filler) VALUES (?)')
const filler = 'x'.repeat(200)
for (;;) writeSync(1, `${insert.run(filler).lastInsertRowid}\n`)
