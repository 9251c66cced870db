import { channel } from 'node:diagnostics_channel'
import type { RequestListener } from 'node:http'
import type { Socket } from 'node:net'
import { describe, expect, it, onTestFinished } from 'vitest'
import { AssertionMaker, makeTestKey, type TestKey } from '../support/assertion.ts'
import { certify, json, keysHost, keysUrl, leadTo, type Outside, startOutside } from '../support/outside.ts'
import {
  addKeyClient,
  addResource,
  ManualClock,
  type Reply,
  request,
  requestToken,
  startTestServer,
  type TestServer,
} from '../support/server.ts'

const setOf = (...keys: TestKey[]) => ({ keys: keys.map(({ publicKey }) => publicKey.jwk) })
const down: RequestListener = (_request, response) => void response.writeHead(503).end()

/** A server with a client that publishes its keys, and the place where it does. */
async function start(first: RequestListener, certificate = certify()) {
  let answer = first
  const clock = new ManualClock()
  const outside = await startOutside((incoming, response) => answer(incoming, response), certificate)
  const server = await startTestServer({ clock, outside: leadTo(outside) })
  await addResource(server.store)
  const add = (clientId: string, uri = keysUrl) =>
    addKeyClient(server.store, clientId, [], { keys: { kind: 'uri', uri } })
  await add('publisher')
  const ask = (key: TestKey, clientId = 'publisher'): Promise<Reply> =>
    requestToken(server, new AssertionMaker(clientId, server.issuer, key, clock).form())
  const publish = (next: RequestListener): void => {
    answer = next
  }
  return { server, clock, outside, add, ask, publish }
}

async function lastReason(server: TestServer): Promise<unknown> {
  const [entry] = await server.store.listAudit({ type: 'token.refused', limit: 1 })
  return entry?.type === 'token.refused' ? entry.reason : undefined
}

async function counted(server: TestServer, outcome: string): Promise<number> {
  const { text } = await request(`${server.url}/metrics`)
  return Number(new RegExp(`^mayfly_key_fetches_total\\{outcome="${outcome}"\\} (\\d+)$`, 'm').exec(text)?.[1] ?? 0)
}

const one = makeTestKey('ES256', 'one')
const two = makeTestKey('ES256', 'two')

describe('the keys that a client publishes', () => {
  it('JA-16 prove it, and are fetched once', async () => {
    const { server, outside, ask } = await start(json(setOf(one)))
    for (let i = 0; i < 5; i += 1) expect((await ask(one)).status).toBe(200)
    expect(outside.requests.map(({ url }) => url)).toEqual(['/jwks.json'])
    expect(await counted(server, 'fetched')).toBe(1)
  })

  it('roll over without waiting: a new one is looked for, a withdrawn one is forgotten', async () => {
    const { server, clock, ask, publish } = await start(json(setOf(one)))
    expect((await ask(one)).status).toBe(200)
    publish(json(setOf(one, two)))
    clock.advance(30)
    expect((await ask(two)).status).toBe(200)
    publish(json(setOf(two)))
    clock.advance(300)
    expect((await ask(one)).status).toBe(400)
    expect(await lastReason(server)).toBe('assertion_key_unknown')
    expect((await ask(two)).status).toBe(200)
  })

  it('S07 are asked for once in 30 s, however many unknown keys are named', async () => {
    const { clock, outside, ask } = await start(json(setOf(one)))
    expect((await ask(one)).status).toBe(200)
    const strange = Array.from({ length: 20 }, (_, i) => ({ ...two, kid: `x${i}` }))
    for (const key of strange) expect((await ask(key)).status).toBe(400)
    expect(outside.requests).toHaveLength(1)
    clock.advance(30)
    await Promise.all(strange.map((key) => ask(key)))
    expect(outside.requests).toHaveLength(2)
    expect((await ask(one)).status).toBe(200)
  })

  it('F28 go on for a day while their place is down, and then prove nothing', async () => {
    const { server, clock, ask, publish } = await start(json(setOf(one)))
    expect((await ask(one)).status).toBe(200)
    publish(down)
    for (let hours = 0; hours < 23; hours += 1) {
      clock.advance(3_600)
      expect((await ask(one)).status, `after ${hours + 1} h`).toBe(200)
    }
    clock.advance(3_600)
    expect((await ask(one)).status).toBe(400)
    expect(await lastReason(server)).toBe('assertion_keys_unavailable')
    expect(await counted(server, 'status')).toBeGreaterThan(1)
  })

  it.each<[string, RequestListener]>([
    ['down', down],
    ['somewhere else', (_request, response) => void response.writeHead(302, { location: keysUrl }).end()],
    ['a page', json(setOf(one), { 'content-type': 'text/html' })],
    ['no key set', json({ sets: [] })],
    ['packed', json(setOf(one), { 'content-encoding': 'gzip' })],
    ['too long', json({ ...setOf(one), padding: 'x'.repeat(65_536) })],
  ])('JA-16 S03 S04 prove nothing when their place is %s, and the refusal is like any other', async (_name, answer) => {
    const { server, outside, ask, publish } = await start(answer)
    const refused = await ask(one)
    expect(refused.json).toEqual({ error: 'invalid_client', error_description: 'client authentication failed' })
    expect(await lastReason(server)).toBe('assertion_keys_unavailable')
    expect((await ask(one, 'nobody')).text).toBe(refused.text)
    expect(outside.requests).toHaveLength(1)
    publish(json(setOf(one)))
    expect((await ask(one)).status).toBe(400)
  })

  it('R02 are not used when one comes with its private half: it has leaked', async () => {
    const leaked = { ...one.privateKey.export({ format: 'jwk' }), kid: 'one' }
    const { server, ask } = await start(json({ keys: [leaked, two.publicKey.jwk] }))
    expect((await ask(one)).status).toBe(400)
    expect(await lastReason(server)).toBe('assertion_key_unknown')
    expect((await ask(two)).status).toBe(200)
  })

  it('J11 prove no other client', async () => {
    const { server, add, ask, publish } = await start(json(setOf(one)))
    await add('other', `https://${keysHost}/other.json`)
    publish((incoming, response) => json(setOf(incoming.url === '/other.json' ? two : one))(incoming, response))
    expect((await ask(one, 'other')).status).toBe(400)
    expect(await lastReason(server)).toBe('assertion_key_unknown')
    expect((await ask(two, 'other')).status).toBe(200)
    expect((await ask(one)).status).toBe(200)
  })

  it('S06 hold up those alone who need them, and too many of these are told to come back', async () => {
    const silent: Outside['requests'][number][] = []
    const { server, add, ask, publish } = await start((incoming) => void silent.push(incoming))
    await addKeyClient(server.store, 'registered', [two])
    // A source of its own for each, at the one host that does not answer: two ask, sixteen wait, one is too many.
    const ids = Array.from({ length: 19 }, (_, i) => `p${i}`)
    for (const id of ids) await add(id, `https://${keysHost}/${id}`)
    const asked = ids.map((id) => ask(one, id))
    const first = await Promise.race(asked)
    expect([first.status, first.headers.get('retry-after')]).toEqual([503, '1'])
    expect((await ask(two, 'registered')).status).toBe(200)
    publish(down)
    for (const { socket } of silent) socket.destroy()
    const statuses = (await Promise.all(asked)).map(({ status }) => status)
    expect(statuses.toSorted()).toEqual([...Array.from({ length: 18 }, () => 400), 503])
  })
})

