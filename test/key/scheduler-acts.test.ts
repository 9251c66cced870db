import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { KeyRing } from '../../src/key/ring.ts'
import { RingClock } from '../../src/key/ring-clock.ts'
import type { RootKey } from '../../src/key/root-key.ts'
import { KeyScheduler } from '../../src/key/scheduler.ts'
import { type SigningAlg, signingAlgs } from '../../src/key/signer.ts'
import { keyStates, type NewSigningKey } from '../../src/key/signing-key.ts'
import type { KeyTiming } from '../../src/key/timing.ts'
import { openStore } from '../../src/store/open-store.ts'
import type { Store } from '../../src/store/store.ts'
import { ManualClock } from '../support/clock.ts'
import { temporaryFolder } from '../support/process.ts'
import { defaultTiming } from '../support/ring.ts'
import { makeToyKey } from '../support/ring-world.ts'

const interval = defaultTiming.rotationIntervalSeconds
const lead = defaultTiming.leadSeconds
const keep = defaultTiming.accessTokenMaxTtlSeconds + defaultTiming.clockSkewSeconds + 2

interface Line {
  readonly level: string
  readonly fields: object
  readonly message: string
}

interface Setting {
  readonly clock: ManualClock
  readonly store: Store
  readonly scheduler: KeyScheduler
  readonly lines: readonly Line[]
  /** The algorithms of the keys that were made, with the versions of the roots that they were made under. */
  readonly made: string[]
  /** What the next ring that is read has for its root. */
  root: RootKey
  /** How the next keys are made. */
  make(root: RootKey, alg: SigningAlg): Promise<NewSigningKey>
  states(alg?: SigningAlg): Promise<string>
}

type StartOptions = Partial<KeyTiming> & {
  readonly hasStaged?: boolean
  /** The algorithm whose staged key must be published for longer than others. */
  readonly slow?: SigningAlg
}

/** A scheduler on a store of its own, whose keys no signature can be made with. */
async function start({ hasStaged = true, slow, ...changes }: StartOptions = {}): Promise<Setting> {
  const timing = { ...defaultTiming, ...changes }
  const clock = new ManualClock()
  const store = openStore(join(temporaryFolder(), 'mayfly.db'), { create: true, examine: false, clock })
  onTestFinished(() => store.close())
  const now = clock.nowMilliseconds()
  const published = {
    createdAt: now,
    publishedAt: now,
    publishedRunning: 0,
    cachedSeconds: 0,
    maxTtlSeconds: timing.accessTokenMaxTtlSeconds,
    maxAgeSeconds: timing.jwksMaxAgeSeconds,
  }
  const cachedFor = (alg: SigningAlg) => ({ cachedSeconds: alg === slow ? 2 * interval : 0 })
  const signingKeys = signingAlgs.flatMap((alg) => [
    { ...makeToyKey(alg), ...published, state: 'active' as const, activatedAt: now },
    ...(hasStaged ? [{ ...makeToyKey(alg), ...published, ...cachedFor(alg), state: 'staged' as const }] : []),
  ])
  await store.claimKeys(
    { storeId: 'toy', rootKeys: [{ version: 1, wrapped: new Uint8Array(1) }], signingKeys },
    'server',
  )
  const lines: Line[] = []
  const note = (level: string) => (fields: object, message: string) => void lines.push({ level, fields, message })
  const made: string[] = []
  const readRing = async (): Promise<KeyRing> => {
    const { signingKeys: keys = [], ringMark } = (await store.readKeys()) ?? {}
    const signers = keys.map((key) => ({
      ...key,
      signer: { kid: key.kid, alg: key.alg, sign: async () => key.encryptedPrivateKey },
    }))
    return new KeyRing(signers, {
      ...(ringMark === undefined ? {} : { mark: ringMark }),
      root: { storeId: 'toy', root: setting.root },
    })
  }
  const setting: Omit<Setting, 'scheduler'> = {
    clock,
    store,
    lines,
    made,
    root: { version: 1, bytes: new Uint8Array(32) },
    make: async (root, alg) => makeToyKey(alg, root.version),
    states: async (alg = 'ES256') => {
      const own = (await store.listKeys()).filter((key) => key.alg === alg)
      // Two keys of one moment have no order, so those that are furthest come first.
      return keyStates
        .toReversed()
        .flatMap((state) => own.filter((key) => key.state === state).map(() => state))
        .join(' ')
    },
  }
  const ring = await readRing()
  const scheduler = new KeyScheduler({
    store,
    ring,
    clock: new RingClock(clock, ring.mark),
    timing,
    log: { debug: note('debug'), info: note('info'), warn: note('warn'), error: note('error') },
    readRing,
    makeKey: (root, storeId, alg) => {
      made.push(`${storeId} ${alg} ${root.version}`)
      return setting.make(root, alg)
    },
  })
  return Object.assign(setting, { scheduler })
}

