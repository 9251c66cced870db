/** The tables of a store, as a copy sees them. They come from the schema of PostgreSQL, which has all columns (a test compares). */
import { getTableConfig } from '../postgres/drizzle.ts'
import * as schema from '../postgres/schema.ts'
import type { CopyKey, CopyRow, CopyValue } from './sides.ts'

export interface CopyColumn {
  readonly name: string
  readonly type: 'text' | 'bigint' | 'integer' | 'bytea' | 'boolean'
}

export interface CopyTable {
  readonly name: string
  readonly columns: readonly CopyColumn[]
  /** The columns of its primary key. */
  readonly key: readonly CopyColumn[]
  /** The statements that add its foreign keys. */
  readonly references: readonly { readonly name: string; readonly statement: string }[]
}

type Table = Parameters<typeof getTableConfig>[0]

function tableOf(table: Table): CopyTable {
  const { name, columns, primaryKeys, foreignKeys } = getTableConfig(table)
  const all = columns.map(
    (column): CopyColumn => ({ name: column.name, type: column.getSQLType() as CopyColumn['type'] }),
  )
  const keyed = primaryKeys[0]?.columns ?? columns.filter((column) => column.primary)
  return {
    name,
    columns: all,
    key: keyed.map((column) => all.find((each) => each.name === column.name) as CopyColumn),
    references: foreignKeys.map((key) => {
      const { columns: from, foreignTable, foreignColumns } = key.reference()
      const list = (named: readonly { readonly name: string }[]) => named.map((column) => column.name).join(', ')
      const other = getTableConfig(foreignTable).name
      const statement = `ALTER TABLE ${name} ADD CONSTRAINT ${key.getName()} FOREIGN KEY (${list(from)}) REFERENCES ${other} (${list(foreignColumns)}) ON DELETE ${key.onDelete ?? 'no action'} ON UPDATE ${key.onUpdate ?? 'no action'}`
      return { name: key.getName(), statement }
    }),
  }
}

/** Small ones that no start does without: copied as one, in the last transaction. Without `installation` nobody has claimed the store. */
export const wholeTables: readonly CopyTable[] = [
  schema.installation,
  schema.sequence,
  schema.rootKey,
  schema.signingKey,
  schema.ringMark,
].map(tableOf)

/** All others: copied row by row while the source serves. */
export const rowTables: readonly CopyTable[] = [
  schema.refreshFamily,
  schema.clientHour,
  schema.replay,
  schema.issuance,
  schema.mark,
  schema.resource,
  schema.client,
  schema.clientAudience,
  schema.clientIntrospects,
  schema.clientSecret,
  schema.auditEvent,
].map(tableOf)

export const allTables: readonly CopyTable[] = [...rowTables, ...wholeTables]

export function tableNamed(name: string): CopyTable {
  const found = rowTables.find((table) => table.name === name)
  if (found === undefined) throw new Error(`${name} is not copied row by row`)
  return found
}

/** The key of a row. */
export function keyOf({ columns, key }: CopyTable, row: CopyRow): CopyKey {
  return key.map(({ name }) => row[columns.findIndex((column) => column.name === name)] ?? null)
}

/** A key from the JSON that a trigger wrote: bytes stand there in hexadecimal, on PostgreSQL behind `\x`. */
export function parseKey({ key }: CopyTable, text: string): CopyKey {
  const values = JSON.parse(text) as readonly (string | number)[]
  return key.map(({ type }, i): CopyValue => {
    const value = values[i] ?? null
    return type === 'bytea' && typeof value === 'string' ? Buffer.from(value.replace(/^\\x/, ''), 'hex') : value
  })
}

export function columnNames(columns: readonly CopyColumn[]): string {
  return columns.map(({ name }) => name).join(', ')
}
