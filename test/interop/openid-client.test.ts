import { createRemoteJWKSet, jwtVerify } from 'jose'
import * as openid from 'openid-client'
import { describe, expect, it } from 'vitest'
import { addClient, addResource, api, startWithClient, type TestServer } from '../support/server.ts'

const other = 'https://other.example.test'
const algorithms = ['oauth2', 'oidc'] as const
const methods = { client_secret_basic: openid.ClientSecretBasic, client_secret_post: openid.ClientSecretPost } as const
const names = ['client_secret_basic', 'client_secret_post'] as const

function discover(
  { issuer }: TestServer,
  clientId: string,
  auth: openid.ClientAuth,
  algorithm: 'oauth2' | 'oidc',
): Promise<openid.Configuration> {
  const options = { execute: [openid.allowInsecureRequests], algorithm }
  return openid.discovery(new URL(issuer), clientId, undefined, auth, options)
}

async function start(method: (typeof names)[number], algorithm: 'oauth2' | 'oidc' = 'oauth2') {
  const { server } = await startWithClient()
  await addResource(server.store, other, ['read', 'admin'])
  const { secret } = await addClient(server.store, 'strict', { authMethods: [method], audiences: [api, other] })
  const configuration = await discover(server, 'strict', methods[method](secret), algorithm)
  const wrong = await discover(server, 'strict', methods[method](`${secret}x`), algorithm)
  return { server, configuration, wrong }
}

const cases = names.flatMap((method) => algorithms.map((algorithm) => ({ method, algorithm })))

describe.each(cases)('openid-client, by $method after discovery by $algorithm', ({ method, algorithm }) => {
  it('gets a token that jose verifies with the published keys', async () => {
    const { server, configuration } = await start(method, algorithm)
    const token = await openid.clientCredentialsGrant(configuration, { scope: 'write', resource: api })
    expect(token.expiresIn()).toBeGreaterThan(290)
    expect(token.scope).toBe('write')
    expect(token.refresh_token).toBeUndefined()
    const keys = createRemoteJWKSet(new URL(String(configuration.serverMetadata().jwks_uri)))
    const { payload } = await jwtVerify(token.access_token, keys, {
      issuer: server.issuer,
      audience: api,
      typ: 'at+jwt',
      algorithms: ['ES256'],
    })
    expect(payload).toMatchObject({ scope: 'write', client_id: 'strict', sub: 'strict' })
  })
})

describe.each(names)('openid-client, by %s', (method) => {
  it.each([
    { parameters: { scope: 'admin', resource: api }, error: 'invalid_scope' },
    { parameters: { scope: 'read admin', resource: other }, error: 'invalid_scope' },
    { parameters: { resource: 'https://unknown.example.test' }, error: 'invalid_target' },
    { parameters: { resource: 'not a uri' }, error: 'invalid_target' },
    { parameters: {}, error: 'invalid_target' },
  ])('is told $error for $parameters as a typed error', async ({ parameters, error }) => {
    const { configuration } = await start(method)
    const refused = await openid
      .clientCredentialsGrant(configuration, { ...parameters })
      .catch((thrown: unknown) => thrown)
    expect(refused).toBeInstanceOf(openid.ResponseBodyError)
    expect(refused).toMatchObject({ error, status: 400, error_description: expect.any(String) })
  })

  it('is told of two resources at once, for a token has one audience', async () => {
    const { configuration } = await start(method)
    const parameters = new URLSearchParams([
      ['resource', api],
      ['resource', other],
    ])
    await expect(openid.clientCredentialsGrant(configuration, parameters)).rejects.toMatchObject({
      error: 'invalid_target',
    })
  })

  it('is told that its secret is wrong', async () => {
    const { wrong } = await start(method)
    const refused = await openid.clientCredentialsGrant(wrong, { resource: api }).catch((thrown: unknown) => thrown)
    // RFC 6749 section 5.2: a challenge answers a header, a code answers a body.
    if (method === 'client_secret_basic') {
      expect(refused).toBeInstanceOf(openid.WWWAuthenticateChallengeError)
      expect(refused).toMatchObject({ status: 401 })
    } else {
      expect(refused).toBeInstanceOf(openid.ResponseBodyError)
      expect(refused).toMatchObject({ status: 400, error: 'invalid_client' })
    }
  })
})

describe('openid-client as somebody else', () => {
  it('is refused by a method that the client is not registered for', async () => {
    const { server } = await startWithClient()
    const { secret } = await addClient(server.store, 'strict', { authMethods: ['client_secret_basic'] })
    const configuration = await discover(server, 'strict', openid.ClientSecretPost(secret), 'oauth2')
    await expect(openid.clientCredentialsGrant(configuration)).rejects.toMatchObject({ error: 'invalid_client' })
  })

  it('is refused as a client that does not exist, in the same words as with a wrong secret', async () => {
    const { server } = await startWithClient()
    const replies = await Promise.all(
      ['nobody', 'billing'].map(async (id) => {
        const configuration = await discover(server, id, openid.ClientSecretPost('wrong'), 'oauth2')
        const refused = await openid.clientCredentialsGrant(configuration).catch((thrown: unknown) => thrown)
        if (!(refused instanceof openid.ResponseBodyError)) throw refused
        return [refused.status, refused.error, refused.error_description]
      }),
    )
    expect(replies[0]).toEqual(replies[1])
    expect(replies[0]?.[1]).toBe('invalid_client')
  })

  it('does not take the issuer for another one', async () => {
    const { server } = await startWithClient()
    const elsewhere = { issuer: server.issuer.replace('127.0.0.1', 'localhost') } as TestServer
    await expect(discover(elsewhere, 'billing', openid.ClientSecretPost('x'), 'oauth2')).rejects.toThrow(
      /discovered metadata issuer/,
    )
  })
})
