/**
 * I20: the same traffic on SQLite and on PostgreSQL leaves the same trace: each status, header and body, and the audit trail.
 * First what a script has, then what a seed draws; `TRACE_STEPS=2000` for the long run.
 */
import { describe, expect, it } from 'vitest'
import type { AuditEntry } from '../../src/audit/audit-store.ts'
import { onlyAsks } from '../support/access.ts'
import { AssertionMaker, makeTestKey, type TestKey } from '../support/assertion.ts'
import { usePostgres } from '../support/postgres.ts'
import { makeProof, makeProofKey, type ProofKey } from '../support/proof.ts'
import { createRandom, type Random, repetitions, seed } from '../support/seed.ts'
import {
  addClient,
  addKeyClient,
  addResource,
  api,
  basic,
  ManualClock,
  type Reply,
  request,
  requestToken,
  startTestServer,
  type TestServer,
} from '../support/server.ts'
import { Trace } from '../support/trace.ts'

const postgres = usePostgres()
const steps = repetitions('TRACE_STEPS', 150)
const issuer = 'http://127.0.0.1:9'
const by = 'cli:test'
const clients = ['billing', 'other'] as const
const refreshing = { grantTypes: ['client_credentials', 'refresh_token'] } as const

/** What clients of both servers are given, so that they are the same. */
interface Given {
  readonly key: TestKey
  readonly proofKey: ProofKey
}

class Run {
  readonly trace = new Trace()
  readonly server: TestServer
  readonly clock: ManualClock
  readonly assertions: AssertionMaker
  readonly #given: Given
  readonly #secrets = new Map<string, string>()
  readonly #access: string[] = ['no token']
  readonly #refresh: { token: string; client: string }[] = []
  #jti = 0

  constructor(server: TestServer, clock: ManualClock, given: Given) {
    this.server = server
    this.clock = clock
    this.#given = given
    this.assertions = new AssertionMaker('keyed', issuer, given.key, clock)
  }

