import type { Client } from '../client/client.ts'
import type { Parameters } from '../oauth/parameters.ts'
import type { Resource } from '../resource/resource.ts'

/** What a grant decided shall be issued: plain data, nothing signed, nothing written. */
export interface Issuance {
  readonly subject: string
  readonly audience: Resource
  readonly scopes: readonly string[]
}

/** What a grant may know of the request. */
export interface GrantRequest {
  readonly client: Client
  readonly form: Parameters
  /** @throws StoreUnavailable */
  findResource(uri: string): Promise<Resource | undefined>
}

/** By what right a token is asked for. A new grant is a file beside this and a line in `grants.ts`. */
export interface Grant {
  /** @throws OAuthError */
  authorize(request: GrantRequest): Promise<Issuance>
}
