import type { Grant } from './grant.ts'
import { chooseAudience, chooseScopes } from './target.ts'

/**
 * The client asks for itself: the token's subject is the client.
 *
 * @see RFC 6749 section 4.4, RFC 9068 section 2.2 on `sub`
 */
export const clientCredentials: Grant = {
  async authorize(request) {
    const audience = await chooseAudience(request)
    const scopes = chooseScopes(request.form.get('scope'), request.client, audience)
    return { subject: request.client.clientId, audience, scopes }
  },
}