describe('S01 S11 where a server goes for keys', () => {
  it('is nowhere inside, whatever name is registered', async () => {
    const clock = new ManualClock()
    const outside = await startOutside(json(setOf(one)))
    const { isAllowedAddress: _, ...lead } = leadTo(outside)
    const server = await startTestServer({ clock, outside: lead })
    await addResource(server.store)
    await addKeyClient(server.store, 'publisher', [], { keys: { kind: 'uri', uri: keysUrl } })
    const reply = await requestToken(server, new AssertionMaker('publisher', server.issuer, one, clock).form())
    expect([reply.status, await lastReason(server)]).toEqual([400, 'assertion_keys_unavailable'])
    expect(await counted(server, 'address_refused')).toBe(1)
    expect(outside.connections()).toBe(0)
  })

  it('is no host with the certificate of another', async () => {
    const { server, outside, ask } = await start(json(setOf(one)), certify({ dnsNames: ['evil.example.test'] }))
    expect([(await ask(one)).status, await lastReason(server)]).toEqual([400, 'assertion_keys_unavailable'])
    expect(await counted(server, 'tls')).toBe(1)
    expect(outside.requests).toEqual([])
  })

  it('I22 is no place but those that are registered, whatever requests say', async () => {
    const { server, outside, ask } = await start(json(setOf(one)))
    const { port: trap, connections } = await startOutside(json({}))
    const ports = new Set<number | undefined>()
    const note = (message: unknown): void => {
      const { socket } = message as { socket: Socket }
      socket.once('connect', () => ports.add(socket.remotePort))
    }
    channel('net.client.socket').subscribe(note)
    onTestFinished(() => void channel('net.client.socket').unsubscribe(note))
    const maker = new AssertionMaker('publisher', server.issuer, two, new ManualClock())
    const url = `https://127.0.0.1:${trap}/`
    for (const header of [{ jku: url }, { x5u: url }, { jku: keysUrl, kid: url }])
      await requestToken(server, maker.form({}, header))
    for (const claims of [{ iss: url }, { sub: url, iss: url }, { aud: url }, { jti: url, jku: url, jwks_uri: url }])
      await requestToken(server, maker.form(claims))
    const form = { grant_type: 'client_credentials', client_id: url, jwks_uri: url, request_uri: url, resource: url }
    await requestToken(server, form)
    await requestToken(server, { ...form, client_assertion_type: url, client_assertion: maker.make() })
    expect((await ask(one)).status).toBe(200)
    expect(connections()).toBe(0)
    // Ours, and the one where the keys are.
    expect(ports).toEqual(new Set([Number(new URL(server.url).port), outside.port]))
    expect(outside.connections()).toBe(1)
  })
})
