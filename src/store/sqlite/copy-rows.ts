/** Rows of a file, and rows as a copy carries them. */
import type Database from 'better-sqlite3'
import type { CopyKey, CopyRow, CopyValue } from '../copy/sides.ts'
import type { CopyTable } from '../copy/tables.ts'

// What the clock showed stands in the detail of an audit record here, and in a column of its own in PostgreSQL.
const wallAt = 'wall_at'

function columnsHere({ columns }: CopyTable): readonly string[] {
  return columns.map(({ name }) => name).filter((name) => name !== wallAt)
}

function toCarried({ columns }: CopyTable, row: readonly unknown[]): CopyRow {
  const values = columns.map(({ name, type }, i): CopyValue => {
    if (name === wallAt) return null
    return type === 'boolean' ? row[i] === 1 : (row[i] as CopyValue)
  })
  return columns.some(({ name }) => name === wallAt) ? splitDetail(columns, values) : values
}

function splitDetail(columns: CopyTable['columns'], row: CopyRow): CopyRow {
  const at = columns.findIndex(({ name }) => name === 'detail')
  const text = String(row[at])
  if (!text.includes('"wallAt":')) return row
  const { wallAt: shown, ...detail } = JSON.parse(text) as { wallAt?: number }
  if (shown === undefined) return row
  return columns.map(({ name }, i) => (i === at ? JSON.stringify(detail) : name === wallAt ? shown : (row[i] ?? null)))
}

function toHere({ columns }: CopyTable, row: CopyRow): readonly unknown[] {
  const shown = row[columns.findIndex(({ name }) => name === wallAt)] ?? null
  return columns.flatMap(({ name, type }, i) => {
    const value = row[i] ?? null
    if (name === wallAt) return []
    if (name === 'detail' && shown !== null)
      return [JSON.stringify({ ...(JSON.parse(String(value)) as object), wallAt: shown })]
    return [type === 'boolean' ? Number(value) : value]
  })
}

/** Reads rows after a key, in the order of the keys. */
export function readRows(
  sqlite: Database.Database,
  table: CopyTable,
  after: CopyKey | undefined,
  limit: number,
): readonly CopyRow[] {
  const key = table.key.map(({ name }) => name).join(', ')
  const where = after === undefined ? '' : `WHERE (${key}) > (${after.map(() => '?').join(', ')})`
  const rows = sqlite
    .prepare(`SELECT ${columnsHere(table).join(', ')} FROM ${table.name} ${where} ORDER BY ${key} LIMIT ?`)
    .raw()
    .all(...(after ?? []), limit)
  return (rows as unknown[][]).map((row) => toCarried(table, row))
}

function whereKey({ key }: CopyTable): string {
  return key.map(({ name }) => `${name} = ?`).join(' AND ')
}

export function readByKeys(sqlite: Database.Database, table: CopyTable, keys: readonly CopyKey[]): readonly CopyRow[] {
  const select = sqlite
    .prepare(`SELECT ${columnsHere(table).join(', ')} FROM ${table.name} WHERE ${whereKey(table)}`)
    .raw()
  return keys.flatMap((key) => {
    const row = select.get(...key) as unknown[] | undefined
    return row === undefined ? [] : [toCarried(table, row)]
  })
}

export function deleteByKeys(sqlite: Database.Database, table: CopyTable, keys: readonly CopyKey[]): void {
  const remove = sqlite.prepare(`DELETE FROM ${table.name} WHERE ${whereKey(table)}`)
  for (const key of keys) remove.run(...key)
}

/** Adds rows; those whose key is there already stay as they are. */
export function insertRows(sqlite: Database.Database, table: CopyTable, rows: readonly CopyRow[]): void {
  const columns = columnsHere(table)
  const key = table.key.map(({ name }) => name).join(', ')
  const insert = sqlite.prepare(
    `INSERT INTO ${table.name} (${columns.join(', ')}) VALUES (${columns.map(() => '?').join(', ')}) ON CONFLICT (${key}) DO NOTHING`,
  )
  for (const row of rows) insert.run(...toHere(table, row))
}

export function countRows(sqlite: Database.Database, { name }: CopyTable): number {
  return sqlite.prepare(`SELECT count(*) FROM ${name}`).pluck().get() as number
}
