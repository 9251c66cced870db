import { getTableColumns } from './drizzle.ts'

type Table = Parameters<typeof getTableColumns>[0]

/** The columns of a table for a SELECT, under the names that the program has for them. */
export function columnsOf(table: Table, alias?: string): string {
  const prefix = alias === undefined ? '' : `${alias}.`
  return Object.entries(getTableColumns(table))
    .map(([name, column]) => `${prefix}${column.name} AS "${name}"`)
    .join(', ')
}

/** The registry sequence, in a statement that reads: as of the same moment as all that it reads. */
export const registrySequence = `(SELECT value FROM sequence WHERE name = 'registry')`

/** Whether PostgreSQL takes a text: it knows no U+0000, and so holds nothing under a name that has one. */
export function isText(text: string): boolean {
  return !text.includes('\0')
}

/** The columns of the record, and their types, in the order of `toIssuanceValues`. */
export const issuanceColumns = [
  ['jti', 'text'],
  ['client_id', 'text'],
  ['subject', 'text'],
  ['grant_type', 'text'],
  ['secret_id', 'text'],
  ['audience', 'text'],
  ['scope', 'text'],
  ['kid', 'text'],
  ['expires_at', 'bigint'],
  ['request_id', 'text'],
  ['address', 'text'],
  ['family_id', 'text'],
  ['refresh_generation', 'bigint'],
  ['confirmation', 'text'],
  ['previous_jti', 'text'],
] as const
