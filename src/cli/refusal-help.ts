/**
 * What each reason means to whoever runs the place, and what to do about it: for `audit explain` and docs/refusals.md. On
 * the wire a caller hears of the code and one public sentence alone (`oauth/errors.ts`).
 */
import type { AuditType } from '../audit/event.ts'
import type { Reason } from '../oauth/errors.ts'

export interface RefusalHelp {
  readonly meaning: string
  /** What to do; `CLIENT` stands for the client's id. Absent where the caller can only send something else. */
  readonly advice?: string
  /** Changes that may have led to it, or mended it since. */
  readonly changes?: readonly AuditType[]
}

const registration = ['client.created', 'client.updated', 'client.deleted'] as const satisfies readonly AuditType[]
const status = ['client.disabled', 'client.enabled', 'client.offboarded'] as const satisfies readonly AuditType[]
const secrets = ['secret.created', 'secret.imported', 'secret.revoked'] as const satisfies readonly AuditType[]
const endings = ['family.ended', 'client.tokens_ended', ...status] as const satisfies readonly AuditType[]

const fixForm = 'the caller has to send another form: the library that it uses, or a proxy between, makes this one'
const fixAssertion = 'docs/client-authentication.md says what an assertion has to say'
const fixProof = 'docs/dpop.md says what a proof has to say'
const fixClock = 'compare the clock of the caller with that of this server'
const retryAlone = 'the caller tries again after the time in Retry-After; the log has the cause under the request id'
const beginAnew = 'the workload begins anew with its own credentials, which is always allowed'
const keysUnavailable = 'docs/client-authentication.md says what such a URL has to be; the log has what went wrong'
const showClient = '`mayfly client show CLIENT` has what it is registered for'

