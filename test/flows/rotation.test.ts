import { join } from 'node:path'
import Database from 'better-sqlite3'
import { describe, expect, it, onTestFinished } from 'vitest'
import { prepareApp } from '../../src/app/prepare.ts'
import type { App } from '../../src/app/start.ts'
import { provisionKeys } from '../../src/key/provision.ts'
import { KeyRingOpener } from '../../src/key/ring.ts'
import { RingClock } from '../../src/key/ring-clock.ts'
import { KeyScheduler } from '../../src/key/scheduler.ts'
import type { SigningAlg } from '../../src/key/signer.ts'
import type { SigningKeyFacts } from '../../src/key/signing-key.ts'
import { silentLog } from '../../src/lib/log.ts'
import { Registry } from '../../src/registry/registry.ts'
import { openStore } from '../../src/store/open-store.ts'
import type { Store } from '../../src/store/store.ts'
import { createGate, gatedSigners } from '../support/gate.ts'
import { temporaryFolder } from '../support/process.ts'
import { defaultTiming } from '../support/ring.ts'
import {
  getToken,
  headerOf,
  ManualClock,
  startWithClient,
  type TestServer,
  type TestServerOptions,
} from '../support/server.ts'

const day = 86_400
// The ring moves when the test says so.
const keyTickMilliseconds = 3_600_000

async function start(clock: ManualClock, options: TestServerOptions = {}) {
  return startWithClient({ folder: temporaryFolder(), clock, keyTickMilliseconds, ...options })
}

/** Another process on the same installation. */
async function startOther({ settings, issuer }: TestServer, clock: ManualClock): Promise<App> {
  const prepared = await prepareApp(settings, { clock, log: silentLog, keyTickMilliseconds })
  const app = await prepared.start(issuer)
  onTestFinished(() => app.close())
  return app
}

async function keyOf(store: Store, alg: SigningAlg, state: 'active' | 'staged'): Promise<SigningKeyFacts> {
  const key = (await store.listKeys()).find((each) => each.alg === alg && each.state === state)
  if (key === undefined) throw new Error(`no ${alg} key is ${state}`)
  return key
}

/** The parts of a process that have to do with the ring, on a store that may hold them up. */
async function openRing(clock: ManualClock, hold: (store: Store) => Partial<Store>) {
  const folder = temporaryFolder()
  const store = openStore(join(folder, 'mayfly.db'), { create: true, examine: false, clock })
  onTestFinished(() => store.close())
  const { masterKey } = await provisionKeys(store, join(folder, 'master.key'), defaultTiming, clock)
  const held: Store = { ...store, ...hold(store) }
  const registry = new Registry(held, new KeyRingOpener(masterKey), defaultTiming, clock)
  const { ring } = await registry.view()
  const scheduler = new KeyScheduler({
    store: held,
    ring,
    clock: new RingClock(clock, ring.mark),
    timing: defaultTiming,
    log: silentLog,
    readRing: async () => (await registry.current()).ring,
  })
  return { store, registry, scheduler }
}

/** Takes the write lock as another process would. */
function lock(store: Store): { tried: Promise<void>; unlock(): void } {
  const sqlite = new Database(store.location)
  onTestFinished(() => void sqlite.close())
  sqlite.exec('BEGIN IMMEDIATE')
  return {
    // Long enough for whoever wants it to have tried some times; nothing tells of a try.
    get tried() {
      return new Promise<void>((resolve) => setTimeout(resolve, 25))
    },
    unlock: () => void sqlite.exec('ROLLBACK'),
  }
}

