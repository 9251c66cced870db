/** The algorithms that access tokens are signed with (RFC 7518 section 3.1). */
export const signingAlgs = ['ES256', 'RS256'] as const

export type SigningAlg = (typeof signingAlgs)[number]

export function isSigningAlg(text: string): text is SigningAlg {
  return (signingAlgs as readonly string[]).includes(text)
}

/**
 * Something that holds one private key and signs with it: here OpenSSL in this process, elsewhere an HSM or a KMS.
 * Signing is on the path of every token, so an implementation does no more per call than it must.
 */
export interface Signer {
  readonly kid: string
  readonly alg: SigningAlg
  /**
   * Signs a JWS signing input (ASCII).
   *
   * @returns the signature as JWS wants it: for ES256 64 bytes, r and s side by side (RFC 7518 section 3.4); for
   *   RS256 the PKCS #1 v1.5 signature (section 3.3)
   * @throws Error when the key cannot be used; a signer never returns a wrong signature instead
   */
  sign(input: Uint8Array): Promise<Uint8Array>
}
