/** Quotas of tokens over HTTP. */
import { describe, expect, it } from 'vitest'
import { addClient, ManualClock, request, requestToken, startTestServer, startWithClient } from '../support/server.ts'

const grant = { grant_type: 'client_credentials' }

async function start(tokensPerHour = 5) {
  const clock = new ManualClock(Date.UTC(2026, 0, 2, 3, 4, 5))
  const lines: object[] = []
  const warn = (fields: object, message: string) => lines.push({ ...fields, message })
  const { server, client: free } = await startWithClient({ clock, log: { debug() {}, info() {}, warn, error() {} } })
  const grantTypes = ['client_credentials', 'refresh_token'] as const
  const client = await addClient(server.store, 'limited', { tokensPerHour, grantTypes })
  const ask = (form: Readonly<Record<string, string>> = grant, by = client) =>
    requestToken(server, form, { authorization: by.basic })
  return { clock, server, client, free, lines, ask }
}

describe('a quota of tokens', () => {
  it('is 429 when it is used up, with the rest of the hour, and open again in the next', async () => {
    const { clock, ask } = await start()
    for (let i = 0; i < 5; i += 1) expect((await ask()).status).toBe(200)
    const reply = await ask()
    expect([reply.status, reply.json]).toEqual([
      429,
      {
        error: 'temporarily_unavailable',
        error_description: 'the client has had all the tokens that it may have in this hour',
      },
    ])
    const rest = String(55 * 60 + 55)
    expect(Object.fromEntries(reply.headers)).toMatchObject({
      'retry-after': rest,
      'ratelimit-policy': '"tokens";q=5;w=3600',
      ratelimit: `"tokens";r=0;t=${rest}`,
      'cache-control': 'no-store',
    })
    clock.advance(Number(rest) - 1)
    expect((await ask()).headers.get('retry-after')).toBe('1')
    clock.advance(1)
    expect((await ask()).status).toBe(200)
  })

  it('F15 says when the hour is over that it counts in, where the clock has stepped back out of that', async () => {
    const { clock, ask } = await start(1)
    clock.step(5 * 3_600)
    expect((await ask()).status).toBe(200)
    clock.step(-5 * 3_600)
    const rest = 5 * 3_600 + 55 * 60 + 55
    expect((await ask()).headers.get('retry-after')).toBe(String(rest))
    clock.advance(rest)
    expect((await ask()).status).toBe(200)
  })

  it('HTTP-17 takes nothing from other clients', async () => {
    const { ask, free } = await start(1)
    await ask()
    expect((await ask()).status).toBe(429)
    for (let i = 0; i < 5; i += 1) expect((await ask(grant, free)).status).toBe(200)
  })

  it('G09 leaves a refresh token unused when it refuses it', async () => {
    const { clock, ask } = await start(2)
    const first = String((await ask()).json.refresh_token)
    const second = String((await ask({ grant_type: 'refresh_token', refresh_token: first })).json.refresh_token)
    const refresh = { grant_type: 'refresh_token', refresh_token: second }
    expect((await ask(refresh)).status).toBe(429)
    expect((await ask(refresh)).status).toBe(429)
    clock.advance(56 * 60)
    expect((await ask(refresh)).status).toBe(200)
  })

  it('does not count what is refused for another reason', async () => {
    const { ask } = await start(1)
    for (let i = 0; i < 3; i += 1) expect((await ask({ ...grant, scope: 'other' })).status).toBe(400)
    expect((await ask()).status).toBe(200)
  })

  it('is exact over two servers and a restart', async () => {
    const { clock, server, client, ask } = await start(20)
    const other = await startTestServer({ clock, folder: server.folder, env: { MAYFLY_ISSUER: server.issuer } })
    const askOther = () => requestToken(other, grant, { authorization: client.basic })
    const replies = await Promise.all(Array.from({ length: 50 }, (_, i) => (i % 2 === 0 ? ask() : askOther())))
    expect(replies.filter(({ status }) => status === 200)).toHaveLength(20)
    expect(replies.filter(({ status }) => status === 429)).toHaveLength(30)
    await other.stop()
    const again = await startTestServer({ clock, folder: server.folder, env: { MAYFLY_ISSUER: server.issuer } })
    expect((await requestToken(again, grant, { authorization: client.basic })).status).toBe(429)
  })

  it('warns at four fifths, once: in the log, the trail and the metrics', async () => {
    const { clock, server, lines, ask } = await start()
    for (let i = 0; i < 3; i += 1) await ask()
    expect(await server.store.listAudit({ type: 'quota.warned', limit: 10 })).toEqual([])
    for (let i = 0; i < 4; i += 1) await ask()
    const warnings = await server.store.listAudit({ type: 'quota.warned', clientId: 'limited', limit: 10 })
    expect(warnings).toEqual([expect.objectContaining({ issued: 4, tokensPerHour: 5, address: '127.0.0.1' })])
    const line = { client_id: 'limited', issued: 4, tokens_per_hour: 5, message: 'quota nearly used up' }
    expect(lines).toEqual([line])
    const { text } = await request(`${server.url}/metrics`)
    expect(text).toContain('mayfly_quota_warnings_total 1')
    expect(text).toContain('mayfly_refusals_total{reason="quota_used_up"} 2')
    clock.advance(3_600)
    for (let i = 0; i < 5; i += 1) await ask()
    expect(await server.store.listAudit({ type: 'quota.warned', limit: 10 })).toHaveLength(2)
  })

  it('counts when limits are off: it is part of the registration', async () => {
    const clock = new ManualClock()
    const { server } = await startWithClient({ clock, env: { MAYFLY_RATE_LIMIT_MODE: 'off' } })
    const client = await addClient(server.store, 'limited', { tokensPerHour: 1 })
    const ask = () => requestToken(server, grant, { authorization: client.basic })
    expect([(await ask()).status, (await ask()).status]).toEqual([200, 429])
  })

  it('I10 that is used up is sampled in the trail, so that its client cannot fill the disk', async () => {
    const { server, ask } = await start(1)
    for (let i = 0; i < 80; i += 1) await ask()
    expect(await server.store.listAudit({ type: 'token.refused', limit: 100 })).toHaveLength(60)
  })
})
