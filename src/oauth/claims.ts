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
}

/** The `typ` of an access token's header (RFC 9068 section 2.1). */
export const accessTokenType = 'at+jwt'