const both = ['toy ES256 1', 'toy RS256 1']

describe('a tick', () => {
  it('does nothing while nothing is due', async () => {
    const { scheduler, lines, made, states } = await start()
    await scheduler.tick()
    expect([await states(), lines, made]).toEqual(['active staged', [], []])
  })

  it('tells the log of each transition, and the audit trail that it went by the schedule', async () => {
    const { clock, store, scheduler, lines, states } = await start()
    const before = await store.listKeys()
    clock.advance(interval)
    await scheduler.tick()
    expect(await states()).toBe('retiring active staged')
    const after = await store.listKeys()
    const kidOf = (alg: string, state: string, keys = after) =>
      keys.find((key) => key.alg === alg && key.state === state)?.kid
    expect(lines).toEqual(
      signingAlgs.map((alg) => ({
        level: 'info',
        fields: {
          kind: 'rotate',
          alg,
          from: kidOf(alg, 'active', before),
          to: kidOf(alg, 'staged', before),
          staged: kidOf(alg, 'staged'),
        },
        message: 'key ring changed',
      })),
    )
    const events = await store.listAudit({ type: 'key.activated', limit: 10 })
    expect(events.slice(0, 2)).toMatchObject([
      { actor: 'server', detail: { reason: 'schedule' } },
      { actor: 'server', detail: { reason: 'schedule' } },
    ])
  })

  it('tells the log of a key that leaves, and stages none for it', async () => {
    const { clock, scheduler, lines, made, states } = await start()
    clock.advance(interval)
    await scheduler.tick()
    clock.advance(keep)
    await scheduler.tick()
    expect(await states()).toBe('retired active staged')
    expect(lines.slice(2)).toEqual(
      signingAlgs.map((alg) => ({
        level: 'info',
        fields: { kind: 'retire', alg, kid: expect.any(String) },
        message: 'key ring changed',
      })),
    )
    expect(made).toEqual(both)
  })

  it('stages a key where there is none, as after an emergency', async () => {
    const { store, scheduler, lines, made, states } = await start({ hasStaged: false })
    await scheduler.tick()
    expect(await states()).toBe('active staged')
    const keys = await store.listKeys()
    const kidOf = (alg: SigningAlg) => keys.find((key) => key.alg === alg && key.state === 'staged')?.kid
    expect(lines).toEqual(
      signingAlgs.map((alg) => ({
        level: 'info',
        fields: { kind: 'stage', alg, staged: kidOf(alg) },
        message: 'key ring changed',
      })),
    )
    expect(made).toEqual(both)
  })

  it('changes nothing, and fails at nothing, when the calendar is reset in the middle of it', async () => {
    const { clock, store, scheduler, lines, states } = await start({ hasStaged: false })
    const tick = scheduler.tick()
    await store.resetCalendar(clock.nowMilliseconds(), 'cli:test')
    await expect(tick).resolves.toBeUndefined()
    expect([await states(), lines]).toEqual(['active', []])
    await scheduler.tick()
    expect(await states()).toBe('active staged')
  })

  it('says nothing of a transition that another process made first', async () => {
    const { clock, store, scheduler, lines, states } = await start()
    clock.advance(interval)
    const keys = await store.listKeys()
    const kidOf = (state: string) => keys.find((key) => key.alg === 'ES256' && key.state === state)?.kid ?? ''
    const at = { now: clock.nowMilliseconds(), running: interval * 1000, wall: clock.nowMilliseconds(), resets: 0 }
    const moves = [
      { kid: kidOf('active'), from: 'active', to: 'retiring' },
      { kid: kidOf('staged'), from: 'staged', to: 'active' },
    ] as const
    const first = scheduler.tick()
    await store.changeRing(
      { moves, adds: [{ ...makeToyKey(), state: 'staged' }], at, timing: defaultTiming, reason: 'command' },
      'cli:test',
    )
    await first
    expect(await states()).toBe('retiring active staged')
    expect(lines.map(({ fields }) => fields)).toEqual([expect.objectContaining({ alg: 'RS256' })])
  })
})

