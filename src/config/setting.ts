/** What a setting is, the kinds of values that several of them take, and how the value of one is read. */
import { resolve } from 'node:path'
import { z } from 'zod/mini'
import { parseDuration } from '../lib/duration.ts'

/** Environment variables by name, as `process.env` has them. */
export type Environment = Readonly<Record<string, string | undefined>>

/** A setting that cannot be used. The message names the variable, what it got and what it takes. */
export class ConfigError extends Error {
  constructor(message: string) {
    super(message)
    this.name = 'ConfigError'
  }
}

/** One setting, for the parser and for the reference. */
export interface SettingDescription {
  readonly variable: `MAYFLY_${string}`
  /** As it would be written; absent when there is none. */
  readonly default?: string
  readonly takes: string
  readonly meaning: string
}

type Setting<T> = SettingDescription & { readonly schema: z.ZodMiniType<T, string> }

/** Settings of one subject, in the order of the reference. */
export type SettingTable = Readonly<Record<string, Setting<unknown>>>

const text = z.string()

/** A text for which something holds. */
export function check(predicate: (value: string) => boolean): z.ZodMiniType<string, string> {
  return text.check(z.refine(predicate))
}

/** A path of a file or folder. */
export const path = check((value) => value.length > 0 && !value.includes('\0'))

/** A time between two bounds, in seconds. */
export function duration(minimum: string, maximum: string): Pick<Setting<number>, 'schema' | 'takes'> {
  const [low, high] = [parseDuration(minimum) ?? 0, parseDuration(maximum) ?? 0]
  return {
    takes: `a duration such as 30s, 5m, 24h or 7d, from ${minimum} to ${maximum}`,
    schema: z.pipe(
      text,
      z.transform((value: string, context) => {
        const seconds = parseDuration(value)
        if (seconds !== undefined && seconds >= low && seconds <= high) return seconds
        context.issues.push({ code: 'custom', message: 'duration', input: value })
        return 0
      }),
    ),
  }
}

/** Yes or no. */
export const flag: Pick<Setting<boolean>, 'schema' | 'takes'> = {
  takes: 'true or false',
  schema: z.pipe(
    z.enum(['true', 'false']),
    z.transform((value) => value === 'true'),
  ),
}

/** How often a minute. */
export const perMinute: Pick<Setting<number>, 'schema' | 'takes'> = {
  takes: 'a whole number from 1 to 1000000',
  schema: z.pipe(
    check((value) => /^[1-9][0-9]{0,6}$/.test(value) && Number(value) <= 1_000_000),
    z.transform(Number),
  ),
}

/** Reads settings from an environment; an empty variable counts as absent. Each method throws `ConfigError`. */
export class SettingReader {
  readonly #environment: Environment
  /** What relative paths start from. */
  readonly #folder: string

  constructor(environment: Environment, folder: string) {
    this.#environment = environment
    this.#folder = folder
  }

  get<T>(setting: Setting<T> & { readonly default: string }): T {
    return this.getOptional(setting) as T
  }

  getOptional<T>(setting: Setting<T>): T | undefined {
    const value = this.#environment[setting.variable] || setting.default
    if (value === undefined) return undefined
    const parsed = z.safeParse(setting.schema, value)
    if (parsed.success) return parsed.data
    throw new ConfigError(`${setting.variable} is ${quote(value)}: it takes ${setting.takes}`)
  }

  /** An absolute path. */
  getPath(setting: Setting<string>): string | undefined {
    const value = this.getOptional(setting)
    return value === undefined ? undefined : resolve(this.#folder, value)
  }
}

/**
 * A value as a message may show it. A URL may hold a password, and a value that could not be parsed may hold one anywhere
 * between : and @. JSON leaves controls as they are that a terminal obeys (U+009B begins a sequence as ESC [ does).
 */
export function quote(value: string, maxLength = 120): string {
  const shown = value.replace(/(:|\/\/).*@/s, '$1***@').slice(0, maxLength)
  return JSON.stringify(shown).replace(
    /[\p{C}\p{Zl}\p{Zp}]/gu,
    (found) => `\\u${found.codePointAt(0)?.toString(16).padStart(4, '0')}`,
  )
}
