import { calculateJwkThumbprint, type JSONWebKeySet } from 'jose'
import { describe, expect, it } from 'vitest'
import { systemClock } from '../../src/lib/clock.ts'
import type { AuthMethod } from '../../src/oauth/auth-method.ts'
import { AssertionMaker, credentialsOf, makeTestKey } from '../support/assertion.ts'
import {
  addClient,
  addKeyClient,
  getToken,
  headerOf,
  request,
  requestToken,
  startTestServer,
  startWithClient,
  type TestServer,
} from '../support/server.ts'

const documents = [
  '/.well-known/jwks.json',
  '/.well-known/oauth-authorization-server',
  '/.well-known/openid-configuration',
]

describe('the JWKS', () => {
  it('JK-01 is a JWK set with its media type', async () => {
    const { server } = await startWithClient()
    const reply = await request(`${server.url}/.well-known/jwks.json`)
    expect(reply.status).toBe(200)
    expect(reply.headers.get('content-type')).toBe('application/jwk-set+json')
    expect(reply.json.keys).toHaveLength(4)
  })

  it('JK-02 JK-06 holds no private member, and each key has all that verifiers look for', async () => {
    const { server, client } = await startWithClient()
    const { keys } = (await request(`${server.url}/.well-known/jwks.json`)).json as unknown as JSONWebKeySet
    expect(new Set(keys.map((key) => key.kid)).size).toBe(keys.length)
    for (const key of keys) {
      const members = key.kty === 'EC' ? ['crv', 'x', 'y'] : ['n', 'e']
      expect(Object.keys(key).sort()).toEqual(['alg', 'kid', 'kty', 'use', ...members].sort())
      expect(key.use).toBe('sig')
      expect(key.kid).toBe(await calculateJwkThumbprint(key))
      if (key.kty === 'EC')
        expect([key.x, key.y].map((part) => Buffer.from(String(part), 'base64url').length)).toEqual([32, 32])
    }
    expect(keys.map((key) => key.alg).sort()).toEqual(['ES256', 'ES256', 'RS256', 'RS256'])
    expect(keys.map((key) => key.kid)).toContain(headerOf(await getToken(server, client)).kid)
  })

  it('JK-06 computes the thumbprint of RFC 7638 section 3.1', async () => {
    const jwk = {
      kty: 'RSA',
      n: '0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw',
      e: 'AQAB',
    }
    expect(await calculateJwkThumbprint(jwk)).toBe('NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs')
  })
})

describe.each(documents)('%s', (path) => {
  it('JK-03 MD-07 may be cached, and is not sent twice', async () => {
    const { server } = await startWithClient({ env: { MAYFLY_JWKS_MAX_AGE: '2m' } })
    const first = await request(`${server.url}${path}`)
    expect(first.headers.get('cache-control')).toBe('public, max-age=120')
    const etag = first.headers.get('etag') ?? ''
    expect(etag).toMatch(/^"[\w-]+"$/)
    for (const value of [etag, `W/${etag}`, `"x", ${etag}`, '*']) {
      const again = await request(`${server.url}${path}`, { headers: { 'if-none-match': value } })
      expect([again.status, again.text]).toEqual([304, ''])
      expect(again.headers.get('etag')).toBe(etag)
    }
    expect((await request(`${server.url}${path}`, { headers: { 'if-none-match': '"x"' } })).status).toBe(200)
  })

  it('MD-07 answers HEAD with the headers of GET and no body', async () => {
    const { server } = await startWithClient()
    const get = await request(`${server.url}${path}`)
    const head = await request(`${server.url}${path}`, { method: 'HEAD' })
    expect([head.status, head.text]).toEqual([200, ''])
    for (const name of ['etag', 'content-type', 'cache-control'])
      expect(head.headers.get(name)).toBe(get.headers.get(name))
  })

  it('MD-07 H12 may be read by pages of any origin, without credentials', async () => {
    const { server } = await startWithClient()
    const headers = { origin: 'https://page.test' }
    for (const method of ['GET', 'OPTIONS']) {
      const reply = await request(`${server.url}${path}`, { method, headers })
      expect(reply.status).toBe(method === 'GET' ? 200 : 204)
      expect(reply.headers.get('access-control-allow-origin')).toBe('*')
      expect(reply.headers.get('access-control-allow-credentials')).toBeNull()
    }
  })

  it('MD-08 refuses POST with Allow', async () => {
    const { server } = await startWithClient()
    const reply = await request(`${server.url}${path}`, { method: 'POST' })
    expect([reply.status, reply.headers.get('allow')]).toEqual([405, 'GET, HEAD, OPTIONS'])
  })
})