describe('the next key', () => {
  it('is made in the last minute before it is needed, once, and not before', async () => {
    const { clock, scheduler, made } = await start()
    clock.advance(interval - 60.001)
    await scheduler.tick()
    expect(made).toEqual([])
    clock.advance(0.001)
    await scheduler.tick()
    await scheduler.tick()
    expect(made).toEqual(both)
    clock.advance(60)
    await scheduler.tick()
    expect(made).toEqual(both)
  })

  it('is the one that was made ahead, and the one after it another', async () => {
    const { clock, store, scheduler, made } = await start()
    for (const round of [1, 2]) {
      clock.advance(interval - 60)
      await scheduler.tick()
      clock.advance(60)
      await scheduler.tick()
      expect(made).toHaveLength(2 * round)
    }
    expect(new Set((await store.listKeys()).map(({ kid }) => kid)).size).toBe(8)
  })

  it('is not made ahead while the staged one is too young to sign, however late it is', async () => {
    const { clock, store, scheduler, made } = await start()
    clock.advance(10)
    const asked = { now: clock.nowMilliseconds(), running: 10_000, wall: clock.nowMilliseconds(), resets: 0 }
    const kid = (await store.listKeys()).find(({ alg, state }) => alg === 'ES256' && state === 'active')?.kid ?? ''
    expect(await store.requestRotation(kid, asked, 'cli:test')).toBe(true)
    clock.advance(lead - 10 - 60.001)
    await scheduler.tick()
    expect(made).toEqual([])
    clock.advance(0.001)
    await scheduler.tick()
    expect(made).toEqual(['toy ES256 1'])
  })

  it.each(signingAlgs)(
    'of another algorithm is made ahead, though that of %s must be published for longer',
    async (slow) => {
      const { clock, scheduler, made } = await start({ slow })
      clock.advance(interval - 60)
      await scheduler.tick()
      expect(made).toEqual(both.filter((key) => !key.includes(slow)))
    },
  )

  it('is neither made nor thrown away on behalf of a key that retires', async () => {
    // The staged key is ripe long before the retired one leaves, which it does in the last minute of the active one.
    const { clock, scheduler, made, states } = await start({ leadSeconds: 400, rotationIntervalSeconds: keep + 30 })
    const tickAfter = async (seconds: number): Promise<void> => {
      clock.advance(seconds)
      await scheduler.tick()
    }
    await tickAfter(keep + 30)
    expect(made).toEqual(both)
    await tickAfter(500)
    expect(made).toEqual(both)
    await tickAfter(keep - 500 - 10)
    expect([await states(), made]).toEqual(['retiring active staged', [...both, ...both]])
    await tickAfter(10)
    expect([await states(), made]).toEqual(['retired active staged', [...both, ...both]])
    await tickAfter(30)
    expect([await states(), made]).toEqual(['retired retiring active staged', [...both, ...both]])
  })

  it('is made again when making it ahead failed, which is a warning', async () => {
    const setting = await start()
    const { clock, scheduler, lines, made, states, make } = setting
    setting.make = () => Promise.reject(new Error('no entropy'))
    clock.advance(interval - 60)
    await scheduler.tick()
    await expect.poll(() => lines).toHaveLength(2)
    expect(lines[0]).toEqual({
      level: 'warn',
      fields: { err: expect.objectContaining({ type: 'Error', message: 'no entropy' }) },
      message: 'a signing key could not be made ahead',
    })
    setting.make = make
    clock.advance(60)
    await scheduler.tick()
    expect(await states()).toBe('retiring active staged')
    expect(made).toHaveLength(4)
  })

  it('ends the tick when it cannot be made, and nothing has changed; the next tick makes it', async () => {
    const setting = await start()
    const { clock, scheduler, states, make } = setting
    setting.make = () => Promise.reject(new Error('no entropy'))
    clock.advance(interval)
    await expect(scheduler.tick()).rejects.toThrow('no entropy')
    expect(await states()).toBe('active staged')
    setting.make = make
    await scheduler.tick()
    expect(await states()).toBe('retiring active staged')
  })

  it('is made anew when the root was replaced since, for the old root would not open it', async () => {
    const setting = await start()
    const { clock, store, scheduler, made } = setting
    clock.advance(interval - 60)
    await scheduler.tick()
    expect(made).toEqual(both)
    const { signingKeys = [], rootKeys = [] } = (await store.readKeys()) ?? {}
    const keys = signingKeys.map(({ kid }) => ({ kid, encryptedPrivateKey: Buffer.from('under the new root') }))
    expect(
      await store.replaceRoot({ from: rootKeys, root: { version: 2, wrapped: new Uint8Array(1) }, keys }, 'cli:test'),
    ).toBe(true)
    setting.root = { version: 2, bytes: new Uint8Array(32) }
    clock.advance(60)
    await scheduler.tick()
    expect(made.toSorted()).toEqual([...both, 'toy ES256 2', 'toy RS256 2'].toSorted())
    const staged = (await store.readKeys())?.signingKeys.filter(({ state }) => state === 'staged')
    expect(staged?.map(({ rootVersion }) => rootVersion)).toEqual([2, 2])
  })
})

