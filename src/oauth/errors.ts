/**
 * Every refusal that Mayfly can make, in one table: the precise reason, which goes to the audit trail, the log line
 * and the metrics, and what the caller learns of it, which is the standard's code and one public sentence.
 */

import type { LimitState } from './rate-limit.ts'

/** Error codes that go over the wire (RFC 6749 section 5.2, RFC 8707 section 2, RFC 6750 section 3.1, RFC 9449 section 12.2; the last three are for our own faults and unknown paths). */
export type ErrorCode =
  | 'invalid_request'
  | 'invalid_client'
  | 'invalid_grant'
  | 'invalid_scope'
  | 'invalid_target'
  | 'unauthorized_client'
  | 'unsupported_grant_type'
  | 'unsupported_response_type'
  | 'invalid_token'
  | 'invalid_dpop_proof'
  | 'use_dpop_nonce'
  | 'insufficient_scope'
  | 'not_found'
  | 'temporarily_unavailable'
  | 'server_error'

/** The public face of a refusal. `description` has only the characters of RFC 6749 section 5.2 and never echoes input. */
export interface Refusal {
  readonly error: ErrorCode
  /** HTTP status. `invalid_client` becomes 401 with a challenge when the request carried an `Authorization` header. */
  readonly status: 400 | 401 | 403 | 404 | 405 | 413 | 429 | 500 | 503
  readonly description: string
}

const malformed = (description: string): Refusal => ({ error: 'invalid_request', status: 400, description })
const badScope = (description: string): Refusal => ({ error: 'invalid_scope', status: 400, description })
const badProof = (description: string): Refusal => ({ error: 'invalid_dpop_proof', status: 400, description })
const useNonce: Refusal = {
  error: 'use_dpop_nonce',
  status: 400,
  description: 'make a new DPoP proof with the nonce of this reply',
}
const badTarget = (description: string): Refusal => ({ error: 'invalid_target', status: 400, description })
const unavailable = (description: string): Refusal => ({ error: 'temporarily_unavailable', status: 503, description })
const tooMany = (description: string): Refusal => ({ error: 'temporarily_unavailable', status: 429, description })

// One object for all of them: whoever guesses at clients and secrets must not be able to tell the cases apart.
const authenticationFailed: Refusal = {
  error: 'invalid_client',
  status: 400,
  description: 'client authentication failed',
}

// One object for all of these too: what is known of a refresh token is nobody's business but its owner's.
const refreshFailed: Refusal = { error: 'invalid_grant', status: 400, description: 'the refresh token is not valid' }

// And one for whatever is wrong with an access token.
const tokenFailed: Refusal = { error: 'invalid_token', status: 401, description: 'the token is not valid' }

