/** DPoP by programs that others wrote: clients that make proofs, and one that verifies bound tokens. */
import { generateKeyPairSync } from 'node:crypto'
import * as dpop from 'dpop'
import { SignJWT } from 'jose'
import * as oauth from 'oauth4webapi'
import * as openid from 'openid-client'
import { describe, expect, it } from 'vitest'
import { addClient, api, claimsOf, request, requestToken, startWithClient, type TestServer } from '../support/server.ts'

const insecure = { [oauth.allowInsecureRequests]: true }
const modes = ['optional', 'required'] as const

async function start(mode: (typeof modes)[number]) {
  const env = { MAYFLY_DPOP_NONCE: mode, MAYFLY_TRUSTED_PROXIES: '127.0.0.1' }
  const { server, client } = await startWithClient({ env })
  const settings = { grantTypes: ['client_credentials', 'refresh_token'], dpopBound: true } as const
  return { server, client, bound: await addClient(server.store, 'bound', settings) }
}

/** What a service asks that has a proxy in front. */
function verify(server: TestServer, token: string, proof: string, method: string, url: string) {
  const { protocol, host, pathname } = new URL(url)
  return request(`${server.url}/verify?audience=${encodeURIComponent(api)}`, {
    headers: {
      authorization: `DPoP ${token}`,
      dpop: proof,
      'x-forwarded-method': method,
      'x-forwarded-proto': protocol.slice(0, -1),
      'x-forwarded-host': host,
      'x-forwarded-uri': pathname,
    },
  })
}

