import type { GrantType } from '../oauth/grant-type.ts'
import { clientCredentials } from './client-credentials.ts'
import type { Grant } from './grant.ts'
import { refreshToken } from './refresh-token.ts'

/** Every grant, by its `grant_type`. The metadata derives from the same list of names. */
export const grants: Readonly<Record<GrantType, Grant>> = {
  client_credentials: clientCredentials,
  refresh_token: refreshToken,
}
