/**
 * Every setting: its environment variable, its default, what it takes and what it means. Parsed once, at start; the
 * reference in `docs/configuration.md` is written from this table.
 */

import { readFileSync } from 'node:fs'
import { BlockList, isIP } from 'node:net'
import { resolve } from 'node:path'
import { parseEnv } from 'node:util'
import { z } from 'zod/mini'
import { type SigningAlg, signingAlgs } from './key/signer.ts'
import { type KeyTiming, propagationSeconds } from './key/timing.ts'
import { formatDuration, parseDuration } from './lib/duration.ts'
import { Secret } from './lib/secret.ts'
import { type LimitMode, limitModes } from './oauth/rate-limit.ts'

const label = '[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?'
const hostName = new RegExp(`^${label}(?:\\.${label})*$`)

export const logLevels = ['debug', 'info', 'warn', 'error', 'silent'] as const

export type LogLevel = (typeof logLevels)[number]

const assertionAudienceNames = ['issuer', 'issuer-or-token-endpoint'] as const

export type AssertionAudience = (typeof assertionAudienceNames)[number]

/** Environment variables by name, as `process.env` has them. */
export type Environment = Readonly<Record<string, string | undefined>>

/** The settings as the program uses them: paths absolute, durations in seconds. */
export interface Settings {
  /** Absent: `http://127.0.0.1:PORT`, with the port that was listened on. */
  readonly issuer: string | undefined
  readonly host: string
  readonly port: number
  /** The SQLite file; for PostgreSQL its URL without password and parameters. */
  readonly databasePath: string
  /** Only for PostgreSQL, and then it is this that is opened. */
  readonly postgresUrl?: Secret
  readonly masterKeyFile: string
  readonly witnessFile: string
  readonly signingAlg: SigningAlg
  readonly accessTokenTtlSeconds: number
  readonly accessTokenMaxTtlSeconds: number
  readonly refreshTokenIdleTtlSeconds: number
  readonly refreshTokenMaxTtlSeconds: number
  readonly refreshRetryWindowSeconds: number
  readonly jwksMaxAgeSeconds: number
  readonly clockSkewSeconds: number
  readonly keyLeadSeconds: number
  readonly keyRotationIntervalSeconds: number
  readonly auditIssuanceRetentionSeconds: number
  readonly auditRetentionSeconds: number
  readonly tlsCertFile: string | undefined
  readonly tlsKeyFile: string | undefined
  readonly tlsClientCaFile: string | undefined
  /** The base URL of a host of its own for clients with certificates. */
  readonly mtlsUrl: string | undefined
  readonly trustedProxies: readonly string[]
  readonly assertionAudience: AssertionAudience
  readonly rateLimitMode: LimitMode
  readonly rateLimitFailures: number
  readonly rateLimitPerClient: number | undefined
  readonly rateLimitIntrospection: number | undefined
  readonly dpopNonceRequired: boolean
  readonly metricsListen: { readonly host: string; readonly port: number } | undefined
  /** Processes that share the port. */
  readonly workers: number
  readonly logLevel: LogLevel
  readonly allowInsecureIssuer: boolean
  readonly allowInsecureHttp: boolean
}

/** What the settings say of the life of keys. */
export function keyTimingOf(settings: Settings): KeyTiming {
  return {
    leadSeconds: settings.keyLeadSeconds,
    rotationIntervalSeconds: settings.keyRotationIntervalSeconds,
    jwksMaxAgeSeconds: settings.jwksMaxAgeSeconds,
    clockSkewSeconds: settings.clockSkewSeconds,
    accessTokenMaxTtlSeconds: settings.accessTokenMaxTtlSeconds,
  }
}

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

const text = z.string()

