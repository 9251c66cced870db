import type { SigningAlg } from '../key/signer.ts'

/**
 * A protected API that tokens are for: the `aud` of its tokens and the scopes that it defines. Times in milliseconds
 * since the epoch.
 */
export interface Resource {
  readonly uri: string
  readonly name?: string
  readonly scopes: readonly string[]
  /** The algorithm of its tokens; the server's default when absent. */
  readonly alg?: SigningAlg
  readonly accessTokenTtlSeconds?: number
  readonly createdAt: number
  readonly updatedAt: number
}

/** What a command says of a resource; the store adds the times. */
export type ResourceSettings = Omit<Resource, 'uri' | 'createdAt' | 'updatedAt'>
