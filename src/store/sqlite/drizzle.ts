import { createRequire } from 'node:module'

// An ESM import of drizzle-orm makes Node read the package's 179 KB manifest again for each of its modules (0.6 s and
// 250 MB); through require it takes a quarter of that. Nothing else loads it.
const require = createRequire(import.meta.url)

const orm = require('drizzle-orm') as typeof import('drizzle-orm')
const core = require('drizzle-orm/sqlite-core') as typeof import('drizzle-orm/sqlite-core')
const betterSqlite3 = require('drizzle-orm/better-sqlite3') as typeof import('drizzle-orm/better-sqlite3')
const migrator = require('drizzle-orm/migrator') as typeof import('drizzle-orm/migrator')

export const { and, asc, desc, eq, getTableColumns, gt, gte, inArray, isNull, lt, ne, notInArray, or, sql } = orm
export const { blob, check, index, integer, primaryKey, sqliteTable, text, uniqueIndex } = core
export const { drizzle } = betterSqlite3
export const { readMigrationFiles } = migrator
