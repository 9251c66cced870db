import { createRemoteJWKSet, jwtVerify } from 'jose'
import * as oauth from 'oauth4webapi'
import * as openid from 'openid-client'
import { describe, expect, it } from 'vitest'
import { addClient, api, startWithClient } from '../support/server.ts'

describe('oauth4webapi', () => {
  it.each(['client_secret_basic', 'client_secret_post'] as const)(
    'discovers the issuer and gets a token by %s',
    async (method) => {
      const { server } = await startWithClient()
      const registered = await addClient(server.store, 'strict', { authMethods: [method] })
      const insecure = { [oauth.allowInsecureRequests]: true }
      const issuer = new URL(server.issuer)
      for (const algorithm of ['oauth2', 'oidc'] as const) {
        const as = await oauth.processDiscoveryResponse(
          issuer,
          await oauth.discoveryRequest(issuer, { algorithm, ...insecure }),
        )
        const client: oauth.Client = { client_id: 'strict' }
        const auth =
          method === 'client_secret_basic'
            ? oauth.ClientSecretBasic(registered.secret)
            : oauth.ClientSecretPost(registered.secret)
        const response = await oauth.clientCredentialsGrantRequest(
          as,
          client,
          auth,
          { scope: 'read', resource: api },
          insecure,
        )
        const token = await oauth.processClientCredentialsResponse(as, client, response)
        expect(token).toMatchObject({ token_type: 'bearer', expires_in: 300, scope: 'read' })
        const request = new Request(api, { headers: { authorization: `Bearer ${token.access_token}` } })
        const claims = await oauth.validateJwtAccessToken(as, request, api, { ...insecure })
        expect(claims).toMatchObject({ client_id: 'strict', sub: 'strict' })
      }
    },
  )

  it('understands a refusal as the standard error that it is', async () => {
    const { server, client: registered } = await startWithClient()
    const insecure = { [oauth.allowInsecureRequests]: true }
    const issuer = new URL(server.issuer)
    const as = await oauth.processDiscoveryResponse(
      issuer,
      await oauth.discoveryRequest(issuer, { algorithm: 'oauth2', ...insecure }),
    )
    const client: oauth.Client = { client_id: registered.clientId }
    const scope = await oauth.clientCredentialsGrantRequest(
      as,
      client,
      oauth.ClientSecretBasic(registered.secret),
      { scope: 'admin' },
      insecure,
    )
    await expect(oauth.processClientCredentialsResponse(as, client, scope)).rejects.toMatchObject({
      error: 'invalid_scope',
      status: 400,
    })
    const wrong = await oauth.clientCredentialsGrantRequest(as, client, oauth.ClientSecretBasic('wrong'), {}, insecure)
    await expect(oauth.processClientCredentialsResponse(as, client, wrong)).rejects.toMatchObject({
      name: 'WWWAuthenticateChallengeError',
    })
  })
})

describe('openid-client', () => {
  it('discovers the issuer and gets a token that jose verifies', async () => {
    const { server, client } = await startWithClient()
    const configuration = await openid.discovery(
      new URL(server.issuer),
      client.clientId,
      undefined,
      openid.ClientSecretBasic(client.secret),
      {
        execute: [openid.allowInsecureRequests],
        algorithm: 'oauth2',
      },
    )
    const token = await openid.clientCredentialsGrant(configuration, { scope: 'write' })
    expect(token.expiresIn()).toBeGreaterThan(290)
    const keys = createRemoteJWKSet(new URL(String(configuration.serverMetadata().jwks_uri)))
    const { payload } = await jwtVerify(token.access_token, keys, {
      issuer: server.issuer,
      audience: api,
      typ: 'at+jwt',
      algorithms: ['ES256'],
    })
    expect(payload.scope).toBe('write')
  })

  it('gets a refusal when its secret is wrong', async () => {
    const { server, client } = await startWithClient()
    const configuration = await openid.discovery(
      new URL(server.issuer),
      client.clientId,
      undefined,
      openid.ClientSecretPost('wrong'),
      {
        execute: [openid.allowInsecureRequests],
        algorithm: 'oauth2',
      },
    )
    await expect(openid.clientCredentialsGrant(configuration)).rejects.toMatchObject({ error: 'invalid_client' })
  })
})