function duration(minimum: string, maximum: string): Pick<Setting<number>, 'schema' | 'takes'> {
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

const flag: Pick<Setting<boolean>, 'schema' | 'takes'> = {
  takes: 'true or false',
  schema: z.pipe(
    z.enum(['true', 'false']),
    z.transform((value) => value === 'true'),
  ),
}

const perMinute: Pick<Setting<number>, 'schema' | 'takes'> = {
  takes: 'a whole number from 1 to 1000000',
  schema: z.pipe(
    check((value) => /^[1-9][0-9]{0,6}$/.test(value) && Number(value) <= 1_000_000),
    z.transform(Number),
  ),
}

function check(predicate: (value: string) => boolean): z.ZodMiniType<string, string> {
  return text.check(z.refine(predicate))
}

const path = check((value) => value.length > 0 && !value.includes('\0'))

const listen = z.pipe(
  check((value) => parseListen(value) !== undefined),
  z.transform((value: string) => parseListen(value) ?? { host: '', port: 0 }),
)

const settings = {
  issuer: {
    variable: 'MAYFLY_ISSUER',
    takes: 'an https URL without trailing slash, query or fragment, its path of letters, digits and ._~-',
    meaning:
      'The issuer identifier, exact (RFC 8414 section 2): the only source of `iss` and of every URL in the metadata. `http` only on loopback, unless `MAYFLY_ALLOW_INSECURE_ISSUER=true`. Default: `http://127.0.0.1:PORT`. It is stored; another one is refused until `mayfly db accept-issuer` accepts it.',
    schema: check(isIssuer),
  },
  host: {
    variable: 'MAYFLY_HOST',
    default: '127.0.0.1',
    takes: 'an IP address or host name',
    meaning:
      'Where it listens. Another host than loopback needs `MAYFLY_ISSUER`, and TLS (`MAYFLY_TLS_CERT_FILE`), `MAYFLY_TRUSTED_PROXIES` or `MAYFLY_ALLOW_INSECURE_HTTP=true`.',
    schema: check(isHost),
  },
  port: {
    variable: 'MAYFLY_PORT',
    default: '8080',
    takes: 'a whole number from 0 to 65535',
    meaning: 'The port; `0` takes a free one and prints it.',
    schema: z.pipe(
      check((value) => /^[0-9]{1,5}$/.test(value) && Number(value) <= 65_535),
      z.transform(Number),
    ),
  },
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
    schema: check((value) => value.length > 0 && !value.includes('\0')),
  },
  witnessFile: {
    variable: 'MAYFLY_WITNESS_FILE',
    takes: 'a path',
    meaning:
      'Remembers how far the database had come, so that an old copy of it does not start unnoticed. Default: the path of the master key with `.witness` behind it; set it where that folder is mounted read-only, and never to a place that is put back together with the database.',
    schema: check((value) => value.length > 0 && !value.includes('\0')),
  },
  signingAlg: {
    variable: 'MAYFLY_SIGNING_ALG',
    default: 'ES256',
    takes: signingAlgs.join(' or '),
    meaning: 'How access tokens are signed, unless their resource names its own algorithm (RFC 7518 section 3.1).',
    schema: z.enum(signingAlgs),
  },
  accessTokenTtl: {
    variable: 'MAYFLY_ACCESS_TOKEN_TTL',
    default: '5m',
    ...duration('1s', '24h'),
    meaning: 'Life of an access token for which neither its resource nor its client names one.',
  },
  accessTokenMaxTtl: {
    variable: 'MAYFLY_ACCESS_TOKEN_MAX_TTL',
    default: '1h',
    ...duration('1s', '24h'),
    meaning: 'No access token lives longer, whatever its resource or client names.',
  },
  refreshTokenIdleTtl: {
    variable: 'MAYFLY_REFRESH_TOKEN_IDLE_TTL',
    default: '1h',
    ...duration('1s', '365d'),
    meaning: 'Life of one refresh token: a family that is not refreshed for so long is over (RFC 9700 section 4.14.2).',
  },
  refreshTokenMaxTtl: {
    variable: 'MAYFLY_REFRESH_TOKEN_MAX_TTL',
    default: '24h',
    ...duration('1s', '365d'),
    meaning: 'Life of a refresh family from its first token on, however often it is refreshed.',
  },
  refreshRetryWindow: {
    variable: 'MAYFLY_REFRESH_RETRY_WINDOW',
    default: '60s',
    ...duration('1s', '1h'),
    meaning:
      'How long a refresh token that was used may be presented again, for the very same successor: its answer may have been lost. At most `MAYFLY_REFRESH_TOKEN_IDLE_TTL`.',
  },
  keyRotationInterval: {
    variable: 'MAYFLY_KEY_ROTATION_INTERVAL',
    default: '30d',
    ...duration('1s', '3650d'),
    meaning: 'How long a signing key signs; at least `MAYFLY_KEY_LEAD`.',
  },
  keyLead: {
    variable: 'MAYFLY_KEY_LEAD',
    default: '24h',
    ...duration('1s', '365d'),
    meaning:
      'How long a signing key is published before it signs: as long as any verifier caches the JWKS, whatever `max-age` says; at least `MAYFLY_JWKS_MAX_AGE` + `MAYFLY_CLOCK_SKEW` + 2s.',
  },
  jwksMaxAge: {
    variable: 'MAYFLY_JWKS_MAX_AGE',
    default: '5m',
    ...duration('1s', '24h'),
    meaning: 'How long the JWKS and the metadata may be cached (`Cache-Control: max-age`, RFC 9111).',
  },
  clockSkew: {
    variable: 'MAYFLY_CLOCK_SKEW',
    default: '60s',
    ...duration('1s', '10m'),
    meaning: 'By how much the clocks of verifiers may differ from ours.',
  },
  auditIssuanceRetention: {
    variable: 'MAYFLY_AUDIT_ISSUANCE_RETENTION',
    default: '7d',
    ...duration('1s', '3650d'),
    meaning:
      'How long records of issued tokens are kept; at least `MAYFLY_ACCESS_TOKEN_MAX_TTL` and `MAYFLY_CLOCK_SKEW` together.',
  },
  auditRetention: {
    variable: 'MAYFLY_AUDIT_RETENTION',
    default: '90d',
    ...duration('1s', '3650d'),
    meaning: 'How long records of refusals and changes are kept.',
  },
  tlsCertFile: {
    variable: 'MAYFLY_TLS_CERT_FILE',
    takes: 'a path',
    meaning:
      'The certificate of this server with those that lead from it to its authority, in PEM; with `MAYFLY_TLS_KEY_FILE` it makes the main port speak TLS 1.2 and 1.3. Both are read again when they change, and connections go on.',
    schema: path,
  },
  tlsKeyFile: {
    variable: 'MAYFLY_TLS_KEY_FILE',
    takes: 'a path',
    meaning: 'The key of that certificate, in PEM without a passphrase. Refused when others can read it.',
    schema: path,
  },
  tlsClientCaFile: {
    variable: 'MAYFLY_TLS_CLIENT_CA_FILE',
    takes: 'a path',
    meaning:
      'The authorities that vouch for certificates of clients (RFC 8705), in PEM. With native TLS clients are asked for certificates; behind `MAYFLY_TRUSTED_PROXIES` it is what forwarded certificates are verified with here. An empty file names none: only certificates that are registered themselves are good.',
    schema: path,
  },
  mtlsUrl: {
    variable: 'MAYFLY_MTLS_URL',
    takes: 'an https URL without trailing slash, query or fragment, with the path of MAYFLY_ISSUER',
    meaning:
      'The base URL of a host of its own where clients are asked for certificates, published as `mtls_endpoint_aliases` (RFC 8705 section 5). Needs `MAYFLY_TLS_CLIENT_CA_FILE` or `MAYFLY_TRUSTED_PROXIES`.',
    schema: check((value) => isIssuer(value) && value.startsWith('https:')),
  },
  trustedProxies: {
    variable: 'MAYFLY_TRUSTED_PROXIES',
    takes: 'IP addresses or CIDR ranges, separated by commas',
    meaning:
      'Peers whose `X-Forwarded-For`, `Client-Cert` and `Client-Cert-Chain` (RFC 9440) are believed, and at `/verify` their `X-Forwarded-Method`, `-Proto`, `-Host` and `-Uri`; from everyone else they are ignored. Such a proxy must remove the first three from what it receives.',
    schema: z.pipe(
      check((value) => splitList(value).every(isCidr)),
      z.transform(splitList),
    ),
  },
  assertionAudience: {
    variable: 'MAYFLY_ASSERTION_AUDIENCE',
    default: 'issuer',
    takes: assertionAudienceNames.join(' or '),
    meaning:
      'What a client assertion must have in `aud` (draft-ietf-oauth-rfc7523bis): the issuer identifier alone. `issuer-or-token-endpoint` lets old client libraries in, who put the token endpoint there; then another server that a client trusts may pass its assertion on to this one.',
    schema: z.enum(assertionAudienceNames),
  },
  rateLimitMode: {
    variable: 'MAYFLY_RATE_LIMIT_MODE',
    default: 'enforce',
    takes: limitModes.join(', '),
    meaning:
      'What the limits below do: refuse with 429 (RFC 6585 section 4), or only log and count what they would refuse, or nothing. Quotas of tokens are not among them.',
    schema: z.enum(limitModes),
  },
  rateLimitFailures: {
    variable: 'MAYFLY_RATE_LIMIT_FAILURES',
    default: '100',
    ...perMinute,
    meaning:
      'Failed authentications a minute, per address (IPv6: per /64) and per client, before guesses are refused. A right secret of ours, assertion or certificate passes all the same.',
  },
  rateLimitPerClient: {
    variable: 'MAYFLY_RATE_LIMIT_PER_CLIENT',
    ...perMinute,
    meaning:
      'Requests a minute of one client at `/token`, and as many at `/revoke`, at this server. Default: no limit.',
  },
  rateLimitIntrospection: {
    variable: 'MAYFLY_RATE_LIMIT_INTROSPECTION',
    ...perMinute,
    meaning: 'The same at `/introspect`, which busy services ask many times a second. Default: no limit.',
  },
  dpopNonce: {
    variable: 'MAYFLY_DPOP_NONCE',
    default: 'optional',
    takes: 'optional or required',
    meaning:
      'Whether a DPoP proof at the token endpoint must have a nonce of this server (RFC 9449 section 8): then none can be made long before it is used. Every client must know how to try again with one; common libraries do.',
    schema: z.enum(['optional', 'required']),
  },
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
  allowInsecureIssuer: {
    variable: 'MAYFLY_ALLOW_INSECURE_ISSUER',
    default: 'false',
    ...flag,
    meaning: 'Accepts an `http` issuer that is not on loopback. Anybody on the path can then replace the JWKS.',
  },
  allowInsecureHttp: {
    variable: 'MAYFLY_ALLOW_INSECURE_HTTP',
    default: 'false',
    ...flag,
    meaning:
      'Accepts plain HTTP on another host than loopback without a proxy. Secrets and tokens then travel in clear.',
  },
} as const satisfies Record<string, SettingDescription & { schema: z.ZodMiniType<unknown, string> }>