/** A client that is registered for one method, and what it sends to prove itself. */
async function proofBy(
  method: AuthMethod,
  server: TestServer,
  clientId: string,
): Promise<{ readonly form: Record<string, string>; readonly headers: Record<string, string> }> {
  if (method === 'private_key_jwt') {
    const key = makeTestKey()
    await addKeyClient(server.store, clientId, [key])
    const maker = new AssertionMaker(clientId, server.issuer, key, systemClock)
    return { form: credentialsOf(maker.make()), headers: {} }
  }
  const { basic, secret } = await addClient(server.store, clientId, { authMethods: [method] })
  return method === 'client_secret_basic'
    ? { form: {}, headers: { authorization: basic } }
    : { form: { client_id: clientId, client_secret: secret }, headers: {} }
}

describe('the metadata', () => {
  it('MD-01 MD-02 MD-03 names the issuer exactly, real endpoints, and no empty list', async () => {
    const { server } = await startWithClient()
    const { json } = await request(`${server.url}/.well-known/oauth-authorization-server`)
    expect(json.issuer).toBe(server.issuer)
    expect(json.grant_types_supported).toEqual(['client_credentials', 'refresh_token'])
    for (const endpoint of ['token', 'revocation', 'introspection']) {
      const methods = json[`${endpoint}_endpoint_auth_methods_supported`]
      expect(methods, endpoint).toEqual(['client_secret_basic', 'client_secret_post', 'private_key_jwt'])
    }
    for (const value of Object.values(json)) expect(value).not.toEqual([])
    expect(Object.values(json)).not.toContain(null)
    for (const [name, value] of Object.entries(json)) {
      if (!/_endpoint$|_uri$/.test(name)) continue
      expect((await request(String(value))).status, name).not.toBe(404)
    }
  })

  it('MD-01 MD-08 inserts the well-known part before the path of an issuer', async () => {
    const server = await startTestServer({ env: { MAYFLY_ISSUER: 'https://as.example.test/t1' } })
    const { json } = await request(`${server.url}/.well-known/oauth-authorization-server/t1`)
    expect(json).toMatchObject({
      issuer: 'https://as.example.test/t1',
      token_endpoint: 'https://as.example.test/t1/token',
      jwks_uri: 'https://as.example.test/t1/.well-known/jwks.json',
      revocation_endpoint: 'https://as.example.test/t1/revoke',
      introspection_endpoint: 'https://as.example.test/t1/introspect',
    })
    expect((await request(`${server.url}/t1/.well-known/jwks.json`)).status).toBe(200)
    expect((await request(`${server.url}/t1/.well-known/openid-configuration`)).json.issuer).toBe(json.issuer)
    expect((await request(`${server.url}/.well-known/openid-configuration/t1`)).json.issuer).toBe(json.issuer)
    for (const path of [
      '/.well-known/oauth-authorization-server',
      '/t1/.well-known/oauth-authorization-server',
      '/token',
      '/.well-known/jwks.json',
    ]) {
      expect((await request(`${server.url}${path}`)).status, path).toBe(404)
    }
    expect((await requestToken({ url: `${server.url}/t1` }, { grant_type: 'x' })).json.error).toBe(
      'unsupported_grant_type',
    )
    expect((await request(`${server.url}/t1/livez`)).status).toBe(200)
  })

  it('MD-05 advertises what works, and nothing else works', async () => {
    const { server, client } = await startWithClient()
    const { json } = await request(`${server.url}/.well-known/oauth-authorization-server`)
    for (const method of json.token_endpoint_auth_methods_supported as AuthMethod[]) {
      const { form, headers } = await proofBy(method, server, method)
      const reply = await requestToken(server, { grant_type: 'client_credentials', ...form }, headers)
      expect(reply.status, method).toBe(200)
    }
    for (const grantType of [
      'password',
      'urn:ietf:params:oauth:grant-type:token-exchange',
      'urn:ietf:params:oauth:grant-type:jwt-bearer',
    ]) {
      const reply = await requestToken(server, { grant_type: grantType }, { authorization: client.basic })
      expect(reply.json.error).toBe('unsupported_grant_type')
    }
    expect((await request(`${server.url}/register`)).status).toBe(404)
  })

  it('MD-05 advertises where tokens are revoked and asked about, with the methods that work there', async () => {
    const { server } = await startWithClient()
    const { json } = await request(`${server.url}/.well-known/oauth-authorization-server`)
    for (const endpoint of ['revocation', 'introspection']) {
      for (const method of json[`${endpoint}_endpoint_auth_methods_supported`] as AuthMethod[]) {
        const { form, headers } = await proofBy(method, server, `${endpoint}-${method}`)
        const reply = await request(String(json[`${endpoint}_endpoint`]), {
          method: 'POST',
          body: new URLSearchParams({ token: 'x', ...form }),
          headers,
        })
        expect(reply.status, `${endpoint} ${method}`).toBe(200)
      }
    }
  })

  it('MD-05 I24 refuses every authentication method that is not advertised', async () => {
    const { server, client } = await startWithClient()
    const form = { grant_type: 'client_credentials', client_id: client.clientId }
    const assertion = { client_assertion: await getToken(server, client) }
    const bearer = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer'
    const revocation = `${server.url}/revoke`
    for (const unadvertised of [
      form,
      { ...form, client_secret: client.secret },
      { ...form, ...assertion, client_assertion_type: bearer },
      { ...form, ...assertion, client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-spiffe' },
    ]) {
      const reply = await requestToken(server, unadvertised)
      expect([reply.status, reply.json.error]).toEqual([400, 'invalid_client'])
      const revoked = await request(revocation, { method: 'POST', body: new URLSearchParams(unadvertised) })
      expect([revoked.status, revoked.json.error]).toEqual([400, 'invalid_client'])
    }
  })

  it('MD-04 MD-06 has the members of features that are there, and no other', async () => {
    const { server } = await startWithClient()
    for (const name of ['oauth-authorization-server', 'openid-configuration']) {
      const { json } = await request(`${server.url}/.well-known/${name}`)
      const features = /signing_alg_values_supported|dpop|mtls|tls_client|authorization_details/
      const members = Object.keys(json).filter(
        (member) => features.test(member) || /status_list|registration|protected_resources|device|par/.test(member),
      )
      const ofOpenid = name === 'openid-configuration' ? ['id_token_signing_alg_values_supported'] : []
      const ofAssertions = ['token', 'revocation', 'introspection'].map(
        (endpoint) => `${endpoint}_endpoint_auth_signing_alg_values_supported`,
      )
      const expected = [
        'introspection_signing_alg_values_supported',
        'dpop_signing_alg_values_supported',
        ...ofAssertions,
        ...ofOpenid,
      ]
      expect(members.toSorted()).toEqual(expected.toSorted())
      expect(json.dpop_signing_alg_values_supported).toEqual(['ES256', 'RS256', 'PS256', 'Ed25519', 'EdDSA'])
      expect(json.introspection_signing_alg_values_supported).toEqual(['ES256'])
      for (const member of ofAssertions) expect(json[member]).toEqual(['ES256', 'RS256', 'PS256', 'Ed25519', 'EdDSA'])
    }
  })

  it('has in the OpenID document what discovery readers insist on', async () => {
    const { server } = await startWithClient()
    const { json } = await request(`${server.url}/.well-known/openid-configuration`)
    expect(json).toMatchObject({
      issuer: server.issuer,
      authorization_endpoint: `${server.issuer}/authorize`,
      response_types_supported: ['none'],
      subject_types_supported: ['public'],
      id_token_signing_alg_values_supported: expect.arrayContaining(['RS256']),
    })
  })

  it('has an authorization endpoint that refuses', async () => {
    const { server } = await startWithClient()
    const reply = await request(`${server.url}/authorize?response_type=code&client_id=x&redirect_uri=https://evil.test`)
    expect([reply.status, reply.json.error]).toEqual([400, 'unsupported_response_type'])
    expect(reply.headers.get('location')).toBeNull()
  })
})

describe('health and metrics', () => {
  it('say that all is well', async () => {
    const { server } = await startWithClient()
    expect((await request(`${server.url}/livez`)).json).toEqual({ status: 'ok' })
    expect((await request(`${server.url}/readyz`)).json).toEqual({ status: 'ok' })
    const { json } = await request(`${server.url}/readyz?verbose`)
    expect((json.checks as { name: string; ok: boolean }[]).map(({ name, ok }) => [name, ok])).toEqual([
      ['accepting', true],
      ['store', true],
      ['keys', true],
      ['issuer', true],
      ['clock', true],
      ['rotation', true],
      ['witness', true],
    ])
    expect((await request(`${server.url}/metrics`)).text).toContain('mayfly_signing_keys{alg="ES256",state="active"} 1')
  })

  it('move to a listener of their own', async () => {
    const { server, client } = await startWithClient({ env: { MAYFLY_METRICS_LISTEN: '127.0.0.1:0' } })
    await getToken(server, client)
    expect((await request(`${server.url}/metrics`)).status).toBe(404)
    expect((await request(`${server.url}/readyz?verbose`)).json).toEqual({ status: 'ok' })
    expect((await request(`${server.metricsUrl}/metrics`)).text).toContain(
      'mayfly_tokens_issued_total{grant_type="client_credentials",alg="ES256",token_type="Bearer"} 1',
    )
    expect((await request(`${server.metricsUrl}/readyz?verbose`)).json).toHaveProperty('checks')
    expect((await requestToken({ url: server.metricsUrl ?? '' }, {})).status).toBe(404)
  })

  it('say no when the database has another issuer by now, and so does the token endpoint', async () => {
    const { server, client } = await startWithClient()
    await (await server.openOther()).setIssuer('https://new.example.test', 'cli:test', { replace: true })
    const reply = await requestToken(server, { grant_type: 'client_credentials' }, { authorization: client.basic })
    expect([reply.status, reply.json.error]).toEqual([503, 'temporarily_unavailable'])
    expect((await request(`${server.url}/readyz`)).status).toBe(503)
    expect((await request(`${server.url}/.well-known/jwks.json`)).status).toBe(200)
  })
})