/** For each reason. */
export const refusalHelp: Readonly<Record<Reason, RefusalHelp>> = {
  endpoint_unknown: { meaning: 'no endpoint has this path, spelled exactly so', advice: 'the metadata has the URLs' },
  method_not_allowed: {
    meaning: 'the endpoint is asked by another method',
    advice: 'the reply names those that it takes',
  },
  http_malformed: { meaning: 'what was sent is not valid HTTP' },
  header_repeated: { meaning: 'a header that may appear once came twice', advice: 'look at what proxies between add' },
  content_type_unsupported: { meaning: 'the body is not a form in UTF-8', advice: fixForm },
  body_too_large: { meaning: 'the body is longer than any request needs to be', advice: fixForm },
  body_incomplete: { meaning: 'the connection ended before the body did, or it came too slowly' },
  form_malformed: { meaning: 'the form is not well encoded', advice: fixForm },
  parameters_too_many: { meaning: 'the form has more parameters than any request needs', advice: fixForm },
  parameter_repeated: { meaning: 'a parameter came twice, and only resource may', advice: fixForm },

  grant_type_missing: { meaning: 'the form has no grant_type', advice: fixForm },
  grant_type_unknown: { meaning: 'there is no such grant here', advice: 'the metadata has those that there are' },
  grant_not_registered: {
    meaning: 'the client is not registered for this grant',
    advice: '`mayfly client update CLIENT --grant-type …` registers it; the option replaces the list',
    changes: registration,
  },

  authentication_several: {
    meaning: 'the request proves the client in more than one way',
    advice: 'leave all but one out',
  },
  authentication_client_mismatch: { meaning: 'client_id in the form is another than that of the credential' },
  authentication_missing: { meaning: 'the request has no credential of a client' },
  authentication_malformed: {
    meaning: 'the credential is not well formed: half of it is missing, or it is wrongly encoded',
    advice: 'in Authorization, id and secret are each form-encoded before they are joined (RFC 6749 section 2.3.1)',
  },
  authentication_scheme_unsupported: { meaning: 'Authorization has a scheme that proves no client here' },
  authentication_method_unsupported: { meaning: 'the kind of assertion is none that is taken here' },
  authentication_method_not_registered: {
    meaning: 'the credential is right, and the client is not registered for this way of sending it',
    advice: '`mayfly client update CLIENT --also-accept METHOD` lets it in',
    changes: registration,
  },
  client_unknown: {
    meaning: 'no client has this id: it was mistyped, deleted, or is of another installation',
    advice: '`mayfly client list` has those that there are; a secret in the place of the id is to be revoked',
  },
  client_disabled: {
    meaning: 'the client is disabled',
    advice: '`mayfly client enable CLIENT` lets it in again, and revives no token',
    changes: status,
  },
  client_public: { meaning: 'the client has no way to prove itself', advice: showClient, changes: registration },
  secret_unknown: {
    meaning: 'the client does not have this secret, or no longer',
    advice: '`mayfly secret list CLIENT` has those that it has; `mayfly secret create CLIENT` makes another',
    changes: [...secrets, 'client.offboarded'],
  },
  secret_wrong: {
    meaning: 'the secret is not that of the client: it was mistyped or cut, or somebody guesses',
    advice: '`mayfly secret create CLIENT` makes another if it was lost; the address says who asked',
    changes: secrets,
  },
  secret_expired: {
    meaning: 'the secret is right and has expired',
    advice: '`mayfly secret create CLIENT` makes another',
    changes: secrets,
  },
  assertion_incomplete: { meaning: 'client_assertion and client_assertion_type come together or not at all' },
  assertion_malformed: { meaning: 'the assertion is not a signed JWT in strict form', advice: fixAssertion },
  assertion_type_wrong: { meaning: 'the typ of the assertion says that it is another statement', advice: fixAssertion },
  assertion_claim_missing: { meaning: 'the assertion lacks one of iss, sub, aud, exp and jti', advice: fixAssertion },
  assertion_issuer_wrong: { meaning: 'iss and sub of the assertion differ: both are the client', advice: fixAssertion },
  assertion_audience_wrong: {
    meaning: 'the assertion is not for this issuer, or for somebody else besides',
    advice: 'aud is the issuer, exactly; MAYFLY_ASSERTION_AUDIENCE lets libraries in that name the token endpoint',
  },
  assertion_expired: { meaning: 'the assertion has expired', advice: fixClock },
  assertion_not_yet_valid: { meaning: 'the assertion is dated ahead', advice: fixClock },
  assertion_lives_too_long: { meaning: 'the assertion lives longer than is taken', advice: fixAssertion },
  assertion_alg_unsupported: { meaning: 'the assertion is signed in a way that is not taken', advice: fixAssertion },
  assertion_alg_not_registered: {
    meaning: 'the client is registered for another alg than that of the assertion',
    advice: showClient,
    changes: registration,
  },
  assertion_key_unknown: {
    meaning: 'the client has no key that fits kid and alg of the assertion, or does not use keys',
    advice: showClient,
    changes: [...registration, ...status],
  },
  assertion_key_ambiguous: {
    meaning: 'several keys of the client fit, and the assertion does not say which',
    advice: 'give each key a kid and name it in the assertion',
    changes: registration,
  },
  assertion_keys_unavailable: {
    meaning: 'the keys of the client could not be fetched from its jwks_uri',
    advice: keysUnavailable,
    changes: registration,
  },
  assertion_signature_wrong: {
    meaning: 'the signature of the assertion is not by the registered key',
    advice: showClient,
    changes: registration,
  },
  certificate_untrusted: {
    meaning: 'the certificate is not by an authority that clients may have theirs from, or not valid now',
    advice: 'docs/tls.md says what is looked at',
  },
  certificate_wrong: {
    meaning: 'the certificate is none of this client',
    advice: showClient,
    changes: [...registration, ...status],
  },
  certificate_keys_unavailable: {
    meaning: 'the certificates of the client could not be fetched from its jwks_uri',
    advice: keysUnavailable,
    changes: registration,
  },
  assertion_replayed: {
    meaning: 'the assertion was used before: it counts once',
    advice: 'the caller makes a fresh one for each request; if it did, somebody else has sent it on',
  },

  proof_missing: { meaning: 'the client may have bound tokens alone, and sent no DPoP proof', advice: showClient },
  proof_replayed: { meaning: 'the DPoP proof was used before: it counts once', advice: fixProof },
  certificate_malformed: { meaning: 'what the proxy has forwarded as client certificate is none' },
  proof_repeated: { meaning: 'there is more than one DPoP header', advice: fixProof },
  proof_malformed: { meaning: 'the DPoP proof is not a signed JWT in strict form', advice: fixProof },
  proof_type_wrong: { meaning: 'the DPoP header has another JWT', advice: fixProof },
  proof_alg_unsupported: { meaning: 'the DPoP proof is signed in a way that is not taken', advice: fixProof },
  proof_key_unfit: { meaning: 'the key in the DPoP proof is none for its alg, or is private', advice: fixProof },
  proof_signature_wrong: { meaning: 'the DPoP proof is not signed by its own key', advice: fixProof },
  proof_claim_missing: { meaning: 'the DPoP proof lacks one of jti, htm, htu and iat', advice: fixProof },
  proof_method_wrong: { meaning: 'the DPoP proof is for another method', advice: fixProof },
  proof_url_wrong: {
    meaning: 'the DPoP proof is for another URL',
    advice: 'htu is the URL that the metadata has, whatever a proxy makes of it',
  },
  proof_out_of_time: { meaning: 'the DPoP proof is too old or dated ahead', advice: fixClock },
  proof_token_wrong: { meaning: 'the DPoP proof is for another access token', advice: fixProof },
  proof_nonce_missing: { meaning: 'a nonce is wanted: the reply has one, and the client tries again' },
  proof_nonce_unknown: { meaning: 'the nonce is old or not ours: the reply has another, and the client tries again' },
  proof_clock_off: {
    meaning: 'the clock of the client is off: with the nonce of the reply its proof is taken',
    advice: fixClock,
  },
  certificate_missing: {
    meaning: 'tokens of this client are bound to a certificate, and none came',
    advice: 'the caller connects with its certificate, and proxies between hand it on (docs/tls.md)',
    changes: registration,
  },

  refresh_missing: { meaning: 'the form has no refresh_token', advice: fixForm },
  refresh_malformed: { meaning: 'what was sent is no refresh token of Mayfly, or was cut', advice: beginAnew },
  refresh_unknown: {
    meaning: 'its family is not on record: it died long ago, or is of another installation',
    advice: beginAnew,
  },
  refresh_forged: { meaning: 'the token was not made here: somebody has made it up', advice: 'look at the address' },
  refresh_root_replaced: {
    meaning: 'the root key that it was derived from was replaced',
    advice: beginAnew,
    changes: ['root.replaced'],
  },
  refresh_of_another_client: {
    meaning: 'the token is of another client, whose it stays',
    advice: 'if they are not one workload, it was stolen: `mayfly token revoke` ends its family',
  },
  refresh_expired: { meaning: 'the token was not used in time, or its family is over', advice: beginAnew },
  refresh_ended: { meaning: 'its family was ended before', advice: beginAnew, changes: endings },
  refresh_reused: {
    meaning: 'the token had been used, and its successor as well: two parties have it, and the family was ended',
    advice: 'find out who the two are: the record of the ending has the first use and the second',
    changes: endings,
  },
  refresh_retry_too_late: {
    meaning: 'the token had been used, and came again after the time for retries: the family was ended',
    advice: 'a workload that lost its reply tries again at once; else two parties have the token',
    changes: endings,
  },
  refresh_overtaken: { meaning: 'while it was decided the same token was used by another request', advice: beginAnew },
  refresh_retry_other_key: { meaning: 'a retry is for the key of the first try, and this is by another' },
  refresh_generation_ahead: {
    meaning: 'the token is of a later state than the database: a backup was put back, and the family was ended',
    advice: beginAnew,
    changes: [...endings, 'store.restored'],
  },

  scope_malformed: { meaning: 'scope is not a list with single blanks between', advice: fixForm },
  scope_not_allowed: {
    meaning: 'the client may not have this scope, or the resource does not define it',
    advice: '`mayfly client update CLIENT --scope "…"` allows it, once the resource defines it',
    changes: [...registration, 'resource.created', 'resource.updated', 'resource.deleted'],
  },
  resource_missing: { meaning: 'the client has several audiences, and resource names none', advice: showClient },
  resource_several: { meaning: 'a token has one audience: the caller asks once for each' },
  resource_malformed: { meaning: 'resource is not an absolute URI without fragment' },
  resource_not_granted: { meaning: 'the refresh token is for another resource', advice: beginAnew },
  resource_not_allowed: {
    meaning: 'the client may not have tokens for this resource, or it does not exist',
    advice: '`mayfly client update CLIENT --audience URI` allows it; the option replaces the list',
    changes: [...registration, 'resource.created', 'resource.updated', 'resource.deleted'],
  },

  token_missing: { meaning: 'the form has no token', advice: fixForm },
  token_of_another_client: {
    meaning: 'the client wanted to revoke a token of another: it heard 200, and nothing happened',
    advice: 'whoever may end it uses `mayfly token revoke`',
  },

  audience_missing: { meaning: 'the query names no audience', advice: 'the proxy asks /verify?audience=URI' },
  bearer_missing: { meaning: 'the request that was asked about has no token' },
  bearer_malformed: { meaning: 'Authorization is not of the form that tokens are sent in' },
  token_inactive: { meaning: 'the token is not alive', advice: '`mayfly token inspect` says why' },
  token_for_another_audience: { meaning: 'the token is for another audience' },
  token_bound: { meaning: 'the token is bound to a certificate, and that did not come with it' },
  token_not_bound: { meaning: 'the token is not bound, and was sent with a proof' },
  token_needs_proof: { meaning: 'the token is bound to a key, and came without a proof' },
  proof_key_wrong: { meaning: 'the token is bound to another key than that of the proof' },
  proof_not_verifiable: { meaning: 'the proxy does not say which URL was asked: its proof cannot be judged' },
  scope_insufficient: { meaning: 'the token lacks a scope that is wanted here' },

  too_many_failures: {
    meaning: 'so many authentications of this client or address failed that it has to wait',
    advice: 'docs/rate-limits.md; the refusals before this one say what was wrong',
    changes: secrets,
  },
  too_many_requests: { meaning: 'the client asked more often than it may', advice: 'docs/rate-limits.md' },
  quota_used_up: {
    meaning: 'the client has had all the tokens that it may have in this hour',
    advice:
      '`mayfly client update CLIENT --tokens-per-hour N`; a workload that asks for one with each request should keep it',
    changes: ['quota.warned', 'client.updated'],
  },

  response_type_unsupported: { meaning: 'no people log in here: there is no authorization endpoint' },

  store_unavailable: { meaning: 'the database could not be reached or written', advice: retryAlone },
  secret_check_busy: { meaning: 'more slow secrets wait for a check than can be checked', advice: retryAlone },
  assertion_keys_busy: { meaning: 'too many key sets are being fetched', advice: retryAlone },
  assertion_use_unknown: {
    meaning: 'a backup was put back, and the assertion may be of before: nobody knows whether it was used',
    advice: 'the caller makes a fresh one, which is taken from a minute after',
  },
  proof_use_unknown: {
    meaning: 'a backup was put back, and the proof may be of before: nobody knows whether it was used',
    advice: 'the caller makes a fresh one, which is taken from a minute after',
  },
  registry_moving: { meaning: 'what the request was decided by changed again and again meanwhile', advice: retryAlone },
  clock_off: {
    meaning: 'the clock of this server is not that of the store',
    advice: '`mayfly doctor`; mend the clock',
  },
  clock_behind: {
    meaning: 'the clock of this server is behind what it has signed',
    advice: '`mayfly doctor`; mend the clock',
  },
  issuer_changed: { meaning: 'another issuer was accepted for the database', advice: 'start this server with it anew' },
  not_ready: { meaning: 'the server starts or ends', advice: retryAlone },
  fault: { meaning: 'a fault of Mayfly', advice: 'the log has it under the request id: please report it' },
}
