import type { Client } from '../client/client.ts'
import type { Signer } from '../key/signer.ts'
import { type Clock, nowSeconds } from '../lib/clock.ts'
import { type AccessTokenClaims, introspectionType } from '../oauth/claims.ts'
import { type TokenType, tokenTypeOf } from '../oauth/token-type.ts'
import { signJwt } from './sign.ts'
import type { Verification } from './token-verifier.ts'

/** An answer about a token, in the words of the wire. */
export type Introspection =
  | { readonly active: false }
  | ({ readonly active: true; readonly token_type: TokenType } & AccessTokenClaims)

/** The one answer for all that is not active, and for all that is not the caller's business. */
const inactive: Introspection = { active: false }

/**
 * What a caller may know of a token: everything, when it is registered to ask about tokens of that audience, else nothing.
 *
 * @see RFC 7662 section 2.2
 */
export function introspect(found: Verification, caller: Client): Introspection {
  if (!found.active || !caller.introspects.includes(found.claims.aud)) return inactive
  const { sub, aud, client_id, scope, exp, iat, nbf, iss, jti, sid, cnf } = found.claims
  return {
    active: true,
    sub,
    aud,
    client_id,
    ...(scope === undefined ? {} : { scope }),
    exp,
    iat,
    nbf,
    iss,
    jti,
    ...(sid === undefined ? {} : { sid }),
    ...(cnf === undefined ? {} : { cnf }),
    token_type: tokenTypeOf(cnf),
  }
}

/** Who signs an answer, and for whom. */
export interface SignedAnswer {
  readonly issuer: string
  /** The `client_id` of the caller. */
  readonly audience: string
  readonly signer: Signer
  readonly clock: Clock
}

/**
 * An answer as a JWT. It has neither `sub` nor `exp` of its own, and a type of its own, so that nobody takes it for an access
 * token.
 *
 * @see RFC 9701 section 5
 */
export function signIntrospection(
  answer: Introspection,
  { issuer, audience, signer, clock }: SignedAnswer,
): Promise<string> {
  const claims = { iss: issuer, aud: audience, iat: nowSeconds(clock), token_introspection: answer }
  return signJwt(introspectionType, claims, signer)
}
