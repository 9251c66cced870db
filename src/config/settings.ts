/**
 * Every setting: its environment variable, its default, what it takes and what it means, in one file for each subject.
 * Parsed once, at start; the reference in `docs/configuration.md` is written from these tables.
 */
import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { parseEnv } from 'node:util'
import { type AuditSettings, auditSettings, checkRetention, readAudit } from './audit.ts'
import { type ClientSettings, clientSettings, readClients } from './clients.ts'
import {
  checkHost,
  checkIssuer,
  type EndpointSettings,
  endpointSettings,
  insecureSettings,
  readEndpoint,
} from './endpoint.ts'
import { checkRollover, type KeySettings, keySettings, readKeys } from './keys.ts'
import { type OperationSettings, operationSettings, readOperation } from './operation.ts'
import { ConfigError, type Environment, type SettingDescription, SettingReader } from './setting.ts'
import { readStorage, type StorageSettings, storageSettings } from './storage.ts'
import { checkMtlsUrl, checkTls, readTls, type TlsSettings, tlsSettings } from './tls.ts'
import { checkAccess, checkRefresh, readTokens, type TokenSettings, tokenSettings } from './tokens.ts'

/** The settings as the program uses them: paths absolute, durations in seconds. */
export interface Settings
  extends EndpointSettings,
    StorageSettings,
    TokenSettings,
    KeySettings,
    AuditSettings,
    TlsSettings,
    ClientSettings,
    OperationSettings {}

/** All settings, in the order of the reference. */
export const settingDescriptions: readonly SettingDescription[] = [
  endpointSettings,
  storageSettings,
  tokenSettings,
  keySettings,
  auditSettings,
  tlsSettings,
  clientSettings,
  operationSettings,
  insecureSettings,
].flatMap((table): readonly SettingDescription[] => Object.values(table))

/**
 * The environment with what `.env` in a folder adds; the environment wins.
 *
 * @throws ConfigError when there is a `.env` that cannot be read
 */
export function readEnvironment(environment: Environment, folder: string): Environment {
  const path = resolve(folder, '.env')
  try {
    return { ...parseEnv(readFileSync(path, 'utf8')), ...environment }
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return environment
    throw new ConfigError(`${path} cannot be read: let the user of this process read it, or remove it`)
  }
}

/** Variables that look like ours but are not: most likely misspelt. */
export function unknownVariables(environment: Environment): readonly string[] {
  const known = new Set<string>(settingDescriptions.map(({ variable }) => variable))
  known.add('MAYFLY_DATABASE_URL_FILE')
  return Object.keys(environment).filter((name) => name.startsWith('MAYFLY_') && !known.has(name))
}

/**
 * Parses all settings; an empty variable counts as absent.
 *
 * @param folder what relative paths start from
 * @throws ConfigError
 */
export function parseSettings(environment: Environment, folder: string): Settings {
  const reader = new SettingReader(environment, folder)
  const parsed: Settings = {
    ...readEndpoint(reader),
    ...readStorage(reader, environment, folder),
    ...readTokens(reader),
    ...readKeys(reader),
    ...readAudit(reader),
    ...readTls(reader),
    ...readClients(reader),
    ...readOperation(reader),
  }
  checkCombinations(parsed)
  return parsed
}

function checkCombinations(parsed: Settings): void {
  checkAccess(parsed)
  checkRetention(parsed)
  checkRefresh(parsed)
  checkRollover(parsed)
  checkIssuer(parsed)
  checkTls(parsed)
  checkMtlsUrl(parsed)
  checkHost(parsed)
}
