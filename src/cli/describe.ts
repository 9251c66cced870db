import type { Client, SecretFacts } from '../client/client.ts'
import { registeredKeys } from '../client/client-keys.ts'
import { foreignAlgs } from '../oauth/public-jwk.ts'
import type { Resource } from '../resource/resource.ts'
import { timestamp } from './print.ts'

/** A resource as the command line shows it. */
export function describeResource(resource: Resource) {
  return {
    resource: resource.uri,
    name: resource.name ?? null,
    scope: resource.scopes.join(' '),
    alg: resource.alg ?? null,
    access_token_ttl: resource.accessTokenTtlSeconds ?? null,
    created_at: timestamp(resource.createdAt),
    updated_at: timestamp(resource.updatedAt),
  }
}

/** A client as the command line shows it: RFC 7591 names, and epoch seconds where that has them. Never a secret. */
export function describeClient(client: Client) {
  const [method, ...others] = client.authMethods
  return {
    client_id: client.clientId,
    client_name: client.name,
    status: client.status,
    client_id_issued_at: Math.floor(client.createdAt / 1000),
    grant_types: client.grantTypes,
    token_endpoint_auth_method: method ?? 'none',
    also_accepted_auth_methods: others,
    ...describeKeys(client),
    scope: client.scopes.join(' '),
    audience: client.audiences,
    introspects: client.introspects,
    access_token_ttl: client.accessTokenTtlSeconds ?? null,
    tokens_per_hour: client.tokensPerHour ?? null,
    ...describeCertificates(client),
    dpop_bound_access_tokens: client.dpopBound ?? false,
    secret_count: client.secrets.length,
    updated_at: timestamp(client.updatedAt),
    disabled_at: timestamp(client.disabledAt),
  }
}

// As a registration answers (RFC 7591 section 2): what is not there is absent.
function describeKeys({ keys, assertionAlg }: Client) {
  return {
    ...(keys?.kind === 'inline' ? { jwks: { keys: keys.jwks } } : {}),
    ...(keys?.kind === 'uri' ? { jwks_uri: keys.uri } : {}),
    ...(assertionAlg === undefined ? {} : { token_endpoint_auth_signing_alg: assertionAlg }),
  }
}

// The members of RFC 8705 sections 2.1.2 and 3.4.
function describeCertificates({ tlsSubject, certificateBound }: Client) {
  return {
    ...(tlsSubject === undefined ? {} : { [`tls_client_auth_${tlsSubject.kind}`]: tlsSubject.value }),
    ...(certificateBound === true ? { tls_client_certificate_bound_access_tokens: true } : {}),
  }
}

/** The registered keys of a client for people, a line each. */
export function describeKeyLines({ keys }: Client): readonly string[] {
  if (keys?.kind !== 'inline') return []
  return registeredKeys(keys).map(
    ({ name, key, certificate }) =>
      `key ${name}: ${foreignAlgs.filter((alg) => key.fits(alg)).join(', ')}, thumbprint ${key.thumbprint}${certificate === undefined ? '' : ', with its certificate'}`,
  )
}

/** What may be shown of a secret. */
export function describeSecret(secret: SecretFacts & { readonly kind?: string }) {
  return {
    secret_id: secret.secretId,
    ...(secret.kind === undefined ? {} : { kind: secret.kind }),
    created_at: timestamp(secret.createdAt),
    expires_at: timestamp(secret.expiresAt),
    last_used_at: timestamp(secret.lastUsedAt),
  }
}
