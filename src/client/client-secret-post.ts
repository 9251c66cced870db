import { Secret } from '../lib/secret.ts'
import { OAuthError } from '../oauth/errors.ts'
import type { ClientAuthMethod } from './methods.ts'

/**
 * `client_secret_post`: `client_id` and `client_secret` in the form.
 *
 * @see RFC 6749 section 2.3.1
 */
export const clientSecretPost = {
  isUsed: ({ form }) => form.get('client_secret') !== undefined,

  parse({ form }) {
    const clientId = form.get('client_id')
    const secret = form.get('client_secret')
    if (clientId === undefined || secret === undefined) throw new OAuthError('authentication_malformed')
    return { kind: 'secret', clientId, secret: new Secret(secret) }
  },
} satisfies ClientAuthMethod
