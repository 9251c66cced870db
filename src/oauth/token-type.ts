import type { Confirmation } from './confirmation.ts'

/** How a token is presented. One that is bound to a certificate alone is a bearer token still (RFC 8705 section 3). */
export type TokenType = 'Bearer' | 'DPoP'

/** @see RFC 9449 section 5 */
export function tokenTypeOf(confirmation: Confirmation | undefined): TokenType {
  return confirmation?.jkt === undefined ? 'Bearer' : 'DPoP'
}
