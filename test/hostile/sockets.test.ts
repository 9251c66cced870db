import { once } from 'node:events'
import { describe, expect, it } from 'vitest'
import { canary, exchange, expectOrderly, openSocket, parseReplies, readAll, serverOfFile } from '../support/hostile.ts'
import { requestToken } from '../support/server.ts'
import { honestForm as body, honestRequest } from './requests.ts'

const serverNow = serverOfFile()
const open = () => openSocket(serverNow().url)
const honest = (more?: readonly string[], form?: string) => honestRequest(serverNow().basic.basic, more, form)

describe('a request that comes slowly', () => {
  it('is answered when its bytes come one by one', async () => {
    const socket = await open()
    socket.setNoDelay(true)
    const reading = readAll(socket)
    for (const character of honest(['Connection: close'])) {
      socket.write(character, 'latin1')
      await new Promise(setImmediate)
    }
    const { replies } = parseReplies(await reading)
    expect(replies.map(({ status }) => status)).toEqual([200])
  })
})

describe('many connections', () => {
  it('H15 get 1,000 pipelined replies in the order in which they were asked for', { timeout: 60_000 }, async () => {
    const server = serverNow()
    const before = server.state()
    const scopes = Array.from(
      { length: 1_000 },
      (_, i) => ['read', 'write', 'read+write', 'admin'][(i * 7 + (i >> 3)) % 4],
    )
    const requests = scopes.map((scope) => honest([], `${body}&scope=${scope}`))
    const { replies, rest } = await exchange(server.url, requests.join(''), {
      replies: scopes.length,
      patienceMilliseconds: 40_000,
    })
    const told = replies.map(
      (reply) => (JSON.parse(reply.body) as { scope?: string }).scope?.replace(' ', '+') ?? 'admin',
    )
    expect([told, rest]).toEqual([scopes, ''])
    for (const reply of replies) expectOrderly(reply)
    const issued = scopes.filter((scope) => scope !== 'admin').length
    expect(server.state()).toEqual({ ...before, issued: before.issued + issued })
  })
})

describe('a connection that is closed', () => {
  it.each([
    ['before anything was said', ''],
    ['in the middle of the headers', 'POST /token HTTP/1.1\r\nHost: x\r\nX: '],
    ['in the middle of the body', 'POST /token HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\ngrant_'],
  ])('by half %s gets an orderly end', async (_, start) => {
    const server = serverNow()
    const before = server.state()
    const { replies, rest, milliseconds } = await exchange(server.url, start, { halfClose: true })
    for (const reply of replies) expectOrderly(reply)
    expect([rest, replies.length <= 1, milliseconds < 4_000]).toEqual(['', true, true])
    expect(server.state()).toEqual(before)
    await server.askHonestly()
  })

  it('by half behind a whole request gets its reply or an orderly end, and the next caller is served', async () => {
    const server = serverNow()
    for (let i = 0; i < 20; i += 1) {
      const { replies, rest } = await exchange(server.url, honest(), { halfClose: true })
      for (const reply of replies) expectOrderly(reply)
      expect(rest).toBe('')
    }
    await server.askHonestly()
  })

  it('by a reset, wherever it comes, leaves no token without its record and nothing behind', async () => {
    const server = serverNow()
    const whole = honest()
    const before = server.state()
    for (let cut = 0; cut < whole.length; cut += 7) {
      const socket = await open()
      socket.write(whole.slice(0, cut), 'latin1', () => socket.resetAndDestroy())
      await once(socket, 'close')
    }
    await server.askHonestly()
    // What was cut short never was a request for a token.
    expect(server.state()).toEqual({ ...before, issued: before.issued + 1 })
    const socket = await open()
    socket.write(whole, 'latin1', () => socket.resetAndDestroy())
    await once(socket, 'close')
    await server.askHonestly()
    expect(server.state().sequence).toBe(before.sequence)
  })
})

