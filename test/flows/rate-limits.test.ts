/** Limits over HTTP: who is refused, with which bytes, and who is not. */
import { describe, expect, it } from 'vitest'
import { generateSecret, makeSecretId } from '../../src/client/client-secret.ts'
import { hashImportedSecret } from '../../src/client/imported-secret.ts'
import { AssertionMaker, makeTestKey } from '../support/assertion.ts'
import {
  addClient,
  addKeyClient,
  basic,
  ManualClock,
  type Reply,
  request,
  requestToken,
  startWithClient,
  type TestServer,
} from '../support/server.ts'

const grant = { grant_type: 'client_credentials' }
const limited = {
  error: 'temporarily_unavailable',
  error_description: 'too many failed authentications, try again later',
}
const wrong = (): string => generateSecret().secret.reveal()

/** A server that believes a proxy on loopback, so that a test can come from anywhere. */
const behindProxy = (env: Readonly<Record<string, string>> = {}) =>
  startWithClient({ clock: new ManualClock(), env: { MAYFLY_TRUSTED_PROXIES: '127.0.0.1', ...env } })

function ask(server: TestServer, credentials: string, address?: string): Promise<Reply> {
  const forwarded = address === undefined ? {} : { 'x-forwarded-for': address }
  return requestToken(server, grant, { authorization: credentials, ...forwarded })
}

async function failMany(server: TestServer, count: number, address?: string, id = 'billing'): Promise<Reply[]> {
  const replies: Reply[] = []
  for (let i = 0; i < count; i += 1) replies.push(await ask(server, basic(id, wrong()), address))
  return replies
}

/** Everything that a caller sees, but for what each request has of its own. */
function bytesOf({ status, headers, text }: Reply): string {
  const shown = [...headers].filter(([name]) => !['date', 'x-request-id'].includes(name))
  return JSON.stringify([status, shown, text])
}

async function addImported(server: TestServer, clientId: string, secret: string): Promise<void> {
  const cost = { memoryKib: 7_168, passes: 5, lanes: 1 }
  const argon2id = await hashImportedSecret(secret, cost)
  await server.store.createClient(
    clientId,
    {
      name: clientId,
      grantTypes: ['client_credentials'],
      authMethods: ['client_secret_basic'],
      scopes: ['read'],
      audiences: ['https://api.example.test'],
    },
    { kind: 'imported', secretId: makeSecretId(), argon2id },
    'cli:test',
  )
}

async function metric(server: TestServer, name: string): Promise<number> {
  const { text } = await request(`${server.url}/metrics`)
  const line = text.split('\n').find((each) => each.startsWith(`${name} `) || each.startsWith(`${name}{`))
  return Number(line?.slice(line.lastIndexOf(' ') + 1) ?? 0)
}