/** All settings, in the order of the reference. */
export const settingDescriptions: readonly SettingDescription[] = Object.values(settings)

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
  const get = <T>(setting: Setting<T> & { readonly default: string }): T => parseSetting(setting, environment) as T
  const getOptional = <T>(setting: Setting<T>): T | undefined => parseSetting(setting, environment)
  const masterKeyFile = resolve(folder, get(settings.masterKeyFile))
  const getPath = (setting: Setting<string>): string | undefined => {
    const value = getOptional(setting)
    return value === undefined ? undefined : resolve(folder, value)
  }
  const parsed: Settings = {
    issuer: getOptional(settings.issuer),
    host: get(settings.host),
    port: get(settings.port),
    ...findDatabase(environment, folder),
    masterKeyFile,
    witnessFile: resolve(folder, getOptional(settings.witnessFile) ?? defaultWitnessFile(masterKeyFile)),
    signingAlg: get(settings.signingAlg),
    accessTokenTtlSeconds: get(settings.accessTokenTtl),
    accessTokenMaxTtlSeconds: get(settings.accessTokenMaxTtl),
    refreshTokenIdleTtlSeconds: get(settings.refreshTokenIdleTtl),
    refreshTokenMaxTtlSeconds: get(settings.refreshTokenMaxTtl),
    refreshRetryWindowSeconds: get(settings.refreshRetryWindow),
    jwksMaxAgeSeconds: get(settings.jwksMaxAge),
    clockSkewSeconds: get(settings.clockSkew),
    keyLeadSeconds: get(settings.keyLead),
    keyRotationIntervalSeconds: get(settings.keyRotationInterval),
    auditIssuanceRetentionSeconds: get(settings.auditIssuanceRetention),
    auditRetentionSeconds: get(settings.auditRetention),
    tlsCertFile: getPath(settings.tlsCertFile),
    tlsKeyFile: getPath(settings.tlsKeyFile),
    tlsClientCaFile: getPath(settings.tlsClientCaFile),
    mtlsUrl: getOptional(settings.mtlsUrl),
    trustedProxies: getOptional(settings.trustedProxies) ?? [],
    assertionAudience: get(settings.assertionAudience),
    rateLimitMode: get(settings.rateLimitMode),
    rateLimitFailures: get(settings.rateLimitFailures),
    rateLimitPerClient: getOptional(settings.rateLimitPerClient),
    rateLimitIntrospection: getOptional(settings.rateLimitIntrospection),
    dpopNonceRequired: get(settings.dpopNonce) === 'required',
    metricsListen: getOptional(settings.metricsListen),
    workers: get(settings.workers),
    logLevel: get(settings.logLevel),
    allowInsecureIssuer: get(settings.allowInsecureIssuer),
    allowInsecureHttp: get(settings.allowInsecureHttp),
  }
  checkCombinations(parsed)
  return parsed
}

