/** How the server runs and is watched. */
import { z } from 'zod/mini'
import { parseListen } from './hosts.ts'
import { check, type SettingReader, type SettingTable } from './setting.ts'

export const logLevels = ['debug', 'info', 'warn', 'error', 'silent'] as const

export type LogLevel = (typeof logLevels)[number]

export interface OperationSettings {
  readonly metricsListen: { readonly host: string; readonly port: number } | undefined
  /** Processes that share the port. */
  readonly workers: number
  readonly logLevel: LogLevel
}

const listen = z.pipe(
  check((value) => parseListen(value) !== undefined),
  z.transform((value: string) => parseListen(value) ?? { host: '', port: 0 }),
)

/** Settings of operation. */
export const operationSettings = {
  metricsListen: {
    variable: 'MAYFLY_METRICS_LISTEN',
    takes: 'host:port',
    meaning: 'A listener of its own for `/metrics` and `/readyz?verbose`, which then leave the main port.',
    schema: listen,
  },
  workers: {
    variable: 'MAYFLY_WORKERS',
    default: '1',
    takes: 'a whole number from 1 to 64',
    meaning:
      'Processes that share the port. With more than one a supervisor starts them, starts those again that die, and writes one `/metrics` for all ([workers](operations.md#workers)); as many as there are cores.',
    schema: z.pipe(
      check((value) => /^[1-9][0-9]?$/.test(value) && Number(value) <= 64),
      z.transform(Number),
    ),
  },
  logLevel: {
    variable: 'MAYFLY_LOG_LEVEL',
    default: 'info',
    takes: logLevels.join(', '),
    meaning: 'Logs go to stderr: JSON lines, readable ones on a terminal.',
    schema: z.enum(logLevels),
  },
} as const satisfies SettingTable

/** @throws ConfigError */
export function readOperation(reader: SettingReader): OperationSettings {
  return {
    metricsListen: reader.getOptional(operationSettings.metricsListen),
    workers: reader.get(operationSettings.workers),
    logLevel: reader.get(operationSettings.logLevel),
  }
}