describe('a rotation by another process', () => {
  it('F32 takes back what was signed with the old key meanwhile: it is signed again and served', async () => {
    const clock = new ManualClock()
    const signers = gatedSigners()
    const { server, client } = await start(clock, { signerHook: signers.hook })
    const other = await startOther(server, clock)
    const old = headerOf(await getToken(server, client)).kid
    const gate = createGate()
    signers.hold(gate)
    const pending = Array.from({ length: 8 }, () => getToken(server, client))
    await gate.arrived
    // Held for a month: no deadline of the request is left when it goes on.
    clock.advance(30 * day)
    await other.keys.tick()
    signers.hold(undefined)
    gate.open()
    const kids = (await Promise.all(pending)).map((token) => headerOf(token).kid)
    expect([...new Set(kids)]).toEqual([(await keyOf(server.store, 'ES256', 'active')).kid])
    const issued = await server.store.listAudit({ type: 'token.issued', limit: 20 })
    expect(issued).toHaveLength(9)
    expect(issued.filter((entry) => 'kid' in entry && entry.kid === old)).toHaveLength(1)
  })

  it('F31 has one successor, however many processes find it due at once', { timeout: 120_000 }, async () => {
    const clock = new ManualClock()
    const { server, client } = await start(clock)
    const others = [await startOther(server, clock), await startOther(server, clock)]
    for (let round = 0; round < 10; round += 1) {
      const before = await keyOf(server.store, 'ES256', 'active')
      const next = await keyOf(server.store, 'ES256', 'staged')
      clock.advance(30 * day)
      // Twice at once: who has lost looks again while the winner is still at it.
      await Promise.all([...others, ...others].map((app) => app.keys.tick()))
      expect(next.kid).not.toBe(before.kid)
      expect(headerOf(await getToken(server, client)).kid).toBe(next.kid)
    }
    const trail = await server.store.listAudit({ limit: 1000 })
    const count = (type: string): number => trail.filter((entry) => entry.type === type).length
    // Of two algorithms; the first active and the first staged key of each came with the start.
    expect([count('key.activated'), count('key.retiring'), count('key.staged')]).toEqual([22, 20, 22])
  })
})

describe('a process that was paused', () => {
  it('dates a new key to when it was published, not to when it had looked at the ring', async () => {
    const clock = new ManualClock()
    const { store, scheduler } = await openRing(clock, () => ({}))
    const other = lock(store)
    const { kid } = await keyOf(store, 'ES256', 'staged')
    clock.advance(30 * day)
    const looking = scheduler.tick()
    await other.tried
    clock.advance(2 * day)
    other.unlock()
    await looking
    // Whether that look made the change or left it to the next: nothing may be dated before the pause.
    await scheduler.tick()
    const active = await keyOf(store, 'ES256', 'active')
    const staged = await keyOf(store, 'ES256', 'staged')
    expect(active.kid).toBe(kid)
    expect([active.activatedAt, staged.publishedAt]).toEqual([clock.nowMilliseconds(), clock.nowMilliseconds()])
    expect(staged.publishedRunning).toBe(32 * day * 1000)
  })

  it('gives nobody a ring that it had begun to read before he asked', async () => {
    const clock = new ManualClock()
    const gate = createGate()
    let isHeld = false
    const { store, registry } = await openRing(clock, (whole) => ({
      readKeys: async () => {
        const keys = await whole.readKeys()
        if (isHeld) await gate.pass()
        return keys
      },
    }))
    // Something moves, so that the ring is read again; the reader is held with what it has read.
    await store.createResource('https://api.example.test', { scopes: [] }, 'cli:test')
    isHeld = true
    const reading = registry.current()
    await gate.arrived
    isHeld = false
    const { kid } = await keyOf(store, 'ES256', 'active')
    const now = clock.nowMilliseconds()
    await store.requestRotation(kid, { now, running: 0, wall: now, resets: 0 }, 'cli:test')
    const asked = registry.current()
    gate.open()
    await reading
    expect((await asked).ring.keys.find((key) => key.kid === kid)?.rotationRequestedAt).toBe(now)
  })

  it('has its write done though another process has the lock as it goes on, and its second is over', async () => {
    const clock = new ManualClock()
    const { store } = await openRing(clock, () => ({}))
    const other = lock(store)
    const writing = store.createResource('https://api.example.test', { scopes: [] }, 'cli:test')
    await other.tried
    clock.advance(10)
    await other.tried
    other.unlock()
    await writing
    expect(await store.listResources()).toHaveLength(1)
  })
})
