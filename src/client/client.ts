import type { AuthMethod } from '../oauth/auth-method.ts'
import type { GrantType } from '../oauth/grant-type.ts'
import type { ForeignAlg, PublicKeyJwk } from '../oauth/public-jwk.ts'
import type { SecretId } from './client-secret.ts'

/** The client's own keys: what it signs assertions with, and its self-signed certificates (`x5c`). */
export type ClientKeys =
  | { readonly kind: 'inline'; readonly jwks: readonly ClientJwk[] }
  | {
      /** An https URL that its JWKS is fetched from. */
      readonly kind: 'uri'
      readonly uri: string
    }

/** A registered public key. `x5c`: its certificate alone, DER in base64 (RFC 7517 section 4.7). */
export type ClientJwk = PublicKeyJwk & { readonly x5c?: readonly [string] }

/** How RFC 8705 section 2.1.2 names the subject of a certificate, without the common prefix `tls_client_auth_`. */
export const tlsSubjectKinds = ['subject_dn', 'san_dns', 'san_uri', 'san_ip', 'san_email'] as const

/** The one name that a certificate of the client must have. */
export interface TlsSubject {
  readonly kind: (typeof tlsSubjectKinds)[number]
  readonly value: string
}

/** How a client proves itself without a secret, what its tokens are bound to, and how many it may have. */
export interface ClientProofSettings {
  readonly keys?: ClientKeys
  /** The one algorithm of its assertions (`token_endpoint_auth_signing_alg`); any that fits its key when absent. */
  readonly assertionAlg?: ForeignAlg
  readonly tlsSubject?: TlsSubject
  /** Whether its tokens are bound to its certificate (RFC 8705 section 3.4), and to a DPoP key (RFC 9449 section 5.2). */
  readonly certificateBound?: boolean
  readonly dpopBound?: boolean
  /** Access tokens that it may have in an hour. */
  readonly tokensPerHour?: number
}

/** A workload that may ask for tokens. Times in milliseconds since the epoch. */
export interface Client extends ClientProofSettings {
  readonly clientId: string
  readonly name: string
  readonly status: 'active' | 'disabled'
  readonly grantTypes: readonly GrantType[]
  /** The registered method first, then those that it also accepts. */
  readonly authMethods: readonly AuthMethod[]
  /** Scopes that it may have, whatever the audience. */
  readonly scopes: readonly string[]
  /** Resources that it may have tokens for. */
  readonly audiences: readonly string[]
  readonly accessTokenTtlSeconds?: number
  /** Resources whose tokens it may ask about (RFC 7662). */
  readonly introspects: readonly string[]
  readonly secrets: readonly ClientSecret[]
  readonly createdAt: number
  readonly updatedAt: number
  readonly disabledAt?: number
  /** Only tokens and refresh families of after this moment are alive. */
  readonly tokensAfter?: number
}

/** A secret at rest. A generated one is a SHA-256, for it has 256 random bits; an imported one an argon2id hash in PHC form. */
export type ClientSecret = SecretFacts &
  (
    | { readonly kind: 'generated'; readonly sha256: Uint8Array }
    | { readonly kind: 'imported'; readonly argon2id: string }
  )

/** What may be shown of a secret. */
export interface SecretFacts {
  readonly secretId: SecretId
  readonly createdAt: number
  readonly expiresAt?: number
  /** To within a few minutes. */
  readonly lastUsedAt?: number
}

/** What a command says of a client; lists are whole. */
export interface ClientSettings extends ClientProofSettings {
  readonly name: string
  readonly grantTypes: readonly GrantType[]
  readonly authMethods: readonly AuthMethod[]
  readonly scopes: readonly string[]
  readonly audiences: readonly string[]
  readonly introspects?: readonly string[]
  readonly accessTokenTtlSeconds?: number
}

/** Secrets that one client can have at a time: enough for any overlap, few enough to check. */
export const maxSecretsPerClient = 10

/** Whether a text can be a client id. ASCII alone, so that no two ids look alike; never the form of a secret or token of ours. */
export function isClientId(text: string): boolean {
  return /^[A-Za-z0-9._-]{1,128}$/.test(text) && !/^mf[a-z]_/.test(text)
}
