/** The endpoint for proxies, black box: RFC 6750. */
import { describe, expect, it } from 'vitest'
import { parseCredentials } from '../../src/http/verify.ts'
import { actionsOn, forge, signerOf, startAccess } from '../support/access.ts'
import { sendRaw } from '../support/raw.ts'
import { addClient, addResource, api, claimsOf, request, startTestServer } from '../support/server.ts'

const audience = `?audience=${encodeURIComponent(api)}`
const challenge = 'Bearer realm="mayfly"'

describe('GET /verify', () => {
  it('lets a token of the audience pass, and says in headers whose it is', async () => {
    const { begin, verify } = await startAccess()
    const { accessToken } = await begin()
    const reply = await verify(accessToken)
    expect([reply.status, reply.text]).toEqual([200, ''])
    const { sub, client_id, scope, jti, exp } = claimsOf(accessToken)
    const identity = [...reply.headers].filter(([name]) => name.startsWith('x-mayfly-'))
    expect(Object.fromEntries(identity)).toEqual({
      'x-mayfly-subject': sub,
      'x-mayfly-client-id': client_id,
      'x-mayfly-scope': scope,
      'x-mayfly-token-id': jti,
      'x-mayfly-expires-at': String(exp),
      'x-mayfly-confirmation': '',
    })
    expect(reply.headers.get('cache-control')).toBe('no-store')
    expect(reply.headers.get('content-length')).toBe('0')
  })

  it('names the scope too when there is none, so that a proxy has something to put in the place of the caller’s', async () => {
    const { server, begin, verify } = await startAccess()
    const plain = await addClient(server.store, 'plain', { scopes: [] })
    const reply = await verify((await begin(plain)).accessToken)
    expect([reply.status, reply.headers.get('x-mayfly-scope')]).toEqual([200, ''])
  })

  it('answers HEAD as GET, and no other method', async () => {
    const { server, begin } = await startAccess()
    const headers = { authorization: `Bearer ${(await begin()).accessToken}` }
    const head = await request(`${server.url}/verify${audience}`, { method: 'HEAD', headers })
    expect([head.status, head.headers.get('x-mayfly-subject')]).toEqual([200, 'billing'])
    for (const method of ['POST', 'PUT', 'DELETE', 'OPTIONS']) {
      const reply = await request(`${server.url}/verify${audience}`, { method, headers })
      expect([reply.status, reply.headers.get('allow'), reply.text], method).toEqual([405, 'GET, HEAD', ''])
    }
  })

  it('asks for credentials where there are none, without an error', async () => {
    const { server } = await startAccess()
    for (const headers of [
      {},
      { authorization: 'Basic eDp5' },
      { authorization: 'DPoPX y' },
      { authorization: 'BearerX y' },
    ]) {
      const reply = await request(`${server.url}/verify${audience}`, { headers })
      expect([reply.status, reply.headers.get('www-authenticate'), reply.text]).toEqual([401, challenge, ''])
    }
  })

  it('G01 G02 C04 refuses whatever is no active access token as invalid_token', async () => {
    const scene = await startAccess()
    const { server, clock, begin, verify, revoke, client } = scene
    const { accessToken, refreshToken } = await begin()
    const { accessToken: revoked } = await begin()
    await revoke(revoked)
    const credentials = [
      refreshToken,
      client.secret,
      revoked,
      'x',
      `${accessToken}x`,
      '',
      ' ',
      'a b',
      `${accessToken},x`,
      'ü',
    ]
    for (const each of credentials) {
      const reply = await verify(each)
      const seen = [reply.status, reply.headers.get('www-authenticate'), reply.text]
      expect(seen, each).toEqual([401, `${challenge}, error="invalid_token"`, ''])
    }
    const alone = await request(`${server.url}/verify${audience}`, { headers: { authorization: 'Bearer' } })
    expect(alone.headers.get('www-authenticate')).toContain('invalid_token')
    clock.advance(300)
    expect((await verify(accessToken)).status).toBe(401)
  })

  it('refuses a token for another audience as invalid_token, compared character by character', async () => {
    const { server, begin, verify } = await startAccess()
    await addResource(server.store, 'https://second.example.test')
    const { accessToken } = await begin()
    const others = [
      'https://second.example.test',
      `${api}/`,
      api.toUpperCase(),
      `${api} `,
      'x',
      `${api},https://x.test`,
    ]
    for (const other of others) {
      const reply = await verify(accessToken, `?audience=${encodeURIComponent(other)}`)
      expect([reply.status, reply.headers.get('www-authenticate')]).toEqual([
        401,
        `${challenge}, error="invalid_token"`,
      ])
      expect(reply.headers.get('x-mayfly-subject')).toBeNull()
    }
  })

  it('asks for every scope that is named, and says which as insufficient_scope', async () => {
    const { begin, verify } = await startAccess()
    const { accessToken } = await begin(undefined, { scope: 'read' })
    for (const scope of ['read', 'read+read', '']) {
      expect((await verify(accessToken, `${audience}&scope=${scope}`)).status, scope).toBe(200)
    }
    for (const scope of ['write', 'read+write', 'READ', 'rea', 'read:x']) {
      const reply = await verify(accessToken, `${audience}&scope=${scope}`)
      const named = scope.replace('+', ' ')
      const seen = [reply.status, reply.headers.get('www-authenticate'), reply.text]
      expect(seen).toEqual([403, `${challenge}, error="insufficient_scope", scope="${named}"`, ''])
    }
  })

  it.each([
    ['no query', ''],
    ['an empty query', '?'],
    ['no audience', '?scope=read'],
    ['an empty audience', '?audience='],
    ['two audiences', `${audience}&audience=https://evil.test`],
    ['one audience twice', `${audience}&audience=${encodeURIComponent(api)}`],
    ['an empty one first', `?audience=&audience=${encodeURIComponent(api)}`],
    ['an escaped name', `${audience}&%61udience=x`],
    ['two scopes', `${audience}&scope=read&scope=write`],
    ['a malformed scope', `${audience}&scope=read%22`],
    ['a scope with two spaces', `${audience}&scope=read++write`],
    ['a bad escape', '?audience=%zz'],
    ['NUL', '?audience=%00'],
    ['many parameters', `${audience}${'&a=b'.repeat(100)}`],
  ])('refuses %s as invalid_request', async (_, query) => {
    const { begin, verify } = await startAccess()
    const { accessToken } = await begin()
    for (const token of [accessToken, undefined]) {
      const reply = await verify(token, query)
      const seen = [reply.status, reply.headers.get('www-authenticate'), reply.text]
      expect(seen).toEqual([400, `${challenge}, error="invalid_request"`, ''])
    }
  })

  it('refuses two Authorization headers: the proxy and the service could read different ones', async () => {
    const { server, begin } = await startAccess()
    const { accessToken } = await begin()
    const lines = [`GET /verify${audience} HTTP/1.1`, 'Host: x', `Authorization: Bearer ${accessToken}`]
    const one = await sendRaw(server.url, [...lines, '', ''].join('\r\n'))
    expect(one.status).toBe(200)
    const two = await sendRaw(server.url, [...lines, 'authorization: Bearer x', '', ''].join('\r\n'))
    expect([two.status, two.body]).toEqual([400, ''])
    expect(two.head.toLowerCase()).toContain('error="invalid_request"')
  })

  it('takes no token from anywhere else', async () => {
    const { server, begin } = await startAccess()
    const { accessToken } = await begin()
    const reply = await request(`${server.url}/verify${audience}&access_token=${accessToken}`, {
      headers: { 'x-forwarded-authorization': `Bearer ${accessToken}`, cookie: `access_token=${accessToken}` },
    })
    expect([reply.status, reply.headers.get('www-authenticate')]).toEqual([401, challenge])
  })

  it('refuses a token that is bound to a key, for nothing here checks the proof', async () => {
    const scene = await startAccess()
    const { accessToken } = await scene.begin()
    const signer = await signerOf(scene, 'ES256', 'active')
    const header = { typ: 'at+jwt', alg: 'ES256', kid: signer.kid }
    expect((await scene.verify(await forge(signer, header, claimsOf(accessToken)))).status).toBe(200)
    const bound = await forge(signer, header, { ...claimsOf(accessToken), cnf: { jkt: 'x' } })
    expect((await scene.verify(bound)).status).toBe(401)
  })

  it('I6 is of this moment, in another process too', async () => {
    const { server, clock, begin, verify, revoke, client, service } = await startAccess()
    const second = await startTestServer({ clock, folder: server.folder, env: { MAYFLY_ISSUER: server.issuer } })
    const there = actionsOn(second, client, service)
    const { accessToken } = await begin()
    expect([(await verify(accessToken)).status, (await there.verify(accessToken)).status]).toEqual([200, 200])
    await revoke(accessToken)
    expect([(await verify(accessToken)).status, (await there.verify(accessToken)).status]).toEqual([401, 401])
  })

  it('lies below the path of the issuer', async () => {
    const server = await startTestServer({ env: { MAYFLY_ISSUER: 'https://as.example.test/t1' } })
    expect((await request(`${server.url}/verify${audience}`)).status).toBe(404)
    expect((await request(`${server.url}/t1/verify${audience}`)).status).toBe(401)
    expect((await request(`${server.url}/t1/revoke`, { method: 'POST' })).status).toBe(400)
  })
})

describe('the credentials of a bearer', () => {
  it.each([
    ['Bearer abc', 'abc'],
    ['bearer  a.b-c_d~e+f/g==', 'a.b-c_d~e+f/g=='],
    ['BEARER x', 'x'],
  ])('are taken from %s', (header, token) => {
    expect(parseCredentials(header)).toEqual({ scheme: 'Bearer', token })
    expect(parseCredentials(header.replace(/^bearer/i, 'dpop'))).toEqual({ scheme: 'DPoP', token })
  })

  it.each(['Bearer', 'Bearer ', 'Bearer a b', 'Bearer a,b', 'Bearer "a"', 'Bearer a\n', 'Bearer =', 'Bearer\ta'])(
    'are refused in %j',
    (header) => {
      expect(() => parseCredentials(header)).toThrow(/^bearer_(?:malformed|missing)$/)
    },
  )
})
