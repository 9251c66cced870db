/** From what stands on the command line to what the registry takes, or a sentence that says what it should have been. */
import { resolve } from 'node:path'
import { formatDuration, parseDuration } from '../lib/duration.ts'
import { type AuthMethod, authMethods, isAuthMethod } from '../oauth/auth-method.ts'
import { type GrantType, grantTypes, isGrantType } from '../oauth/grant-type.ts'
import { isResourceIndicator } from '../oauth/resource-indicator.ts'
import { isScopeToken } from '../oauth/scope.ts'
import { type OptionValues, UsageError } from './command.ts'

/** The value of an option that takes one. */
export function textOption(options: OptionValues, name: string): string | undefined {
  const value = options[name]
  return typeof value === 'string' ? value : undefined
}

/** The values of an option that repeats, without repetitions. */
export function listOption(options: OptionValues, name: string): readonly string[] | undefined {
  const value = options[name]
  return Array.isArray(value) ? [...new Set(value as readonly string[])] : undefined
}

const jwt = String.raw`eyJ[\w-]+\.[\w-]+\.[\w-]*`
const whole = new RegExp(`mf[a-z]_[0-9A-Za-z]{65}|${jwt}`)
const begun = new RegExp(`mf[a-z]_[0-9A-Za-z]{8,}|${jwt}`, 'g')

// Between the colon behind a user and the last @ of the word.
const urlPassword = /(\/\/[^\s:@/]*):\S*@/g

/** A text without the secrets, tokens and passwords of URLs in it, or what may be the beginning of one. */
export function maskSecrets(text: string): string {
  return text.replace(begun, (found) => `${found.slice(0, 4)}…`).replace(urlPassword, '$1:***@')
}

// What is kept in clear and shown to everybody must not be a secret that was pasted into the wrong place.
function refuseSecret(text: string): void {
  if (whole.test(text)) throw new UsageError('a secret or token stands where something else was expected')
}

/** The absolute path of a file that is named. @throws UsageError for a URL, which may hold a password, and for nothing */
export function pathArgument(command: string, text: string): string {
  if (text !== '' && !/^(?:file:|[a-z][a-z0-9+.-]*:\/)/i.test(text)) return resolve(text)
  throw new UsageError(`${command} takes the path of a file, and neither a URL nor nothing`)
}

/** A name for people: printable, no control characters, at most 128. */
export function parseName(text: string): string {
  refuseSecret(text)
  if (/^[^\p{C}\p{Z}](?:[^\p{C}\p{Zl}\p{Zp}]{0,126}[^\p{C}\p{Z}])?$/u.test(text)) return text
  throw new UsageError(`${quote(text)} is not a name: it takes up to 128 printable characters`)
}

export function parseUri(text: string): string {
  refuseSecret(text)
  if (isResourceIndicator(text)) return text
  throw new UsageError(
    `${quote(text)} is not a resource: it takes an absolute URI without a fragment, such as https://api.example.com`,
  )
}

/** Scope-tokens with spaces between them; an empty text is the empty list. */
export function parseScopes(text: string): readonly string[] {
  refuseSecret(text)
  const scopes = [...new Set(text.split(' ').filter((scope) => scope !== ''))]
  const wrong = scopes.find((scope) => !isScopeToken(scope))
  if (wrong !== undefined)
    throw new UsageError(
      `${quote(wrong)} is not a scope: it takes printable ASCII without spaces, quotes and backslashes`,
    )
  if (scopes.length > 256) throw new UsageError(`${scopes.length} scopes are too many: it takes at most 256`)
  return scopes
}

/** Seconds, at most the server's cap. */
export function parseTtl(text: string, maxSeconds: number): number {
  const seconds = parseDuration(text)
  if (seconds !== undefined && seconds <= maxSeconds) return seconds
  throw new UsageError(
    `${quote(text)} is not a token life: it takes a duration such as 30s or 5m, at most MAYFLY_ACCESS_TOKEN_MAX_TTL, which is ${formatDuration(maxSeconds)}`,
  )
}

/** Tokens in an hour. */
export function parseQuota(text: string): number {
  if (/^[1-9][0-9]{0,8}$/.test(text)) return Number(text)
  throw new UsageError(`${quote(text)} is not a quota of tokens: it takes a whole number from 1 to 999999999`)
}

export function parseGrantTypes(texts: readonly string[]): readonly GrantType[] {
  return texts.map((text) => {
    if (isGrantType(text)) return text
    throw new UsageError(`${quote(text)} is not a grant type: it takes ${grantTypes.join(', ')}`)
  })
}

export function parseAuthMethod(text: string): AuthMethod {
  if (isAuthMethod(text)) return text
  throw new UsageError(`${quote(text)} is not an authentication method: it takes ${authMethods.join(' or ')}`)
}

/** How long ago, or from now: seconds. */
export function parseSpan(text: string, what: string): number {
  const seconds = parseDuration(text)
  if (seconds !== undefined && seconds <= 3650 * 86_400) return seconds
  throw new UsageError(`${quote(text)} is not ${what}: it takes a duration such as 30s, 5m, 24h or 7d`)
}

/** A value as a shell takes it for one word, in a command that is printed to be pasted. */
export function shellWord(text: string): string {
  return /^[\w@%+=:,./~-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`
}

/** As JSON, shortened: nothing in it can move a terminal's cursor. */
export function quote(text: string): string {
  // First of all: what is shortened may have lost the @ by which a password is known.
  const shown = maskSecrets(text)
  return JSON.stringify(shown.length > 80 ? `${shown.slice(0, 80)}…` : shown)
}
