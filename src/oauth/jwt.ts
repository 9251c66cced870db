/**
 * A signed JWT in compact form, taken apart strictly and before any cryptography. Whatever two readers could read
 * differently is refused: a member that stands twice, base64url with another spelling, text that is not UTF-8, half a
 * surrogate pair, NUL. So is what costs more than it is worth: too long, too deep. What is left has the members that RFC
 * 7515 and RFC 7519 register in their types, and dates that are whole seconds.
 *
 * Nothing of it may be believed before its signature was verified.
 *
 * @see RFC 7515 section 7.1, RFC 7519 section 4, RFC 8725 section 3
 */

/** Longest token that is looked at, in characters. */
export const maxJwtLength = 16 * 1024
/** How deep objects and lists may stand in each other. */
const maxDepth = 16

type Json = Readonly<Record<string, unknown>>

/** A JOSE header: whatever it has, and these in their types. */
export interface JwtHeader extends Json {
  readonly alg: string
  readonly typ?: string
  readonly kid?: string
}

/** Claims: whatever there is, and these in their types. Dates are seconds since the epoch. */
export interface JwtClaims extends Json {
  readonly iss?: string
  readonly sub?: string
  readonly aud?: string | readonly string[]
  readonly exp?: number
  readonly nbf?: number
  readonly iat?: number
  readonly jti?: string
  readonly client_id?: string
  readonly scope?: string
  readonly sid?: string
}

/** A signed JWT, unverified. */
export interface ParsedJwt {
  readonly header: JwtHeader
  readonly claims: JwtClaims
  /** What the signature is of: ASCII. */
  readonly signingInput: string
  readonly signature: Uint8Array
}

/**
 * Takes a token apart; `undefined` for what is no signed JWT, or one that is not plain.
 *
 * A header with `crit` is refused, for none of its extensions is understood here; so is `b64`, which changes what is signed
 * (RFC 7797).
 */
export function parseJwt(token: string): ParsedJwt | undefined {
  if (token.length > maxJwtLength) return undefined
  const [head = '', body = '', tail = '', ...more] = token.split('.', 4)
  const signature = decode(tail)
  if (more.length > 0 || signature === undefined || signature.length === 0) return undefined
  const header = parsePart(head)
  if (header === undefined || !isHeader(header) || 'crit' in header || 'b64' in header) return undefined
  const claims = parsePart(body)
  if (claims === undefined || !isClaims(claims)) return undefined
  return { header, claims, signingInput: `${head}.${body}`, signature }
}

// The decoder forgives what is no base64url, and bits that stand for nothing; only what it would have written is taken.
function decode(part: string): Buffer | undefined {
  const bytes = Buffer.from(part, 'base64url')
  return bytes.toString('base64url') === part ? bytes : undefined
}

// A BOM is kept, and is then no JSON.
const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

function parsePart(part: string): Json | undefined {
  const bytes = decode(part)
  if (bytes === undefined) return undefined
  try {
    return parsePlainObject(utf8.decode(bytes))
  } catch {
    return undefined
  }
}

/** A JSON object that all who read it read alike: no name twice, no half characters, not too deep; `undefined` for anything else. */
export function parsePlainObject(text: string): Json | undefined {
  try {
    const value: unknown = JSON.parse(text)
    return isObject(value) && isPlain(text) ? value : undefined
  } catch {
    // Neither the error nor its message go on: the message quotes the text.
    return undefined
  }
}

const pieces = /("(?:[^"\\]|\\.)*")(\s*:)?|[{}[\]]/gs

// JSON.parse lets the last of two equal names win, and is asked first: only of valid JSON can the pieces be told so easily.
function isPlain(json: string): boolean {
  const open: Set<string>[] = []
  for (const [piece, literal, colon] of json.matchAll(pieces)) {
    if (literal !== undefined) {
      const text = String(JSON.parse(literal))
      if (!isWhole(text) || (colon !== undefined && !isNew(text, open.at(-1)))) return false
    } else if (piece === '}' || piece === ']') open.pop()
    else if (open.push(new Set()) > maxDepth) return false
  }
  return true
}

function isWhole(text: string): boolean {
  return text.isWellFormed() && !text.includes('\0')
}

function isNew(name: string, names: Set<string> | undefined): boolean {
  return names !== undefined && names.size < names.add(name).size
}

function isObject(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function isHeader(json: Json): json is JwtHeader {
  return isText(json.alg) && [json.typ, json.kid].every((value) => value === undefined || isText(value))
}

function isClaims(claims: Json): claims is JwtClaims {
  const { aud } = claims
  const texts = [claims.iss, claims.sub, claims.jti, claims.client_id, claims.scope, claims.sid]
  const dates = [claims.exp, claims.nbf, claims.iat]
  return (
    texts.every((value) => value === undefined || isText(value)) &&
    dates.every((value) => value === undefined || isDate(value)) &&
    (aud === undefined || isText(aud) || (Array.isArray(aud) && aud.length > 0 && aud.every(isText)))
  )
}

function isText(value: unknown): value is string {
  return typeof value === 'string'
}

// RFC 7519 section 2 allows fractions; nobody needs them, and a date that is no safe integer compares as it likes.
function isDate(value: unknown): boolean {
  return Number.isSafeInteger(value) && Number(value) >= 0
}
