/** Why a document from outside was not had. A closed set: it is the label of a metric. */
export const outboundFailures = [
  /** The URL is none that is ever asked. */
  'url_refused',
  /** Too many requests to this host run and wait already: ours is the fault, not the source's. */
  'busy',
  'unresolved',
  /** The name leads to an address of this machine, this network or of no use. */
  'address_refused',
  'unreachable',
  /** No TLS, or a certificate that is not believed. */
  'tls',
  'timeout',
  /** Any other than 200; redirects are not followed. */
  'status',
  'content_type',
  'content_encoding',
  'too_large',
  'malformed',
] as const

export type OutboundFailure = (typeof outboundFailures)[number]

/** A document from outside was not had. The message is the failure: nothing that a stranger wrote reaches a log through it. */
export class OutboundError extends Error {
  readonly failure: OutboundFailure

  constructor(failure: OutboundFailure, options?: ErrorOptions) {
    super(failure, options)
    this.name = 'OutboundError'
    this.failure = failure
  }
}
