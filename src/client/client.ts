import type { AuthMethod } from '../oauth/auth-method.ts'
import type { GrantType } from '../oauth/grant-type.ts'
import type { SecretId } from './client-secret.ts'

/** A workload that may ask for tokens. Times in milliseconds since the epoch. */
export interface Client {
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
export interface ClientSettings {
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
