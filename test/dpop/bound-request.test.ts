/** The half of DPoP that a service has: RFC 9449 section 7. */
import { createSecretKey } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { type PresentedToken, verifyBoundRequest } from '../../src/dpop/bound-request.ts'
import { makeNonce, type NonceKeys } from '../../src/dpop/nonce.ts'
import type { ProofTerms } from '../../src/dpop/proof.ts'
import { OAuthError, refusalOf } from '../../src/oauth/errors.ts'
import { athOf, makeProof, makeProofKey } from '../support/proof.ts'

const url = 'https://resource.example.org/protectedresource'
const now = Date.UTC(2026, 0, 2, 3, 4, 5)
const token = 'an.access.token'
const key = makeProofKey()
const confirmation = { jkt: key.jkt }
const proof = makeProof(key, url, now, { claims: { htm: 'GET', ath: athOf(token) } })

function ask(presented: Partial<PresentedToken>, terms: Partial<ProofTerms> = {}) {
  return verifyBoundRequest({ scheme: 'DPoP', token, confirmation, proof, ...presented }, () => ({
    method: 'GET',
    urls: [url],
    now,
    ...terms,
  }))
}

function refusalFor(presented: Partial<PresentedToken>, terms: Partial<ProofTerms> = {}): OAuthError {
  try {
    ask(presented, terms)
  } catch (error) {
    if (error instanceof OAuthError) return error
    throw error
  }
  throw new Error('accepted')
}

describe('a request with a bound token', () => {
  it('DP-22 passes with a proof of its key, as RFC 9449 section 7.1 has it', () => {
    const figure =
      'eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19.eyJqdGkiOiJlMWozVl9iS2ljOC1MQUVCIiwiaHRtIjoiR0VUIiwiaHR1IjoiaHR0cHM6Ly9yZXNvdXJjZS5leGFtcGxlLm9yZy9wcm90ZWN0ZWRyZXNvdXJjZSIsImlhdCI6MTU2MjI2MjYxOCwiYXRoIjoiZlVIeU8ycjJaM0RaNTNFc05yV0JiMHhXWG9hTnk1OUlpS0NBcWtzbVFFbyJ9.2oW9RP35yRqzhrtNP86L-Ey71EOptxRimPPToA1plemAgR6pxHF8y6-yqyVnmcw6Fy1dqd-jfxSYoMxhAJpLjA'
    const jkt = '0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I'
    const presented = {
      token: 'Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU',
      proof: figure,
      confirmation: { jkt },
    }
    expect(ask(presented, { now: 1_562_262_618_000 })).toMatchObject({ jkt, use: { kind: 'proof' } })
  })

  it('DP-23 C19 does not with a proof for another token, or for none', () => {
    for (const ath of [undefined, athOf('other')]) {
      const other = makeProof(key, url, now, { claims: { htm: 'GET', ath } })
      const { reason } = refusalFor({ proof: other })
      expect([reason, refusalOf(reason).error]).toEqual(['proof_token_wrong', 'invalid_dpop_proof'])
    }
  })

  it('DP-23 C14 does not with a proof of another key', () => {
    const thief = makeProof(makeProofKey(), url, now, { claims: { htm: 'GET', ath: athOf(token) } })
    const { reason } = refusalFor({ proof: thief })
    expect([reason, refusalOf(reason).error]).toEqual(['proof_key_wrong', 'invalid_token'])
  })

  it('DP-23 does not without a proof', () => {
    const { reason } = refusalFor({ proof: undefined })
    expect([reason, refusalOf(reason).error]).toEqual(['proof_missing', 'invalid_dpop_proof'])
  })

  it('DP-24 C14 does not as a bearer, with a proof or without', () => {
    for (const each of [proof, undefined]) {
      const { reason } = refusalFor({ scheme: 'Bearer', proof: each })
      expect([reason, refusalOf(reason).error]).toEqual(['token_needs_proof', 'invalid_token'])
    }
  })

  it('does not with a proof for another method or URL, or that is over', () => {
    expect(refusalFor({}, { method: 'POST' }).reason).toBe('proof_method_wrong')
    expect(refusalFor({}, { urls: ['https://resource.example.org/other'] }).reason).toBe('proof_url_wrong')
    expect(refusalFor({}, { now: now + 61_000 }).reason).toBe('proof_out_of_time')
  })

  it('DP-26 C19 is told a nonce where the service requires one, and one of the token endpoint is none here', () => {
    const keysFor = (byte: number): NonceKeys => ({
      newestVersion: 1,
      keyOf: () => createSecretKey(Buffer.alloc(32, byte)),
    })
    const nonces = { required: true, keys: keysFor(1) }
    const refused = refusalFor({}, { nonces })
    expect(refusalOf(refused.reason).error).toBe('use_dpop_nonce')
    const withNonce = (nonce: string | undefined) =>
      makeProof(key, url, now, { claims: { htm: 'GET', ath: athOf(token), nonce } })
    expect(ask({ proof: withNonce(refused.nonce) }, { nonces })?.jkt).toBe(key.jkt)
    expect(refusalFor({ proof: withNonce(makeNonce(keysFor(2), now)) }, { nonces }).reason).toBe('proof_nonce_unknown')
  })
})

describe('a request with a token that is bound to no key', () => {
  it('passes as a bearer, whatever proof comes with it', () => {
    for (const each of [undefined, proof, 'garbage']) {
      expect(ask({ scheme: 'Bearer', confirmation: undefined, proof: each })).toBeUndefined()
      expect(ask({ scheme: 'Bearer', confirmation: { 'x5t#S256': 'x' }, proof: each })).toBeUndefined()
    }
  })

  it('does not under the scheme that promises a key', () => {
    const { reason } = refusalFor({ confirmation: undefined })
    expect([reason, refusalOf(reason).error]).toEqual(['token_not_bound', 'invalid_token'])
  })
})