  async register(): Promise<void> {
    const { store } = this.server
    await addResource(store)
    await addResource(store, 'https://second.example.test', ['admin'])
    for (const clientId of clients) {
      const audiences = [api, 'https://second.example.test']
      const { secret } = await addClient(store, clientId, { ...refreshing, audiences, scopes: ['read', 'admin'] })
      this.#secrets.set(clientId, secret)
    }
    await addKeyClient(store, 'keyed', [this.#given.key])
    this.#secrets.set('service', (await addClient(store, 'service', onlyAsks([api]))).secret)
    this.#secrets.set('few', (await addClient(store, 'few', { tokensPerHour: 3 })).secret)
  }

  authorization(clientId: string): string {
    return basic(clientId, this.#secrets.get(clientId) ?? 'mfs_unknown')
  }

  /** Something is done, a little later than what was done before. */
  async step(what: string, act: () => Promise<Reply>): Promise<Reply> {
    this.clock.advance(0.01)
    const reply = await act()
    this.trace.add(what, reply)
    return reply
  }

  async token(
    clientId: string,
    form: Record<string, string> = {},
    headers: Record<string, string> = {},
  ): Promise<Reply> {
    const reply = await this.step(`token ${clientId} ${JSON.stringify(Object.keys(form))}`, () =>
      requestToken(
        this.server,
        { grant_type: 'client_credentials', ...form },
        { ...(clientId === '' ? {} : { authorization: this.authorization(clientId) }), ...headers },
      ),
    )
    const { access_token: access, refresh_token: refresh } = reply.json
    if (typeof access === 'string') this.#access.push(access)
    if (typeof refresh === 'string') this.#refresh.push({ token: refresh, client: clientId })
    return reply
  }

  refresh(at: number, form: Record<string, string> = {}, as?: string): Promise<Reply> {
    const { token, client } = this.#refresh.at(at) ?? { token: 'mfr_x', client: 'billing' }
    return this.token(as ?? client, { grant_type: 'refresh_token', refresh_token: token, ...form })
  }

  #post(
    path: string,
    clientId: string,
    form: Record<string, string>,
    headers: Record<string, string> = {},
  ): Promise<Reply> {
    return this.step(`${path} ${clientId}`, () =>
      request(`${this.server.url}${path}`, {
        method: 'POST',
        body: new URLSearchParams(form).toString(),
        headers: {
          'content-type': 'application/x-www-form-urlencoded',
          authorization: this.authorization(clientId),
          ...headers,
        },
      }),
    )
  }

  introspect(at: number, as = 'service', headers: Record<string, string> = {}): Promise<Reply> {
    return this.#post('/introspect', as, { token: this.#access.at(at) ?? '' }, headers)
  }

  revokeAccess(at: number, as: string): Promise<Reply> {
    return this.#post('/revoke', as, { token: this.#access.at(at) ?? '' })
  }

  revokeRefresh(at: number, as: string): Promise<Reply> {
    return this.#post('/revoke', as, { token: this.#refresh.at(at)?.token ?? 'mfr_x' })
  }

  verify(at: number, query = `?audience=${encodeURIComponent(api)}`): Promise<Reply> {
    const authorization = `Bearer ${this.#access.at(at)}`
    return this.step('verify', () => request(`${this.server.url}/verify${query}`, { headers: { authorization } }))
  }

  get(path: string, method = 'GET'): Promise<Reply> {
    return this.step(`${method} ${path}`, () => request(`${this.server.url}${path}`, { method }))
  }

  proof(): Record<string, string> {
    this.#jti += 1
    const claims = { jti: `proof ${this.#jti}` }
    return { dpop: makeProof(this.#given.proofKey, `${issuer}/token`, this.clock.nowMilliseconds(), { claims }) }
  }

  assertion(jti: string): Record<string, string> {
    return this.assertions.form({ jti })
  }

  async change(what: string, act: () => Promise<unknown>): Promise<void> {
    this.clock.advance(0.01)
    const outcome = await act().then(
      () => 'done',
      (error: Error) => `${error.name}: ${error.message}`,
    )
    this.trace.note(what, outcome)
  }

  async finish(): Promise<readonly string[]> {
    const { store } = this.server
    // Within a millisecond, records of tokens and of changes stand in any order.
    const orderOf = ({ at, type, clientId = '' }: AuditEntry & { clientId?: string }): string =>
      `${at} ${type} ${clientId}`
    // What is written every few seconds of the machine's time is of other moments in each run.
    const trail = (await store.listAudit({ limit: 10_000 })).filter(({ type }) => type !== 'token.refusals_sampled')
    for (const entry of trail.toSorted((a, b) => (orderOf(a) < orderOf(b) ? -1 : 1))) this.trace.note('audit', entry)
    const registered = await store.listClients({ limit: 100 })
    const withoutUse = registered.map(({ secrets, ...client }) => ({
      ...client,
      secrets: secrets.map(({ lastUsedAt: _, ...secret }) => secret),
    }))
    this.trace.note('clients', withoutUse)
    this.trace.note('counters', await store.readSequences())
    return this.trace.lines
  }
}

async function playScript(run: Run): Promise<void> {
  const { store } = run.server
  for (const path of [
    '/.well-known/jwks.json',
    '/.well-known/oauth-authorization-server',
    '/authorize',
    '/nothing',
    '/token',
  ])
    await run.get(path)
  await run.get('/token', 'OPTIONS')
  await run.get('/.well-known/jwks.json', 'OPTIONS')
  await run.token('billing', { resource: api })
  await run.token('billing')
  await run.token('billing', { resource: api, scope: 'read' })
  await run.token('billing', { resource: api, scope: 'admin' })
  await run.token('billing', { resource: 'https://third.example.test' })
  await run.token('unknown')
  await run.token('')
  await run.token('billing', { grant_type: 'password' })
  await run.token('keyed', { resource: api })
  await run.token('', run.assertion('once'))
  await run.token('', run.assertion('once'))
  await run.token('billing', { resource: api }, run.proof())
  for (let i = 0; i < 4; i += 1) await run.token('few')
  for (const at of [-1, -2, 0, 1]) await run.introspect(at)
  await run.introspect(1, 'service', { accept: 'application/token-introspection+jwt' })
  await run.introspect(1, 'billing')
  await run.introspect(1, 'unknown')
  for (const query of ['', `?audience=${api}`, `?audience=${api}&scope=admin`, `?audience=${api}&audience=${api}`])
    await run.verify(1, query)
  await run.refresh(0)
  await run.refresh(0)
  await run.refresh(0, { scope: 'read admin' })
  await run.refresh(0, {}, 'other')
  await run.refresh(-1)
  await run.refresh(0)
  await run.refresh(-1)
  await run.token('billing', { resource: api })
  await run.revokeAccess(-1, 'other')
  await run.revokeAccess(-1, 'billing')
  await run.introspect(-1)
  await run.verify(-1)
  await run.revokeRefresh(-1, 'billing')
  await run.refresh(-1)
  await run.change('disable', () => store.setClientStatus('billing', 'disabled', by))
  await run.token('billing', { resource: api })
  await run.introspect(1)
  await run.change('enable', () => store.setClientStatus('billing', 'active', by))
  run.clock.advance(3)
  await run.introspect(1)
  await run.token('billing', { resource: api })
  await run.change('scopes', () => store.updateClient('billing', { scopes: ['read'] }, by))
  await run.change('nothing', () => store.updateClient('nobody', { scopes: ['read'] }, by))
  await run.change('resource in use', () => store.deleteResource(api, by))
  await run.token('billing', { resource: api, scope: 'admin' })
  await run.change('offboard', () => store.offboardClient('other', by))
  await run.token('other')
  run.clock.advance(400)
  await run.introspect(-1)
  await run.verify(-1)
}

async function playSeed(run: Run, random: Random): Promise<void> {
  const { store } = run.server
  const at = (): number => -random.between(1, 12)
  const who = (): string => random.pick(clients)
  const actions: readonly [() => Promise<unknown>, ...(() => Promise<unknown>)[]] = [
    () => run.token(who(), { resource: api }),
    () => run.token(who(), { resource: api }, random.chance(0.5) ? run.proof() : {}),
    () => run.refresh(at()),
    () => run.refresh(at()),
    () => run.refresh(at(), {}, who()),
    () => run.refresh(-1),
    () => run.introspect(at()),
    () => run.introspect(at()),
    () => run.verify(at()),
    () => run.revokeAccess(at(), who()),
    () => run.revokeRefresh(at(), who()),
    () => run.token('', run.assertion(`jti ${random.between(0, 8)}`)),
    () => run.change('status', () => store.setClientStatus(who(), random.pick(['disabled', 'active', 'active']), by)),
    () => run.change('name', () => store.updateClient(who(), { name: `name ${random.between(0, 3)}` }, by)),
    async () => run.clock.advance(random.between(1, 90)),
  ]
  for (let i = 0; i < steps; i += 1) {
    await random.pick(actions)()
    run.clock.advance(random.chance(0.2) ? 3 : 0)
  }
}

async function play(env: Record<string, string>, given: Given): Promise<readonly string[]> {
  const clock = new ManualClock()
  const server = await startTestServer({ clock, comparesClocks: false, env: { MAYFLY_ISSUER: issuer, ...env } })
  const run = new Run(server, clock, given)
  await run.register()
  await playScript(run)
  await playSeed(run, createRandom())
  return run.finish()
}

describe('SQLite and PostgreSQL', () => {
  it(`I20 leave the same trace, and the same trail (seed ${seed})`, { timeout: 60_000 + steps * 200 }, async () => {
    const given = { key: makeTestKey(), proofKey: makeProofKey() }
    const sqlite = await play({}, given)
    const postgresql = await play({ MAYFLY_DATABASE_URL: await postgres().makeDatabase() }, given)
    expect(sqlite.length).toBeGreaterThan(steps)
    const differing = sqlite.findIndex((line, i) => line !== postgresql[i])
    expect([postgresql[differing], differing, postgresql.length]).toEqual([sqlite[differing], -1, sqlite.length])
  })
})
