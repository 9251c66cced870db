/** A rollover as the world sees it: JWKS and tokens over HTTP, under a clock that the test moves. */
import { cpSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createLocalJWKSet, type JSONWebKeySet, jwtVerify } from 'jose'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { prepareApp } from '../../src/app/prepare.ts'
import { generateSecret } from '../../src/client/client-secret.ts'
import { parseSettings } from '../../src/config/settings.ts'
import type { SigningKeyFacts } from '../../src/key/signing-key.ts'
import { silentLog } from '../../src/lib/log.ts'
import { createGate, gatedSigners } from '../support/gate.ts'
import { temporaryFolder } from '../support/process.ts'
import {
  addClient,
  addResource,
  basic,
  claimsOf,
  getToken,
  headerOf,
  ManualClock,
  request,
  requestToken,
  startTestServer,
  type TestClient,
  type TestServer,
  type TestServerOptions,
} from '../support/server.ts'

// Lead 60 + 10 + 2 = 72 s, keep 30 + 10 + 2 = 42 s.
const env = {
  MAYFLY_ISSUER: 'http://127.0.0.1:9',
  MAYFLY_JWKS_MAX_AGE: '60s',
  MAYFLY_CLOCK_SKEW: '10s',
  MAYFLY_KEY_LEAD: '72s',
  MAYFLY_KEY_ROTATION_INTERVAL: '1h',
  MAYFLY_ACCESS_TOKEN_TTL: '30s',
  MAYFLY_ACCESS_TOKEN_MAX_TTL: '30s',
}
const lead = 72
const keep = 42
const start = Date.UTC(2026, 0, 2, 3, 4, 5)
const grant = { grant_type: 'client_credentials' }
let template: string

// Making RSA keys takes long, and the ring shall be as old as the clock of the tests.
beforeAll(async () => {
  template = mkdtempSync(join(tmpdir(), 'mayfly-ring-'))
  const options = { log: silentLog, clock: new ManualClock(start) }
  const prepared = await prepareApp(parseSettings(env, template), options)
  await prepared.close()
})

afterAll(() => rmSync(template, { recursive: true, force: true }))

interface World {
  readonly clock: ManualClock
  readonly server: TestServer
  readonly client: TestClient
}

async function startRing(options: Omit<TestServerOptions, 'clock'> = {}): Promise<World> {
  const folder = temporaryFolder()
  cpSync(template, folder, { recursive: true })
  const clock = new ManualClock(start)
  const server = await startOn(folder, clock, options)
  await addResource(server.store)
  return { clock, server, client: await addClient(server.store, 'billing') }
}

function startOn(folder: string, clock: ManualClock, options: Omit<TestServerOptions, 'clock'> = {}) {
  // The test ticks.
  return startTestServer({ keyTickMilliseconds: 3_600_000, ...options, env: { ...env, ...options.env }, folder, clock })
}

async function readJwks(server: TestServer) {
  const { json, headers } = await request(`${server.url}/.well-known/jwks.json`)
  const keys = json as unknown as JSONWebKeySet
  const maxAge = Number(/max-age=([0-9]+)/.exec(headers.get('cache-control') ?? '')?.[1])
  return { keys, kids: keys.keys.map(({ kid }) => kid), maxAge }
}

/** The ES256 key in a state. */
async function keyIn(server: TestServer, state: SigningKeyFacts['state']): Promise<SigningKeyFacts> {
  const key = (await server.store.listKeys()).find((each) => each.alg === 'ES256' && each.state === state)
  if (key === undefined) throw new Error(`no key is ${state}`)
  return key
}

async function requestRotation(server: TestServer, clock: ManualClock): Promise<void> {
  const now = clock.nowMilliseconds()
  const { kid } = await keyIn(server, 'active')
  await server.store.requestRotation(kid, { now, running: 0, wall: now, resets: 0 }, 'cli:test')
}

/** Rotates the ES256 ring, whose staged key has been published for its lead. */
async function rotate({ server, clock }: Pick<World, 'server' | 'clock'>): Promise<void> {
  const { kid } = await keyIn(server, 'staged')
  await requestRotation(server, clock)
  await server.keys.tick()
  expect((await keyIn(server, 'active')).kid).toBe(kid)
}

