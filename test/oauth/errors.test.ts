import { describe, expect, it } from 'vitest'
import { OAuthError, type Reason, reasons, refusalOf } from '../../src/oauth/errors.ts'

const statuses = new Map([
  ['invalid_request', [400, 405, 413]],
  ['invalid_client', [400]],
  ['invalid_grant', [400]],
  ['invalid_token', [401]],
  ['invalid_dpop_proof', [400]],
  ['use_dpop_nonce', [400]],
  ['insufficient_scope', [403]],
  ['invalid_scope', [400]],
  ['invalid_target', [400]],
  ['unauthorized_client', [400]],
  ['unsupported_grant_type', [400]],
  ['unsupported_response_type', [400]],
  ['not_found', [404]],
  ['temporarily_unavailable', [429, 503]],
  ['server_error', [500]],
])

/** What RFC 6749 section 5.2, RFC 6750 section 3.1, RFC 8707 section 2, RFC 9449 section 12.2, RFC 6585 section 4 and HTTP have a caller told, by code and status. */
const faces: Readonly<Record<string, readonly Reason[]>> = {
  'invalid_request 400': [
    'http_malformed',
    'header_repeated',
    'content_type_unsupported',
    'body_incomplete',
    'form_malformed',
    'parameters_too_many',
    'parameter_repeated',
    'grant_type_missing',
    'refresh_missing',
    'token_missing',
    'audience_missing',
    'authentication_several',
    'authentication_client_mismatch',
    'assertion_incomplete',
    'certificate_malformed',
    'certificate_missing',
  ],
  'invalid_dpop_proof 400': [
    'proof_missing',
    'proof_replayed',
    'proof_repeated',
    'proof_malformed',
    'proof_type_wrong',
    'proof_alg_unsupported',
    'proof_key_unfit',
    'proof_signature_wrong',
    'proof_claim_missing',
    'proof_method_wrong',
    'proof_url_wrong',
    'proof_out_of_time',
    'proof_token_wrong',
  ],
  'use_dpop_nonce 400': ['proof_nonce_missing', 'proof_nonce_unknown', 'proof_clock_off'],
  'invalid_request 405': ['method_not_allowed'],
  'invalid_request 413': ['body_too_large'],
  'not_found 404': ['endpoint_unknown'],
  'unsupported_grant_type 400': ['grant_type_unknown'],
  'unauthorized_client 400': ['grant_not_registered'],
  'invalid_client 400': [
    'authentication_missing',
    'authentication_malformed',
    'authentication_scheme_unsupported',
    'authentication_method_unsupported',
    'authentication_method_not_registered',
    'client_unknown',
    'client_disabled',
    'client_public',
    'secret_unknown',
    'secret_wrong',
    'secret_expired',
    'assertion_malformed',
    'assertion_type_wrong',
    'assertion_claim_missing',
    'assertion_issuer_wrong',
    'assertion_audience_wrong',
    'assertion_expired',
    'assertion_not_yet_valid',
    'assertion_lives_too_long',
    'assertion_alg_unsupported',
    'assertion_alg_not_registered',
    'assertion_key_unknown',
    'assertion_key_ambiguous',
    'assertion_keys_unavailable',
    'assertion_signature_wrong',
    'assertion_replayed',
    'certificate_untrusted',
    'certificate_wrong',
    'certificate_keys_unavailable',
  ],
  'invalid_grant 400': [
    'refresh_malformed',
    'refresh_unknown',
    'refresh_forged',
    'refresh_root_replaced',
    'refresh_of_another_client',
    'refresh_expired',
    'refresh_ended',
    'refresh_reused',
    'refresh_overtaken',
    'refresh_retry_too_late',
    'refresh_generation_ahead',
    'refresh_retry_other_key',
    'token_of_another_client',
  ],
  'invalid_token 401': [
    'bearer_missing',
    'bearer_malformed',
    'token_inactive',
    'token_for_another_audience',
    'token_bound',
    'token_not_bound',
    'token_needs_proof',
    'proof_key_wrong',
    'proof_not_verifiable',
  ],
  'insufficient_scope 403': ['scope_insufficient'],
  'invalid_scope 400': ['scope_malformed', 'scope_not_allowed'],
  'invalid_target 400': [
    'resource_missing',
    'resource_several',
    'resource_malformed',
    'resource_not_allowed',
    'resource_not_granted',
  ],
  'unsupported_response_type 400': ['response_type_unsupported'],
  'temporarily_unavailable 429': ['too_many_failures', 'too_many_requests', 'quota_used_up'],
  'temporarily_unavailable 503': [
    'store_unavailable',
    'secret_check_busy',
    'assertion_keys_busy',
    'assertion_use_unknown',
    'proof_use_unknown',
    'registry_moving',
    'clock_off',
    'clock_behind',
    'issuer_changed',
    'not_ready',
  ],
  'server_error 500': ['fault'],
}

describe('the table of refusals', () => {
  it.each(Object.entries(faces))('answers %s for its reasons, and for no other', (face, expected) => {
    const found = reasons.filter((reason) => `${refusalOf(reason).error} ${refusalOf(reason).status}` === face)
    expect(found.toSorted()).toEqual(expected.toSorted())
  })

  it('has a face for every reason', () => {
    expect(Object.values(faces).flat().toSorted()).toEqual(reasons.toSorted())
  })

  it.each(reasons)('HTTP-13 H14 says of %s only what RFC 6749 section 5.2 lets an error say', (reason) => {
    const { error, description } = refusalOf(reason)
    expect(error).toMatch(/^[\x20-\x21\x23-\x5B\x5D-\x7E]+$/)
    expect(description).toMatch(/^[\x20-\x21\x23-\x5B\x5D-\x7E]+$/)
  })

  it.each(reasons)('gives %s a status that belongs to its code', (reason) => {
    const { error, status } = refusalOf(reason)
    expect(statuses.get(error)).toContain(status)
  })

  it('C08 I19 shows one face for all ways in which a client can fail to prove itself', () => {
    const failures = reasons.filter((reason) => refusalOf(reason).error === 'invalid_client')
    expect(failures).toEqual(
      expect.arrayContaining([
        'authentication_missing',
        'authentication_malformed',
        'client_unknown',
        'client_disabled',
        'client_public',
        'secret_unknown',
        'secret_wrong',
        'secret_expired',
        'authentication_method_not_registered',
      ]),
    )
    expect(new Set(failures.map((reason) => JSON.stringify(refusalOf(reason)))).size).toBe(1)
  })

  it('I21 answers 5xx for nothing but our own faults', () => {
    const ours = reasons.filter((reason) => refusalOf(reason).status >= 500)
    expect(new Set(ours.map((reason) => refusalOf(reason).error))).toEqual(
      new Set(['temporarily_unavailable', 'server_error']),
    )
    for (const reason of reasons) expect(reason).toMatch(/^[a-z]+(?:_[a-z]+)*$/)
  })

  it('carries in an error nothing but the reason', () => {
    const error = new OAuthError('secret_wrong')
    expect({ name: error.name, message: error.message, reason: error.reason }).toEqual({
      name: 'OAuthError',
      message: 'secret_wrong',
      reason: 'secret_wrong',
    })
    expect(error.cause).toBeUndefined()
  })
})
