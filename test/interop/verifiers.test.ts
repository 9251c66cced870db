import { Hono } from 'hono'
import { jwk } from 'hono/jwk'
import { createRemoteJWKSet, jwtVerify } from 'jose'
import jsonwebtoken from 'jsonwebtoken'
import { JwksClient } from 'jwks-rsa'
import { describe, expect, it } from 'vitest'
import { type SigningAlg, signingAlgs } from '../../src/key/signer.ts'
import { headerOf } from '../support/server.ts'
import { audiences, type Forgery, forgeries, startMint } from './forgery.ts'

/** Gives the claims of a good token, and rejects for any other. Made anew for each test, as in a fresh service. */
type Verify = (token: string) => Promise<Record<string, unknown>>

interface Verifier {
  readonly name: string
  create(issuer: string, audience: string): Verify
  /** How the library refuses, and in which words where they are of use. */
  readonly refusal: RegExp
  readonly words: Partial<Record<Forgery, RegExp>>
}

const algorithms = ['ES256', 'RS256'] as const

const verifiers: readonly Verifier[] = [
  {
    name: 'jose with createRemoteJWKSet',
    create: (issuer, audience) => {
      const keys = createRemoteJWKSet(new URL(`${issuer}/.well-known/jwks.json`))
      const requiredClaims = ['sub', 'client_id', 'iat', 'exp', 'jti']
      return async (token) => {
        const options = { issuer, audience, typ: 'at+jwt', algorithms: [...algorithms], requiredClaims }
        return (await jwtVerify(token, keys, options)).payload
      }
    },
    refusal: /signature|JWS|JWT|"alg"/,
    words: {
      expired: /"exp" claim timestamp check failed/,
      'not valid yet': /"nbf" claim timestamp check failed/,
      'for another audience': /unexpected "aud" claim value/,
      'of another issuer': /unexpected "iss" claim value/,
      'with a tampered payload': /signature verification failed/,
      'signed HS256 with the published key as PEM': /"alg" \(Algorithm\) Header Parameter value not allowed/,
      'with alg none': /"alg" \(Algorithm\) Header Parameter value not allowed/,
      'signed by a stranger under a published kid': /signature verification failed/,
      'with a kid that is not published': /no applicable key found/,
      'with another typ': /unexpected "typ" JWT header value/,
      'without typ': /unexpected "typ" JWT header value/,
    },
  },
  {
    name: 'jsonwebtoken with jwks-rsa',
    create: (issuer, audience) => {
      const keys = new JwksClient({ jwksUri: `${issuer}/.well-known/jwks.json` })
      return async (token) => {
        const { kid } = jsonwebtoken.decode(token, { complete: true })?.header ?? {}
        const key = (await keys.getSigningKey(kid)).getPublicKey()
        const { header, payload } = jsonwebtoken.verify(token, key, {
          algorithms: [...algorithms],
          issuer,
          audience,
          complete: true,
        })
        // The library does not look at it.
        if (header.typ !== 'at+jwt') throw new Error('not an access token')
        return payload as Record<string, unknown>
      }
    },
    refusal: /signature|algorithm|signing key|not an access token/,
    words: {
      expired: /jwt expired/,
      'not valid yet': /jwt not active/,
      'for another audience': /jwt audience invalid/,
      'of another issuer': /jwt issuer invalid/,
      'with a tampered payload': /invalid signature/,
      'signed HS256 with the published key as PEM': /invalid algorithm/,
      'with alg none': /jwt signature is required/,
      'with alg none and a signature': /invalid algorithm/,
      'signed by a stranger under a published kid': /invalid signature/,
      'with a kid that is not published': /Unable to find a signing key/,
      'with another typ': /not an access token/,
    },
  },
  {
    name: "Hono's jwk middleware",
    create: (issuer, audience) => honoVerifier(issuer, { iss: issuer, aud: audience, typ: 'at+jwt' }),
    refusal: /^401 Bearer .*error="invalid_token"/,
    words: {},
  },
]

function honoVerifier(issuer: string, verification: { iss: string; aud: string; typ?: string }): Verify {
  const app = new Hono<{ Variables: { jwtPayload: Record<string, unknown> } }>()
  app.use(jwk({ jwks_uri: `${issuer}/.well-known/jwks.json`, alg: [...algorithms], verification }))
  app.get('/', (context) => context.json(context.get('jwtPayload')))
  return async (token) => {
    const reply = await app.request('/', { headers: { authorization: `Bearer ${token}` } })
    const challenge = reply.headers.get('www-authenticate')
    if (reply.status !== 200) throw new Error(`${reply.status} ${challenge}`)
    return (await reply.json()) as Record<string, unknown>
  }
}

const both = signingAlgs.map((alg) => ({ alg }))

describe.each(both)('$alg tokens', ({ alg }) => {
  it.each(verifiers)('are accepted by $name as issued, and when signed again unchanged', async ({ create }) => {
    const mint = await startMint()
    const verify = create(mint.server.issuer, audiences[alg].own)
    const token = await mint.genuine(alg)
    expect(headerOf(token).alg).toBe(alg)
    for (const good of [token, await mint.sign(alg, {})])
      expect(await verify(good)).toMatchObject({
        iss: mint.server.issuer,
        aud: audiences[alg].own,
        sub: 'minter',
        client_id: 'minter',
        scope: 'read',
      })
  })

  it.each(forgeries)('are refused by every verifier when one is %s', async (forgery) => {
    const mint = await startMint()
    const token = await mint.forge(alg, forgery)
    const good = await mint.genuine(alg)
    for (const { name, create, refusal, words } of verifiers) {
      const verify = create(mint.server.issuer, audiences[alg].own)
      await expect(verify(token), name).rejects.toThrow(words[forgery] ?? refusal)
      // The next good one is still accepted: a refusal leaves nothing behind.
      expect(await verify(good), name).toHaveProperty('sub', 'minter')
    }
  })
})

describe("Hono's jwk middleware as it comes", () => {
  it('refuses every access token until it is told their type', async () => {
    const mint = await startMint()
    const verification = { iss: mint.server.issuer, aud: audiences.ES256.own }
    const token = await mint.genuine('ES256')
    await expect(honoVerifier(mint.server.issuer, verification)(token)).rejects.toThrow(/^401/)
    const told = honoVerifier(mint.server.issuer, { ...verification, typ: 'at+jwt' })
    expect(await told(token)).toHaveProperty('sub', 'minter')
  })
})

describe('the key set', () => {
  const fetches = async (url: string): Promise<number> => {
    const metrics = await (await fetch(`${url}/metrics`)).text()
    return Number(/_count\{route="jwks",status="200"\} (\d+)/.exec(metrics)?.[1] ?? 0)
  }

  it.each([
    { index: 0, each: false },
    { index: 1, each: false },
    { index: 2, each: true },
  ])('is fetched for each token: $each, by verifier $index', async ({ index, each }) => {
    const mint = await startMint()
    const alg: SigningAlg = 'ES256'
    const verify = verifiers[index]?.create(mint.server.issuer, audiences[alg].own)
    for (let i = 0; i < 4; i += 1) await verify?.(await mint.genuine(alg))
    expect(await fetches(mint.server.url)).toBe(each ? 4 : 1)
  })
})
