import { once } from 'node:events'
import { connect } from 'node:net'
import { describe, expect, it } from 'vitest'
import { exchange, sendRaw } from '../support/raw.ts'
import { request, requestToken, startWithClient } from '../support/server.ts'

const form = 'application/x-www-form-urlencoded'
const grant = { grant_type: 'client_credentials' }

function expectError(reply: Awaited<ReturnType<typeof request>>, status: number, error: string): void {
  expect({ status: reply.status, error: reply.json.error }).toEqual({ status, error })
  expect(reply.headers.get('content-type')).toBe('application/json')
  expect(reply.headers.get('cache-control')).toContain('no-store')
  expect(reply.headers.get('x-request-id')).toMatch(/^req_[0-9A-Z]{26}$/)
  expect(reply.json.error_description).toMatch(/^[\x20-\x21\x23-\x5B\x5D-\x7E]+$/)
  expect(Object.keys(reply.json).sort()).toEqual(['error', 'error_description'])
}

/** A POST with exactly these headers, since fetch adds some and hides others. */
function post(headers: readonly string[], body = ''): string {
  const length = `Content-Length: ${Buffer.byteLength(body)}`
  return [`POST /token HTTP/1.1`, 'Host: x', length, ...headers, 'Connection: close', '', body].join('\r\n')
}

