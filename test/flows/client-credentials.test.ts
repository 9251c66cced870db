import { createLocalJWKSet, type JSONWebKeySet, jwtVerify } from 'jose'
import { describe, expect, it } from 'vitest'
import {
  addClient,
  addResource,
  api,
  claimsOf,
  getToken,
  headerOf,
  ManualClock,
  request,
  requestToken,
  startTestServer,
  startWithClient,
} from '../support/server.ts'

const grant = { grant_type: 'client_credentials' }
const other = 'https://other.example.test/v1'

describe('client_credentials', () => {
  it('CC-01 answers with token, type and lifetime', async () => {
    const { server, client } = await startWithClient()
    const { status, json } = await requestToken(server, grant, { authorization: client.basic })
    expect(status).toBe(200)
    expect(json).toEqual({
      access_token: expect.any(String),
      token_type: 'Bearer',
      expires_in: 300,
      scope: 'read write',
    })
  })

  it('CC-02 says which scope was granted, also when none was asked for', async () => {
    const { server, client } = await startWithClient()
    const headers = { authorization: client.basic }
    expect((await requestToken(server, { ...grant, scope: 'write' }, headers)).json.scope).toBe('write')
    expect((await requestToken(server, grant, headers)).json.scope).toBe('read write')
  })

  it('CC-03 gives no refresh token to a client that is not registered for it', async () => {
    const { server, client } = await startWithClient()
    expect((await requestToken(server, grant, { authorization: client.basic })).json).not.toHaveProperty(
      'refresh_token',
    )
  })

  it.each([
    'admin',
    'read admin',
    'read  write',
    ' read',
    'read ',
    '"',
    'a\\b',
    'read\twrite',
    '\u00e9',
    'READ',
    'read\u00a0write',
  ])('CC-04 refuses the scope %j as invalid_scope', async (scope) => {
    const { server, client } = await startWithClient()
    const reply = await requestToken(server, { ...grant, scope }, { authorization: client.basic })
    expect([reply.status, reply.json.error]).toEqual([400, 'invalid_scope'])
  })

  it('CC-04 takes scopes as a set', async () => {
    const { server, client } = await startWithClient()
    const reply = await requestToken(server, { ...grant, scope: 'write read write' }, { authorization: client.basic })
    expect(String(reply.json.scope).split(' ').sort()).toEqual(['read', 'write'])
  })

  it('CC-04 refuses a scope that the client has but the audience does not define, and the reverse', async () => {
    const { server } = await startWithClient()
    await addResource(server.store, other, ['admin'])
    const client = await addClient(server.store, 'two', { audiences: [api, other], scopes: ['read', 'admin'] })
    const ask = (resource: string, scope: string) =>
      requestToken(server, { ...grant, resource, scope }, { authorization: client.basic })
    expect((await ask(api, 'read')).status).toBe(200)
    expect((await ask(other, 'admin')).status).toBe(200)
    expect((await ask(api, 'admin')).json.error).toBe('invalid_scope')
    expect((await ask(other, 'read')).json.error).toBe('invalid_scope')
    expect((await ask(api, 'write')).json.error).toBe('invalid_scope')
  })

  it('gives a token without scope when there is none to give', async () => {
    const { server } = await startWithClient()
    const client = await addClient(server.store, 'scopeless', { scopes: [] })
    const reply = await requestToken(server, grant, { authorization: client.basic })
    expect(reply.json).not.toHaveProperty('scope')
    expect(claimsOf(String(reply.json.access_token))).not.toHaveProperty('scope')
  })

  it('takes a scope away with the next token when the resource stops defining it', async () => {
    const { server, client } = await startWithClient()
    await server.store.updateResource(api, { scopes: ['read'] }, 'cli:test')
    expect(claimsOf(await getToken(server, client)).scope).toBe('read')
    const reply = await requestToken(server, { ...grant, scope: 'write' }, { authorization: client.basic })
    expect(reply.json.error).toBe('invalid_scope')
  })

  it('CC-05 refuses a client without any way to prove itself', async () => {
    const { server } = await startWithClient()
    const client = await addClient(server.store, 'public', { authMethods: [] })
    const reply = await requestToken(server, grant, { authorization: client.basic })
    expect([reply.status, reply.json.error]).toEqual([401, 'invalid_client'])
    const nothing = await requestToken(server, { ...grant, client_id: 'public' })
    expect([nothing.status, nothing.json.error]).toEqual([400, 'invalid_client'])
  })

  it('CC-06 lets no parameter shape the token', async () => {
    const { server, client } = await startWithClient()
    const claims = claimsOf(
      await getToken(server, client, {
        sub: 'admin',
        claims: '{"admin":true}',
        expires_in: '999999',
        cnf: '{}',
        aud: 'https://evil.test',
        audience: 'https://evil.test',
        iss: 'https://evil.test',
        exp: '9999999999',
      }),
    )
    expect(claims).toMatchObject({ sub: 'billing', client_id: 'billing', aud: api, iss: server.issuer })
    expect(Object.keys(claims).sort()).toEqual(['aud', 'client_id', 'exp', 'iat', 'iss', 'jti', 'nbf', 'scope', 'sub'])
    expect(Number(claims.exp) - Number(claims.iat)).toBe(300)
  })
})

