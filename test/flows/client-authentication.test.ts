import { describe, expect, it } from 'vitest'
import { makeSecretId } from '../../src/client/client-secret.ts'
import { hashImportedSecret } from '../../src/client/imported-secret.ts'
import { sendRaw } from '../support/raw.ts'
import {
  addClient,
  api,
  basic,
  ManualClock,
  type Reply,
  request,
  requestToken,
  startWithClient,
  type TestServer,
} from '../support/server.ts'

const grant = { grant_type: 'client_credentials' }
const cheap = { memoryKib: 7_168, passes: 5, lanes: 1 }

/** Everything a caller can see of a reply, but what differs from request to request by design. */
function face({ status, headers, text }: Reply): unknown {
  const names = [...headers].filter(([name]) => name !== 'x-request-id' && name !== 'date')
  return { status, headers: names, text }
}

function expectChallenge(reply: Reply): void {
  expect(reply.status).toBe(401)
  expect(reply.json.error).toBe('invalid_client')
  expect(reply.headers.get('www-authenticate')).toMatch(/^Basic realm="/)
  expect(reply.headers.get('cache-control')).toContain('no-store')
}

async function addImported(server: TestServer, clientId: string, secret: string, settings = {}): Promise<void> {
  const argon2id = await hashImportedSecret(secret, cheap)
  await server.store.createClient(
    clientId,
    {
      name: clientId,
      grantTypes: ['client_credentials'],
      authMethods: ['client_secret_basic', 'client_secret_post'],
      scopes: ['read'],
      audiences: [api],
      ...settings,
    },
    { kind: 'imported', secretId: makeSecretId(), argon2id },
    'cli:test',
  )
}

async function lastReason(server: TestServer): Promise<unknown> {
  const [entry] = await server.store.listAudit({ type: 'token.refused', limit: 1 })
  return entry?.type === 'token.refused' ? entry.reason : undefined
}

describe('client authentication', () => {
  it('CA-01 accepts Basic, form-encoded', async () => {
    const { server, client } = await startWithClient()
    expect((await requestToken(server, grant, { authorization: client.basic })).status).toBe(200)
  })

  it('CA-02 accepts an imported secret with every kind of character, form-encoded, and refuses it raw', async () => {
    const { server } = await startWithClient()
    const secret = 'a%b+c:d e\u00e9/f'
    await addImported(server, 'imported', secret)
    expect((await requestToken(server, grant, { authorization: basic('imported', secret) })).status).toBe(200)
    const raw = `Basic ${Buffer.from(`imported:${secret.replace('%', '')}`).toString('base64')}`
    expectChallenge(await requestToken(server, grant, { authorization: raw }))
    const posted = { ...grant, client_id: 'imported', client_secret: secret }
    expect((await requestToken(server, posted)).status).toBe(200)
  })

  it('CA-03 refuses a wrong secret with 401 and a challenge', async () => {
    const { server, client } = await startWithClient()
    const wrong = `${client.secret.slice(0, -1)}${client.secret.endsWith('0') ? '1' : '0'}`
    expectChallenge(await requestToken(server, grant, { authorization: basic('billing', wrong) }))
  })

  it('CA-04 C08 I19 refuses unknown, disabled, expired, foreign and wrong with the same bytes', async () => {
    const clock = new ManualClock()
    const { server, client } = await startWithClient({ clock })
    const disabled = await addClient(server.store, 'disabled')
    await server.store.setClientStatus('disabled', 'disabled', 'cli:test')
    const deleted = await addClient(server.store, 'deleted')
    await server.store.deleteClient('deleted', 'cli:test')
    const post = await addClient(server.store, 'post', { authMethods: ['client_secret_post'] })
    const other = await addClient(server.store, 'other')
    const expiring = await addClient(server.store, 'expiring')
    const replies: Reply[] = []
    for (const authorization of [
      basic('billing', other.secret),
      basic('nobody', client.secret),
      disabled.basic,
      deleted.basic,
      post.basic,
      basic('billing', 'short'),
      basic('nobody', 'short'),
      basic('billing', `mfs_${'0'.repeat(65)}`),
    ]) {
      replies.push(await requestToken(server, grant, { authorization }))
    }
    await server.store.createSecret(
      'expiring',
      {
        kind: 'generated',
        secretId: makeSecretId(),
        sha256: new Uint8Array(32),
        expiresAt: clock.nowMilliseconds() + 1,
      },
      'cli:test',
    )
    expectChallenge(replies[0] as Reply)
    for (const reply of replies) expect(face(reply)).toEqual(face(replies[0] as Reply))
    expect((await requestToken(server, grant, { authorization: expiring.basic })).status).toBe(200)
  })

  it('CA-04 refuses a secret from the moment at which it expires, with the same bytes', async () => {
    const clock = new ManualClock()
    const { server, client } = await startWithClient({ clock })
    const { generateSecret } = await import('../../src/client/client-secret.ts')
    const { secret, secretId, sha256 } = generateSecret()
    const expiresAt = clock.nowMilliseconds() + 60_000
    await server.store.createSecret('billing', { kind: 'generated', secretId, sha256, expiresAt }, 'cli:test')
    const authorization = basic('billing', secret.reveal())
    clock.advance(59)
    expect((await requestToken(server, grant, { authorization })).status).toBe(200)
    clock.advance(1)
    const expired = await requestToken(server, grant, { authorization })
    expect(await lastReason(server)).toBe('secret_expired')
    const wrong = await requestToken(server, grant, { authorization: basic('billing', 'nonsense') })
    expect(face(expired)).toEqual(face(wrong))
    expect((await requestToken(server, grant, { authorization: client.basic })).status).toBe(200)
  })

  it.each([
    ['nothing', 'Basic'],
    ['spaces', 'Basic   '],
    ['not base64', 'Basic !!!!'],
    ['base64url', `Basic ${Buffer.from('billing:~~~???').toString('base64url')}`],
    ['no colon', `Basic ${Buffer.from('billing').toString('base64')}`],
    ['an empty id', `Basic ${Buffer.from(':secret').toString('base64')}`],
    ['an empty secret', `Basic ${Buffer.from('billing:').toString('base64')}`],
    ['a bad escape', `Basic ${Buffer.from('billing:%ZZ').toString('base64')}`],
    ['a NUL', `Basic ${Buffer.from('billing:a%00b').toString('base64')}`],
    ['invalid UTF-8', `Basic ${Buffer.from('billing:%FF').toString('base64')}`],
    ['raw bytes', `Basic ${Buffer.from([0x61, 0x3a, 0xff]).toString('base64')}`],
    ['a newline', `Basic ${Buffer.from('billing:a\nb').toString('base64')}`],
    ['two parts', 'Basic YTpi YTpi'],
    ['a comma', 'Basic YTpi, Bearer x'],
    ['8 KB', `Basic ${Buffer.from(`billing:${'a'.repeat(8000)}`).toString('base64')}`],
  ])('CA-05 C02 C03 refuses Basic with %s', async (_, authorization) => {
    const { server } = await startWithClient()
    expectChallenge(await requestToken(server, grant, { authorization }))
  })

  it.each(['basic', 'BASIC', 'bAsIc'])('CA-05 accepts the scheme as %s', async (scheme) => {
    const { server, client } = await startWithClient()
    const authorization = client.basic.replace('Basic', scheme)
    expect((await requestToken(server, grant, { authorization })).status).toBe(200)
  })

  it('CA-06 accepts id and secret in the body of a client registered for it', async () => {
    const { server } = await startWithClient()
    const post = await addClient(server.store, 'post', { authMethods: ['client_secret_post'] })
    const reply = await requestToken(server, { ...grant, client_id: 'post', client_secret: post.secret })
    expect(reply.status).toBe(200)
  })

  it('CA-06 accepts both ways of a client that may use both', async () => {
    const { server } = await startWithClient()
    const both = await addClient(server.store, 'both', { authMethods: ['client_secret_basic', 'client_secret_post'] })
    expect((await requestToken(server, grant, { authorization: both.basic })).status).toBe(200)
    expect((await requestToken(server, { ...grant, client_id: 'both', client_secret: both.secret })).status).toBe(200)
  })

  it('CA-07 C01 refuses two methods at once', async () => {
    const { server, client } = await startWithClient()
    const headers = { authorization: client.basic }
    for (const more of [
      { client_secret: client.secret },
      { client_id: 'billing', client_secret: client.secret },
      { client_assertion: 'x.y.z', client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer' },
    ]) {
      const reply = await requestToken(server, { ...grant, ...more }, headers)
      expect([reply.status, reply.json.error]).toEqual([400, 'invalid_request'])
    }
    const assertion = { client_id: 'billing', client_secret: client.secret, client_assertion: 'x.y.z' }
    expect((await requestToken(server, { ...grant, ...assertion })).json.error).toBe('invalid_request')
  })

  it('CA-08 refuses another client_id beside Basic, and accepts the same', async () => {
    const { server, client } = await startWithClient()
    await addClient(server.store, 'other')
    const headers = { authorization: client.basic }
    expect((await requestToken(server, { ...grant, client_id: 'other' }, headers)).json.error).toBe('invalid_request')
    expect((await requestToken(server, { ...grant, client_id: 'billing' }, headers)).status).toBe(200)
  })

  it('CA-09 C10 refuses the right secret by a method that is not registered', async () => {
    const { server, client } = await startWithClient()
    const posted = await requestToken(server, { ...grant, client_id: 'billing', client_secret: client.secret })
    expect([posted.status, posted.json.error]).toEqual([400, 'invalid_client'])
    expect(await lastReason(server)).toBe('authentication_method_not_registered')
    const only = await requestToken(server, { ...grant, client_assertion: 'x.y.z', client_assertion_type: 'y' })
    expect([only.status, only.json.error]).toEqual([400, 'invalid_client'])
  })

  it('CA-10 refuses a request without authentication as invalid_client', async () => {
    const { server } = await startWithClient()
    for (const form of [grant, { ...grant, client_id: 'billing' }]) {
      const reply = await requestToken(server, form)
      expect([reply.status, reply.json.error]).toEqual([400, 'invalid_client'])
      expect(reply.headers.get('www-authenticate')).toBeNull()
    }
    const idless = await requestToken(server, { ...grant, client_secret: 'x' })
    expect(idless.json.error).toBe('invalid_client')
  })

  it('CA-11 refuses a grant that the client is not registered for as unauthorized_client', async () => {
    const { server } = await startWithClient()
    const client = await addClient(server.store, 'grantless', { grantTypes: [] })
    const reply = await requestToken(server, grant, { authorization: client.basic })
    expect([reply.status, reply.json.error]).toEqual([400, 'unauthorized_client'])
  })

  it('CA-12 C03 refuses two Authorization headers, equal or not', async () => {
    const { server, client } = await startWithClient()
    for (const second of [client.basic, 'Bearer x', 'Basic Zm9vOmJhcg==']) {
      const body = 'grant_type=client_credentials'
      const reply = await sendRaw(
        server.url,
        [
          'POST /token HTTP/1.1',
          'Host: x',
          `Authorization: ${client.basic}`,
          `Authorization: ${second}`,
          'Content-Type: application/x-www-form-urlencoded',
          `Content-Length: ${body.length}`,
          'Connection: close',
          '',
          body,
        ].join('\r\n'),
      )
      expect([reply.status, JSON.parse(reply.body).error]).toEqual([400, 'invalid_request'])
    }
  })

  it.each(['Bearer x', 'DPoP x', 'Foo x', 'Bearer', 'Digest username="x"', 'Basicx YTpi'])(
    'CA-12 C03 refuses %j as the only credential with a challenge',
    async (authorization) => {
      const { server } = await startWithClient()
      expectChallenge(await requestToken(server, grant, { authorization }))
    },
  )

  it.each([
    'billin\u0067\u0301',
    'BILLING',
    'billing ',
    ' billing',
    '\uff42illing',
    'bill\u200bing',
    "' OR 1=1--",
    'x\r\nADMIN ok',
    '\u001b[31m',
    '__proto__',
    'constructor',
    '../billing',
    'billing\u00a0',
  ])('C06 C07 takes client ids by their exact bytes: refuses %j', async (id) => {
    const { server, client } = await startWithClient()
    expectChallenge(await requestToken(server, grant, { authorization: basic(id, client.secret) }))
  })

  it('costs one argon2id check for any string that is not generated, and none when nothing is imported', async () => {
    const { server } = await startWithClient()
    const timed = async (authorization: string): Promise<number> => {
      const before = process.cpuUsage()
      await requestToken(server, grant, { authorization })
      const { user, system } = process.cpuUsage(before)
      return (user + system) / 1000
    }
    await timed(basic('nobody', 'warm-up'))
    const none = Math.min(await timed(basic('nobody', 'guess')), await timed(basic('billing', 'guess')))
    await addImported(server, 'imported', 'correct horse')
    await timed(basic('nobody', 'warm-up'))
    const dummy = Math.max(await timed(basic('nobody', 'guess')), await timed(basic('billing', 'guess')))
    expect(none).toBeLessThan(dummy)
  })

  it('refuses what does not fit into the queue of argon2id checks with 503, and serves generated secrets meanwhile', async () => {
    const { server, client } = await startWithClient()
    await addImported(server, 'imported', 'correct horse')
    const flood = Array.from({ length: 60 }, (_, i) =>
      requestToken(server, grant, { authorization: basic('imported', `guess ${i}`) }),
    )
    const honest = await requestToken(server, grant, { authorization: client.basic })
    const replies = await Promise.all(flood)
    expect(honest.status).toBe(200)
    const busy = replies.filter((reply) => reply.status === 503)
    expect(busy.length).toBeGreaterThan(0)
    expect(replies.length).toBe(busy.length + replies.filter((reply) => reply.status === 401).length)
    for (const reply of busy) {
      expect(reply.headers.get('retry-after')).toBe('1')
      expect(reply.headers.get('cache-control')).toContain('no-store')
      expect(reply.json.error).toBe('temporarily_unavailable')
    }
    expect((await requestToken(server, grant, { authorization: basic('imported', 'correct horse') })).status).toBe(200)
  })

  it('CA-13 records who was refused, and a secret in the place of the id only as a hash', async () => {
    const { server, client } = await startWithClient()
    await requestToken(server, grant, { authorization: basic(client.secret, 'billing') })
    await requestToken(server, grant, { authorization: basic('billing', 'wrong') })
    const entries = await server.store.listAudit({ type: 'token.refused', limit: 10 })
    expect(JSON.stringify(entries)).not.toContain(client.secret)
    expect(entries[0]).toMatchObject({ clientId: 'billing', reason: 'secret_wrong', address: '127.0.0.1' })
    expect(entries[1]).toMatchObject({
      clientIdHash: expect.stringMatching(/^[0-9a-f]{12}$/),
      reason: 'client_unknown',
    })
  })

  it('has no redirect and no cookie in any refusal', async () => {
    const { server } = await startWithClient()
    const reply = await request(`${server.url}/token`, { method: 'POST' })
    expect(reply.status).toBe(400)
    expect(reply.headers.get('location')).toBeNull()
    expect(reply.headers.get('set-cookie')).toBeNull()
  })
})
