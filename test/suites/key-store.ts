/** What any store must do with keys: the contract of `KeyStore`, as part of the suite of `Store`. */
import { describe, expect, it } from 'vitest'
import type { RingChange } from '../../src/key/key-store.ts'
import type { RingMoment } from '../../src/key/ring-clock.ts'
import { type KeyState, keyStates, type SigningKeyFacts, type StoredSigningKey } from '../../src/key/signing-key.ts'
import { StoreUnavailable } from '../../src/lib/store-error.ts'
import type { Store } from '../../src/store/store.ts'
import { makeToyKey } from '../support/ring-world.ts'
import { ManualClock } from '../support/server.ts'
import type { StoreUnderTest } from './store.ts'

const by = 'cli:test'
const timing = { jwksMaxAgeSeconds: 300, accessTokenMaxTtlSeconds: 3600 }
const start = Date.UTC(2026, 0, 2, 3, 4, 5)

function momentAt(seconds: number, changes: Partial<RingMoment> = {}): RingMoment {
  const now = start + seconds * 1000
  return { now, running: seconds * 1000, wall: now, resets: 0, ...changes }
}

const rotation = (at: RingMoment, more: Partial<RingChange> = {}): RingChange => ({
  moves: [
    { kid: 'one', from: 'active', to: 'retiring' },
    { kid: 'two', from: 'staged', to: 'active' },
  ],
  adds: [{ ...makeToyKey(), state: 'staged' }],
  at,
  timing,
  reason: 'schedule',
  ...more,
})