describe('failed authentications', () => {
  it('HTTP-17 are refused from the 101st a minute on, and heard again after it', async () => {
    const clock = new ManualClock()
    const { server, client } = await startWithClient({ clock })
    const replies = await failMany(server, 102)
    expect(new Set(replies.slice(0, 100).map(({ status }) => status))).toEqual(new Set([401]))
    for (const reply of replies.slice(100)) {
      expect([reply.status, reply.json]).toEqual([429, limited])
      expect(Object.fromEntries(reply.headers)).toMatchObject({
        'retry-after': '60',
        'ratelimit-policy': '"failures";q=100;w=60',
        ratelimit: '"failures";r=0;t=60',
        'cache-control': 'no-store',
        'content-type': 'application/json',
      })
      expect(reply.headers.get('www-authenticate')).toBeNull()
    }
    clock.advance(42.5)
    expect((await ask(server, basic('billing', wrong()))).headers.get('retry-after')).toBe('18')
    clock.advance(17.5)
    expect((await ask(server, basic('billing', wrong()))).status).toBe(401)
    expect((await ask(server, client.basic)).status).toBe(200)
  })

  it('HTTP-17 leave the right secret alone: of that client, of others, from the same address and from another', async () => {
    const { server, client } = await behindProxy()
    const other = await addClient(server.store, 'shipping')
    await failMany(server, 120, '192.0.2.1')
    for (const address of ['192.0.2.1', '198.51.100.7']) {
      expect((await ask(server, client.basic, address)).status).toBe(200)
      expect((await ask(server, other.basic, address)).status).toBe(200)
    }
    expect((await ask(server, basic('billing', wrong()), '198.51.100.7')).status).toBe(401)
  })

  it('I18 do not lock an imported secret out, that was right before or comes from an address that has not failed', async () => {
    const { server } = await behindProxy()
    await addImported(server, 'legacy', 'correct horse')
    const right = basic('legacy', 'correct horse')
    expect((await ask(server, right, '192.0.2.1')).status).toBe(200)
    for (let i = 0; i < 120; i += 1) await ask(server, basic('legacy', wrong()), `192.0.2.${1 + (i % 3)}`)
    expect((await ask(server, basic('legacy', 'correct horsf'), '192.0.2.1')).status).toBe(429)
    expect((await ask(server, right, '192.0.2.1')).status).toBe(200)
    expect((await ask(server, right, '198.51.100.7')).status).toBe(200)
  })

  it('C09 over the limit never reach argon2id, also when they come faster than it checks', async () => {
    const { server } = await startWithClient({ clock: new ManualClock() })
    await addImported(server, 'legacy', 'correct horse')
    const right = basic('legacy', 'correct horse')
    expect((await ask(server, right)).status).toBe(200)
    const flood = (id: string) =>
      Promise.all(Array.from({ length: 200 }, (_, i) => ask(server, basic(id, `guess ${i}`))))
    // The line takes eight for each core but one; what finds it full is told 503, and counts as well.
    const first = await flood('legacy')
    expect(first.some(({ status }) => status === 503)).toBe(true)
    expect(first.filter(({ status }) => status === 429).length).toBeGreaterThan(0)
    const [guesses, invented, honest] = await Promise.all([flood('legacy'), flood('nobody'), ask(server, right)])
    expect(new Set([...guesses, ...invented].map(({ status }) => status))).toEqual(new Set([429]))
    expect(honest.status).toBe(200)
  })

  it('C09 leave an imported secret that was right before its place in the line of checks', async () => {
    const { server } = await behindProxy()
    await addImported(server, 'legacy', 'correct horse')
    const right = basic('legacy', 'correct horse')
    expect((await ask(server, right, '198.51.100.7')).status).toBe(200)
    const flood = Array.from({ length: 200 }, (_, i) => ask(server, basic('legacy', `guess ${i}`), `192.0.2.${i}`))
    const honest = await Promise.all(Array.from({ length: 5 }, () => ask(server, right, '198.51.100.7')))
    expect(honest.map(({ status }) => status)).toEqual([200, 200, 200, 200, 200])
    expect((await Promise.all(flood)).some(({ status }) => status === 503)).toBe(true)
  })

  it('I19 C08 are the same bytes for unknown, disabled and wrong, below the limit and above', async () => {
    const { server } = await behindProxy()
    await addImported(server, 'legacy', 'correct horse')
    const gone = await addClient(server.store, 'gone')
    await server.store.setClientStatus('gone', 'disabled', 'cli:test')
    const attempts = [
      basic('nobody', wrong()),
      gone.basic,
      basic('gone', wrong()),
      basic('billing', wrong()),
      basic('nobody', 'a guess'),
      basic('legacy', 'a guess'),
      basic('gone', 'a guess'),
    ]
    for (const [place, status] of [
      [0, 401],
      [101, 429],
    ]) {
      const bytes = new Set<string>()
      for (const [i, attempt] of attempts.entries()) {
        const address = `192.0.2.${i + 1}`
        await failMany(server, place as number, address, `invented ${i}`)
        const reply = await ask(server, attempt, address)
        expect(reply.status).toBe(status)
        bytes.add(bytesOf(reply))
      }
      expect(bytes.size).toBe(1)
    }
  })

  it('I19 of one client are told alike, whether or not there is one, after as many failures elsewhere', async () => {
    const { server } = await behindProxy()
    await addImported(server, 'legacy', 'correct horse')
    const told: string[][] = []
    for (const [n, id] of ['legacy', 'nobody'].entries()) {
      for (let i = 0; i < 120; i += 1) await ask(server, basic(id, wrong()), `10.${n}.0.${i % 4}`)
      const first = await ask(server, basic(id, 'a guess'), `10.${n}.1.1`)
      const second = await ask(server, basic(id, 'a guess'), `10.${n}.1.1`)
      told.push([bytesOf(first), bytesOf(second)])
      expect([first.status, second.status]).toEqual([401, 429])
    }
    expect(told[0]).toEqual(told[1])
  })

  it.each([
    ['credentials that cannot be read', { authorization: 'Basic !!!' }],
    ['no credentials', {}],
    ['a scheme that is not ours', { authorization: 'Bearer x' }],
  ])('count %s by their address', async (_, headers) => {
    const { server } = await startWithClient({ clock: new ManualClock() })
    for (let i = 0; i < 100; i += 1)
      expect((await requestToken(server, grant, headers)).json.error).toBe('invalid_client')
    expect((await requestToken(server, grant, headers)).status).toBe(429)
  })

  it.each(['revoke', 'introspect'])('count at /%s with those at /token', async (endpoint) => {
    const { server, client } = await startWithClient({ clock: new ManualClock() })
    await failMany(server, 100)
    const post = (authorization: string) =>
      request(`${server.url}/${endpoint}`, {
        method: 'POST',
        body: 'token=x',
        headers: { 'content-type': 'application/x-www-form-urlencoded', authorization },
      })
    expect(await post(basic('billing', wrong()))).toMatchObject({ status: 429, json: limited })
    expect((await post(client.basic)).status).toBe(200)
  })

  it('do not count what fails for another reason, and so never refuse a client that has proved itself', async () => {
    const { server, client } = await startWithClient({ clock: new ManualClock() })
    for (let i = 0; i < 150; i += 1) {
      const reply = await requestToken(server, { ...grant, scope: 'other' }, { authorization: client.basic })
      expect(reply.json.error).toBe('invalid_scope')
    }
    for (let i = 0; i < 150; i += 1) expect((await requestToken(server, { grant_type: 'x' })).status).toBe(400)
    expect((await ask(server, basic('billing', wrong()))).status).toBe(401)
  })

  it('do not count a library that tries Basic and then POST', async () => {
    const { server } = await startWithClient({ clock: new ManualClock() })
    const client = await addClient(server.store, 'go', { authMethods: ['client_secret_post'] })
    for (let i = 0; i < 150; i += 1) {
      expect((await ask(server, client.basic)).status).toBe(401)
      const second = { ...grant, client_id: 'go', client_secret: client.secret }
      if (i % 30 === 0) expect((await requestToken(server, second)).status).toBe(200)
    }
    expect((await ask(server, basic('go', wrong()))).status).toBe(401)
  })

  it('do not count a try that the same client follows with a right one from there', async () => {
    const { server, client } = await startWithClient({ clock: new ManualClock() })
    for (let i = 0; i < 120; i += 1) {
      expect((await ask(server, basic('billing', wrong()))).status).toBe(401)
      expect((await ask(server, client.basic)).status).toBe(200)
    }
  })

  it('C11 are one bucket for a /64, for both spellings of an address, and whatever a stranger forwards', async () => {
    const { server } = await behindProxy()
    for (let i = 0; i < 100; i += 1) {
      expect((await ask(server, basic('nobody', wrong()), `2001:db8:0:7::${i.toString(16)}`)).status).toBe(401)
    }
    expect((await ask(server, basic('nobody', wrong()), '2001:db8::7:ffff:0:0:1')).status).toBe(429)
    expect((await ask(server, basic('nobody', wrong()), '2001:db8:0:8::1')).status).toBe(401)
    await failMany(server, 100, '192.0.2.1')
    for (const address of ['::ffff:192.0.2.1', '::ffff:c000:201', '[::ffff:192.0.2.1]', '6.6.6.6, 192.0.2.1'])
      expect((await ask(server, basic('nobody', wrong()), address)).status, address).toBe(429)
    expect((await ask(server, basic('nobody', wrong()), '192.0.2.1, 6.6.6.6')).status).toBe(401)
  })

  it('C11 are counted by the peer when it is no proxy, whatever it forwards', async () => {
    const { server } = await startWithClient({ clock: new ManualClock() })
    for (let i = 0; i < 100; i += 1) await ask(server, basic('nobody', wrong()), `192.0.2.${i}`)
    expect((await ask(server, basic('nobody', wrong()), '203.0.113.9')).status).toBe(429)
  })

  it('H16 make no metric of what strangers send, and say which limit refused', async () => {
    const { server } = await startWithClient({ clock: new ManualClock() })
    await failMany(server, 50, undefined, 'planted-1')
    await failMany(server, 55, undefined, 'planted-2')
    const { text } = await request(`${server.url}/metrics`)
    expect(text).not.toContain('planted')
    expect(text).not.toContain('127.0.0')
    expect(text).toContain('mayfly_limited_total{limit="address",outcome="refused"} 5')
    expect(text).toContain('mayfly_refusals_total{reason="too_many_failures"} 5')
  })

  it('are in the trail as far as they are sampled, with the reason of the limit', async () => {
    const { server } = await startWithClient({ clock: new ManualClock(), env: { MAYFLY_RATE_LIMIT_FAILURES: '3' } })
    await failMany(server, 5)
    const entries = await server.store.listAudit({ type: 'token.refused', limit: 10 })
    expect(entries.map((entry) => ('reason' in entry ? entry.reason : ''))).toEqual([
      'too_many_failures',
      'too_many_failures',
      'secret_unknown',
      'secret_unknown',
      'secret_unknown',
    ])
  })

  it('are answered as ever, but counted and logged, when limits only log', async () => {
    const lines: object[] = []
    const warn = (fields: object, message: string) => lines.push({ ...fields, message })
    const log = { debug() {}, info() {}, warn, error() {} }
    const { server } = await startWithClient({
      clock: new ManualClock(),
      log,
      env: { MAYFLY_RATE_LIMIT_MODE: 'log', MAYFLY_RATE_LIMIT_FAILURES: '3' },
    })
    const replies = await failMany(server, 100)
    expect(new Set(replies.map(({ status }) => status))).toEqual(new Set([401]))
    expect(await metric(server, 'mayfly_limited_total{limit="address",outcome="logged"}')).toBe(97)
    const would = lines.filter((line) => 'message' in line && line.message === 'would be refused')
    expect(would).toHaveLength(60)
    expect(would[0]).toMatchObject({ limit: 'address', address: '127.0.0.1' })
  })

  it('say of a right secret that it would have been refused, when limits only log', async () => {
    const { server } = await startWithClient({
      clock: new ManualClock(),
      env: { MAYFLY_RATE_LIMIT_MODE: 'log', MAYFLY_RATE_LIMIT_FAILURES: '3' },
    })
    await addImported(server, 'legacy', 'correct horse')
    for (let i = 0; i < 5; i += 1) await ask(server, basic('nobody', 'a guess'))
    const logged = () => metric(server, 'mayfly_limited_total{limit="address",outcome="logged"}')
    expect(await logged()).toBe(2)
    expect((await ask(server, basic('legacy', 'correct horse'))).status).toBe(200)
    expect(await logged()).toBe(3)
    expect((await ask(server, basic('legacy', 'correct horse'))).status).toBe(200)
    expect(await logged()).toBe(3)
  })

  it('are not counted when limits are off', async () => {
    const { server } = await startWithClient({ clock: new ManualClock(), env: { MAYFLY_RATE_LIMIT_MODE: 'off' } })
    const replies = await failMany(server, 120)
    expect(new Set(replies.map(({ status }) => status))).toEqual(new Set([401]))
    expect(await metric(server, 'mayfly_limited_total')).toBe(0)
  })
})