/** Where the witness lies when no setting says so. */
export function defaultWitnessFile(masterKeyFile: string): string {
  return `${masterKeyFile}.witness`
}

function parseSetting<T>(setting: Setting<T>, environment: Environment): T | undefined {
  const value = environment[setting.variable] || setting.default
  if (value === undefined) return undefined
  const parsed = z.safeParse(setting.schema, value)
  if (parsed.success) return parsed.data
  throw new ConfigError(`${setting.variable} is ${quote(value)}: it takes ${setting.takes}`)
}

// A URL may hold a password, and a value that could not be parsed may hold one anywhere between : and @. JSON leaves
// controls as they are that a terminal obeys (U+009B begins a sequence as ESC [ does).
function quote(value: string, maxLength = 120): string {
  const shown = value.replace(/(:|\/\/).*@/s, '$1***@').slice(0, maxLength)
  return JSON.stringify(shown).replace(
    /[\p{C}\p{Zl}\p{Zp}]/gu,
    (found) => `\\u${found.codePointAt(0)?.toString(16).padStart(4, '0')}`,
  )
}

function findDatabase(environment: Environment, folder: string): Pick<Settings, 'databasePath' | 'postgresUrl'> {
  const { MAYFLY_DATABASE_URL: url, MAYFLY_DATABASE_URL_FILE: file } = environment
  if (url && file) {
    throw new ConfigError('MAYFLY_DATABASE_URL and MAYFLY_DATABASE_URL_FILE are both set: keep one of them')
  }
  const variable = file ? 'MAYFLY_DATABASE_URL_FILE' : 'MAYFLY_DATABASE_URL'
  const value = file
    ? readUrlFile(resolve(folder, file), 'MAYFLY_DATABASE_URL_FILE')
    : url || settings.databaseUrl.default
  return parseDatabasePlace(value, variable, folder)
}

