import { Secret } from '../lib/secret.ts'
import { OAuthError } from '../oauth/errors.ts'
import type { ClientAuthMethod } from './methods.ts'

const basic = /^Basic +(?<credentials>[A-Za-z0-9+/]+)={0,2}$/i

/**
 * `client_secret_basic`: id and secret, each form-encoded, joined by the first colon, in base64.
 *
 * @see RFC 6749 section 2.3.1 and appendix B, RFC 7617
 */
export const clientSecretBasic = {
  isUsed: ({ authorization }) => authorization !== undefined && /^basic(?: |$)/i.test(authorization),

  parse({ authorization }) {
    const encoded = basic.exec(authorization ?? '')?.groups?.credentials
    if (encoded === undefined) throw new OAuthError('authentication_malformed')
    const bytes = Buffer.from(encoded, 'base64')
    // Node skips what is not base64; only the canonical spelling comes back the same, with its padding behind.
    if (!bytes.toString('base64').startsWith(encoded)) throw new OAuthError('authentication_malformed')
    const text = bytes.toString('latin1')
    const colon = text.indexOf(':')
    if (colon < 1) throw new OAuthError('authentication_malformed')
    const secret = decodeFormComponent(text.slice(colon + 1))
    if (secret === '') throw new OAuthError('authentication_malformed')
    return { kind: 'secret', clientId: decodeFormComponent(text.slice(0, colon)), secret: new Secret(secret) }
  },
} satisfies ClientAuthMethod

// Form encoding leaves only printable ASCII (appendix B); what else stands there was not encoded.
function decodeFormComponent(encoded: string): string {
  if (!/^[\x20-\x7E]*$/.test(encoded)) throw new OAuthError('authentication_malformed')
  try {
    const text = decodeURIComponent(encoded.replaceAll('+', ' '))
    if (!text.includes('\0')) return text
  } catch {
    // Neither the URIError nor its message go on: the message quotes the secret.
  }
  throw new OAuthError('authentication_malformed')
}