describe('an access token', () => {
  it('AT-01 AT-02 AT-03 AT-06 is what RFC 9068 asks for, and verifies against the JWKS', async () => {
    const clock = new ManualClock()
    const { server, client } = await startWithClient({ clock })
    clock.step(0.9)
    const token = await getToken(server, client)
    const jwks = (await request(`${server.url}/.well-known/jwks.json`)).json as unknown as JSONWebKeySet
    const { payload, protectedHeader } = await jwtVerify(token, createLocalJWKSet(jwks), {
      issuer: server.issuer,
      audience: api,
      typ: 'at+jwt',
      algorithms: ['ES256'],
      requiredClaims: ['iss', 'sub', 'aud', 'exp', 'iat', 'nbf', 'jti', 'client_id', 'scope'],
      maxTokenAge: '5m',
      currentDate: new Date(clock.nowMilliseconds()),
    })
    expect(Object.keys(protectedHeader).sort()).toEqual(['alg', 'kid', 'typ'])
    expect(jwks.keys.map((key) => key.kid)).toContain(protectedHeader.kid)
    const now = Math.floor(clock.nowMilliseconds() / 1000)
    expect(payload).toMatchObject({ sub: 'billing', client_id: 'billing', iat: now, nbf: now, exp: now + 300 })
    expect(payload.jti).toMatch(/^[0-9A-HJKMNP-TV-Z]{26}$/)
  })

  it('AT-02 differs in its jti from the next one', async () => {
    const { server, client } = await startWithClient()
    const jtis = new Set<unknown>()
    for (let i = 0; i < 20; i += 1) jtis.add(claimsOf(await getToken(server, client)).jti)
    expect(jtis.size).toBe(20)
  })

  it('AT-04 RI-01 G30 is for the resource that was asked for, or the only one', async () => {
    const { server, client } = await startWithClient()
    await addResource(server.store, other)
    const two = await addClient(server.store, 'two', { audiences: [api, other] })
    expect(claimsOf(await getToken(server, client)).aud).toBe(api)
    expect(claimsOf(await getToken(server, client, { resource: api })).aud).toBe(api)
    expect(claimsOf(await getToken(server, two, { resource: other })).aud).toBe(other)
  })

  it('AT-05 G30 is not issued to a client of several audiences that names none', async () => {
    const { server } = await startWithClient()
    await addResource(server.store, other)
    const two = await addClient(server.store, 'two', { audiences: [api, other] })
    const reply = await requestToken(server, grant, { authorization: two.basic })
    expect([reply.status, reply.json.error]).toEqual([400, 'invalid_target'])
  })

  it('AT-07 is signed with RS256 when its resource or the server says so', async () => {
    const { server } = await startWithClient()
    await server.store.createResource(other, { scopes: [], alg: 'RS256' }, 'cli:test')
    const client = await addClient(server.store, 'rsa', { audiences: [other], scopes: [] })
    const token = await getToken(server, client)
    expect(headerOf(token).alg).toBe('RS256')
    const jwks = (await request(`${server.url}/.well-known/jwks.json`)).json as unknown as JSONWebKeySet
    await jwtVerify(token, createLocalJWKSet(jwks), { algorithms: ['RS256'], typ: 'at+jwt', audience: other })
    const modulus = jwks.keys.find((key) => key.kid === headerOf(token).kid)?.n ?? ''
    expect(Buffer.from(modulus, 'base64url').length * 8).toBe(2048)

    const whole = await startWithClient({ env: { MAYFLY_SIGNING_ALG: 'RS256' } })
    expect(headerOf(await getToken(whole.server, whole.client)).alg).toBe('RS256')
  })

  it('AT-08 G01 is no credential of a client, wherever it is put', async () => {
    const { server, client } = await startWithClient()
    const post = await addClient(server.store, 'post', { authMethods: ['client_secret_post'] })
    const token = await getToken(server, client)
    const type = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer'
    for (const [form, headers, status] of [
      [{ client_assertion: token, client_assertion_type: type }, {}, 400],
      [{ client_id: post.clientId, client_secret: token }, {}, 400],
      [{}, { authorization: `Bearer ${token}` }, 401],
      [{}, { authorization: `Basic ${Buffer.from(`billing:${token}`).toString('base64')}` }, 401],
    ] as const) {
      const reply = await requestToken(server, { ...grant, ...form }, headers)
      expect([reply.status, reply.json.error]).toEqual([status, 'invalid_client'])
    }
  })

  it('lives as long as the least of resource and client say, at most as the server allows', async () => {
    const server = await startTestServer({ env: { MAYFLY_ACCESS_TOKEN_TTL: '4m', MAYFLY_ACCESS_TOKEN_MAX_TTL: '10m' } })
    const lifetime = async (resourceTtl: number | undefined, clientTtl: number | undefined): Promise<number> => {
      const name = `r${resourceTtl}-c${clientTtl}`
      const uri = `https://${name}.test`
      await server.store.createResource(
        uri,
        { scopes: [], ...(resourceTtl === undefined ? {} : { accessTokenTtlSeconds: resourceTtl }) },
        'cli:test',
      )
      const client = await addClient(server.store, name, {
        audiences: [uri],
        scopes: [],
        ...(clientTtl === undefined ? {} : { accessTokenTtlSeconds: clientTtl }),
      })
      const claims = claimsOf(await getToken(server, client))
      return Number(claims.exp) - Number(claims.iat)
    }
    expect(await lifetime(undefined, undefined)).toBe(240)
    expect(await lifetime(60, undefined)).toBe(60)
    expect(await lifetime(60, 30)).toBe(30)
    expect(await lifetime(20, 30)).toBe(20)
    expect(await lifetime(undefined, 500)).toBe(500)
    expect(await lifetime(3600, 3600)).toBe(600)
  })
})