async function verify(token: string, server: TestServer, clock: ManualClock): Promise<void> {
  const { keys } = await readJwks(server)
  await jwtVerify(token, createLocalJWKSet(keys), {
    currentDate: new Date(clock.nowMilliseconds()),
    clockTolerance: 10,
  })
}

describe('JK-04 a new key', () => {
  it('stands in the JWKS for max-age and the skew, at the least, before the first token is signed with it', async () => {
    const world = await startRing()
    const { server, clock, client } = world
    clock.advance(lead)
    const before = await readJwks(server)
    await rotate(world)
    const published = clock.nowMilliseconds()
    const fresh = (await keyIn(server, 'staged')).kid
    expect(before.kids).not.toContain(fresh)
    expect((await readJwks(server)).kids).toContain(fresh)

    await requestRotation(server, clock)
    for (let i = 0; i < lead; i += 1) {
      await server.keys.tick()
      const token = await getToken(server, client)
      expect(headerOf(token).kid).not.toBe(fresh)
      clock.advance(1)
    }
    await server.keys.tick()
    const token = await getToken(server, client)
    expect(headerOf(token).kid).toBe(fresh)
    expect(before.maxAge).toBe(60)
    expect(Number(claimsOf(token).iat) * 1000 - published).toBeGreaterThanOrEqual((before.maxAge + 10) * 1000)
  })

  it('waits for copies that an older, longer max-age allowed, when that was lowered', async () => {
    const { server: first, clock, client } = await startRing()
    clock.advance(lead)
    await readJwks(first)
    await first.stop()
    const shorter = { MAYFLY_JWKS_MAX_AGE: '1s', MAYFLY_KEY_LEAD: '13s' }
    const server = await startOn(first.folder, clock, { env: shorter })
    await rotate({ server, clock })
    const { kid } = await keyIn(server, 'staged')
    expect((await readJwks(server)).maxAge).toBe(1)
    await requestRotation(server, clock)
    clock.advance(lead - 1)
    await server.keys.tick()
    expect(headerOf(await getToken(server, client)).kid).not.toBe(kid)
    clock.advance(1)
    await server.keys.tick()
    expect(headerOf(await getToken(server, client)).kid).toBe(kid)
  })

  it('rotates by itself when the active one has signed for its interval', async () => {
    const { server, clock, client } = await startRing()
    const { kid } = await keyIn(server, 'staged')
    clock.advance(3600 - 1)
    await server.keys.tick()
    expect(headerOf(await getToken(server, client)).kid).not.toBe(kid)
    clock.advance(1)
    await server.keys.tick()
    expect(headerOf(await getToken(server, client)).kid).toBe(kid)
  })
})

describe('JK-05 a key that no longer signs', () => {
  it('stays in the JWKS until its last token is dead by every clock, and then goes', async () => {
    const world = await startRing()
    const { server, clock, client } = world
    clock.advance(lead)
    const old = await keyIn(server, 'active')
    const last = await getToken(server, client)
    await rotate(world)
    const next = await getToken(server, client)
    expect(headerOf(last).kid).toBe(old.kid)
    expect(headerOf(next).kid).not.toBe(old.kid)
    for (let i = 0; i < keep; i += 1) {
      await server.keys.tick()
      expect((await readJwks(server)).kids).toContain(old.kid)
      if (i < 30) for (const token of [last, next]) await verify(token, server, clock)
      clock.advance(1)
    }
    expect(clock.nowMilliseconds()).toBeGreaterThan((Number(claimsOf(last).exp) + 10) * 1000)
    await server.keys.tick()
    expect((await readJwks(server)).kids).not.toContain(old.kid)
    expect(await keyIn(server, 'retired')).toMatchObject({ kid: old.kid })
  })

  it('stays as long as the tokens of another process live, whose TTL is longer', async () => {
    const world = await startRing()
    const { server, clock, client } = world
    const ttl = { MAYFLY_ACCESS_TOKEN_TTL: '600s', MAYFLY_ACCESS_TOKEN_MAX_TTL: '600s' }
    const longer = await startOn(server.folder, clock, { env: ttl })
    clock.advance(lead)
    const old = await keyIn(server, 'active')
    expect(old).toMatchObject({ maxTtlSeconds: 600 })
    const token = await getToken(longer, client)
    await rotate(world)
    await longer.stop()
    clock.advance(599)
    await server.keys.tick()
    await verify(token, server, clock)
    clock.advance(12)
    await server.keys.tick()
    expect((await readJwks(server)).kids).toContain(old.kid)
    clock.advance(1)
    await server.keys.tick()
    expect((await readJwks(server)).kids).not.toContain(old.kid)
  })

  it('stays as long as tokens of before live, when the TTL was lowered', async () => {
    const { server: first, clock, client } = await startRing()
    clock.advance(lead)
    const token = await getToken(first, client)
    await first.stop()
    const shorter = { MAYFLY_ACCESS_TOKEN_TTL: '1s', MAYFLY_ACCESS_TOKEN_MAX_TTL: '1s' }
    const server = await startOn(first.folder, clock, { env: shorter })
    await rotate({ server, clock })
    clock.advance(29)
    await server.keys.tick()
    await verify(token, server, clock)
    clock.advance(keep - 29)
    await server.keys.tick()
    expect((await readJwks(server)).kids).not.toContain(headerOf(token).kid)
  })
})