/** Runs the contract suite of keys on one kind of store. */
export function testKeyStore(name: string, under: StoreUnderTest): void {
  /** A store with one ring: `one` is active, `two` is staged. */
  const create = async (clock = new ManualClock(start)) => {
    const store = await under.create(clock)
    const facts = {
      createdAt: start,
      publishedAt: start,
      publishedRunning: 0,
      cachedSeconds: 0,
      maxTtlSeconds: timing.accessTokenMaxTtlSeconds,
      maxAgeSeconds: timing.jwksMaxAgeSeconds,
    }
    const make = (kid: string, state: KeyState): StoredSigningKey => {
      const key = makeToyKey()
      return { ...key, ...facts, kid, publicJwk: { ...key.publicJwk, kid }, state }
    }
    const signingKeys = [{ ...make('one', 'active'), activatedAt: start }, make('two', 'staged')]
    await store.claimKeys({ storeId: 'store', rootKeys: [{ version: 1, wrapped: Buffer.from('r') }], signingKeys }, by)
    return { store, clock }
  }
  const statesOf = async (store: Store): Promise<Record<string, KeyState>> =>
    Object.fromEntries((await store.listKeys()).map(({ kid, state }) => [kid.replace(/^toy-.*/, 'new'), state]))
  const find = async (store: Store, kid: string): Promise<SigningKeyFacts | undefined> =>
    (await store.listKeys()).find((key) => key.kid === kid)
  const markOf = async (store: Store) => (await store.readKeys())?.ringMark

  describe(`${name}: a change of the ring`, () => {
    it('moves keys and adds one, in one step of the sequence, with a record of each', async () => {
      const { store } = await create()
      const before = await store.readRegistrySequence()
      const change = rotation(momentAt(100))
      expect(await store.changeRing(change, 'server')).toBe(true)
      expect(await store.readRegistrySequence()).toBe(before + 1)
      expect(await statesOf(store)).toEqual({ one: 'retiring', two: 'active', new: 'staged' })
      const records = (await store.listAudit({ limit: 3 })).toReversed()
      const detail = { reason: 'schedule' }
      expect(records).toMatchObject([
        { type: 'key.retiring', kid: 'one', actor: 'server', detail: { ...detail, from: 'active' } },
        { type: 'key.activated', kid: 'two', actor: 'server', detail: { ...detail, from: 'staged' } },
        { type: 'key.staged', kid: change.adds[0]?.kid, actor: 'server', detail: { ...detail, alg: 'ES256' } },
      ])
    })

    it('dates what it does by both clocks, and stores how far they are', async () => {
      const { store } = await create()
      const change = rotation(momentAt(100, { running: 50_000 }))
      await store.changeRing(change, by)
      const at = start + 100_000
      expect(await find(store, 'one')).toMatchObject({ retiringAt: at, retiringRunning: 50_000 })
      expect(await find(store, 'two')).toMatchObject({ activatedAt: at, publishedAt: start })
      expect(await find(store, change.adds[0]?.kid ?? '')).toMatchObject({
        createdAt: at,
        publishedAt: at,
        publishedRunning: 50_000,
      })
      expect(await markOf(store)).toEqual({ highWater: at, running: 50_000, resets: 0 })
    })

    it('dates the end of a key by the wall clock where tokens were dated ahead of the calendar', async () => {
      const { store } = await create()
      await store.changeRing(rotation(momentAt(100, { wall: start + 999_000 })), by)
      expect(await find(store, 'one')).toMatchObject({ retiringAt: start + 999_000 })
    })

    it('begins nothing before what another process has counted', async () => {
      const { store } = await create()
      await store.noteRingMark({ highWater: start, running: 90_000, resets: 0 })
      const change = rotation(momentAt(100, { running: 61_000 }))
      await store.changeRing(change, by)
      expect(await find(store, 'one')).toMatchObject({ retiringRunning: 90_000 })
      expect(await find(store, change.adds[0]?.kid ?? '')).toMatchObject({ publishedRunning: 90_000 })
    })

    it('lets a new key remember the settings, and the longest max-age that copies without it may have', async () => {
      const { store } = await create()
      await store.rememberTiming({ jwksMaxAgeSeconds: 7200, accessTokenMaxTtlSeconds: 60 }, by)
      const change = rotation(momentAt(100), { timing: { jwksMaxAgeSeconds: 30, accessTokenMaxTtlSeconds: 45 } })
      await store.changeRing(change, by)
      expect(await find(store, change.adds[0]?.kid ?? '')).toMatchObject({
        cachedSeconds: 7200,
        maxAgeSeconds: 30,
        maxTtlSeconds: 45,
      })
    })

    it('lets new keys remember the longest max-age over any number of emergencies, and no longer than that', async () => {
      const { store } = await create()
      await store.rememberTiming({ jwksMaxAgeSeconds: 7200, accessTokenMaxTtlSeconds: 60 }, by)
      const shorter = { jwksMaxAgeSeconds: 30, accessTokenMaxTtlSeconds: 45 }
      const published = async () => (await store.readKeys())?.signingKeys ?? []
      for (let i = 1; i <= 3; i += 1) {
        const moves = (await published()).map(({ kid, state }) => ({ kid, from: state, to: 'compromised' as const }))
        const adds = (['active', 'staged'] as const).map((state) => ({ ...makeToyKey(), state }))
        const at = momentAt(i * 100)
        expect(await store.changeRing({ moves, adds, at, timing: shorter, reason: 'emergency_fresh' }, by)).toBe(true)
        for (const key of await published()) expect(key).toMatchObject({ cachedSeconds: 7200, maxTtlSeconds: 45 })
      }
      // The last of those keys is gone with the fourth rotation.
      const next = { staged: 'active', active: 'retiring', retiring: 'retired' } as const
      for (const expected of [7200, 7200, 7200, 30]) {
        const moves = (await published())
          .map(({ kid, state }) => ({ kid, from: state, to: next[state as keyof typeof next] }))
          .toSorted((a, b) => keyStates.indexOf(b.to) - keyStates.indexOf(a.to))
        const fresh = makeToyKey()
        await store.changeRing(
          rotation(momentAt(9000), { moves, adds: [{ ...fresh, state: 'staged' }], timing: shorter }),
          by,
        )
        expect(await find(store, fresh.kid)).toMatchObject({ cachedSeconds: expected, maxAgeSeconds: 30 })
      }
    })

    it('erases the private half of a key that is retired or compromised, and keeps its public one', async () => {
      const { store } = await create()
      await store.changeRing(rotation(momentAt(100)), by)
      const moves = [
        { kid: 'one', from: 'retiring', to: 'retired' },
        { kid: 'two', from: 'active', to: 'compromised' },
      ] as const
      await store.changeRing({ moves, adds: [], at: momentAt(200), timing, reason: 'emergency' }, by)
      expect(await find(store, 'one')).toMatchObject({ state: 'retired', retiredAt: start + 200_000 })
      expect(await find(store, 'two')).toMatchObject({ state: 'compromised', compromisedAt: start + 200_000 })
      expect((await store.readKeys())?.signingKeys.map(({ state }) => state)).toEqual(['staged'])
      expect((await store.listAudit({ limit: 2 })).map(({ type }) => type)).toEqual(['key.compromised', 'key.retired'])
      expect(await under.holds(store, 'private half of toy')).toBe(1)
    })

    const stage = { ...rotation(momentAt(100)), moves: [] }
    const refusals: [string, Partial<RingChange>][] = [
      ['a key is not in the state that its move names', { moves: [{ kid: 'one', from: 'retiring', to: 'retired' }] }],
      ['there is no such key', { moves: [{ kid: 'none', from: 'staged', to: 'active' }] }],
      ['a second key would be staged', { ...stage, moves: [] }],
      ['a second key would be active', { moves: [], adds: [{ ...makeToyKey(), state: 'active' }] }],
      [
        'only a later move cannot be made',
        { moves: [...rotation(momentAt(1)).moves, { kid: 'one', from: 'active', to: 'retiring' }] },
      ],
      ['the calendar was reset since', { at: momentAt(100, { resets: 1 }) }],
      ['it was decided on before the last reset', { at: momentAt(100, { resets: -1 }) }],
    ]
    it.each(refusals)('changes nothing when %s', async (_, more) => {
      const { store } = await create()
      const [keys, sequence] = [await store.listKeys(), await store.readRegistrySequence()]
      expect(await store.changeRing(rotation(momentAt(100), more), by)).toBe(false)
      expect(await store.listKeys()).toEqual(keys)
      expect(await store.readRegistrySequence()).toBe(sequence)
      expect(await markOf(store)).toEqual({ highWater: start, running: 0, resets: 0 })
      expect((await store.listAudit({ limit: 1 }))[0]?.type).toBe('key.staged')
    })

    it('F32 changes nothing when its process was paused before it, for its moment is over', async () => {
      const { store, clock } = await create()
      const late = store.changeRing(rotation(momentAt(100)), by)
      clock.advance(1.001)
      expect(await late).toBe(false)
      expect(await statesOf(store)).toEqual({ one: 'active', two: 'staged' })
      expect(await store.changeRing(rotation(momentAt(102)), by)).toBe(true)
    })

    it('refuses two active keys by a rule of the database too', async () => {
      const { store } = await create()
      const change = rotation(momentAt(1), { moves: [{ kid: 'two', from: 'staged', to: 'active' }], adds: [] })
      await expect(store.changeRing(change, by)).rejects.toBeInstanceOf(StoreUnavailable)
      expect(await statesOf(store)).toEqual({ one: 'active', two: 'staged' })
    })

    it('F31 happens once when two processes make it at the same time', async () => {
      const { store, clock } = await create()
      const other = await under.openOther(store, clock)
      const before = await store.readRegistrySequence()
      const outcomes = await Promise.all(
        [store, other, store, other].map((each) => each.changeRing(rotation(momentAt(100)), by)),
      )
      expect(outcomes.filter(Boolean)).toHaveLength(1)
      expect(await store.readRegistrySequence()).toBe(before + 1)
      expect(await statesOf(other)).toEqual({ one: 'retiring', two: 'active', new: 'staged' })
    })

    it.each(['signing_key', 'audit_event'])(
      'F18 leaves nothing half done when an insert into %s fails',
      async (table) => {
        const { store } = await create()
        for (const how of ['statement', 'transaction'] as const) {
          const [keys, sequence] = [await store.listKeys(), await store.readRegistrySequence()]
          const repair = await under.breakInserts(store, table, how)
          await expect(store.changeRing(rotation(momentAt(100)), by)).rejects.toBeInstanceOf(StoreUnavailable)
          await repair()
          expect(await store.listKeys()).toEqual(keys)
          expect(await store.readRegistrySequence()).toBe(sequence)
          expect(await markOf(store)).toMatchObject({ running: 0 })
        }
        expect(await store.changeRing(rotation(momentAt(100)), by)).toBe(true)
      },
    )
  })

  describe(`${name}: keys`, () => {
    it('are listed with those that are gone, the oldest first, as they were written', async () => {
      const { store } = await create()
      await store.changeRing(rotation(momentAt(100)), by)
      await store.changeRing(
        { ...rotation(momentAt(200)), moves: [{ kid: 'one', from: 'retiring', to: 'retired' }], adds: [] },
        by,
      )
      const keys = await store.listKeys()
      expect(keys.map(({ state }) => state)).toEqual(['retired', 'active', 'staged'])
      expect(keys[0]).not.toHaveProperty('encryptedPrivateKey')
      expect(keys[2]).not.toHaveProperty('activatedAt')
      expect((await store.readKeys())?.signingKeys.map(({ kid }) => kid)).toEqual(keys.slice(1).map(({ kid }) => kid))
    })

    it('are asked to rotate once; the sequence moves with the first request alone', async () => {
      const { store } = await create()
      const before = await store.readRegistrySequence()
      expect(await store.requestRotation('one', momentAt(10), by)).toBe(true)
      expect(await store.requestRotation('one', momentAt(20), by)).toBe(true)
      expect(await find(store, 'one')).toMatchObject({ rotationRequestedAt: start + 10_000 })
      expect(await store.readRegistrySequence()).toBe(before + 1)
      expect((await store.listAudit({ limit: 1 }))[0]).toMatchObject({ type: 'key.rotation_requested', kid: 'one' })
    })

    it('are asked again when the first request came from a clock that was ahead', async () => {
      const { store } = await create()
      await store.requestRotation('one', momentAt(86_400), by)
      expect(await store.requestRotation('one', momentAt(20), by)).toBe(true)
      expect(await find(store, 'one')).toMatchObject({ rotationRequestedAt: start + 20_000 })
      expect(await store.listAudit({ type: 'key.rotation_requested', limit: 10 })).toHaveLength(2)
    })

    it('are not asked to rotate unless they are active', async () => {
      const { store } = await create()
      const before = await store.readRegistrySequence()
      expect(await store.requestRotation('two', momentAt(10), by)).toBe(false)
      expect(await store.requestRotation('none', momentAt(10), by)).toBe(false)
      expect(await store.readRegistrySequence()).toBe(before)
    })

    it('remember the longest settings of all processes, and never shorter ones again', async () => {
      const { store } = await create()
      const longer = { jwksMaxAgeSeconds: 600, accessTokenMaxTtlSeconds: 60 }
      await store.rememberTiming(longer, 'server')
      expect(await find(store, 'one')).toMatchObject({ maxAgeSeconds: 600, maxTtlSeconds: 3600 })
      await store.rememberTiming({ jwksMaxAgeSeconds: 1, accessTokenMaxTtlSeconds: 7200 }, 'server')
      for (const kid of ['one', 'two']) {
        expect(await find(store, kid)).toMatchObject({ maxAgeSeconds: 600, maxTtlSeconds: 7200, cachedSeconds: 0 })
      }
      expect(await store.listAudit({ type: 'key.timing_raised', limit: 10 })).toMatchObject([
        { kid: expect.any(String), detail: { maxAgeSeconds: 600, maxTtlSeconds: 7200 } },
        { kid: expect.any(String), detail: { maxAgeSeconds: 600, maxTtlSeconds: 7200 } },
        { kid: expect.any(String), detail: { maxAgeSeconds: 600, maxTtlSeconds: 3600 } },
        { kid: expect.any(String), detail: { maxAgeSeconds: 600, maxTtlSeconds: 3600 } },
      ])
    })

    it('remember without a record and a step of the sequence when nothing is longer', async () => {
      const { store } = await create()
      const before = await store.readRegistrySequence()
      await store.rememberTiming(timing, 'server')
      await store.rememberTiming({ jwksMaxAgeSeconds: 1, accessTokenMaxTtlSeconds: 1 }, 'server')
      expect(await store.readRegistrySequence()).toBe(before)
      expect(await store.listAudit({ type: 'key.timing_raised', limit: 10 })).toEqual([])
    })
  })

  describe(`${name}: the mark of both clocks`, () => {
    it('is where the first keys are dated: a first start whose clock was ahead can be seen', async () => {
      const { store } = await create()
      expect(await markOf(store)).toEqual({ highWater: start, running: 0, resets: 0 })
    })

    it('only ever rises, and moves no sequence', async () => {
      const { store, clock } = await create()
      const other = await under.openOther(store, clock)
      const before = await store.readRegistrySequence()
      const highWater = start + 50
      const first = { highWater, running: 7, resets: 0 }
      expect(await store.noteRingMark(first)).toEqual(first)
      const risen = { ...first, running: 9 }
      expect(await other.noteRingMark({ highWater: highWater - 10, running: 9, resets: 0 })).toEqual(risen)
      expect(await markOf(store)).toEqual(risen)
      expect(await store.readRegistrySequence()).toBe(before)
    })

    it('does not rise by what a paused process writes', async () => {
      const { store, clock } = await create()
      const late = store.noteRingMark({ highWater: start + 50, running: 7, resets: 0 })
      clock.advance(1.001)
      expect(await late).toEqual({ highWater: start, running: 0, resets: 0 })
    })

    it('is set back by a reset, with a record, and by nothing of before it', async () => {
      const { store } = await create()
      const far = start + 365 * 86_400_000
      await store.changeRing(rotation(momentAt(100, { now: far, wall: far })), by)
      await store.requestRotation('two', momentAt(100, { now: far }), by)
      const before = await store.readRegistrySequence()
      await store.resetCalendar(start + 200_000, by)
      expect(await store.readRegistrySequence()).toBe(before + 1)
      expect(await markOf(store)).toEqual({ highWater: start + 200_000, running: 100_000, resets: 1 })
      expect((await store.listAudit({ limit: 1 }))[0]).toMatchObject({
        type: 'calendar.reset',
        actor: by,
        detail: { before: far, after: start + 200_000 },
      })
      expect(await store.noteRingMark({ highWater: far, running: 999_000, resets: 0 })).toEqual(await markOf(store))
      expect(await markOf(store)).toEqual({ highWater: start + 200_000, running: 100_000, resets: 1 })
      const raised = await store.noteRingMark({ highWater: start + 300_000, running: 200_000, resets: 1 })
      expect(raised).toEqual({ highWater: start + 300_000, running: 200_000, resets: 1 })
    })

    it('takes the dates of published keys back with it, where they are later, and no others', async () => {
      const { store } = await create()
      const far = start + 365 * 86_400_000
      const change = rotation(momentAt(100, { now: far, wall: far }))
      await store.changeRing(change, by)
      await store.requestRotation('two', momentAt(100, { now: far }), by)
      const back = start + 200_000
      await store.resetCalendar(back, by)
      // What was revoked may have been forgotten under the wrong date.
      expect(await store.readRegistryHead()).toMatchObject({ tokensAfter: back + 2_000 })
      expect(await find(store, 'one')).toMatchObject({ createdAt: start, retiringAt: back, retiringRunning: 100_000 })
      expect(await find(store, 'two')).toMatchObject({
        publishedAt: start,
        activatedAt: back,
        rotationRequestedAt: back,
      })
      const staged = await find(store, change.adds[0]?.kid ?? '')
      expect(staged).toMatchObject({ createdAt: back, publishedAt: back, publishedRunning: 100_000 })
      expect(staged).not.toHaveProperty('activatedAt')
    })
  })

  describe(`${name}: root keys`, () => {
    const roots = (...versions: readonly number[]) =>
      versions.map((version) => ({ version, wrapped: Buffer.from(`wrapped anew ${version}`) }))

    const first = [{ version: 1, wrapped: Buffer.from('r') }]

    it('are wrapped anew as long as they are the same, with a record', async () => {
      const { store } = await create()
      expect(await store.rewrapRoots({ from: first, to: roots(1) }, by)).toBe(true)
      expect((await store.readKeys())?.rootKeys).toEqual(roots(1))
      expect((await store.listAudit({ limit: 1 }))[0]).toMatchObject({ type: 'root.rewrapped', rootVersion: 1 })
      const before = await store.readRegistrySequence()
      for (const others of [roots(2), roots(1, 2), roots()]) {
        expect(await store.rewrapRoots({ from: roots(1), to: others }, by)).toBe(false)
        expect(await store.rewrapRoots({ from: others, to: roots(1) }, by)).toBe(false)
      }
      expect((await store.readKeys())?.rootKeys).toEqual(roots(1))
      expect(await store.readRegistrySequence()).toBe(before)
    })

    it('are not wrapped anew, nor replaced, by whoever read them before somebody else wrapped them anew', async () => {
      const { store } = await create()
      await store.rewrapRoots({ from: first, to: roots(1) }, by)
      const before = [await store.readKeys(), await store.readRegistrySequence()]
      const late = [{ version: 1, wrapped: Buffer.from('by another') }]
      expect(await store.rewrapRoots({ from: first, to: late }, by)).toBe(false)
      expect(await store.replaceRoot({ from: first, root: second, keys: encrypted('one', 'two') }, by)).toBe(false)
      expect([await store.readKeys(), await store.readRegistrySequence()]).toEqual(before)
    })

    const second = { version: 2, wrapped: Buffer.from('second') }
    const encrypted = (...kids: readonly string[]) =>
      kids.map((kid) => ({ kid, encryptedPrivateKey: Buffer.from(`anew ${kid}`) }))

    it('are replaced together with every published private half, and the old one is gone', async () => {
      const { store } = await create()
      expect(await store.replaceRoot({ from: first, root: second, keys: encrypted('two', 'one') }, by)).toBe(true)
      const material = await store.readKeys()
      expect(material?.rootKeys).toEqual([{ version: 2, wrapped: Buffer.from('second') }])
      for (const key of material?.signingKeys ?? []) {
        expect(Buffer.from(key.encryptedPrivateKey).toString()).toBe(`anew ${key.kid}`)
        expect(key.rootVersion).toBe(2)
      }
      expect((await store.listAudit({ limit: 1 }))[0]).toMatchObject({ type: 'root.replaced', rootVersion: 2 })
      expect(await store.check()).toEqual([])
    })

    it('are not replaced when the published keys are others, or the version is taken', async () => {
      const { store } = await create()
      const before = [await store.readKeys(), await store.readRegistrySequence()]
      expect(await store.replaceRoot({ from: first, root: second, keys: encrypted('one') }, by)).toBe(false)
      expect(await store.replaceRoot({ from: first, root: second, keys: encrypted('one', 'two', 'three') }, by)).toBe(
        false,
      )
      expect(await store.replaceRoot({ from: first, root: second, keys: encrypted('one', 'other') }, by)).toBe(false)
      expect(
        await store.replaceRoot({ from: first, root: { ...second, version: 1 }, keys: encrypted('one', 'two') }, by),
      ).toBe(false)
      expect([await store.readKeys(), await store.readRegistrySequence()]).toEqual(before)
      await store.changeRing(rotation(momentAt(100)), by)
      expect(await store.replaceRoot({ from: first, root: second, keys: encrypted('one', 'two') }, by)).toBe(false)
    })

    it.each(['root_key', 'audit_event'])('F18 are not replaced by half when an insert into %s fails', async (table) => {
      const { store } = await create()
      const before = await store.readKeys()
      const repair = await under.breakInserts(store, table, 'statement')
      const second = { version: 2, wrapped: Buffer.from('second') }
      await expect(
        store.replaceRoot({ from: first, root: second, keys: encrypted('one', 'two') }, by),
      ).rejects.toBeInstanceOf(StoreUnavailable)
      await repair()
      expect(await store.readKeys()).toEqual(before)
    })
  })
}
