/** F18: whatever ends a change of the ring in the middle, the ring is the old one or the new one. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import { describe, expect, it, onTestFinished } from 'vitest'
import { StoreUnavailable } from '../../src/lib/store-error.ts'
import { openStore } from '../../src/store/open-store.ts'
import type { Store } from '../../src/store/store.ts'
import { cleanEnvironment, root, temporaryFolder } from '../support/process.ts'
import { makeToyKey } from '../support/ring-world.ts'

const timing = { jwksMaxAgeSeconds: 300, accessTokenMaxTtlSeconds: 3600 }
const moment = { now: 100, running: 100, wall: 100, resets: 0 }

/** A store whose ES256 ring has an active and a staged key, and the path of its file. */
async function createRing(): Promise<{ store: Store; path: string }> {
  const path = join(temporaryFolder(), 'mayfly.db')
  const store = openStore(path, { create: true, examine: true })
  onTestFinished(() => store.close())
  const facts = {
    createdAt: 0,
    publishedAt: 0,
    publishedRunning: 0,
    cachedSeconds: 0,
    maxTtlSeconds: 1,
    maxAgeSeconds: 1,
  }
  const signingKeys = [
    { ...makeToyKey(), ...facts, state: 'active' as const, activatedAt: 0 },
    { ...makeToyKey(), ...facts, state: 'staged' as const },
  ]
  await store.claimKeys(
    { storeId: 'store', rootKeys: [{ version: 1, wrapped: Buffer.from('r') }], signingKeys },
    'server',
  )
  return { store, path }
}

async function rotate(store: Store): Promise<boolean> {
  const keys = await store.listKeys()
  const kidIn = (state: string): string => keys.find((key) => key.state === state)?.kid ?? ''
  const moves = [
    { kid: kidIn('active'), from: 'active', to: 'retiring' },
    { kid: kidIn('staged'), from: 'staged', to: 'active' },
  ] as const
  const adds = [{ ...makeToyKey(), state: 'staged' as const }]
  return store.changeRing({ moves, adds, at: moment, timing, reason: 'schedule' }, 'server')
}

describe('F18 a rotation of which one statement fails', () => {
  const statements = [
    ['UPDATE ON signing_key', `new.state = 'retiring'`],
    ['UPDATE ON signing_key', `new.state = 'active'`],
    ['INSERT ON signing_key', `new.state = 'staged'`],
    ['UPDATE ON ring_mark', '1'],
    ['INSERT ON audit_event', `new.type = 'key.retiring'`],
    ['INSERT ON audit_event', `new.type = 'key.activated'`],
    ['INSERT ON audit_event', `new.type = 'key.staged'`],
    ['UPDATE ON sequence', '1'],
  ].flatMap(([event, when]) => ['BEFORE', 'AFTER'].map((order) => [order, event, when]))

  it.each(statements)('changes nothing: %s %s when %s', async (order, event, when) => {
    const { store, path } = await createRing()
    const sqlite = new Database(path)
    onTestFinished(() => void sqlite.close())
    const dump = () =>
      ['signing_key', 'ring_mark', 'audit_event', 'sequence'].map((name) =>
        sqlite.prepare(`SELECT * FROM ${name}`).all(),
      )
    const before = dump()
    for (const how of ['ABORT', 'ROLLBACK', 'FAIL']) {
      sqlite.exec(`CREATE TRIGGER broken ${order} ${event} WHEN ${when} BEGIN SELECT RAISE(${how}, 'broken'); END`)
      await expect(rotate(store), how).rejects.toBeInstanceOf(StoreUnavailable)
      sqlite.exec('DROP TRIGGER broken')
      expect(dump(), how).toEqual(before)
    }
    expect(await rotate(store)).toBe(true)
  })
})

describe('F18 SIGKILL of a process that rotates', () => {
  it('leaves a whole ring each time', { timeout: 180_000 }, async () => {
    const { store, path } = await createRing()
    const seed = 20_260_102
    let random = seed
    let seen = 0
    for (let cycle = 0; cycle < 20; cycle += 1) {
      random = (random * 48_271) % 2_147_483_647
      await killAfter(path, 1 + (random % 4), random % 20)
      const keys = await store.listKeys()
      const states = keys.map(({ state }) => state)
      const count = (state: string) => states.filter((each) => each === state).length
      const shown = `cycle ${cycle} of seed ${seed}: ${states.join()}`
      expect([count('active'), count('staged')], shown).toEqual([1, 1])
      expect(keys.length, shown).toBeGreaterThan(seen)
      seen = keys.length
      // Each key that there ever was has a record of each step that it made.
      const staged = await store.listAudit({ type: 'key.staged', limit: 10_000 })
      expect(staged).toHaveLength(keys.length - 1)
      const activated = await store.listAudit({ type: 'key.activated', limit: 10_000 })
      expect(activated).toHaveLength(keys.length - 1)
    }
    expect(await store.check()).toEqual([])
    expect(await rotate(store)).toBe(true)
  })
})

/** Lets a process rotate so often and so many milliseconds more, and kills it. */
async function killAfter(path: string, rotations: number, milliseconds: number): Promise<void> {
  const program = join(root, 'test/support/rotate-for-ever.ts')
  const child = spawn(process.execPath, [program, path], {
    env: cleanEnvironment(),
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const closed = once(child, 'close')
  let lines = 0
  await new Promise<void>((resolve, reject) => {
    closed.then(([code]) => reject(new Error(`it ended by itself with ${code}`)), reject)
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      lines += text.split('\n').length - 1
      if (lines >= rotations) resolve()
    })
  })
  await new Promise((resolve) => setTimeout(resolve, milliseconds))
  child.kill('SIGKILL')
  await closed
}
