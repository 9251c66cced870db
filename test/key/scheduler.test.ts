import fc from 'fast-check'
import { describe, expect, it, onTestFinished } from 'vitest'
import { signingAlgs } from '../../src/key/signer.ts'
import { type ProcessSettings, RingWorld, toTiming } from '../support/ring-world.ts'

const run = { seed: 20_260_102, numRuns: 120 }

const second = 1000
const settings: fc.Arbitrary<ProcessSettings> = fc.record({
  jwksMaxAgeSeconds: fc.constantFrom(1, 60, 300, 3600),
  accessTokenMaxTtlSeconds: fc.constantFrom(1, 60, 300, 7200),
  moreLeadSeconds: fc.constantFrom(0, 0, 1, 600),
  moreIntervalSeconds: fc.constantFrom(0, 0, 1, 600, 86_400),
})
const slot = fc.constantFrom(0, 1)
const span = fc.oneof(
  fc.constantFrom(1, 400, second, 29 * second, 31 * second, 60 * second, 62 * second, 3600 * second, 86_400 * second),
  fc.integer({ min: 1, max: 600 * second }),
)
const size = fc.oneof(span, fc.constantFrom(30 * 86_400 * second, 3650 * 86_400 * second))

type Act = (world: RingWorld) => Promise<void>
const named = (name: string, act: Act): Act => Object.assign(act, { toString: () => name })

const act: fc.Arbitrary<Act> = fc.oneof(
  { weight: 4, arbitrary: span.map((ms) => named(`run ${ms}`, (world) => world.run(ms))) },
  {
    weight: 6,
    arbitrary: fc
      .tuple(slot, fc.constantFrom(-1, 0, 0, 1, 400))
      .map(([n, by]) => named(`runToNext ${n} ${by}`, (world) => world.runToNext(n, by))),
  },
  { weight: 1, arbitrary: size.map((ms) => named(`sleep ${ms}`, (world) => world.sleep(ms))) },
  {
    weight: 2,
    arbitrary: fc
      .tuple(size, fc.constantFrom(-1, 1))
      .map(([ms, sign]) => named(`stepWall ${ms * sign}`, (world) => world.stepWall(ms * sign))),
  },
  {
    weight: 3,
    arbitrary: fc
      .tuple(slot, settings)
      .map(([n, set]) => named(`start ${n} ${JSON.stringify(set)}`, (world) => world.start(n, set))),
  },
  {
    weight: 2,
    arbitrary: fc
      .tuple(slot, fc.constantFrom('orderly' as const, 'killed' as const))
      .map(([n, how]) => named(`stop ${n} ${how}`, (world) => world.stop(n, how))),
  },
  {
    weight: 2,
    arbitrary: fc
      .tuple(slot, fc.constantFrom(...signingAlgs))
      .map(([n, alg]) => named(`requestRotation ${n} ${alg}`, (world) => world.requestRotation(n, alg))),
  },
  { weight: 1, arbitrary: fc.constant(named('resetCalendar', (world) => world.resetCalendar())) },
)

// Lead 122 s, interval a day more, keep 122 s.
const usual: ProcessSettings = {
  jwksMaxAgeSeconds: 60,
  accessTokenMaxTtlSeconds: 60,
  moreLeadSeconds: 0,
  moreIntervalSeconds: 86_400,
}
const lead = 122 * second
const interval = lead + 86_400 * second

async function createWorld(settings = usual): Promise<RingWorld> {
  const world = await RingWorld.create(settings)
  onTestFinished(() => world.close())
  return world
}

/** The states of the ES256 keys, the oldest first. */
async function statesOf(world: RingWorld): Promise<string> {
  const keys = (await world.store.listKeys()).filter(({ alg }) => alg === 'ES256')
  return keys.map(({ state }) => state).join(' ')
}

describe('a key ring', () => {
  it('keeps every promise, whatever clocks, processes and settings do', { timeout: 120_000 }, async () => {
    await fc.assert(
      fc.asyncProperty(
        settings,
        fc.array(fc.tuple(act, slot), { minLength: 1, maxLength: 40 }),
        async (initial, acts) => {
          const world = await RingWorld.create(initial)
          try {
            for (const [each, first] of acts) {
              world.firstSlot = first
              await each(world)
            }
          } finally {
            world.close()
          }
        },
      ),
      run,
    )
  })
})

describe('with an honest clock, a ring', () => {
  it('rotates at the first tick at which that is due, and lets the old key go likewise, for ever', async () => {
    const world = await createWorld()
    const tick = 400
    await world.run(interval - 1)
    expect(await statesOf(world)).toBe('active staged')
    await world.run(tick)
    expect(await statesOf(world)).toBe('retiring active staged')
    await world.run(lead - tick)
    expect(await statesOf(world)).toBe('retiring active staged')
    await world.run(tick)
    expect(await statesOf(world)).toBe('retired active staged')
    for (let i = 0; i < 5; i += 1) await world.run(interval)
    expect(await statesOf(world)).toBe('retired retired retired retired retired retiring active staged')
  })

  it('rotates when the interval is over, or the rest of the lead when that is longer', async () => {
    await fc.assert(
      fc.asyncProperty(settings, async (set) => {
        const world = await RingWorld.create(set)
        const { leadSeconds, rotationIntervalSeconds } = toTiming(set)
        const longest = Math.max(leadSeconds, rotationIntervalSeconds) * second
        await world.run(longest - 1)
        expect(await statesOf(world)).toBe('active staged')
        await world.run(1)
        expect(await statesOf(world)).toBe('retiring active staged')
        world.close()
      }),
      { ...run, numRuns: 30 },
    )
  })
})

