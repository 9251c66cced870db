import { createLocalJWKSet, jwtVerify } from 'jose'
import { describe, expect, it } from 'vitest'
import type { AccessTokenClaims } from '../../src/oauth/claims.ts'
import { introspect, signIntrospection } from '../../src/token/introspect.ts'
import { makeClient } from '../support/client.ts'
import { startTestIssuer } from '../support/issuer.ts'
import { claimsOf, headerOf } from '../support/jwt.ts'

const api = 'https://api.example.test'
const issuer = 'https://tokens.example.test'
const claims: AccessTokenClaims = {
  iss: issuer,
  sub: 'billing',
  aud: api,
  exp: 1_800_000_300,
  iat: 1_800_000_000,
  nbf: 1_800_000_000,
  jti: '01JZZZZZZZZZZZZZZZZZZZZZZZ',
  client_id: 'billing',
}
const service = makeClient({ clientId: 'service', introspects: ['https://other.example.test', api] })
const jkt = '0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I'

describe('an answer about a token', () => {
  it.each<[string, Partial<AccessTokenClaims>, string]>([
    ['no more than it has', {}, 'Bearer'],
    ['its scope', { scope: 'read' }, 'Bearer'],
    ['its family', { sid: '01JYYYYYYYYYYYYYYYYYYYYYYY' }, 'Bearer'],
    ['the key that it is bound to', { cnf: { jkt } }, 'DPoP'],
    ['the certificate that it is bound to', { cnf: { 'x5t#S256': jkt } }, 'Bearer'],
  ])('IN-01 has %s', (_, more, token_type) => {
    const found = { active: true, claims: { ...claims, ...more } } as const
    expect(introspect(found, service)).toStrictEqual({ active: true, ...claims, ...more, token_type })
  })

  it.each([
    ['may ask about nothing', []],
    ['may ask about another audience', ['https://other.example.test']],
    ['may ask about one that only begins like it', [`${api}/v1`, api.slice(0, -1)]],
  ])('IN-03 is no more than that it is not active for one that %s', (_, introspects) => {
    expect(introspect({ active: true, claims }, makeClient({ introspects }))).toStrictEqual({ active: false })
  })

  it('IN-03 is not for the client of the token itself', () => {
    const own = makeClient({ clientId: 'billing', audiences: [api] })
    expect(introspect({ active: true, claims }, own)).toStrictEqual({ active: false })
  })

  it.each(['expired', 'revoked', 'signature_wrong', 'malformed', 'client_disabled'] as const)(
    'IN-03 is the same for a token that is dead: %s',
    (fault) => {
      expect(introspect({ active: false, fault }, service)).toStrictEqual({ active: false })
    },
  )
})

describe('a signed answer', () => {
  it.each(['ES256', 'RS256'] as const)('verifies with %s, is for its caller, and is no access token', async (alg) => {
    const { clock, ring } = await startTestIssuer()
    const signer = ring.activeSigner(alg)
    const answer = introspect({ active: true, claims }, service)
    const jwt = await signIntrospection(answer, { issuer, audience: 'service', signer, clock })
    const keys = createLocalJWKSet({ keys: ring.publicJwks().map((jwk) => ({ ...jwk })) })
    await jwtVerify(jwt, keys, { issuer, audience: 'service', typ: 'token-introspection+jwt', algorithms: [alg] })
    expect(headerOf(jwt)).toEqual({ typ: 'token-introspection+jwt', alg, kid: signer.kid })
    expect(claimsOf(jwt)).toEqual({
      iss: issuer,
      aud: 'service',
      iat: Math.floor(clock.nowMilliseconds() / 1000),
      token_introspection: answer,
    })
  })

  it('keeps its type where the same key signs tokens, and the other way round', async () => {
    const { clock, ring, tokens, order, fence } = await startTestIssuer()
    const sign = () =>
      signIntrospection({ active: false }, { issuer, audience: 'x', signer: ring.activeSigner('ES256'), clock })
    const issue = async () => (await tokens.issue(order(), await fence()))?.accessToken ?? ''
    const types = [await sign(), await issue(), await sign(), await issue()].map((jwt) => headerOf(jwt).typ)
    expect(types).toEqual(['token-introspection+jwt', 'at+jwt', 'token-introspection+jwt', 'at+jwt'])
  })
})
