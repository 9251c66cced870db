import type { DistinguishedName } from './distinguished-name.ts'

/** How many certificates of others may come with one, to lead from it to an authority. */
export const maxIntermediates = 5

/** What a certificate says of whose it is; each name in the form that it is compared in. */
export interface CertificateNames {
  readonly subject: DistinguishedName
  /** Subject alternative names (RFC 5280 section 4.2.1.6). */
  readonly dns: readonly string[]
  readonly uris: readonly string[]
  /** The bytes of addresses, in hex. */
  readonly ips: readonly string[]
  readonly emails: readonly string[]
}

/** The certificate of whoever holds a connection, here or at a proxy that is believed: its key was proved in the handshake. */
export interface ClientCertificate extends CertificateNames {
  /** SHA-256 of its DER in base64url: `x5t#S256` (RFC 8705 section 3.1). */
  readonly thumbprint: string
  /** Its DER in base64, as `x5c` has it. */
  readonly der: string
  /** Whether an authority for clients vouches for its names, now. */
  readonly isTrusted: boolean
  /** Whether a proxy handed it on; otherwise it is that of the connection itself. */
  readonly isForwarded: boolean
}

/** What is no certificate, or one that says its names in no way that can be compared. */
export class CertificateError extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'CertificateError'
  }
}