describe('a rotation', () => {
  it('F32 keeps back what the old key signed meanwhile: the request gets a token of the new one', async () => {
    const signers = gatedSigners()
    const world = await startRing({ signerHook: signers.hook })
    const { server, clock, client } = world
    clock.advance(lead)
    const old = await keyIn(server, 'active')
    const gate = createGate()
    signers.hold(gate)
    const pending = getToken(server, client)
    await gate.arrived
    await rotate(world)
    gate.open()
    const token = await pending
    expect(signers.signed()).toBe(2)
    expect(headerOf(token).kid).toBe((await keyIn(server, 'active')).kid)
    expect(headerOf(token).kid).not.toBe(old.kid)
    const records = await server.store.listAudit({ type: 'token.issued', limit: 10 })
    expect(records).toMatchObject([{ kid: headerOf(token).kid }])
  })

  it('goes on over a restart in each of its phases, and what was issued before verifies after', async () => {
    const world = await startRing()
    const { clock, client } = world
    let { server } = world
    const restart = async (): Promise<void> => {
      const before = await readJwks(server)
      await server.stop()
      server = await startOn(server.folder, clock)
      expect((await readJwks(server)).keys).toEqual(before.keys)
      await server.keys.tick()
      expect((await readJwks(server)).keys).toEqual(before.keys)
    }
    clock.advance(lead - 1)
    await restart()
    await requestRotation(server, clock)
    await server.keys.tick()
    const old = await keyIn(server, 'active')
    clock.advance(1)
    const token = await getToken(server, client)
    await server.keys.tick()
    expect(await keyIn(server, 'retiring')).toMatchObject({ kid: old.kid })
    await restart()
    await verify(token, server, clock)
    clock.advance(keep - 1)
    await restart()
    clock.advance(1)
    await server.keys.tick()
    expect((await readJwks(server)).kids).not.toContain(old.kid)
    await restart()
    await verify(await getToken(server, client), server, clock)
  })

  it('counts no time towards a lead in which nothing ran', async () => {
    const { server: first, clock } = await startRing()
    clock.advance(lead - 1)
    await first.stop()
    clock.step(3 * 3600)
    const server = await startOn(first.folder, clock)
    await server.keys.tick()
    const { kid } = await keyIn(server, 'staged')
    clock.advance(1)
    await server.keys.tick()
    expect(await keyIn(server, 'active')).toMatchObject({ kid })
  })

  it('reaches another process at its next request', async () => {
    const world = await startRing()
    const { server, clock, client } = world
    const other = await startOn(server.folder, clock)
    await getToken(other, client)
    clock.advance(lead)
    await rotate(world)
    expect(await readJwks(other)).toEqual(await readJwks(server))
    expect(headerOf(await getToken(other, client)).kid).toBe((await keyIn(server, 'active')).kid)
  })
})