describe('assertions', () => {
  const start = async (env: Readonly<Record<string, string>> = {}) => {
    const clock = new ManualClock()
    const { server } = await startWithClient({ clock, env })
    const key = makeTestKey('ES256')
    await addKeyClient(server.store, 'signer', [key])
    const ask = (form: Readonly<Record<string, string>>) => requestToken(server, form)
    const thief = new AssertionMaker('signer', server.issuer, makeTestKey('ES256'), clock)
    return { server, ask, thief, maker: new AssertionMaker('signer', server.issuer, key, clock) }
  }

  it('HTTP-17 of another key are refused from the 101st a minute on, and those of its own pass', async () => {
    const { ask, maker, thief } = await start()
    for (let i = 0; i < 100; i += 1) expect((await ask(thief.form())).status).toBe(400)
    const reply = await ask(thief.form())
    expect([reply.status, reply.json]).toEqual([429, limited])
    expect((await ask(maker.form())).status).toBe(200)
  })

  it('I18 that are sent again use up no request of their client, and tell nothing of its limit', async () => {
    const { ask, maker } = await start({ MAYFLY_RATE_LIMIT_PER_CLIENT: '3' })
    const captured = maker.form()
    expect((await ask(captured)).headers.get('ratelimit')).toBe('"requests";r=2;t=60')
    for (let i = 0; i < 10; i += 1) {
      const reply = await ask(captured)
      expect([reply.json.error, reply.headers.get('ratelimit')]).toEqual(['invalid_client', null])
    }
    expect((await ask(maker.form())).headers.get('ratelimit')).toBe('"requests";r=1;t=60')
  })

  it('I18 that are sent again, many at a time or above the limit, use up none either', async () => {
    const { ask, maker } = await start({ MAYFLY_RATE_LIMIT_PER_CLIENT: '3' })
    const captured = maker.form()
    expect((await ask(captured)).status).toBe(200)
    const sendAgain = async () => {
      const replies = await Promise.all(Array.from({ length: 20 }, () => ask(captured)))
      for (const { json } of replies) expect(json.error).toBe('invalid_client')
    }
    await sendAgain()
    for (const left of [1, 0]) {
      const reply = await ask(maker.form())
      expect([reply.status, reply.headers.get('ratelimit')]).toEqual([200, `"requests";r=${left};t=60`])
    }
    await sendAgain()
    expect((await ask(maker.form())).json.error_description).toMatch(/^too many requests of this client/)
    await sendAgain()
  })
})

