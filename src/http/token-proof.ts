import { judgeProof, type NonceTerms, openProof, type TakeKey, takeProof, type VerifiedProof } from '../dpop/proof.ts'
import type { Clock } from '../lib/clock.ts'
import { OAuthError } from '../oauth/errors.ts'
import type { RegistryView } from '../registry/registry.ts'
import type { RequestFacts } from './caller.ts'
import { headerValues, type RequestRecord } from './request.ts'

/** What DPoP proofs must be good for. */
export interface ProofSettings {
  /** Where this endpoint is, for the outside. */
  readonly urls: readonly string[]
  readonly nonceRequired: boolean
  readonly takeKey: TakeKey
}

/** What proofs at the token endpoint are examined with. */
export interface ProofEndpoint {
  readonly proofs: ProofSettings
  /** Tells how old a proof is. */
  readonly clock: Clock
}

/**
 * The proof that came with the request. Its signature is verified once, however often the decision is made; its nonce and date
 * are judged each time, for the key of the nonce may have been replaced. A proof that is left out must not turn a client whose
 * tokens shall be bound into one whose are not.
 *
 * @throws OAuthError a reason of `invalid_dpop_proof` or `use_dpop_nonce`, or `proof_use_unknown`
 */
export function examineProof(
  { proofs, clock }: ProofEndpoint,
  { incoming }: RequestRecord,
  { ring, tokensAfter }: RegistryView,
  facts: RequestFacts,
): VerifiedProof | undefined {
  const proof = takeProof(headerValues(incoming, 'dpop'))
  if (proof === undefined) {
    if (facts.client?.client.dpopBound === true) throw new OAuthError('proof_missing')
    return undefined
  }
  const nonces: NonceTerms = { required: proofs.nonceRequired, keys: ring.nonceKeys }
  facts.proof ??= openProof(proof, proofs.takeKey)
  const terms = {
    method: 'POST',
    urls: proofs.urls,
    now: clock.nowMilliseconds(),
    usesUnknownUpTo: tokensAfter,
    nonces,
  }
  return judgeProof(facts.proof, terms)
}

/** The next nonce, for a client that uses them (RFC 9449 section 8.2). */
export function nonceHeader(proof: VerifiedProof | undefined): Readonly<Record<string, string>> {
  return proof?.nextNonce === undefined ? {} : { 'dpop-nonce': proof.nextNonce }
}