describe('after a long time in which nothing ran, a ring', () => {
  it('rotates at once when the next key had been published long enough before', async () => {
    const world = await createWorld()
    await world.run(lead)
    await world.stop(0, 'orderly')
    await world.run(30 * 86_400 * second)
    await world.start(0, usual)
    expect(await statesOf(world)).toBe('retiring active staged')
  })

  it('rotates exactly when the rest of the lead has run, however long it stood still', async () => {
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 0, max: lead - 1 }), size, async (ran, gap) => {
        const world = await RingWorld.create(usual)
        await world.run(ran)
        await world.stop(0, 'orderly')
        await world.run(interval + gap)
        await world.start(0, usual)
        await world.run(lead - ran - 1)
        expect(await statesOf(world)).toBe('active staged')
        await world.run(1)
        expect(await statesOf(world)).toBe('retiring active staged')
        world.close()
      }),
      { ...run, numRuns: 30 },
    )
  })

  it('loses at most the last 30 s of what ran when its process was killed', async () => {
    const world = await createWorld()
    for (let i = 0; i < 100; i += 1) await world.run(second)
    await world.stop(0, 'killed')
    await world.run(interval)
    await world.start(0, usual)
    expect(await statesOf(world)).toBe('active staged')
    await world.run(22 * second + 30 * second)
    expect(await statesOf(world)).toBe('retiring active staged')
  })

  it('rotates although each of its processes is killed within seconds: half of what it ran counts, at the least', async () => {
    const world = await createWorld()
    await world.stop(0, 'killed')
    await world.run(interval)
    let ran = 0
    while ((await statesOf(world)) === 'active staged') {
      await world.start(0, usual)
      for (let i = 0; i < 13; i += 1) await world.run(400)
      await world.stop(0, 'killed')
      ran += 13 * 400
      expect(ran).toBeLessThan(2 * lead)
    }
    expect(ran).toBeGreaterThanOrEqual(lead)
    expect(await statesOf(world)).toBe('retiring active staged')
  })

  it('does nothing while a process that slept knows only that its wall clock jumped, and goes on at the next start', async () => {
    const world = await createWorld()
    await world.run(lead)
    await world.sleep(30 * 86_400 * second)
    await world.run(second)
    expect(await statesOf(world)).toBe('active staged')
    await world.start(0, usual)
    expect(await statesOf(world)).toBe('retiring active staged')
  })
})

describe('a wall clock that is set back', () => {
  it('brings nothing back, and holds the ring still until it has caught up', async () => {
    const world = await createWorld()
    await world.run(interval)
    expect(await statesOf(world)).toBe('retiring active staged')
    await world.stepWall(-3600 * second)
    await world.run(lead)
    expect(await statesOf(world)).toBe('retiring active staged')
    await world.stepWall(3600 * second)
    expect(await statesOf(world)).toBe('retired active staged')
  })

  it('holds nothing back for longer than it takes when somebody sets the calendar back too', async () => {
    const world = await createWorld()
    await world.stop(0, 'orderly')
    await world.stepWall(365 * 86_400 * second)
    await world.start(0, usual)
    await world.run(lead)
    expect(await statesOf(world)).toBe('retiring active staged')
    await world.stepWall(-365 * 86_400 * second)
    await world.resetCalendar()
    await world.run(lead)
    expect(await statesOf(world)).toBe('retired active staged')
    await world.run(interval)
    expect(await statesOf(world)).toBe('retired retiring active staged')
  })
})

describe('two processes on one ring', () => {
  it('do not hasten each other by what one has run and not stored yet', async () => {
    const world = await createWorld()
    await world.run(200 * second)
    await world.run(29 * second)
    // The second process knows nothing of the last 29 s, and stages a key.
    await world.start(1, usual)
    world.firstSlot = 1
    await world.requestRotation(1, 'ES256')
    await world.stop(1, 'killed')
    // The wall clock is wrong now, and a third process believes it: the calendar holds nothing back any more.
    await world.stepWall(3600 * second)
    await world.start(1, usual)
    await world.stop(1, 'orderly')
    await world.run(second)
    await world.requestRotation(0, 'ES256')
    for (let i = 0; i < 5; i += 1) await world.runToNext(0, 0)
    expect(await statesOf(world)).toBe('retired retired active staged')
  })
})

describe('a scheduler', () => {
  it('dates a new key by when it is published, not by when making it began', async () => {
    const world = await createWorld()
    await world.run(lead)
    await world.start(0, usual, { makingTakes: 5 * second })
    const before = (await world.published()).map(({ kid }) => kid)
    const asked = { up: world.up, wall: world.wall }
    await world.requestRotation(0, 'ES256')
    const fresh = (await world.published()).find(({ kid }) => !before.includes(kid))
    expect(fresh).toMatchObject({
      state: 'staged',
      publishedRunning: asked.up + 5 * second,
      publishedAt: asked.wall + 5 * second,
    })
  })
})
