import { type Confirmation, readConfirmation } from './confirmation.ts'
import type { JwtClaims } from './jwt.ts'

/**
 * The claims of an access token, in the words of the wire (RFC 9068 section 2.2). Dates are whole seconds since the
 * epoch; `aud` is one resource, for a token here has one audience.
 */
export interface AccessTokenClaims {
  readonly iss: string
  readonly sub: string
  readonly aud: string
  readonly exp: number
  readonly iat: number
  readonly nbf: number
  readonly jti: string
  readonly client_id: string
  readonly scope?: string
  /** The refresh family that the token came with. */
  readonly sid?: string
  /** What it is bound to: whoever takes it must ask for a proof of that key. */
  readonly cnf?: Confirmation
}

/** The `typ` of an access token's header (RFC 9068 section 2.1). */
export const accessTokenType = 'at+jwt'

/** The `typ` of a signed answer about a token (RFC 9701 section 5). */
export const introspectionType = 'token-introspection+jwt'

/**
 * Claims as an access token of ours has them; `undefined` when one is missing, or there is one that we never make: what that
 * restricts nobody here would check.
 */
export function readAccessTokenClaims(claims: JwtClaims): AccessTokenClaims | undefined {
  const { iss, sub, aud, exp, iat, nbf, jti, client_id, scope, sid, cnf, ...others } = claims
  if (iss === undefined || sub === undefined || typeof aud !== 'string' || client_id === undefined) return undefined
  if (exp === undefined || iat === undefined || nbf === undefined || jti === undefined) return undefined
  if (Object.keys(others).length > 0) return undefined
  const confirmation = readConfirmation(cnf)
  if (cnf !== undefined && confirmation === undefined) return undefined
  const optional = { ...(scope === undefined ? {} : { scope }), ...(sid === undefined ? {} : { sid }) }
  const bound = confirmation === undefined ? {} : { cnf: confirmation }
  return { iss, sub, aud, exp, iat, nbf, jti, client_id, ...optional, ...bound }
}