/**
 * Where a database is that an option of the command line names: the URL itself, or a file that holds it.
 *
 * @param name what it is called in errors
 * @throws ConfigError
 */
export function parseDatabasePlace(
  value: string,
  name: string,
  folder: string,
): Pick<Settings, 'databasePath' | 'postgresUrl'> {
  if (/^postgres(?:ql)?:/i.test(value)) return findPostgres(value, name)
  const parsed = z.safeParse(settings.databaseUrl.schema, value)
  if (!parsed.success) throw new ConfigError(`${name} is ${quote(value)}: it takes ${settings.databaseUrl.takes}`)
  return { databasePath: resolve(folder, value.replace(/^file:(?:\/\/(?=\/))?/, '')) }
}

// A URL that cannot be taken apart may hold its password anywhere, so nothing of it is shown.
function findPostgres(value: string, variable: string): Pick<Settings, 'databasePath' | 'postgresUrl'> {
  const url = URL.canParse(value) ? new URL(value) : undefined
  if (url === undefined || url.hostname === '' || !isDecodable(value) || !/^\/[^/@:\s]+$/.test(url.pathname)) {
    throw new ConfigError(
      `${variable} names a PostgreSQL database and cannot be taken apart: it takes ${settings.databaseUrl.takes}, with what is no letter or digit in user and password written as %XX`,
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

function checkCombinations(parsed: Settings): void {
  const { accessTokenTtlSeconds: ttl, accessTokenMaxTtlSeconds: max, clockSkewSeconds: skew } = parsed
  if (ttl > max) {
    throw new ConfigError(
      `MAYFLY_ACCESS_TOKEN_TTL is ${formatDuration(ttl)}: it takes at most MAYFLY_ACCESS_TOKEN_MAX_TTL, which is ${formatDuration(max)}`,
    )
  }
  if (parsed.auditIssuanceRetentionSeconds < max + skew) {
    throw new ConfigError(
      `MAYFLY_AUDIT_ISSUANCE_RETENTION is ${formatDuration(parsed.auditIssuanceRetentionSeconds)}: it takes at least MAYFLY_ACCESS_TOKEN_MAX_TTL + MAYFLY_CLOCK_SKEW = ${formatDuration(max)} + ${formatDuration(skew)} = ${formatDuration(max + skew)}, or a live token would lose its record`,
    )
  }
  checkRefresh(parsed)
  checkRollover(parsed)
  checkIssuer(parsed)
  checkTls(parsed)
  checkMtlsUrl(parsed)
  checkHost(parsed)
}

function checkRefresh(parsed: Settings): void {
  const { refreshTokenIdleTtlSeconds: idle, refreshTokenMaxTtlSeconds: max, refreshRetryWindowSeconds: window } = parsed
  if (idle > max) {
    throw new ConfigError(
      `MAYFLY_REFRESH_TOKEN_IDLE_TTL is ${formatDuration(idle)}: it takes at most MAYFLY_REFRESH_TOKEN_MAX_TTL, which is ${formatDuration(max)}`,
    )
  }
  if (window > idle) {
    throw new ConfigError(
      `MAYFLY_REFRESH_RETRY_WINDOW is ${formatDuration(window)}: it takes at most MAYFLY_REFRESH_TOKEN_IDLE_TTL, which is ${formatDuration(idle)}`,
    )
  }
}

// What would let a key sign before every verifier can have it.
function checkRollover(parsed: Settings): void {
  const { keyLeadSeconds: lead, keyRotationIntervalSeconds: interval } = parsed
  const { jwksMaxAgeSeconds: maxAge, clockSkewSeconds: skew } = parsed
  const least = maxAge + skew + propagationSeconds
  if (lead < least) {
    const terms = [maxAge, skew, propagationSeconds].map(formatDuration).join(' + ')
    throw new ConfigError(
      `MAYFLY_KEY_LEAD is ${formatDuration(lead)}: it takes at least MAYFLY_JWKS_MAX_AGE + MAYFLY_CLOCK_SKEW + ${propagationSeconds}s = ${terms} = ${formatDuration(least)}, or a key would sign before every cached JWKS has it`,
    )
  }
  if (interval < lead) {
    throw new ConfigError(
      `MAYFLY_KEY_ROTATION_INTERVAL is ${formatDuration(interval)}: it takes at least MAYFLY_KEY_LEAD, which is ${formatDuration(lead)}, or the next key would not be published long enough when its turn comes`,
    )
  }
}

function checkIssuer({ issuer, allowInsecureIssuer }: Settings): void {
  if (issuer === undefined || issuer.startsWith('https:') || allowInsecureIssuer) return
  if (isLoopback(new URL(issuer).hostname)) return
  throw new ConfigError(
    `MAYFLY_ISSUER is ${quote(issuer)}: it takes https, for whoever is on the path could replace the JWKS; http is for loopback, or with MAYFLY_ALLOW_INSECURE_ISSUER=true`,
  )
}

function checkTls({ tlsCertFile, tlsKeyFile, tlsClientCaFile, trustedProxies }: Settings): void {
  if ((tlsCertFile === undefined) !== (tlsKeyFile === undefined)) {
    throw new ConfigError(
      tlsKeyFile === undefined
        ? 'MAYFLY_TLS_CERT_FILE is set without MAYFLY_TLS_KEY_FILE: a certificate takes its key'
        : 'MAYFLY_TLS_KEY_FILE is set without MAYFLY_TLS_CERT_FILE: a key takes its certificate',
    )
  }
  if (tlsClientCaFile === undefined || tlsCertFile !== undefined || trustedProxies.length > 0) return
  throw new ConfigError(
    'MAYFLY_TLS_CLIENT_CA_FILE is set, and no certificate of a client can arrive: it takes MAYFLY_TLS_CERT_FILE and MAYFLY_TLS_KEY_FILE, or MAYFLY_TRUSTED_PROXIES',
  )
}

// The same endpoints answer there, and they lie under the path of the issuer.
function checkMtlsUrl(parsed: Settings): void {
  const { mtlsUrl, issuer } = parsed
  if (mtlsUrl === undefined) return
  if (!takesCertificates(parsed)) {
    throw new ConfigError(
      `MAYFLY_MTLS_URL is ${quote(mtlsUrl)}, and no certificate of a client can arrive: it takes MAYFLY_TLS_CLIENT_CA_FILE, or MAYFLY_TRUSTED_PROXIES`,
    )
  }
  const path = issuer === undefined ? '/' : new URL(issuer).pathname
  if (new URL(mtlsUrl).pathname !== path) {
    throw new ConfigError(
      `MAYFLY_MTLS_URL is ${quote(mtlsUrl)}: it takes the path of MAYFLY_ISSUER, which is ${path}, for the endpoints lie there under every host`,
    )
  }
}

/** Whether certificates of clients can arrive: in a handshake, or by a proxy. */
export function takesCertificates({ tlsClientCaFile, trustedProxies }: Settings): boolean {
  return tlsClientCaFile !== undefined || trustedProxies.length > 0
}

function checkHost({ host, issuer, trustedProxies, allowInsecureHttp, tlsCertFile }: Settings): void {
  if (isLoopback(host)) return
  if (issuer === undefined) {
    throw new ConfigError(
      `MAYFLY_HOST is ${JSON.stringify(host)}: another host than loopback takes a MAYFLY_ISSUER, the URL that the outside uses`,
    )
  }
  if (tlsCertFile !== undefined || trustedProxies.length > 0 || allowInsecureHttp) return
  throw new ConfigError(
    `MAYFLY_HOST is ${JSON.stringify(host)}: another host than loopback takes MAYFLY_TRUSTED_PROXIES, the addresses of the proxy that ends TLS, or MAYFLY_TLS_CERT_FILE and MAYFLY_TLS_KEY_FILE, or MAYFLY_ALLOW_INSECURE_HTTP=true`,
  )
}

/** Whether a host name or address means this machine alone. */
export function isLoopback(host: string): boolean {
  const bare = host.replace(/^\[|\]$/g, '')
  return bare === 'localhost' || bare === '::1' || (isIP(bare) === 4 && bare.startsWith('127.'))
}

/** Whether a text is an issuer identifier in its one spelling (RFC 8414 section 2), with any scheme of HTTP. */
export function isIssuer(value: string): boolean {
  if (!/^https?:\/\/[^/?#@\s]+(?:\/[A-Za-z0-9._~-]+)*$/.test(value) || !URL.canParse(value)) return false
  const url = new URL(value)
  if (!isHost(url.hostname.replace(/^\[|\]$/g, ''))) return false
  return (url.pathname === '/' ? url.href.slice(0, -1) : url.href) === value
}

function parseListen(value: string): { host: string; port: number } | undefined {
  const match = /^(?:\[(?<six>[^\]]+)\]|(?<host>[^:[\]]+)):(?<port>[0-9]{1,5})$/.exec(value)
  const { six, host = six, port } = match?.groups ?? {}
  if (host === undefined || Number(port) > 65_535) return undefined
  if (six === undefined ? !isHost(host) : isIP(six) !== 6) return undefined
  return { host, port: Number(port) }
}

// An IP address, or a name of labels with dots between them (RFC 1123 section 2.1).
function isHost(value: string): boolean {
  return isIP(value) !== 0 || (value.length <= 253 && hostName.test(value))
}

function splitList(value: string): readonly string[] {
  return value
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '')
}

function isCidr(value: string): boolean {
  const [address = '', prefix, ...rest] = value.split('/')
  const family = isIP(address)
  if (family === 0 || rest.length > 0) return false
  if (prefix === undefined) return true
  return /^[0-9]{1,3}$/.test(prefix) && Number(prefix) <= (family === 4 ? 32 : 128)
}

/** The ranges of a list of addresses and CIDRs, to ask whether an address is in one of them. */
export function toBlockList(ranges: readonly string[]): BlockList {
  const list = new BlockList()
  for (const range of ranges) {
    const [address = '', prefix] = range.split('/')
    const type = isIP(address) === 6 ? 'ipv6' : 'ipv4'
    if (prefix === undefined) list.addAddress(address, type)
    else list.addSubnet(address, Number(prefix), type)
  }
  return list
}
