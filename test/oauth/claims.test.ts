import { describe, expect, it } from 'vitest'
import { readAccessTokenClaims } from '../../src/oauth/claims.ts'
import type { JwtClaims } from '../../src/oauth/jwt.ts'

const required = {
  iss: 'https://as.example.test',
  sub: 'billing',
  aud: 'https://api.example.test',
  exp: 1_800_000_300,
  iat: 1_800_000_000,
  nbf: 1_800_000_000,
  jti: '01JZZZZZZZZZZZZZZZZZZZZZZZ',
  client_id: 'billing',
}
const jkt = '0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I'

describe('the claims of an access token', () => {
  it.each<[string, JwtClaims]>([
    ['that RFC 9068 section 2.2 requires, and nbf', {}],
    ['with scope', { scope: 'read' }],
    ['with the family that it came with', { sid: '01JYYYYYYYYYYYYYYYYYYYYYYY' }],
    ['with what it is bound to', { cnf: { jkt } }],
    ['with all of them', { scope: 'read write', sid: '01JYYYYYYYYYYYYYYYYYYYYYYY', cnf: { jkt, 'x5t#S256': jkt } }],
  ])('AT-01 are those %s, and nothing is added', (_, more) => {
    expect(readAccessTokenClaims({ ...required, ...more })).toStrictEqual({ ...required, ...more })
  })

  it.each(Object.keys(required))('AT-01 are none without %s', (name) => {
    expect(readAccessTokenClaims({ ...required, [name]: undefined })).toBeUndefined()
  })

  it.each<[string, JwtClaims]>([
    ['several audiences', { aud: ['https://api.example.test', 'https://other.example.test'] }],
    ['one audience in a list', { aud: ['https://api.example.test'] }],
    ['a restriction that nobody here would check', { authorization_details: [{ type: 'payment' }] }],
    ['an actor that nobody here would look at', { act: { sub: 'another' } }],
    ['a binding of a kind that is not ours', { cnf: { kid: 'x' } }],
    ['a binding beside one that is not ours', { cnf: { jkt, jwk: {} } }],
    ['a binding to nothing', { cnf: {} }],
    ['null for a binding', { cnf: null }],
  ])('are none of ours with %s', (_, more) => {
    expect(readAccessTokenClaims({ ...required, ...more })).toBeUndefined()
  })
})