describe('what has run', () => {
  const runningOf = async (store: Store) => (await store.readKeys())?.ringMark.running

  // It is stored soon after a start, then after twice as long each time.
  const settle = async ({ clock, scheduler }: Setting): Promise<void> => {
    for (let seconds = 0.4; seconds < 15; seconds *= 2) {
      clock.advance(seconds)
      await scheduler.tick()
    }
  }

  it('is stored soon after a start, and not before', async () => {
    const { clock, store, scheduler } = await start()
    for (const [seconds, stored] of [
      [0.399, 0],
      [0.001, 400],
      [0.799, 400],
      [0.001, 1_200],
      [1.6, 2_800],
    ] as const) {
      clock.advance(seconds)
      await scheduler.tick()
      expect(await runningOf(store)).toBe(stored)
    }
  })

  it('is later stored when 15 s of it are not, and not before', async () => {
    const setting = await start()
    const { clock, store, scheduler } = setting
    await settle(setting)
    const settled = (await runningOf(store)) ?? 0
    for (const [seconds, stored] of [
      [14.999, settled],
      [0.001, settled + 15_000],
      [14.999, settled + 15_000],
      [0.001, settled + 30_000],
    ] as const) {
      clock.advance(seconds)
      await scheduler.tick()
      expect(await runningOf(store)).toBe(stored)
    }
  })

  it('is stored when somebody says so, as before the end of a process', async () => {
    const setting = await start()
    const { clock, store, scheduler } = setting
    await settle(setting)
    const settled = (await runningOf(store)) ?? 0
    clock.advance(7)
    await scheduler.save()
    expect(await runningOf(store)).toBe(settled + 7_000)
    clock.advance(14)
    await scheduler.tick()
    expect(await runningOf(store)).toBe(settled + 7_000)
  })

  it('is counted anew when another process has changed the ring: what was not stored counts for nothing then', async () => {
    const { clock, store, scheduler } = await start()
    const keys = await store.listKeys()
    clock.advance(14)
    const at = { now: clock.nowMilliseconds(), running: 3_000, wall: clock.nowMilliseconds(), resets: 0 }
    const moves = [
      {
        kid: keys.find(({ alg, state }) => alg === 'ES256' && state === 'staged')?.kid ?? '',
        from: 'staged',
        to: 'compromised',
      },
    ] as const
    const adds = [{ ...makeToyKey(), state: 'staged' as const }]
    expect(await store.changeRing({ moves, adds, at, timing: defaultTiming, reason: 'emergency' }, 'cli:test')).toBe(
      true,
    )
    await scheduler.tick()
    clock.advance(1)
    await scheduler.save()
    expect(await runningOf(store)).toBe(4_000)
  })

  it('brings nothing forward that another process has begun since it was stored', async () => {
    const { clock, store, scheduler, states } = await start()
    const keys = await store.listKeys()
    const kidOf = (state: string) => keys.find((key) => key.alg === 'ES256' && key.state === state)?.kid ?? ''
    clock.advance(14)
    const at = { now: clock.nowMilliseconds(), running: 0, wall: clock.nowMilliseconds(), resets: 0 }
    const moves = [{ kid: kidOf('staged'), from: 'staged', to: 'compromised' }] as const
    const adds = [{ ...makeToyKey(), state: 'staged' as const }]
    expect(await store.changeRing({ moves, adds, at, timing: defaultTiming, reason: 'emergency' }, 'cli:test')).toBe(
      true,
    )
    expect(await store.requestRotation(kidOf('active'), at, 'cli:test')).toBe(true)
    // It was paused meanwhile, and knows of none of it.
    clock.advance(lead)
    await scheduler.tick()
    expect(await states()).toBe('compromised active staged')
    clock.advance(lead)
    await scheduler.tick()
    expect(await states()).toBe('compromised retiring active staged')
  })

  it('goes on from a change of its own, with nothing lost', async () => {
    const { clock, store, scheduler } = await start()
    clock.advance(interval)
    await scheduler.tick()
    clock.advance(7)
    await scheduler.tick()
    await scheduler.save()
    expect(await runningOf(store)).toBe((interval + 7) * 1000)
  })
})