describe.each(modes)('with nonces %s', (mode) => {
  it.each(['ES256', 'PS256', 'Ed25519', 'RS256'] as const)(
    'DP-01 DP-15 DP-22 oauth4webapi gets a token with a key for %s, and validates it as a service',
    async (alg) => {
      const { server, bound } = await start(mode)
      const url = new URL(server.issuer)
      const discovered = await oauth.discoveryRequest(url, { algorithm: 'oauth2', ...insecure })
      const as = await oauth.processDiscoveryResponse(url, discovered)
      expect(as.dpop_signing_alg_values_supported).toContain(alg)
      const client: oauth.Client = { client_id: bound.clientId }
      const handle = oauth.DPoP(client, await oauth.generateKeyPair(alg))
      const auth = oauth.ClientSecretBasic(bound.secret)
      const ask = async () => {
        const reply = await oauth.clientCredentialsGrantRequest(as, client, auth, {}, { DPoP: handle, ...insecure })
        return oauth.processClientCredentialsResponse(as, client, reply)
      }
      let tries = 0
      const token = await ask().catch((error: unknown) => {
        if (!oauth.isDPoPNonceError(error)) throw error
        tries += 1
        return ask()
      })
      expect(tries).toBe(mode === 'required' ? 1 : 0)
      expect(token.token_type).toBe('dpop')
      expect(claimsOf(token.access_token).cnf).toEqual({ jkt: await handle.calculateThumbprint() })

      // The library sends the request of a service; what it would have sent is then judged by the library itself.
      let sent: Request | undefined
      const service = new URL('/invoices', api)
      await oauth.protectedResourceRequest(token.access_token, 'GET', service, undefined, null, {
        DPoP: handle,
        [oauth.customFetch]: async (input, init) => {
          sent = new Request(input, init as RequestInit)
          return new Response('[]')
        },
      })
      if (sent === undefined) throw new Error('nothing was sent')
      const claims = await oauth.validateJwtAccessToken(as, sent, api, { requireDPoP: true, ...insecure })
      expect(claims).toMatchObject({ client_id: 'bound', aud: api })
      const proof = sent.headers.get('dpop') ?? ''
      expect((await verify(server, token.access_token, proof, 'GET', service.href)).status).toBe(200)
    },
  )

  it('DP-15 DP-20 openid-client tries again with the nonce by itself, and refreshes', async () => {
    const { server, bound } = await start(mode)
    const options = { execute: [openid.allowInsecureRequests] }
    const auth = openid.ClientSecretBasic(bound.secret)
    const configuration = await openid.discovery(new URL(server.issuer), bound.clientId, undefined, auth, options)
    const DPoP = openid.getDPoPHandle(configuration, await openid.randomDPoPKeyPair('ES256'))
    const token = await openid.clientCredentialsGrant(configuration, {}, { DPoP })
    expect(token.token_type).toBe('dpop')
    const refreshed = await openid.refreshTokenGrant(configuration, String(token.refresh_token), {}, { DPoP })
    expect(refreshed.token_type).toBe('dpop')
    expect(claimsOf(refreshed.access_token).cnf).toEqual(claimsOf(token.access_token).cnf)
    const other = openid.getDPoPHandle(configuration, await openid.randomDPoPKeyPair('Ed25519'))
    const rebound = await openid.refreshTokenGrant(configuration, String(refreshed.refresh_token), {}, { DPoP: other })
    expect(claimsOf(rebound.access_token).cnf).not.toEqual(claimsOf(token.access_token).cnf)
  })

  it('DP-18 openid-client without a key is told so as a typed error', async () => {
    const { server, bound } = await start(mode)
    const options = { execute: [openid.allowInsecureRequests] }
    const auth = openid.ClientSecretBasic(bound.secret)
    const configuration = await openid.discovery(new URL(server.issuer), bound.clientId, undefined, auth, options)
    const refused = await openid.clientCredentialsGrant(configuration).catch((thrown: unknown) => thrown)
    expect(refused).toBeInstanceOf(openid.ResponseBodyError)
    expect(refused).toMatchObject({ error: 'invalid_dpop_proof', status: 400 })
  })

  it.each(['ES256', 'RS256', 'PS256', 'Ed25519'] as const)(
    'DP-01 DP-16 the dpop package makes proofs with %s that are taken, once',
    async (alg) => {
      const { server, bound } = await start(mode)
      const pair = await dpop.generateKeyPair(alg)
      const url = `${server.issuer}/token`
      const ask = (proof: string) =>
        requestToken(server, { grant_type: 'client_credentials' }, { authorization: bound.basic, dpop: proof })
      let proof = await dpop.generateProof(pair, url, 'POST')
      if (mode === 'required') {
        const refused = await ask(proof)
        expect(refused.json.error).toBe('use_dpop_nonce')
        proof = await dpop.generateProof(pair, url, 'POST', refused.headers.get('dpop-nonce') ?? '')
      }
      const reply = await ask(proof)
      expect([reply.status, reply.json.token_type]).toEqual([200, 'DPoP'])
      const token = String(reply.json.access_token)
      expect(claimsOf(token).cnf).toEqual({ jkt: await dpop.calculateThumbprint(pair.publicKey) })
      expect((await ask(proof)).json.error).toBe('invalid_dpop_proof')

      const service = new URL('/invoices', api).href
      const use = await dpop.generateProof(pair, service, 'GET', undefined, token)
      expect((await verify(server, token, use, 'GET', service)).status).toBe(200)
      const withoutHash = await dpop.generateProof(pair, service, 'GET')
      expect((await verify(server, token, withoutHash, 'GET', service)).status).toBe(401)
    },
  )
})

describe('a proof by jose', () => {
  it.each([
    ['EdDSA', 'ed25519'],
    ['Ed25519', 'ed25519'],
  ] as const)('DP-05 is taken with the alg %s', async (alg, type) => {
    const { server, bound } = await start('optional')
    const { privateKey, publicKey } = generateKeyPairSync(type)
    const proof = await new SignJWT({ htm: 'POST', htu: `${server.issuer}/token`, jti: `one-${alg}` })
      .setProtectedHeader({ typ: 'dpop+jwt', alg, jwk: publicKey.export({ format: 'jwk' }) as { kty: string } })
      .setIssuedAt()
      .sign(privateKey)
    const headers = { authorization: bound.basic, dpop: proof }
    expect((await requestToken(server, { grant_type: 'client_credentials' }, headers)).status).toBe(200)
  })
})
