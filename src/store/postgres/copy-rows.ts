/** Rows of a database, as a copy carries them. */
import type { CopyKey, CopyRow } from '../copy/sides.ts'
import { type CopyColumn, type CopyTable, columnNames } from '../copy/tables.ts'
import type { CopyConnection } from './copy-connection.ts'

function lists(columns: readonly CopyColumn[]): string {
  return columns.map(({ type }, i) => `$${i + 1}::${type}[]`).join(', ')
}

/** Lists of what stands in each column. */
function transpose(columns: readonly CopyColumn[], rows: readonly CopyRow[]): readonly unknown[] {
  return columns.map((_, i) => rows.map((row) => row[i]))
}

/** Reads rows after a key, in the order of the keys. */
export async function readRows(
  connection: CopyConnection,
  { name, columns, key }: CopyTable,
  after: CopyKey | undefined,
  limit: number,
): Promise<readonly CopyRow[]> {
  const from = after?.map((_, i) => `$${i + 2}::${key[i]?.type}`).join(', ')
  const where = from === undefined ? '' : `WHERE (${columnNames(key)}) > (${from})`
  const text = `SELECT ${columnNames(columns)} FROM ${name} ${where} ORDER BY ${columnNames(key)} LIMIT $1`
  return (await connection.queryLists(text, [limit, ...(after ?? [])])) as readonly CopyRow[]
}

export async function readByKeys(
  connection: CopyConnection,
  { name, columns, key }: CopyTable,
  keys: readonly CopyKey[],
): Promise<readonly CopyRow[]> {
  const text = `SELECT ${columnNames(columns)} FROM ${name}
    WHERE (${columnNames(key)}) IN (SELECT * FROM unnest(${lists(key)}))`
  return (await connection.queryLists(text, transpose(key, keys))) as readonly CopyRow[]
}

export async function deleteByKeys(
  connection: CopyConnection,
  { name, key }: CopyTable,
  keys: readonly CopyKey[],
): Promise<void> {
  const text = `DELETE FROM ${name} WHERE (${columnNames(key)}) IN (SELECT * FROM unnest(${lists(key)}))`
  await connection.query(text, transpose(key, keys))
}

/** Adds rows; those whose key is there already stay as they are. */
export async function insertRows(
  connection: CopyConnection,
  { name, columns, key }: CopyTable,
  rows: readonly CopyRow[],
): Promise<void> {
  const text = `INSERT INTO ${name} (${columnNames(columns)}) SELECT * FROM unnest(${lists(columns)})
    ON CONFLICT (${columnNames(key)}) DO NOTHING`
  await connection.query(text, transpose(columns, rows))
}

export async function countRows(connection: CopyConnection, { name }: CopyTable): Promise<number> {
  const [row] = await connection.query(`SELECT count(*) AS count FROM ${name}`)
  return row?.count as number
}
