import { signingAlgs } from '../key/signer.ts'
import { authMethods } from '../oauth/auth-method.ts'
import { grantTypes } from '../oauth/grant-type.ts'

/** Where everything is, under an issuer: paths to route, and URLs to publish. */
export interface Endpoints {
  readonly issuer: string
  /** The issuer's path, empty when it has none. */
  readonly base: string
}

export function endpointsOf(issuer: string): Endpoints {
  const { pathname } = new URL(issuer)
  return { issuer, base: pathname === '/' ? '' : pathname }
}

/**
 * Authorization server metadata. `/authorize` and its companions are published because readers of the document insist
 * on them; the endpoint exists and refuses.
 *
 * @see RFC 8414 section 2
 */
export function oauthMetadata({ issuer }: Endpoints): object {
  return {
    issuer,
    token_endpoint: `${issuer}/token`,
    jwks_uri: `${issuer}/.well-known/jwks.json`,
    authorization_endpoint: `${issuer}/authorize`,
    response_types_supported: ['none'],
    grant_types_supported: grantTypes,
    token_endpoint_auth_methods_supported: authMethods,
  }
}

/** The same with what OpenID Connect Discovery 1.0 section 3 requires besides. */
export function openidMetadata(endpoints: Endpoints): object {
  return {
    ...oauthMetadata(endpoints),
    subject_types_supported: ['public'],
    id_token_signing_alg_values_supported: signingAlgs,
  }
}
