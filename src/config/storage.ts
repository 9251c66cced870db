/** Where the database is, and the files beside it. */
import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { z } from 'zod/mini'
import { Secret } from '../lib/secret.ts'
import { ConfigError, check, type Environment, path, quote, type SettingReader, type SettingTable } from './setting.ts'

export interface StorageSettings extends DatabasePlace {
  readonly masterKeyFile: string
  readonly witnessFile: string
}

/** Where a database is. */
export interface DatabasePlace {
  /** The SQLite file; for PostgreSQL its URL without password and parameters. */
  readonly databasePath: string
  /** Only for PostgreSQL, and then it is this that is opened. */
  readonly postgresUrl?: Secret
}

/** Settings of storage. */
export const storageSettings = {
  databaseUrl: {
    variable: 'MAYFLY_DATABASE_URL',
    default: 'file:data/mayfly.db',
    takes: 'file: and a path, or postgres://USER:PASSWORD@HOST:PORT/DATABASE',
    meaning:
      'The SQLite database, a relative path starts in the current folder; or the PostgreSQL database, which several machines can share ([PostgreSQL](postgresql.md)). `MAYFLY_DATABASE_URL_FILE` names a file that holds the URL instead.',
    schema: check((value) => /^file:(?!\/\/(?!\/))./.test(value) && !value.includes('\0')),
  },
  masterKeyFile: {
    variable: 'MAYFLY_MASTER_KEY_FILE',
    default: 'keys/master.key',
    takes: 'a path',
    meaning: 'The file that wraps the root key. Made at the first start; refused when others can read it.',
    schema: path,
  },
  witnessFile: {
    variable: 'MAYFLY_WITNESS_FILE',
    takes: 'a path',
    meaning:
      'Remembers how far the database had come, so that an old copy of it does not start unnoticed. Default: the path of the master key with `.witness` behind it; set it where that folder is mounted read-only, and never to a place that is put back together with the database.',
    schema: path,
  },
} as const satisfies SettingTable

/** @throws ConfigError */
export function readStorage(reader: SettingReader, environment: Environment, folder: string): StorageSettings {
  const masterKeyFile = resolve(folder, reader.get(storageSettings.masterKeyFile))
  return {
    ...findDatabase(environment, folder),
    masterKeyFile,
    witnessFile: reader.getPath(storageSettings.witnessFile) ?? resolve(folder, defaultWitnessFile(masterKeyFile)),
  }
}

/** Where the witness lies when no setting says so. */
export function defaultWitnessFile(masterKeyFile: string): string {
  return `${masterKeyFile}.witness`
}

function findDatabase(environment: Environment, folder: string): DatabasePlace {
  const { MAYFLY_DATABASE_URL: url, MAYFLY_DATABASE_URL_FILE: file } = environment
  if (url && file) {
    throw new ConfigError('MAYFLY_DATABASE_URL and MAYFLY_DATABASE_URL_FILE are both set: keep one of them')
  }
  const variable = file ? 'MAYFLY_DATABASE_URL_FILE' : 'MAYFLY_DATABASE_URL'
  const value = file
    ? readUrlFile(resolve(folder, file), 'MAYFLY_DATABASE_URL_FILE')
    : url || storageSettings.databaseUrl.default
  return parseDatabasePlace(value, variable, folder)
}

/**
 * Where a database is that an option of the command line names: the URL itself, or a file that holds it.
 *
 * @param name what it is called in errors
 * @throws ConfigError
 */
export function parseDatabasePlace(value: string, name: string, folder: string): DatabasePlace {
  if (/^postgres(?:ql)?:/i.test(value)) return findPostgres(value, name)
  const parsed = z.safeParse(storageSettings.databaseUrl.schema, value)
  if (!parsed.success)
    throw new ConfigError(`${name} is ${quote(value)}: it takes ${storageSettings.databaseUrl.takes}`)
  return { databasePath: resolve(folder, value.replace(/^file:(?:\/\/(?=\/))?/, '')) }
}

// A URL that cannot be taken apart may hold its password anywhere, so nothing of it is shown.
function findPostgres(value: string, variable: string): DatabasePlace {
  const url = URL.canParse(value) ? new URL(value) : undefined
  if (url === undefined || url.hostname === '' || !isDecodable(value) || !/^\/[^/@:\s]+$/.test(url.pathname)) {
    throw new ConfigError(
      `${variable} names a PostgreSQL database and cannot be taken apart: it takes ${storageSettings.databaseUrl.takes}, with what is no letter or digit in user and password written as %XX`,
    )
  }
  const user = url.username === '' ? '' : `${url.username}@`
  return { databasePath: `${url.protocol}//${user}${url.host}${url.pathname}`, postgresUrl: new Secret(value) }
}

function isDecodable(value: string): boolean {
  try {
    return !/[\0\s]/.test(value) && decodeURIComponent(value) !== ''
  } catch {
    return false
  }
}

/** The URL that a file holds. @throws ConfigError */
export function readUrlFile(path: string, name: string): string {
  try {
    return readFileSync(path, 'utf8').trim()
  } catch {
    // Whoever sets the URL itself here by mistake shall not find its password in a log.
    throw new ConfigError(`${name} is ${quote(path, 500)}: it takes the path of a file that can be read`)
  }
}