const refusals = {
  // The request as such
  endpoint_unknown: { error: 'not_found', status: 404, description: 'no such endpoint' },
  method_not_allowed: { error: 'invalid_request', status: 405, description: 'this method is not allowed here' },
  http_malformed: malformed('the request is not valid HTTP'),
  header_repeated: malformed('a header that may appear once was repeated'),
  content_type_unsupported: malformed('the body must be application/x-www-form-urlencoded in UTF-8'),
  body_too_large: { error: 'invalid_request', status: 413, description: 'the body is too large' },
  body_incomplete: malformed('the body did not arrive whole'),
  form_malformed: malformed('the form body is malformed'),
  parameters_too_many: malformed('too many parameters'),
  parameter_repeated: malformed('a parameter was repeated'),

  // The grant
  grant_type_missing: malformed('grant_type is missing'),
  grant_type_unknown: {
    error: 'unsupported_grant_type',
    status: 400,
    description: 'this grant type is not supported',
  },
  grant_not_registered: {
    error: 'unauthorized_client',
    status: 400,
    description: 'the client is not registered for this grant type',
  },

  // The client
  authentication_several: malformed('more than one client authentication method was used'),
  authentication_client_mismatch: malformed('client_id differs from the authenticated client'),
  authentication_missing: authenticationFailed,
  authentication_malformed: authenticationFailed,
  authentication_scheme_unsupported: authenticationFailed,
  authentication_method_unsupported: authenticationFailed,
  authentication_method_not_registered: authenticationFailed,
  client_unknown: authenticationFailed,
  client_disabled: authenticationFailed,
  client_public: authenticationFailed,
  secret_unknown: authenticationFailed,
  secret_wrong: authenticationFailed,
  secret_expired: authenticationFailed,
  assertion_incomplete: malformed('client_assertion and client_assertion_type come together'),
  assertion_malformed: authenticationFailed,
  assertion_type_wrong: authenticationFailed,
  assertion_claim_missing: authenticationFailed,
  assertion_issuer_wrong: authenticationFailed,
  assertion_audience_wrong: authenticationFailed,
  assertion_expired: authenticationFailed,
  assertion_not_yet_valid: authenticationFailed,
  assertion_lives_too_long: authenticationFailed,
  assertion_alg_unsupported: authenticationFailed,
  assertion_alg_not_registered: authenticationFailed,
  assertion_key_unknown: authenticationFailed,
  assertion_key_ambiguous: authenticationFailed,
  assertion_keys_unavailable: authenticationFailed,
  assertion_signature_wrong: authenticationFailed,
  certificate_untrusted: authenticationFailed,
  certificate_wrong: authenticationFailed,
  certificate_keys_unavailable: authenticationFailed,
  assertion_replayed: authenticationFailed,

  // What the token shall be bound to
  proof_missing: badProof('a DPoP proof is needed'),
  proof_replayed: badProof('the DPoP proof was used before'),
  certificate_malformed: malformed('the client certificate that was forwarded is malformed'),
  proof_repeated: badProof('one DPoP header at most'),
  proof_malformed: badProof('the DPoP proof is not a signed JWT in compact form'),
  proof_type_wrong: badProof('the typ of a DPoP proof is dpop+jwt'),
  proof_alg_unsupported: badProof('the alg of the DPoP proof is not supported'),
  proof_key_unfit: badProof('the jwk of the DPoP proof is no public key for its alg'),
  proof_signature_wrong: badProof('the signature of the DPoP proof is wrong'),
  proof_claim_missing: badProof('a DPoP proof has jti, htm, htu and iat'),
  proof_method_wrong: badProof('the DPoP proof is for another method'),
  proof_url_wrong: badProof('the DPoP proof is for another URL'),
  proof_out_of_time: badProof('the DPoP proof is too old or not yet valid: is the clock right?'),
  proof_token_wrong: badProof('the DPoP proof is for another access token'),
  proof_nonce_missing: useNonce,
  proof_nonce_unknown: useNonce,
  proof_clock_off: useNonce,
  certificate_missing: malformed('a client certificate is needed'),

  // The refresh token
  refresh_missing: malformed('refresh_token is missing'),
  refresh_malformed: refreshFailed,
  refresh_unknown: refreshFailed,
  refresh_forged: refreshFailed,
  refresh_root_replaced: refreshFailed,
  refresh_of_another_client: refreshFailed,
  refresh_expired: refreshFailed,
  refresh_ended: refreshFailed,
  refresh_reused: refreshFailed,
  refresh_retry_too_late: refreshFailed,
  refresh_overtaken: refreshFailed,
  refresh_retry_other_key: refreshFailed,
  refresh_generation_ahead: refreshFailed,

  // What it asks for
  scope_malformed: badScope('scope is malformed'),
  scope_not_allowed: badScope('the client may not have this scope for this resource'),
  resource_missing: badTarget('name one of the audiences of the client as resource'),
  resource_several: badTarget('a token has one audience: name one resource'),
  resource_malformed: badTarget('resource is not an absolute URI without a fragment'),
  resource_not_granted: badTarget('the refresh token was granted for another resource'),
  resource_not_allowed: badTarget('the client may not have tokens for this resource'),

  // POST /revoke and /introspect
  token_missing: malformed('token is missing'),
  // Never answered: whoever revokes another client's token hears what all hear, and nothing happens.
  token_of_another_client: { error: 'invalid_grant', status: 400, description: 'the token is not valid' },

  // GET /verify
  audience_missing: malformed('name one audience'),
  bearer_missing: { error: 'invalid_token', status: 401, description: 'a bearer token is needed' },
  bearer_malformed: tokenFailed,
  token_inactive: tokenFailed,
  token_for_another_audience: tokenFailed,
  token_bound: tokenFailed,
  token_not_bound: tokenFailed,
  token_needs_proof: tokenFailed,
  proof_key_wrong: tokenFailed,
  proof_not_verifiable: tokenFailed,
  scope_insufficient: { error: 'insufficient_scope', status: 403, description: 'the token lacks a scope' },

  // Limits (RFC 6585 section 4)
  too_many_failures: tooMany('too many failed authentications, try again later'),
  too_many_requests: tooMany('too many requests of this client, try again later'),
  quota_used_up: tooMany('the client has had all the tokens that it may have in this hour'),

  // GET /authorize
  response_type_unsupported: {
    error: 'unsupported_response_type',
    status: 400,
    description: 'there is no authorization endpoint here: no people log in',
  },

  // Our own faults
  store_unavailable: unavailable('storage is unavailable, try again'),
  secret_check_busy: unavailable('overloaded, try again'),
  assertion_keys_busy: unavailable('overloaded, try again'),
  assertion_use_unknown: unavailable('storage was restored: try again with a fresh assertion'),
  proof_use_unknown: unavailable('storage was restored: try again with a fresh DPoP proof'),
  registry_moving: unavailable('the registry is changing, try again'),
  clock_off: unavailable('the clock of this server is wrong, try again'),
  clock_behind: unavailable('the clock of this server is behind, try again'),
  issuer_changed: unavailable('this server is no longer the issuer of its database'),
  not_ready: unavailable('not ready, try again'),
  fault: { error: 'server_error', status: 500, description: 'internal error' },
} as const satisfies Record<string, Refusal>

/** Why a request was refused, as the audit trail, the log and the metrics name it. */
export type Reason = keyof typeof refusals

/** All reasons, for metric labels and for the reader of an audit row. */
export const reasons = Object.keys(refusals) as readonly Reason[]

/** What the caller learns of a reason. */
export function refusalOf(reason: Reason): Refusal {
  return refusals[reason]
}

/**
 * A refusal on its way to the one place that answers it. Its message is the reason, so that nothing else of the
 * request can reach a log through it.
 */
export class OAuthError extends Error {
  readonly reason: Reason
  /** The scope that would have been enough, for the challenge (RFC 6750 section 3). */
  readonly neededScope: string | undefined
  /** The limit that was passed, for a status of 429. */
  readonly limit: LimitState | undefined
  /** The DPoP nonce to go with it (RFC 9449 section 8). */
  readonly nonce: string | undefined

  constructor(
    reason: Reason,
    options?: ErrorOptions & { readonly neededScope?: string; readonly limit?: LimitState; readonly nonce?: string },
  ) {
    const { stackTraceLimit } = Error
    // The reason says where it was thrown. To write the stack down costs as much as a fifth of a refusal.
    Error.stackTraceLimit = 0
    super(reason, options)
    Error.stackTraceLimit = stackTraceLimit
    this.name = 'OAuthError'
    this.reason = reason
    this.neededScope = options?.neededScope
    this.limit = options?.limit
    this.nonce = options?.nonce
  }
}