describe('what is not plain HTTP/1.1', () => {
  it.each([
    ['the preface of HTTP/2', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 400],
    ['a version that is none', 'GET /livez HTTP/9.9\r\nHost: x\r\n\r\n', 400],
    ['HTTP/0.9', 'GET /livez\r\n\r\n', 400],
    ['a TLS handshake', '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03', 400],
    ['HTTP/2.0 by name', 'GET /livez HTTP/2.0\r\nHost: x\r\n\r\n', 400],
    ['line feeds alone', 'GET /livez HTTP/1.1\nHost: x\n\n', 400],
    ['a bare carriage return', 'GET /livez HTTP/1.1\rHost: x\r\n\r\n', 400],
    ['a NUL in the target', 'GET /livez\0 HTTP/1.1\r\nHost: x\r\n\r\n', 400],
    ['a space in front of the colon', 'GET /livez HTTP/1.1\r\nHost : x\r\n\r\n', 400],
    ['a folded header', 'GET /livez HTTP/1.1\r\nHost: x\r\nX: a\r\n b\r\n\r\n', 400],
    ['two Hosts', 'GET /livez HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n', 400],
    ['two Hosts, 900 headers apart', `GET /livez HTTP/1.1\r\nHost: x\r\n${'a:\r\n'.repeat(900)}Host: x\r\n\r\n`, 400],
    [
      'two Hosts, 3,000 headers apart',
      `GET /livez HTTP/1.1\r\nHost: x\r\n${'a:\r\n'.repeat(3_000)}Host: x\r\n\r\n`,
      431,
    ],
    [
      'a chunk extension of 20 KB',
      `POST /token HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1;${'x'.repeat(20_000)}\r\na\r\n0\r\n\r\n`,
      400,
    ],
  ])('H07 H15 is refused when it is %s', async (_, sent, status) => {
    const server = serverNow()
    const { replies, rest } = await exchange(server.url, sent, { replies: 1 })
    expect([replies.map((reply) => reply.status), rest]).toEqual([[status], ''])
    for (const reply of replies) expectOrderly(reply)
    await server.askHonestly()
  })

  it('H15 is not upgraded to h2c: the token is answered on HTTP/1.1', async () => {
    const upgrade = ['Connection: Upgrade, HTTP2-Settings', 'Upgrade: h2c', 'HTTP2-Settings: AAMAAABkAAQAAP__']
    const { replies } = await exchange(serverNow().url, honest(upgrade), { replies: 1 })
    expect(replies.map(({ status }) => status)).toEqual([200])
    expect(replies[0]?.headers.upgrade).toBeUndefined()
  })

  it('H15 gets a token on HTTP/1.0, with a length and on a connection that is then closed', async () => {
    const server = serverNow()
    const { replies, rest } = await exchange(
      server.url,
      honest().replace('HTTP/1.1', 'HTTP/1.0').replace('Host: x\r\n', ''),
    )
    expect([replies.map(({ status }) => status), rest]).toEqual([[200], ''])
    expect(replies[0]?.headers.connection).toBe('close')
  })

  it('is told to go on with its body, when it waits for that', async () => {
    const socket = await open()
    const reading = readAll(socket)
    const [head = '', form = ''] = honest(['Expect: 100-continue', 'Connection: close']).split('\r\n\r\n')
    socket.write(`${head}\r\n\r\n`)
    await once(socket, 'data')
    socket.write(form)
    const text = await reading
    expect(text).toMatch(/^HTTP\/1\.1 100 Continue\r\n\r\nHTTP\/1\.1 200 OK\r\n/)
  })

  it('H07 takes the token endpoint out of an absolute-form target, and the issuer from its settings', async () => {
    const server = serverNow()
    for (const origin of ['http://evil.test', 'https://evil.test:444', 'http://u:p@evil.test', 'HTTP://EVIL.TEST']) {
      const sent = honest().replace('POST /token', `POST ${origin}/token`)
      const { replies } = await exchange(server.url, sent, { replies: 1 })
      const [reply] = replies
      if (reply === undefined) throw new Error('no reply')
      expectOrderly(reply)
      if (reply.status !== 200) continue
      const { access_token: token } = JSON.parse(reply.body) as { access_token: string }
      expect(await server.verify(token)).toMatchObject({ iss: server.issuer })
    }
  })

  const routes = ['/token', '/authorize', '/livez', '/.well-known/jwks.json', '/nothing']

  it.each(routes)(
    'H15 gets nothing back of what it sent to %s, and no method but those that are allowed',
    async (path) => {
      const server = serverNow()
      for (const method of ['TRACE', 'PUT', 'DELETE', 'PATCH', 'OPTIONS', 'QUERY']) {
        const sent = `${method} ${path} HTTP/1.1\r\nHost: x\r\nCookie: ${canary}\r\nConnection: close\r\n\r\n`
        const { replies, text } = await exchange(server.url, sent)
        expect(text).not.toContain(canary)
        for (const reply of replies) expectOrderly(reply)
        const preflight = method === 'OPTIONS' && path.startsWith('/.well-known')
        const wanted = preflight ? 204 : path === '/nothing' ? 404 : 405
        expect([replies.map(({ status }) => status), method]).toEqual([[wanted], method])
      }
    },
  )

  it('H15 gets no tunnel with CONNECT, and not a byte back', async () => {
    for (const target of ['evil.test:443', '/token']) {
      const { text } = await exchange(serverNow().url, `CONNECT ${target} HTTP/1.1\r\nHost: x\r\n\r\n${canary}`)
      expect(text).not.toMatch(/^HTTP\/1\.1 2|canary/)
    }
    await serverNow().askHonestly()
  })
})

describe('a body that is no longer HTTP', () => {
  it.each([
    ['a chunk without a size', 'zz\r\n'],
    ['a chunk that ends late', '1\r\nab\r\n'],
    ['a chunk size beyond all sense', 'fffffffffffffffff\r\n'],
    ['a chunk extension of 20 KB', `1;${'x'.repeat(20_000)}\r\na\r\n0\r\n\r\n`],
    ['a trailer that is none', '0\r\n:\r\n\r\n'],
    ['rubbish behind a good chunk', 'a\r\ngrant_type\r\nrubbish'],
  ])('H07 is refused at once, not when its time is over: %s', async (_, chunks) => {
    const server = serverNow()
    const before = server.state()
    const head = honest().split('\r\nContent-Length')[0]
    const sent = `${head}\r\nTransfer-Encoding: chunked\r\n\r\n${chunks}`
    const { replies, rest } = await exchange(server.url, sent)
    expect([replies.map(({ status }) => status), rest]).toEqual([[400], ''])
    for (const reply of replies) expectOrderly(reply)
    expect(server.state()).toEqual(before)
    await server.askHonestly()
  })
})

describe('an overload', () => {
  it('is no reason to answer an honest request otherwise than with its token', async () => {
    const server = serverNow()
    const form = { grant_type: 'client_credentials' }
    const headers = { authorization: server.basic.basic }
    const before = server.state()
    const replies = await Promise.all(Array.from({ length: 100 }, () => requestToken(server, form, headers)))
    expect(new Set(replies.map(({ status }) => status))).toEqual(new Set([200]))
    expect(server.state()).toEqual({ ...before, issued: before.issued + replies.length })
  })
})