describe('the token endpoint as HTTP', () => {
  it('HTTP-01 answers a token with no-store and JSON', async () => {
    const { server, client } = await startWithClient()
    const reply = await requestToken(server, grant, { authorization: client.basic })
    expect(reply.status).toBe(200)
    expect(reply.headers.get('cache-control')).toContain('no-store')
    expect(reply.headers.get('content-type')).toBe('application/json')
    expect(reply.headers.get('x-request-id')).toMatch(/^req_/)
  })

  it('HTTP-01 answers refusals with no-store and JSON', async () => {
    const { server } = await startWithClient()
    expectError(await requestToken(server, grant), 400, 'invalid_client')
    expectError(await requestToken(server, {}), 400, 'invalid_request')
  })

  it('HTTP-02 H02 H15 refuses every method but POST with Allow', async () => {
    const { server, client } = await startWithClient()
    const query = new URLSearchParams({ ...grant, client_id: client.clientId, client_secret: client.secret })
    for (const method of ['GET', 'PUT', 'DELETE', 'PATCH', 'OPTIONS', 'QUERY']) {
      const reply = await request(`${server.url}/token?${query}`, { method })
      expectError(reply, 405, 'invalid_request')
      expect(reply.headers.get('allow')).toBe('POST')
    }
    const head = await request(`${server.url}/token`, { method: 'HEAD' })
    expect([head.status, head.text]).toEqual([405, ''])
    const trace = await sendRaw(server.url, 'TRACE /token HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n')
    expect(trace.status).toBe(405)
  })

  it('HTTP-03 ignores credentials and parameters in the query', async () => {
    const { server, client } = await startWithClient()
    const query = new URLSearchParams({ ...grant, client_id: client.clientId, client_secret: client.secret })
    const url = `${server.url}/token?${query}`
    const headers = { 'content-type': form }
    expectError(await request(url, { method: 'POST', headers, body: '' }), 400, 'invalid_request')
    const body = 'grant_type=client_credentials'
    expectError(await request(url, { method: 'POST', headers, body }), 400, 'invalid_client')
  })

  it.each(['grant_type', 'client_id', 'scope', 'client_secret', 'client_assertion', 'foo'])(
    'HTTP-04 H01 refuses a repeated %s, equal or not',
    async (name) => {
      const { server, client } = await startWithClient()
      const headers = { authorization: client.basic }
      for (const value of ['a', 'b']) {
        const body = `grant_type=client_credentials&${name}=a&${name}=${value}`
        expectError(await requestToken(server, body, headers), 400, 'invalid_request')
      }
    },
  )

  it('HTTP-04 lets resource repeat, and refuses two as a target', async () => {
    const { server, client } = await startWithClient()
    const body = 'grant_type=client_credentials&resource=https://a.test&resource=https://b.test'
    expectError(await requestToken(server, body, { authorization: client.basic }), 400, 'invalid_target')
  })

  it('HTTP-05 takes an empty parameter as absent', async () => {
    const { server, client } = await startWithClient()
    const body = 'grant_type=client_credentials&scope=&resource=&client_id=&client_secret='
    const reply = await requestToken(server, body, { authorization: client.basic })
    expect(reply.json.scope).toBe('read write')
    expectError(await requestToken(server, 'grant_type=', { authorization: client.basic }), 400, 'invalid_request')
    expectError(
      await requestToken(server, 'grant_type=client_credentials&a=&a=x', { authorization: client.basic }),
      400,
      'invalid_request',
    )
  })

  it('HTTP-06 ignores unknown parameters and those of other grants', async () => {
    const { server, client } = await startWithClient()
    const more = { foo: 'bar', code: 'x', redirect_uri: 'https://x.test', toString: 'x', __proto__: 'x' }
    expect((await requestToken(server, { ...grant, ...more }, { authorization: client.basic })).status).toBe(200)
  })

  it('HTTP-07 refuses a request without grant_type', async () => {
    const { server, client } = await startWithClient()
    expectError(await requestToken(server, 'scope=read', { authorization: client.basic }), 400, 'invalid_request')
  })

  it.each([
    'password',
    'authorization_code',
    'implicit',
    'Client_Credentials',
    ' client_credentials',
    'urn:x',
    '__proto__',
    'constructor',
    'toString',
    'urn:ietf:params:oauth:grant-type:token-exchange',
    'urn:ietf:params:oauth:grant-type:jwt-bearer',
  ])('HTTP-08 G25 refuses the grant type %j before it looks at the client', async (grantType) => {
    const { server } = await startWithClient()
    expectError(await requestToken(server, { grant_type: grantType }), 400, 'unsupported_grant_type')
  })

  it.each([
    ['application/json', '{"grant_type":"client_credentials"}'],
    [
      'multipart/form-data; boundary=x',
      '--x\r\nContent-Disposition: form-data; name="grant_type"\r\n\r\nclient_credentials\r\n--x--\r\n',
    ],
    ['text/plain', 'grant_type=client_credentials'],
    ['application/x-www-form-urlencoded; charset=utf-16', 'grant_type=client_credentials'],
    ['application/x-www-form-urlencoded; charset=utf-8; charset=utf-16', 'grant_type=client_credentials'],
    ['application/x-www-form-urlencoded; boundary=x', 'grant_type=client_credentials'],
    ['application/x-www-form-urlencoded, text/plain', 'grant_type=client_credentials'],
    ['application/x-www-form-urlencodedx', 'grant_type=client_credentials'],
  ])('HTTP-09 H03 refuses a body of type %s', async (type, body) => {
    const { server, client } = await startWithClient()
    expectError(
      await requestToken(server, body, { 'content-type': type, authorization: client.basic }),
      400,
      'invalid_request',
    )
  })

  it('HTTP-09 H03 refuses a body without type, and one that is encoded', async () => {
    const { server, client } = await startWithClient()
    const auth = `Authorization: ${client.basic}`
    expect(await sendRaw(server.url, post([auth], 'grant_type=client_credentials'))).toMatchObject({ status: 400 })
    const gzip = post([auth, `Content-Type: ${form}`, 'Content-Encoding: gzip'], 'grant_type=client_credentials')
    expect(await sendRaw(server.url, gzip)).toMatchObject({ status: 400 })
  })

  it.each([
    'application/x-www-form-urlencoded;charset=UTF-8',
    'Application/X-WWW-Form-Urlencoded',
    'application/x-www-form-urlencoded; charset="utf-8"',
    'application/x-www-form-urlencoded;',
    'application/x-www-form-urlencoded ; ;charset=utf-8 ;',
  ])('HTTP-10 takes the type %s', async (type) => {
    const { server, client } = await startWithClient()
    const reply = await requestToken(server, grant, { 'content-type': type, authorization: client.basic })
    expect(reply.status).toBe(200)
  })

  it('HTTP-11 reads %20 and + alike', async () => {
    const { server, client } = await startWithClient()
    for (const space of ['+', '%20']) {
      const body = `grant_type=client%5Fcredentials&scope=read${space}write`
      expect((await requestToken(server, body, { authorization: client.basic })).json.scope).toBe('read write')
    }
  })

  it.each([
    'scope=%ZZ',
    'scope=%E2%82',
    'scope=%FF',
    'scope=a%00b',
    'scope=%ED%A0%80',
    '%=x',
    'scope=\u00e9',
    'scope=a\r\n',
  ])('HTTP-12 refuses the malformed form %j', async (part) => {
    const { server, client } = await startWithClient()
    const reply = await requestToken(server, `grant_type=client_credentials&${part}`, { authorization: client.basic })
    expectError(reply, 400, 'invalid_request')
  })

  it('HTTP-12 H04 refuses more than 100 parameters', async () => {
    const { server, client } = await startWithClient()
    const body = `grant_type=client_credentials&${Array.from({ length: 100 }, (_, i) => `p${i}=x`).join('&')}`
    expectError(await requestToken(server, body, { authorization: client.basic }), 400, 'invalid_request')
    expectError(await requestToken(server, '&'.repeat(200), { authorization: client.basic }), 400, 'invalid_request')
  })

  it('HTTP-12 H04 refuses a body over 64 KiB, with a length and without, and goes on', async () => {
    const { server, client } = await startWithClient()
    const head = ['POST /token HTTP/1.1', 'Host: x', `Content-Type: ${form}`]
    const announced = await sendRaw(server.url, [...head, 'Content-Length: 1000000', '', ''].join('\r\n'))
    expect(announced.status).toBe(413)
    expect(announced.head).toMatch(/connection: close/i)
    const chunk = `10000\r\n${'a'.repeat(0x10000)}\r\n`
    const chunked = await sendRaw(
      server.url,
      [...head, 'Transfer-Encoding: chunked', '', ''].join('\r\n'),
      chunk,
      chunk,
    )
    expect(chunked.status).toBe(413)
    expect(JSON.parse(chunked.body)).toMatchObject({ error: 'invalid_request' })
    expect((await requestToken(server, grant, { authorization: client.basic })).status).toBe(200)
  })

  it('HTTP-12 takes a chunked body within the limit, however it is split', async () => {
    const { server, client } = await startWithClient()
    const head = ['POST /token HTTP/1.1', 'Host: x', `Content-Type: ${form}`, `Authorization: ${client.basic}`]
    const parts = [...'grant_type=client_credentials'].map((character) => `1\r\n${character}\r\n`)
    const reply = await sendRaw(
      server.url,
      [...head, 'Transfer-Encoding: chunked', '', ''].join('\r\n'),
      ...parts,
      '0\r\n\r\n',
    )
    expect(reply.status).toBe(200)
  })

  it.each(['"', '\\', '\u00e9', '<script>alert(1)</script>', 'a\r\nSet-Cookie: x=1', "'"])(
    'HTTP-13 H14 never echoes %j',
    async (value) => {
      const { server, client } = await startWithClient()
      const reply = await requestToken(server, { grant_type: value }, { authorization: client.basic })
      expectError(reply, 400, 'unsupported_grant_type')
      const scoped = await requestToken(server, { ...grant, scope: `x${value}` }, { authorization: client.basic })
      expect(scoped.status).toBe(400)
      expect(String(scoped.json.error_description)).not.toContain(value)
      expect(scoped.headers.get('set-cookie')).toBeNull()
    },
  )

  it('HTTP-14 H09 takes nothing from Host and forwarded headers', async () => {
    const { server, client } = await startWithClient()
    const evil = [
      'Host: evil.test',
      'X-Forwarded-Host: evil.test',
      'X-Forwarded-Proto: https',
      'X-Forwarded-Prefix: /evil',
      'Forwarded: host=evil.test;proto=https',
    ]
    const metadata = await sendRaw(
      server.url,
      ['GET /.well-known/oauth-authorization-server HTTP/1.1', ...evil, 'Connection: close', '', ''].join('\r\n'),
    )
    expect(metadata.status).toBe(200)
    expect(metadata.body).not.toContain('evil')
    const body = 'grant_type=client_credentials'
    const token = await sendRaw(
      server.url,
      [
        'POST /token HTTP/1.1',
        ...evil,
        `Authorization: ${client.basic}`,
        `Content-Type: ${form}`,
        `Content-Length: ${body.length}`,
        'Connection: close',
        '',
        body,
      ].join('\r\n'),
    )
    const { access_token: accessToken } = JSON.parse(token.body) as { access_token: string }
    expect(Buffer.from(accessToken.split('.')[1] ?? '', 'base64url').toString()).toContain(`"iss":"${server.issuer}"`)
  })

  it('HTTP-16 H12 answers no origin at the token endpoint', async () => {
    const { server, client } = await startWithClient()
    const headers = { origin: 'https://evil.test', authorization: client.basic }
    const token = await requestToken(server, grant, headers)
    const preflight = await request(`${server.url}/token`, {
      method: 'OPTIONS',
      headers: { origin: 'https://evil.test', 'access-control-request-method': 'POST' },
    })
    for (const reply of [token, preflight]) {
      expect([...reply.headers.keys()].filter((name) => name.startsWith('access-control'))).toEqual([])
    }
    expect(preflight.status).toBe(405)
  })

  it('H02 answers an unknown path with 404 in JSON', async () => {
    const { server } = await startWithClient()
    for (const path of [
      '/',
      '/token/',
      '/TOKEN',
      '/token%00',
      '//token',
      '/register',
      '/revoke/',
      '/verify%20',
      '/t1/token',
      '/%ff',
      '/..%2ftoken',
    ]) {
      expectError(await request(`${server.url}${path}`), 404, 'not_found')
    }
  })

  it('H07 refuses two Host headers and what Node takes for smuggling', async () => {
    const { server, client } = await startWithClient()
    const body = 'grant_type=client_credentials'
    const good = [`Content-Type: ${form}`, `Authorization: ${client.basic}`]
    const cases = [
      ['POST /token HTTP/1.1', 'Host: a', 'Host: a', `Content-Length: ${body.length}`, ...good],
      ['POST /token HTTP/1.1', `Content-Length: ${body.length}`, ...good],
      ['POST /token HTTP/1.1', 'Host: a/b?c', `Content-Length: ${body.length}`, ...good],
      ['POST /token HTTP/1.1', 'Host: a', `Content-Length: ${body.length}`, 'Transfer-Encoding: chunked', ...good],
      ['POST /token HTTP/1.1', 'Host: a', `Content-Length: ${body.length}`, 'Content-Length: 5', ...good],
      ['POST /token HTTP/1.1', 'Host: a', `Content-Length: ${body.length}`, 'X: a', ' folded', ...good],
      ['POST /token HTTP/1.1', 'Host: a', `Content-Length: ${body.length}`, 'X: a\0b', ...good],
      ['POST /token HTTP/1.1', 'Host: a', `Content-Length: ${body.length}`, `Content-Type: ${form}`, ...good],
    ]
    for (const lines of cases) {
      const reply = await sendRaw(server.url, [...lines, 'Connection: close', '', body].join('\r\n'))
      expect(reply.status, lines.join(' | ')).toBe(400)
      expect(reply.head).toMatch(/cache-control: no-store/i)
      expect(JSON.parse(reply.body)).toMatchObject({ error: 'invalid_request' })
    }
  })

  it('H07 takes an absolute-form target for its path alone', async () => {
    const { server } = await startWithClient()
    const reply = await sendRaw(
      server.url,
      'GET http://evil.test/.well-known/oauth-authorization-server HTTP/1.1\r\nHost: evil.test\r\nConnection: close\r\n\r\n',
    )
    expect(reply.status).toBe(200)
    expect(JSON.parse(reply.body)).toMatchObject({ issuer: server.issuer })
  })

  it('H07 refuses what is not HTTP with a whole reply', async () => {
    const { server } = await startWithClient()
    expect(await sendRaw(server.url, 'NOT HTTP\r\n\r\n')).toMatchObject({ status: 400 })
    const big = await sendRaw(server.url, `GET /livez HTTP/1.1\r\nHost: x\r\nX-Big: ${'a'.repeat(20_000)}\r\n\r\n`)
    expect(big.status).toBe(431)
    expect(JSON.parse(big.body)).toMatchObject({ error: 'invalid_request' })
  })

  it('H13 keeps every reply but documents out of caches', async () => {
    const { server } = await startWithClient()
    for (const path of ['/token', '/authorize', '/livez', '/readyz', '/metrics', '/nothing']) {
      const reply = await request(`${server.url}${path}`)
      expect(reply.headers.get('cache-control'), path).toContain('no-store')
    }
  })

  it('H15 answers pipelined requests in order, and HTTP/1.0', async () => {
    const { server } = await startWithClient()
    const paths = ['/livez', '/nothing', '/authorize', '/livez']
    const requests = paths.map(
      (path, i) => `GET ${path} HTTP/1.1\r\nHost: x\r\n${i === 3 ? 'Connection: close\r\n' : ''}\r\n`,
    )
    const { hostname, port } = new URL(server.url)
    const socket = connect(Number(port), hostname)
    let text = ''
    socket.on('data', (chunk) => {
      text += chunk
    })
    socket.write(requests.join(''))
    await once(socket, 'close')
    expect([...text.matchAll(/HTTP\/1\.1 ([0-9]{3})/g)].map((match) => match[1])).toEqual(['200', '404', '400', '200'])
    expect(await exchange(server.url, ['GET /livez HTTP/1.0\r\n\r\n'])).toContain('200 OK')
  })

  it('H15 survives upgrades and CONNECT', async () => {
    const { server, client } = await startWithClient()
    const h2c = await sendRaw(
      server.url,
      'GET /livez HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, close\r\nUpgrade: h2c\r\n\r\n',
    )
    expect(h2c.status).toBe(200)
    await exchange(server.url, ['CONNECT evil.test:443 HTTP/1.1\r\nHost: evil.test\r\n\r\n'])
    expect((await requestToken(server, grant, { authorization: client.basic })).status).toBe(200)
  })

  it('survives callers who leave in the middle of a body', async () => {
    const { server, client } = await startWithClient()
    const { hostname, port } = new URL(server.url)
    for (let i = 0; i < 20; i += 1) {
      const socket = connect(Number(port), hostname)
      await once(socket, 'connect')
      socket.write(`POST /token HTTP/1.1\r\nHost: x\r\nContent-Type: ${form}\r\nContent-Length: 100\r\n\r\ngrant_`)
      socket.resetAndDestroy()
    }
    expect((await requestToken(server, grant, { authorization: client.basic })).status).toBe(200)
  })

  it('H16 gives metrics a bounded set of labels', async () => {
    const { server } = await startWithClient()
    for (let i = 0; i < 50; i += 1) {
      await requestToken(server, { grant_type: `g${i}`, client_id: `c${i}` })
      await request(`${server.url}/path-${i}`)
    }
    const { text } = await request(`${server.url}/metrics`)
    expect(text).not.toMatch(/g49|c49|path-49/)
    expect(text).toContain('mayfly_refusals_total{reason="grant_type_unknown"} 50')
    expect(text).toContain('route="unknown",status="404"')
  })

  it('H06 closes slow headers, slow bodies and idle sockets within 15 s, and serves others meanwhile', {
    timeout: 40_000,
  }, async () => {
    const { server, client } = await startWithClient()
    const { hostname, port } = new URL(server.url)
    const started = performance.now()
    const closed: Promise<number>[] = []
    const starts = [
      '',
      'POST /token HTTP/1.1\r\nHost: x\r\nX-Slow: ',
      `POST /token HTTP/1.1\r\nHost: x\r\nContent-Type: ${form}\r\nContent-Length: 90\r\n\r\ng`,
    ]
    for (let i = 0; i < 300; i += 1) {
      const socket = connect(Number(port), hostname)
      socket.on('error', () => {})
      socket.resume()
      socket.write(starts[i % 3] ?? '')
      const drip = setInterval(() => i % 3 !== 0 && socket.writable && socket.write('a'), 1_000)
      closed.push(
        once(socket, 'close').then(() => {
          clearInterval(drip)
          return performance.now() - started
        }),
      )
    }
    let all = false
    const ends = Promise.all(closed).finally(() => {
      all = true
    })
    while (!all) {
      const before = performance.now()
      expect((await requestToken(server, grant, { authorization: client.basic })).status).toBe(200)
      expect(performance.now() - before).toBeLessThan(1_000)
      await new Promise((resolve) => setTimeout(resolve, 100))
    }
    expect(Math.max(...(await ends))).toBeLessThan(15_000)
  })

  it('H06 lets go of peers that never close their side', { timeout: 40_000 }, async () => {
    const { server } = await startWithClient()
    const { hostname, port } = new URL(server.url)
    const open = (): number =>
      (process.getActiveResourcesInfo?.() ?? []).filter((name) => name === 'TCPSocketWrap').length
    const before = open()
    const starts = [
      'GET /livez HTTP/1.1\r\nHost: x\r\nX-Slow: ',
      'NOT HTTP\r\n\r\n',
      `POST /token HTTP/1.1\r\nHost: x\r\nContent-Type: ${form}\r\nContent-Length: 90\r\n\r\ng`,
    ]
    const sockets = Array.from({ length: 30 }, (_, i) => {
      const socket = connect({ port: Number(port), host: hostname, allowHalfOpen: true })
      socket.on('error', () => {})
      socket.resume()
      socket.write(starts[i % 3] ?? '')
      return socket
    })
    // The server's half is gone when ours is the only one left of each pair.
    await Promise.all(sockets.map((socket) => once(socket, 'end')))
    const started = performance.now()
    while (open() > before + sockets.length && performance.now() - started < 5_000) {
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
    expect(open()).toBeLessThanOrEqual(before + sockets.length)
    for (const socket of sockets) socket.destroy()
  })

  it.each(['/%74oken', '/x/../token', '/./token', '/token?x#y', '//token'])(
    'takes no other spelling of a path: %s',
    async (target) => {
      const { server } = await startWithClient()
      const body = 'grant_type=x'
      const lines = [
        `POST ${target} HTTP/1.1`,
        'Host: x',
        `Content-Type: ${form}`,
        `Content-Length: ${body.length}`,
        'Connection: close',
        '',
        body,
      ]
      const reply = await sendRaw(server.url, lines.join('\r\n'))
      expect([reply.status, JSON.parse(reply.body).error]).toEqual(
        target.includes('?') ? [400, 'unsupported_grant_type'] : [404, 'not_found'],
      )
      const metrics = await sendRaw(server.url, 'GET /%6detrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n')
      expect(metrics.status).toBe(404)
    },
  )

  it.each([
    'OPTIONS * HTTP/1.1\r\nHost: x',
    'GET /a\\b HTTP/1.1\r\nHost: x',
    'GET /livez HTTP/1.1\r\nHost: x\r\nExpect: foo',
    'GET http://[ HTTP/1.1\r\nHost: x',
  ])('HTTP-01 refuses %j with JSON that no cache keeps', async (head) => {
    const { server } = await startWithClient()
    const reply = await sendRaw(server.url, `${head}\r\nConnection: close\r\n\r\n`)
    expect(reply.status).toBeGreaterThanOrEqual(400)
    expect(reply.status).toBeLessThan(500)
    expect(reply.head).toMatch(/cache-control: no-store/i)
    expect(Object.keys(JSON.parse(reply.body))).toEqual(['error', 'error_description'])
  })

  it('H15 answers the good request before rubbish, and not the rubbish', async () => {
    const { server, client } = await startWithClient()
    const body = 'grant_type=client_credentials'
    const lines = [
      'POST /token HTTP/1.1',
      'Host: x',
      `Authorization: ${client.basic}`,
      `Content-Type: ${form}`,
      `Content-Length: ${body.length}`,
      '',
      body,
    ]
    const text = await exchange(server.url, [`${lines.join('\r\n')}RUBBISH\r\n\r\n`])
    expect(text).toMatch(/^HTTP\/1\.1 200 /)
    expect(text.match(/HTTP\/1\.1/g)).toHaveLength(1)
  })
})
