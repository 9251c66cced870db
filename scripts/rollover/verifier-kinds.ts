/** How each kind of verifier is made. Only to be imported once the clock of the process is in place. */
import { Hono } from 'hono'
import { jwk } from 'hono/jwk'
import { createRemoteJWKSet, errors, type JWTVerifyOptions, jwtVerify } from 'jose'
import jsonwebtoken from 'jsonwebtoken'
import jwksRsa from 'jwks-rsa'
import { JwksCache } from './jwks-cache.ts'
import { audiences, rules, type VerifierKind } from './plan.ts'

/** Resolves when a token is good; rejects with why it is not. */
export type Verify = (token: string) => Promise<unknown>

const algorithms: ('ES256' | 'RS256')[] = ['ES256', 'RS256']
const audience = Object.values(audiences)

export const makeVerifier: Readonly<Record<VerifierKind, (issuer: string) => Verify>> = {
  'jose createRemoteJWKSet': verifyWithJose,
  'jwks-rsa + jsonwebtoken': verifyWithJwksRsa,
  'hono jwk': verifyWithHono,
  'max-age, looks again for an unknown kid': verifyWithRefetch,
  'max-age, never looks again': verifyWithMaxAge,
  'three times max-age, never looks again': verifyWithStale,
}

function jwksUrl(issuer: string): string {
  return `${issuer}/.well-known/jwks.json`
}

function joseOptions(issuer: string): JWTVerifyOptions {
  return { issuer, audience, algorithms, typ: 'at+jwt', clockTolerance: rules.skewSeconds }
}

function verifyWithJose(issuer: string): Verify {
  // As it comes, but for its timeout of 5 s: timers are not compressed, and it is the machine that is slow.
  const keys = createRemoteJWKSet(new URL(jwksUrl(issuer)), { timeoutDuration: 30_000 })
  return (token) => jwtVerify(token, keys, joseOptions(issuer))
}

function verifyWithJwksRsa(issuer: string): Verify {
  const client = jwksRsa({ jwksUri: jwksUrl(issuer) })
  return async (token) => {
    const { header } = jsonwebtoken.decode(token, { complete: true }) ?? {}
    const key = await client.getSigningKey(header?.kid)
    return jsonwebtoken.verify(token, key.getPublicKey(), {
      issuer,
      audience: audience as [string, string],
      algorithms,
      clockTolerance: rules.skewSeconds,
    })
  }
}

function verifyWithHono(issuer: string): Verify {
  const app = new Hono()
  app.use(
    jwk({ jwks_uri: jwksUrl(issuer), alg: algorithms, verification: { iss: issuer, aud: audience, typ: 'at+jwt' } }),
  )
  app.get('/', (context) => context.text('served'))
  // The middleware's refusal names its cause to the error handler alone.
  let refused: unknown
  app.onError((error, context) => {
    refused = error.cause ?? error
    return context.text('refused', 401)
  })
  return async (token) => {
    const response = await app.request('/', { headers: { authorization: `Bearer ${token}` } })
    if (response.status !== 200) throw refused instanceof Error ? refused : new Error(String(refused))
  }
}

function verifyWithRefetch(issuer: string): Verify {
  const cache = new JwksCache(jwksUrl(issuer))
  return async (token) => {
    try {
      return await jwtVerify(token, await cache.keys(), joseOptions(issuer))
    } catch (error) {
      if (!(error instanceof errors.JWKSNoMatchingKey)) throw error
      return jwtVerify(token, await cache.reload(), joseOptions(issuer))
    }
  }
}

function verifyWithMaxAge(issuer: string): Verify {
  const cache = new JwksCache(jwksUrl(issuer))
  return async (token) => jwtVerify(token, await cache.keys(), joseOptions(issuer))
}

function verifyWithStale(issuer: string): Verify {
  const cache = new JwksCache(jwksUrl(issuer), (maxAge) => 3 * maxAge)
  return async (token) => jwtVerify(token, await cache.keys(), joseOptions(issuer))
}