describe('requests of a client', () => {
  const env = { MAYFLY_RATE_LIMIT_PER_CLIENT: '3' }

  it('have no limit by default, and no headers about one', async () => {
    const { server, client } = await startWithClient({ clock: new ManualClock() })
    for (let i = 0; i < 150; i += 1) {
      const reply = await ask(server, client.basic)
      expect(reply.status).toBe(200)
      expect([reply.headers.get('ratelimit'), reply.headers.get('ratelimit-policy')]).toEqual([null, null])
    }
  })

  it('are refused above the limit, and told how much is left before', async () => {
    const clock = new ManualClock()
    const { server, client } = await startWithClient({ clock, env })
    const replies: Reply[] = []
    for (let i = 0; i < 4; i += 1) {
      replies.push(await ask(server, client.basic))
      clock.advance(1)
    }
    expect(replies.map(({ status, headers }) => [status, headers.get('ratelimit')])).toEqual([
      [200, '"requests";r=2;t=60'],
      [200, '"requests";r=1;t=59'],
      [200, '"requests";r=0;t=58'],
      [429, '"requests";r=0;t=57'],
    ])
    for (const { headers } of replies) expect(headers.get('ratelimit-policy')).toBe('"requests";q=3;w=60')
    expect(replies[3]?.headers.get('retry-after')).toBe('57')
    expect(replies[3]?.json).toEqual({
      error: 'temporarily_unavailable',
      error_description: 'too many requests of this client, try again later',
    })
    clock.advance(56)
    expect((await ask(server, client.basic)).status).toBe(200)
  })

  it('HTTP-17 of one client at its limit leave the others theirs', async () => {
    const { server, client } = await startWithClient({ clock: new ManualClock(), env })
    const other = await addClient(server.store, 'shipping')
    for (let i = 0; i < 10; i += 1) await ask(server, client.basic)
    expect((await ask(server, other.basic)).headers.get('ratelimit')).toBe('"requests";r=2;t=60')
  })

  it('I18 cannot be used up by whoever has not proved to be it', async () => {
    const { server, client } = await startWithClient({ clock: new ManualClock(), env })
    await failMany(server, 20)
    expect((await ask(server, client.basic)).headers.get('ratelimit')).toBe('"requests";r=2;t=60')
  })

  it('count when they are refused for another reason, and say so', async () => {
    const { server, client } = await startWithClient({ clock: new ManualClock(), env })
    const reply = await requestToken(server, { ...grant, scope: 'other' }, { authorization: client.basic })
    expect([reply.status, reply.headers.get('ratelimit')]).toEqual([400, '"requests";r=2;t=60'])
  })

  it('count once when the registry moves while they are decided', async () => {
    const { server, client } = await startWithClient({ clock: new ManualClock(), env })
    await ask(server, client.basic)
    for (let i = 0; i < 2; i += 1) {
      await server.store.updateResource('https://api.example.test', { name: `API ${i}` }, 'cli:test')
      expect((await ask(server, client.basic)).status).toBe(200)
    }
    expect((await ask(server, client.basic)).status).toBe(429)
  })

  it('count at each endpoint by themselves, and at /introspect only by a setting of its own', async () => {
    const { server, client } = await startWithClient({
      clock: new ManualClock(),
      env: { ...env, MAYFLY_RATE_LIMIT_INTROSPECTION: '5' },
    })
    const post = (endpoint: string) =>
      request(`${server.url}/${endpoint}`, {
        method: 'POST',
        body: 'token=x',
        headers: { 'content-type': 'application/x-www-form-urlencoded', authorization: client.basic },
      })
    for (let i = 0; i < 4; i += 1) await ask(server, client.basic)
    for (const [endpoint, limit] of [
      ['revoke', 3],
      ['introspect', 5],
    ] as const) {
      for (let i = 0; i < limit; i += 1) expect((await post(endpoint)).status).toBe(200)
      expect((await post(endpoint)).status).toBe(429)
    }
  })

  it('are answered without headers, but counted, when limits only log', async () => {
    const { server, client } = await startWithClient({
      clock: new ManualClock(),
      env: { ...env, MAYFLY_RATE_LIMIT_MODE: 'log' },
    })
    for (let i = 0; i < 5; i += 1) {
      const reply = await ask(server, client.basic)
      expect([reply.status, reply.headers.get('ratelimit')]).toEqual([200, null])
    }
    expect(await metric(server, 'mayfly_limited_total{limit="requests",outcome="logged"}')).toBe(2)
  })

  it('I10 above the limit are sampled in the trail, so that a client cannot fill the disk', async () => {
    const { server, client } = await startWithClient({ clock: new ManualClock(), env })
    for (let i = 0; i < 100; i += 1) await ask(server, client.basic)
    const entries = await server.store.listAudit({ type: 'token.refused', limit: 200 })
    expect(entries).toHaveLength(60)
    expect(entries[0]).toMatchObject({ reason: 'too_many_requests', clientId: 'billing' })
  })
})
