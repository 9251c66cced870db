import { describe, expect, it } from 'vitest'
import { authMethods, isAuthMethod, isCertificateMethod, isSecretMethod } from '../../src/oauth/auth-method.ts'
import { accessTokenType, introspectionType } from '../../src/oauth/claims.ts'
import { grantTypes, isGrantType } from '../../src/oauth/grant-type.ts'

// What JavaScript has a meaning for, and what is close to a name.
const foreign = ['', ' ', 'constructor', '__proto__', 'length', '0']

describe('the names of the wire', () => {
  it('CA-06 are those of RFC 7591 section 2 and RFC 8705 section 2 for the methods of client authentication', () => {
    expect(authMethods).toEqual([
      'client_secret_basic',
      'client_secret_post',
      'private_key_jwt',
      'tls_client_auth',
      'self_signed_tls_client_auth',
    ])
    for (const method of authMethods) expect(isAuthMethod(method)).toBe(true)
  })

  it.each([...foreign, 'none', 'client_secret_jwt', 'PRIVATE_KEY_JWT', 'CLIENT_SECRET_BASIC', 'client_secret_basic '])(
    'are not %j for a method',
    (text) => {
      expect(isAuthMethod(text)).toBe(false)
    },
  )

  it('tell what proves a client: a secret that it shares, a certificate of its connection (RFC 8705), or neither', () => {
    expect(authMethods.filter(isSecretMethod)).toEqual(['client_secret_basic', 'client_secret_post'])
    expect(authMethods.filter(isCertificateMethod)).toEqual(['tls_client_auth', 'self_signed_tls_client_auth'])
  })

  it('are those of RFC 6749 for the grants', () => {
    expect(grantTypes).toEqual(['client_credentials', 'refresh_token'])
    for (const type of grantTypes) expect(isGrantType(type)).toBe(true)
  })

  it.each([...foreign, 'password', 'authorization_code', 'implicit', 'Client_Credentials', 'client_credentials '])(
    'are not %j for a grant',
    (text) => {
      expect(isGrantType(text)).toBe(false)
    },
  )

  it('AT-01 are at+jwt for the type of an access token, which tells it from every other JWT (RFC 9068 section 2.1)', () => {
    expect(accessTokenType).toBe('at+jwt')
  })

  it('are token-introspection+jwt for that of a signed answer about one (RFC 9701 section 5)', () => {
    expect(introspectionType).toBe('token-introspection+jwt')
  })
})
