import type { Client } from '../client/client.ts'
import { OAuthError } from '../oauth/errors.ts'
import { isResourceIndicator } from '../oauth/resource-indicator.ts'
import { parseScope } from '../oauth/scope.ts'
import type { Resource } from '../resource/resource.ts'
import type { GrantRequest } from './grant.ts'

/**
 * The one resource that the token is for: the one that is named, or the client's only audience.
 *
 * @throws OAuthError `resource_several`, `_missing`, `_malformed`, `_not_allowed`
 * @see RFC 8707 section 2; compared as simple strings (RFC 3986 section 6.2.1)
 */
export async function chooseAudience(
  { client, findResource }: Pick<GrantRequest, 'client' | 'findResource'>,
  named: readonly string[],
): Promise<Resource> {
  const [uri, ...others] = requestedResources(named, client)
  if (others.length > 0) throw new OAuthError('resource_several')
  if (uri === undefined) throw new OAuthError('resource_missing')
  if (!client.audiences.includes(uri)) {
    throw new OAuthError(isResourceIndicator(uri) ? 'resource_not_allowed' : 'resource_malformed')
  }
  const resource = await findResource(uri)
  if (resource === undefined) throw new OAuthError('resource_not_allowed')
  return resource
}

function requestedResources(named: readonly string[], client: Client): readonly string[] {
  if (named.length > 0) return named
  // A client of several audiences must say which: guessing would hand one service's token to another.
  return client.audiences.length === 1 ? client.audiences : []
}

/**
 * The scopes of the token: those asked for, or when none are, all that every list allows: that of the client, that of the
 * audience, and that of the grant. The lists are as they are now, so what was withdrawn from one is gone from the next token.
 *
 * @throws OAuthError `scope_malformed`, `scope_not_allowed`
 * @see RFC 6749 section 3.3
 */
export function chooseScopes(
  parameter: string | undefined,
  [first = [], ...others]: readonly (readonly string[])[],
): readonly string[] {
  const allowed = first.filter((scope) => others.every((list) => list.includes(scope)))
  if (parameter === undefined) return allowed
  const requested = [...parseScope(parameter)]
  if (!requested.every((scope) => allowed.includes(scope))) throw new OAuthError('scope_not_allowed')
  return requested
}
