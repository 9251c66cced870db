import { proofAlgs } from '../dpop/proof.ts'
import { type SigningAlg, signingAlgs } from '../key/signer.ts'
import { type AuthMethod, certificateMethods, secretMethods } from '../oauth/auth-method.ts'
import { grantTypes } from '../oauth/grant-type.ts'
import { foreignAlgs } from '../oauth/public-jwk.ts'

/** Where everything is, under an issuer: paths to route, and URLs to publish. */
export interface Endpoints {
  readonly issuer: string
  /** The issuer's path, empty when it has none. */
  readonly base: string
}

// Those that every server has; certificates take TLS.
const alwaysMethods: readonly AuthMethod[] = [...secretMethods, 'private_key_jwt']

/** What the documents say besides: settings that show outside. */
export interface Advertised extends Endpoints {
  /** What signed answers of the introspection endpoint are signed with. */
  readonly introspectionAlg: SigningAlg
  /** Absent when no certificate of a client can arrive. */
  readonly certificates: CertificateSupport | undefined
}

/** How certificates of clients arrive. */
export interface CertificateSupport {
  /** The base URL of a host of its own for clients with certificates. */
  readonly mtlsUrl?: string | undefined
}

export function endpointsOf(issuer: string): Endpoints {
  const { pathname } = new URL(issuer)
  return { issuer, base: pathname === '/' ? '' : pathname }
}

/**
 * Authorization server metadata. `/authorize` and its companions are published because readers of the document insist
 * on them; the endpoint exists and refuses.
 *
 * @see RFC 8414 section 2, RFC 9701 section 7, RFC 8705 sections 3.3 and 5, RFC 9449 section 5.1
 */
export function oauthMetadata({ issuer, introspectionAlg, certificates }: Advertised): object {
  const methods = authMethodsOf(certificates)
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
    dpop_signing_alg_values_supported: proofAlgs,
    ...(certificates === undefined ? {} : certificateMembers(certificates)),
  }
}

function authMethodsOf(certificates: CertificateSupport | undefined): readonly AuthMethod[] {
  return [...alwaysMethods, ...(certificates === undefined ? [] : certificateMethods)]
}

function certificateMembers({ mtlsUrl }: CertificateSupport): object {
  return {
    tls_client_certificate_bound_access_tokens: true,
    ...(mtlsUrl === undefined
      ? {}
      : {
          mtls_endpoint_aliases: {
            token_endpoint: `${mtlsUrl}/token`,
            revocation_endpoint: `${mtlsUrl}/revoke`,
            introspection_endpoint: `${mtlsUrl}/introspect`,
          },
        }),
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
