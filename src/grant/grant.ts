import type { Client } from '../client/client.ts'
import type { Parameters } from '../oauth/parameters.ts'
import type { Resource } from '../resource/resource.ts'
import type { Redemption } from '../token/refresh.ts'

/** What a grant decided shall be issued: plain data, nothing signed, nothing written. */
export interface Issuance {
  readonly subject: string
  readonly audience: Resource
  readonly scopes: readonly string[]
  /** Whether a refresh token shall come with it. */
  readonly startsFamily?: boolean
  /** The refresh ticket that is used up for it, to be followed by the next. */
  readonly redemption?: Redemption
}

/** What a grant may know of the request. */
export interface GrantRequest {
  readonly client: Client
  readonly form: Parameters
  /** @throws StoreUnavailable */
  findResource(uri: string): Promise<Resource | undefined>
  /** See `RefreshTickets.examine`. @throws OAuthError, StoreUnavailable */
  examineTicket(presented: string): Promise<Redemption>
}

/** By what right a token is asked for. A new grant is a file beside this and a line in `grants.ts`. */
export interface Grant {
  /** @throws OAuthError */
  authorize(request: GrantRequest): Promise<Issuance>
}
