/**
 * What a service asks of a request that brings an access token: a token that is bound to a key comes with a proof of that
 * key, and under the scheme that says so. Otherwise whoever steals the token would leave the proof out.
 *
 * @see RFC 9449 section 7
 */
import type { Confirmation } from '../oauth/confirmation.ts'
import { OAuthError } from '../oauth/errors.ts'
import { type ProofTerms, type VerifiedProof, verifyProof } from './proof.ts'

/** The scheme of the `Authorization` header. */
export type TokenScheme = 'Bearer' | 'DPoP'

/** A token as a request presents it. The token itself has been verified before. */
export interface PresentedToken {
  readonly scheme: TokenScheme
  readonly token: string
  /** Its `cnf` claim. */
  readonly confirmation: Confirmation | undefined
  /** See `takeProof`. */
  readonly proof: string | undefined
}

/**
 * Verifies that whoever sends a token holds the key that it is bound to. A binding to a certificate is somebody else's to
 * verify.
 *
 * @param terms what the proof must be good for; asked for only when there is one to verify
 * @returns `undefined` for a token that is bound to no DPoP key
 * @throws OAuthError `token_needs_proof`, `token_not_bound`, `proof_missing`, `proof_key_wrong`, or as `verifyProof` does
 */
export function verifyBoundRequest(
  { scheme, token, confirmation, proof }: PresentedToken,
  terms: () => Omit<ProofTerms, 'token'>,
): VerifiedProof | undefined {
  const jkt = confirmation?.jkt
  if (jkt === undefined) {
    // What is under this scheme, somebody holds to be bound.
    if (scheme === 'DPoP') throw new OAuthError('token_not_bound')
    return undefined
  }
  if (scheme !== 'DPoP') throw new OAuthError('token_needs_proof')
  if (proof === undefined) throw new OAuthError('proof_missing')
  const verified = verifyProof(proof, { ...terms(), token })
  if (verified.jkt !== jkt) throw new OAuthError('proof_key_wrong')
  return verified
}