describe('resource', () => {
  it.each([
    '/relative',
    'api',
    'https://api.example.test#x',
    'https://api.example.test/',
    'https://API.example.test',
    'http://api.example.test',
    'https://unknown.example.test',
    'https://api.example.test:443',
    'https://api.example.test?x=1',
    'https://',
    '%',
    'https://api.example.test\u0000',
  ])('RI-02 refuses %j as invalid_target', async (resource) => {
    const { server, client } = await startWithClient()
    const reply = await requestToken(server, { ...grant, resource }, { authorization: client.basic })
    expect(reply.status).toBe(400)
    expect(['invalid_target', 'invalid_request']).toContain(reply.json.error)
    if (!resource.includes('\0')) expect(reply.json.error).toBe('invalid_target')
  })

  it('RI-02 refuses a resource of other clients', async () => {
    const { server, client } = await startWithClient()
    await addResource(server.store, other)
    await addClient(server.store, 'theirs', { audiences: [other] })
    const reply = await requestToken(server, { ...grant, resource: other }, { authorization: client.basic })
    expect(reply.json.error).toBe('invalid_target')
  })

  it('RI-03 refuses two resources, also the same one twice', async () => {
    const { server } = await startWithClient()
    await addResource(server.store, other)
    const two = await addClient(server.store, 'two', { audiences: [api, other] })
    for (const pair of [
      [api, other],
      [api, api],
    ]) {
      const body = `grant_type=client_credentials&${pair.map((uri) => `resource=${encodeURIComponent(uri)}`).join('&')}`
      const reply = await requestToken(server, body, { authorization: two.basic })
      expect([reply.status, reply.json.error]).toEqual([400, 'invalid_target'])
    }
  })
})

describe('the record of a token', () => {
  it('I10 is there before the token leaves, with everything that the token says', async () => {
    const { server, client } = await startWithClient()
    const reply = await requestToken(server, { ...grant, scope: 'read' }, { authorization: client.basic })
    const token = String(reply.json.access_token)
    const claims = claimsOf(token)
    const record = await (await server.openOther()).findIssuance(String(claims.jti))
    expect(record).toEqual({
      jti: claims.jti,
      clientId: 'billing',
      subject: 'billing',
      grantType: 'client_credentials',
      secretId: `sec_${client.secret.slice(4, 20)}`,
      audience: api,
      scope: 'read',
      kid: headerOf(token).kid,
      expiresAt: claims.exp,
      requestId: reply.headers.get('x-request-id'),
      address: '127.0.0.1',
    })
  })

  it('names the address behind a trusted proxy, and ignores the header of anyone else', async () => {
    const headers = (basic: string) => ({ authorization: basic, 'x-forwarded-for': '6.6.6.6, 203.0.113.9' })
    const trusting = await startWithClient({ env: { MAYFLY_TRUSTED_PROXIES: '127.0.0.0/8' } })
    const a = await requestToken(trusting.server, grant, headers(trusting.client.basic))
    const b = await startWithClient()
    const c = await requestToken(b.server, grant, headers(b.client.basic))
    const addressOf = async (server: typeof b.server, reply: typeof a) =>
      (await server.store.findIssuance(String(claimsOf(String(reply.json.access_token)).jti)))?.address
    expect(await addressOf(trusting.server, a)).toBe('203.0.113.9')
    expect(await addressOf(b.server, c)).toBe('127.0.0.1')
  })

  it('notes when a secret was last used, off the path of requests', async () => {
    const { server, client } = await startWithClient()
    await getToken(server, client)
    await server.stop()
    const [secret] = (await (await server.openOther()).findClient('billing')).value?.secrets ?? []
    expect(secret?.lastUsedAt).toEqual(expect.any(Number))
  })
})
