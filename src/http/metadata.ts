import { type SigningAlg, signingAlgs } from '../key/signer.ts'
import { type AuthMethod, secretMethods } from '../oauth/auth-method.ts'
import { grantTypes } from '../oauth/grant-type.ts'
import { foreignAlgs } from '../oauth/public-jwk.ts'

/** Where everything is, under an issuer: paths to route, and URLs to publish. */
export interface Endpoints {
  readonly issuer: string
  /** The issuer's path, empty when it has none. */
  readonly base: string
}

// Those that every server has; certificates take TLS.
const methods: readonly AuthMethod[] = [...secretMethods, 'private_key_jwt']

/** What the documents say besides: settings that show outside. */
export interface Advertised extends Endpoints {
  /** What signed answers of the introspection endpoint are signed with. */
  readonly introspectionAlg: SigningAlg
}

export function endpointsOf(issuer: string): Endpoints {
  const { pathname } = new URL(issuer)
  return { issuer, base: pathname === '/' ? '' : pathname }
}

/**
 * Authorization server metadata. `/authorize` and its companions are published because readers of the document insist
 * on them; the endpoint exists and refuses.
 *
 * @see RFC 8414 section 2, RFC 9701 section 7
 */
export function oauthMetadata({ issuer, introspectionAlg }: Advertised): object {
  return {
    issuer,
    token_endpoint: `${issuer}/token`,
    jwks_uri: `${issuer}/.well-known/jwks.json`,
    authorization_endpoint: `${issuer}/authorize`,
    response_types_supported: ['none'],
    grant_types_supported: grantTypes,
    token_endpoint_auth_methods_supported: methods,
    token_endpoint_auth_signing_alg_values_supported: foreignAlgs,
    revocation_endpoint: `${issuer}/revoke`,
    revocation_endpoint_auth_methods_supported: methods,
    revocation_endpoint_auth_signing_alg_values_supported: foreignAlgs,
    introspection_endpoint: `${issuer}/introspect`,
    introspection_endpoint_auth_methods_supported: methods,
    introspection_endpoint_auth_signing_alg_values_supported: foreignAlgs,
    introspection_signing_alg_values_supported: [introspectionAlg],
  }
}

/** The same with what OpenID Connect Discovery 1.0 section 3 requires besides. */
export function openidMetadata(advertised: Advertised): object {
  return {
    ...oauthMetadata(advertised),
    subject_types_supported: ['public'],
    id_token_signing_alg_values_supported: signingAlgs,
  }
}
