import type { Grant } from './grant.ts'
import { chooseAudience, chooseScopes } from './target.ts'

/**
 * The client asks for itself: the token's subject is the client. A refresh token comes with it for a client that is
 * registered for that grant too.
 *
 * @see RFC 6749 section 4.4, RFC 9068 section 2.2 on `sub`
 */
export const clientCredentials: Grant = {
  async authorize(request) {
    const { client, form } = request
    const audience = await chooseAudience(request, form.getAll('resource'))
    const scopes = chooseScopes(form.get('scope'), [client.scopes, audience.scopes])
    return { subject: client.clientId, audience, scopes, startsFamily: client.grantTypes.includes('refresh_token') }
  },
}
