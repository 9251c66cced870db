import { createRequire } from 'node:module'

// Through require, as in `sqlite/drizzle.ts`, and for the same reason. Nothing else loads it.
const require = createRequire(import.meta.url)

const orm = require('drizzle-orm') as typeof import('drizzle-orm')
const core = require('drizzle-orm/pg-core') as typeof import('drizzle-orm/pg-core')
const nodePostgres = require('drizzle-orm/node-postgres') as typeof import('drizzle-orm/node-postgres')
const migrator = require('drizzle-orm/migrator') as typeof import('drizzle-orm/migrator')

export const { and, asc, eq, getTableColumns, inArray, ne, notInArray, sql } = orm
export const {
  bigint,
  boolean,
  check,
  customType,
  foreignKey,
  getTableConfig,
  index,
  integer,
  pgTable,
  primaryKey,
  uniqueIndex,
} = core
export const { drizzle } = nodePostgres
export const { readMigrationFiles } = migrator
