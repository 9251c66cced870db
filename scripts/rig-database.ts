/** Where the servers of a rig keep everything: a SQLite file, or a PostgreSQL that the rig starts itself. */
import { join } from 'node:path'
import Database from 'better-sqlite3'
import pg from 'pg'
import { PostgresServer } from './postgres-server.ts'

const int8 = 20

/** A database that the rig looks at beside the servers. */
export interface RigDatabase {
  readonly kind: 'sqlite' | 'postgres'
  /** The settings that lead servers to it. */
  readonly environment: Readonly<Record<string, string>>
  /** A member of a JSON column, as text, in the words of this database. */
  member(column: string, name: string): string
  read<T>(sql: string): Promise<readonly T[]>
  run(sql: string): Promise<void>
  /** Ends the database as a crash does, and starts it again. Not for a file. */
  crash(): Promise<void>
  close(): Promise<void>
}

/** A file in a folder, as the settings have it without any. */
export function useSqlite(folder: string): RigDatabase {
  const path = join(folder, 'data/mayfly.db')
  let opened: Database.Database | undefined
  const sqlite = (): Database.Database => {
    // Whoever waits here holds up the whole rig.
    opened ??= new Database(path, { timeout: 0 })
    return opened
  }
  return {
    kind: 'sqlite',
    environment: {},
    member: (column, name) => `json_extract(${column}, '$.${name}')`,
    read: async <T>(sql: string) => sqlite().prepare(sql).all() as T[],
    run: async (sql) => void sqlite().exec(sql),
    crash: () => Promise.reject(new Error('a file does not crash')),
    close: async () => void opened?.close(),
  }
}

/** A server of its own, and a database on it. */
export async function usePostgres(): Promise<RigDatabase> {
  const server = await PostgresServer.make()
  await server.query('postgres', 'CREATE DATABASE rig')
  const types = {
    getTypeParser: (type: number, format?: 'text' | 'binary') =>
      type === int8 ? Number : pg.types.getTypeParser(type, format as 'text'),
  }
  const pool = new pg.Pool({ connectionString: server.urlOf('rig'), max: 2, types })
  pool.on('error', () => undefined)
  return {
    kind: 'postgres',
    environment: { MAYFLY_DATABASE_URL: server.urlOf('rig') },
    member: (column, name) => `${column}::json ->> '${name}'`,
    read: async <T>(sql: string) => (await pool.query(sql)).rows as T[],
    run: async (sql) => void (await pool.query(sql)),
    crash: async () => {
      await server.stop('immediate')
      await server.start()
    },
    close: async () => {
      await pool.end()
      await server.destroy()
    },
  }
}