describe('a JWKS', () => {
  it('may be cached for 5 s at the most while the store cannot confirm it', async () => {
    const { server } = await startRing()
    const before = await readJwks(server)
    expect(before.maxAge).toBe(60)
    await server.store.close()
    expect(await readJwks(server)).toEqual({ ...before, maxAge: 5 })
  })

  it('may not be cached for longer than it may be anyway while the store cannot confirm it', async () => {
    const { server } = await startRing({ env: { MAYFLY_JWKS_MAX_AGE: '2s' } })
    await readJwks(server)
    await server.store.close()
    expect((await readJwks(server)).maxAge).toBe(2)
  })
})

describe('people are told', () => {
  const warning = async (server: TestServer): Promise<unknown> => {
    const { status, json } = await request(`${server.url}/readyz?verbose`)
    expect(status).toBe(200)
    const checks = json.checks as readonly { readonly name: string; readonly warning?: string }[]
    return checks.find(({ name }) => name === 'rotation')?.warning
  }
  const gauge = async (server: TestServer, name: string): Promise<number> => {
    const { text } = await request(`${server.url}/metrics`)
    return Number(new RegExp(`^mayfly_signing_key_${name}\\{alg="ES256"\\} (\\S+)$`, 'm').exec(text)?.[1])
  }

  it('nothing while all is well, and in the metrics how long until the next transition', async () => {
    const { server, clock } = await startRing()
    expect(await warning(server)).toBeUndefined()
    expect(await gauge(server, 'next_transition_seconds')).toBe(3600)
    clock.advance(600)
    expect(await gauge(server, 'next_transition_seconds')).toBe(3000)
    expect(await gauge(server, 'active_age_seconds')).toBe(600)
  })

  it('that a rotation is overdue; the server stays ready', async () => {
    const { server, clock, client } = await startRing()
    clock.advance(3600 + 61)
    const { kid } = await keyIn(server, 'active')
    expect(await warning(server)).toContain(`the ES256 key ${kid} should have stopped signing 1m 1s ago`)
    expect(await gauge(server, 'next_transition_seconds')).toBe(-61)
    await getToken(server, client)
  })

  it('that the clock is behind what the database has seen', async () => {
    const { server, clock, client } = await startRing()
    clock.step(-3600)
    expect(await warning(server)).toMatch(/1h behind what the database has seen/)
    await getToken(server, client)
    clock.step(3600)
    expect(await warning(server)).toBeUndefined()
  })

  it('that the clock jumped ahead while the process ran', async () => {
    const { server, clock } = await startRing()
    clock.step(3600)
    expect(await warning(server)).toMatch(/jumped 1h ahead while this process ran/)
  })
})

describe('I26 a wall clock that steps back', () => {
  it('revives no secret that has expired, not even over a restart', async () => {
    const { server: first, clock } = await startRing()
    const { secret, secretId, sha256 } = generateSecret()
    const expiresAt = clock.nowMilliseconds() + 60_000
    await first.store.createSecret('billing', { kind: 'generated', secretId, sha256, expiresAt }, 'cli:test')
    const headers = { authorization: basic('billing', secret.reveal()) }
    expect((await requestToken(first, grant, headers)).status).toBe(200)
    clock.advance(61)
    expect((await requestToken(first, grant, headers)).status).toBe(401)
    clock.step(-3600)
    expect((await requestToken(first, grant, headers)).status).toBe(401)
    await first.stop()
    const server = await startOn(first.folder, clock)
    expect((await requestToken(server, grant, headers)).status).toBe(401)
  })

  it('brings no key back that has left, and dates tokens as it shows', async () => {
    const world = await startRing()
    const { server, clock, client } = world
    clock.advance(lead)
    const old = await keyIn(server, 'active')
    await rotate(world)
    clock.advance(keep)
    await server.keys.tick()
    clock.step(-86_400)
    await server.keys.tick()
    expect((await readJwks(server)).kids).not.toContain(old.kid)
    const token = await getToken(server, client)
    expect(claimsOf(token).iat).toBe(Math.floor(clock.nowMilliseconds() / 1000))
    await verify(token, server, clock)
  })
})
