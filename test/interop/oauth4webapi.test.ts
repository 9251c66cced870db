import * as oauth from 'oauth4webapi'
import { describe, expect, it } from 'vitest'
import { makeSecretId } from '../../src/client/client-secret.ts'
import { hashImportedSecret } from '../../src/client/imported-secret.ts'
import { addClient, addResource, api, startWithClient, type TestServer } from '../support/server.ts'

const insecure = { [oauth.allowInsecureRequests]: true }
const other = 'https://other.example.test'
const algorithms = ['oauth2', 'oidc'] as const
const methods = { client_secret_basic: oauth.ClientSecretBasic, client_secret_post: oauth.ClientSecretPost } as const
const names = ['client_secret_basic', 'client_secret_post'] as const

async function discover({ issuer }: TestServer, algorithm: 'oauth2' | 'oidc'): Promise<oauth.AuthorizationServer> {
  const url = new URL(issuer)
  const reply = await oauth.discoveryRequest(url, { algorithm, ...insecure })
  return oauth.processDiscoveryResponse(url, reply)
}

/** A client of two resources, registered for one method. */
async function start(method: (typeof names)[number], algorithm: 'oauth2' | 'oidc' = 'oauth2') {
  const { server } = await startWithClient()
  await addResource(server.store, other, ['read', 'admin'])
  const { secret } = await addClient(server.store, 'strict', { authMethods: [method], audiences: [api, other] })
  const as = await discover(server, algorithm)
  const client: oauth.Client = { client_id: 'strict' }
  const ask = async (parameters: Record<string, string>, given = secret) => {
    const auth = methods[method](given)
    const reply = await oauth.clientCredentialsGrantRequest(as, client, auth, parameters, insecure)
    return oauth.processClientCredentialsResponse(as, client, reply)
  }
  const validate = (token: string, audience: string) => {
    const request = new Request(audience, { headers: { authorization: `Bearer ${token}` } })
    return oauth.validateJwtAccessToken(as, request, audience, insecure)
  }
  return { server, as, ask, validate }
}

const cases = names.flatMap((method) => algorithms.map((algorithm) => ({ method, algorithm })))

describe.each(cases)('oauth4webapi, by $method after discovery by $algorithm', ({ method, algorithm }) => {
  it('gets a token with the scope and the audience that it asks for, and validates it', async () => {
    const { ask, validate } = await start(method, algorithm)
    const token = await ask({ scope: 'read', resource: api })
    expect(token).toMatchObject({ token_type: 'bearer', expires_in: 300, scope: 'read' })
    expect(await validate(token.access_token, api)).toMatchObject({
      client_id: 'strict',
      sub: 'strict',
      aud: api,
      scope: 'read',
    })
  })

  it('gets every scope that it may have for the other audience when it names none', async () => {
    const { ask, validate } = await start(method, algorithm)
    const token = await ask({ resource: other })
    expect(token.scope).toBe('read')
    expect(await validate(token.access_token, other)).toHaveProperty('aud', other)
    await expect(validate(token.access_token, api)).rejects.toThrow(/"aud"/)
  })
})

describe.each(names)('oauth4webapi, by %s', (method) => {
  it.each([
    { parameters: { scope: 'admin', resource: api }, error: 'invalid_scope' },
    { parameters: { scope: 'read admin', resource: other }, error: 'invalid_scope' },
    { parameters: { scope: 'read  write', resource: api }, error: 'invalid_scope' },
    { parameters: { resource: 'https://unknown.example.test' }, error: 'invalid_target' },
    { parameters: { resource: `${api}#fragment` }, error: 'invalid_target' },
    { parameters: { scope: 'read' }, error: 'invalid_target' },
  ])('is told $error for $parameters as a typed error', async ({ parameters, error }) => {
    const { ask } = await start(method)
    const refused = await ask({ ...parameters }).catch((thrown: unknown) => thrown)
    expect(refused).toBeInstanceOf(oauth.ResponseBodyError)
    expect(refused).toMatchObject({ code: oauth.RESPONSE_BODY_ERROR, error, status: 400 })
  })
})

describe('oauth4webapi with a wrong secret', () => {
  it('reads the challenge when it sent a header', async () => {
    const { ask } = await start('client_secret_basic')
    const refused = await ask({ resource: api }, 'wrong').catch((thrown: unknown) => thrown)
    expect(refused).toBeInstanceOf(oauth.WWWAuthenticateChallengeError)
    expect(refused).toMatchObject({ status: 401, cause: [{ scheme: 'basic', parameters: { realm: 'mayfly' } }] })
  })

  it('reads the code when it sent none', async () => {
    const { ask } = await start('client_secret_post')
    const refused = await ask({ resource: api }, 'wrong').catch((thrown: unknown) => thrown)
    expect(refused).toBeInstanceOf(oauth.ResponseBodyError)
    expect(refused).toMatchObject({ status: 400, error: 'invalid_client' })
  })
})

describe('oauth4webapi and what it will not take', () => {
  it('finds the same issuer, endpoints and keys in both documents', async () => {
    const { server } = await startWithClient()
    const [a, b] = await Promise.all(algorithms.map((algorithm) => discover(server, algorithm)))
    for (const member of ['issuer', 'token_endpoint', 'jwks_uri', 'grant_types_supported'])
      expect(a?.[member]).toEqual(b?.[member])
  })

  it('rejects the documents under another issuer than the one that they name', async () => {
    const { server } = await startWithClient()
    const url = new URL(server.issuer)
    const reply = await oauth.discoveryRequest(url, { algorithm: 'oauth2', ...insecure })
    url.pathname = '/tenant'
    await expect(oauth.processDiscoveryResponse(url, reply)).rejects.toThrow(/"issuer"/)
  })

  it('encodes a secret with every kind of character as this server decodes it', async () => {
    const { server } = await startWithClient()
    const secret = 'z/tZ9VwFZqApmIQ+ZH1I5pLk%2B: ~é€uB4ud:X2/8bL+wfFTt1rFw='
    const argon2id = await hashImportedSecret(secret, { memoryKib: 7_168, passes: 5, lanes: 1 })
    const settings = { name: 'odd', grantTypes: ['client_credentials'], scopes: ['read'], audiences: [api] } as const
    await server.store.createClient(
      'odd',
      { ...settings, authMethods: ['client_secret_basic', 'client_secret_post'] },
      { kind: 'imported', secretId: makeSecretId(), argon2id },
      'cli:test',
    )
    const as = await discover(server, 'oauth2')
    for (const method of names) {
      const auth = methods[method](secret)
      const client = { client_id: 'odd' }
      const reply = await oauth.clientCredentialsGrantRequest(as, client, auth, {}, insecure)
      expect(await oauth.processClientCredentialsResponse(as, client, reply)).toHaveProperty('scope', 'read')
    }
  })
})
