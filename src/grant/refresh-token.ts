import { OAuthError } from '../oauth/errors.ts'
import type { Grant } from './grant.ts'
import { chooseAudience, chooseScopes } from './target.ts'

/**
 * A refresh token is used: what was granted is issued again, as far as the client's registration still allows it. `scope`
 * and `resource` narrow the one access token and leave the grant as it is. Nothing is used up here: that happens with the
 * record of the new token, so whatever is refused before it costs nothing.
 *
 * @see RFC 6749 section 6, RFC 8707 section 2.2, RFC 9700 section 4.14
 */
export const refreshToken: Grant = {
  async authorize(request) {
    const presented = request.form.get('refresh_token')
    if (presented === undefined) throw new OAuthError('refresh_missing')
    const redemption = await request.examineTicket(presented)
    const { family } = redemption
    const audience = await chooseAudience(request, narrowResource(request.form.getAll('resource'), family.audience))
    const scopes = chooseScopes(request.form.get('scope'), [request.client.scopes, audience.scopes, family.scopes])
    return { subject: family.subject, audience, scopes, redemption }
  },
}

// What the client may have besides is another grant.
function narrowResource(named: readonly string[], granted: string): readonly string[] {
  if (named.length === 1 && named[0] !== granted) throw new OAuthError('resource_not_granted')
  return named.length === 0 ? [granted] : named
}
