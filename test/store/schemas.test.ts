import { getTableColumns, getTableName, is, Table } from 'drizzle-orm'
import { describe, expect, it } from 'vitest'
import * as postgres from '../../src/store/postgres/schema.ts'
import * as sqlite from '../../src/store/sqlite/schema.ts'

/** What is the same whatever the database: tables, their columns, and which of those may be absent. */
function outline(schema: object): Readonly<Record<string, readonly string[]>> {
  const tables = Object.values(schema).filter((value): value is Table => is(value, Table))
  return Object.fromEntries(
    tables.map((table) => {
      const columns = Object.entries(getTableColumns(table)).map(
        ([name, { name: column, notNull, primary, hasDefault }]) =>
          `${name} ${column}${notNull ? ' NOT NULL' : ''}${primary ? ' PRIMARY KEY' : ''}${hasDefault && !primary ? ' DEFAULT' : ''}`,
      )
      return [getTableName(table), columns.toSorted()]
    }),
  )
}

describe('the schemas of both stores', () => {
  it('have the same tables and columns, but for where an audit record keeps what the clock showed', () => {
    const { audit_event: events = [], ...tables } = outline(postgres)
    const expected = outline(sqlite)
    expect({ ...tables, audit_event: events.filter((column) => column !== 'wallAt wall_at') }).toEqual(expected)
    expect(events).toHaveLength((expected.audit_event?.length ?? 0) + 1)
    expect(Object.keys(expected).length).toBeGreaterThan(12)
  })
})
