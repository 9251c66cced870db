import type { IncomingMessage } from 'node:http'
import { OAuthError } from '../oauth/errors.ts'
import type { Parameters } from '../oauth/parameters.ts'

/** Largest body, bytes. */
export const maxBodyBytes = 64 * 1024
const maxParameters = 100
const repeatable: ReadonlySet<string> = new Set(['resource', 'audience'])

/**
 * The form that a request carries. Hono's `parseBody` takes multipart and lets the last of a repeated parameter win, and
 * `URLSearchParams` forgives bad escapes; a request that two readers can read differently is refused here.
 *
 * @throws OAuthError `content_type_unsupported`, `body_too_large`, `body_incomplete`, `form_malformed`,
 *   `parameters_too_many`, `parameter_repeated`
 * @see RFC 6749 section 3.2 and appendix B
 */
export async function readForm(incoming: IncomingMessage): Promise<Parameters> {
  if (!isForm(incoming.headers['content-type']) || incoming.headers['content-encoding'] !== undefined) {
    throw new OAuthError('content_type_unsupported')
  }
  return parseForm(await readBody(incoming))
}

// Parameters may be empty (RFC 9110 section 5.6.6). Spaces have one place each, so that a long run of them costs no more.
const formType = /^application\/x-www-form-urlencoded[ \t]*(?:;[ \t]*(?:charset=(?:utf-8|"utf-8")[ \t]*)?)*$/i

function isForm(contentType: string | undefined): boolean {
  return formType.test(contentType ?? '')
}

function readBody(incoming: IncomingMessage): Promise<string> {
  if (Number(incoming.headers['content-length'] ?? 0) > maxBodyBytes) throw new OAuthError('body_too_large')
  return new Promise((resolve, reject) => {
    // Its peer has gone before this was asked, and nothing more is heard of it.
    if (incoming.destroyed) reject(new OAuthError('body_incomplete'))
    const chunks: Buffer[] = []
    let length = 0
    incoming.on('data', (chunk: Buffer) => {
      length += chunk.length
      if (length <= maxBodyBytes) chunks.push(chunk)
      else reject(new OAuthError('body_too_large'))
    })
    incoming.on('end', () => resolve(Buffer.concat(chunks).toString('latin1')))
    incoming.on('close', () => {
      // After every body; an error that is made for nothing costs more than the rest of this function.
      if (!incoming.complete) reject(new OAuthError('body_incomplete'))
    })
    incoming.on('error', (cause) => reject(new OAuthError('body_incomplete', { cause })))
  })
}

/**
 * Parses a form body, or the query of a URL, as latin-1 text.
 *
 * @param mayRepeat names that may stand in it more than once
 * @throws OAuthError `form_malformed`, `parameters_too_many`, `parameter_repeated`
 */
export function parseForm(body: string, mayRepeat = repeatable): Parameters {
  // Form encoding leaves only printable ASCII; what else stands there, nobody has encoded.
  if (!/^[\x20-\x7E]*$/.test(body)) throw new OAuthError('form_malformed')
  const values = new Map<string, string[]>()
  const pairs = body.split('&', maxParameters + 1)
  if (pairs.length > maxParameters) throw new OAuthError('parameters_too_many')
  for (const pair of pairs) {
    if (pair === '') continue
    const equals = pair.indexOf('=')
    const name = decode(equals === -1 ? pair : pair.slice(0, equals))
    const value = equals === -1 ? '' : decode(pair.slice(equals + 1))
    const earlier = values.get(name)
    if (earlier === undefined) values.set(name, [value])
    else if (mayRepeat.has(name)) earlier.push(value)
    else throw new OAuthError('parameter_repeated')
  }
  return {
    get: (name) => values.get(name)?.[0] || undefined,
    getAll: (name) => (values.get(name) ?? []).filter((value) => value !== ''),
  }
}

function decode(encoded: string): string {
  if (!/[%+]/.test(encoded)) return encoded
  try {
    // Throws at a bad escape, and at bytes that are not UTF-8 (surrogates and overlong forms among them).
    const text = decodeURIComponent(encoded.replaceAll('+', ' '))
    if (!text.includes('\0')) return text
  } catch {
    // The URIError stays here: what could not be decoded may be a secret.
  }
  throw new OAuthError('form_malformed')
}
