/**
 * Steps of the machine's clock in each phase of a key ring, under a server that runs and is used. Whatever they are, keys
 * wait and stay for as long as they must in elapsed time.
 */
import { setTimeout as pause } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import type { Finding } from '../../src/cli/doctor-checks.ts'
import { makeInstallation } from '../support/installation.ts'
import { mayfly, mayflyJson, serve } from '../support/process.ts'
import { type RingRules, RingWatch } from '../support/ring-watch.ts'
import { createRandom, seed } from '../support/seed.ts'
import { request } from '../support/server.ts'
import { SteppedClock } from '../support/stepped-clock.ts'

const hour = 3600
const month = 30 * 24 * hour
// The shortest times that are allowed: max-age + skew + 2 s, and token life + skew + 2 s.
const rules: RingRules = { leadSeconds: 4, ttlSeconds: 1, keepSeconds: 4 }
const intervalMilliseconds = 6_000
const keepMilliseconds = rules.keepSeconds * 1000
const settings = {
  MAYFLY_JWKS_MAX_AGE: '1s',
  MAYFLY_CLOCK_SKEW: '1s',
  MAYFLY_KEY_LEAD: '4s',
  MAYFLY_KEY_ROTATION_INTERVAL: '6s',
  MAYFLY_ACCESS_TOKEN_TTL: '1s',
  MAYFLY_ACCESS_TOKEN_MAX_TTL: '1s',
}
const random = createRandom()

async function start(more: Readonly<Record<string, string>> = {}) {
  const installation = await makeInstallation(undefined, { ...settings, ...more })
  const clock = new SteppedClock()
  const begun = performance.now()
  const server = await serve({ cwd: installation.cwd, env: { ...installation.env, ...clock.env } })
  const watch = new RingWatch(server.url, installation, begun)
  await watch.start()
  const warning = async (): Promise<string | undefined> => {
    const { status, json } = await request(`${server.url}/readyz?verbose`)
    expect(status).toBe(200)
    const checks = json.checks as readonly { readonly name: string; readonly warning?: string }[]
    return checks.find(({ name }) => name === 'rotation')?.warning
  }
  return { installation, clock, server, watch, warning }
}

type World = Awaited<ReturnType<typeof start>>

/** Waits for a rotation. @returns the key that signs no longer, and when that was seen */
async function untilRotated(watch: RingWatch): Promise<{ kid: string; at: number }> {
  const kid = watch.kidOf('active') ?? ''
  return { kid, at: await watch.until(kid, 'retiring') }
}

/** Waits until something that is due a time after `at` is near, but not there. */
async function untilNearly(at: number, milliseconds: number): Promise<void> {
  await pause(at + milliseconds - random.between(500, 1_200) - performance.now())
}

/** Sets the clock back over what is due, and holds it there: nothing moves meanwhile. */
async function holdBack({ clock, watch }: World): Promise<void> {
  const before = watch.ring()
  clock.step(-hour)
  await pause(random.between(2_000, 2_500))
  expect(watch.ring()).toBe(before)
  clock.step(0)
}

describe('F15 I26 a clock that steps', () => {
  it(`hastens no key, brings none back, and lets every token live, in each phase of the ring (seed ${seed})`, async () => {
    const world = await start()
    const { clock, watch, server, warning } = world

    // An hour ahead, across a retirement.
    const first = await untilRotated(watch)
    await untilNearly(first.at, keepMilliseconds)
    expect(watch.stateOf(first.kid)).toBe('retiring')
    clock.step(hour)
    await watch.until(first.kid, 'retired')
    expect(await warning()).toMatch(/jumped 1h ahead while this process ran/)
    clock.step(0)

    // An hour ahead, across a rotation: what the old key has signed until then is dated an hour ahead, and it stays for that.
    await untilNearly(first.at, intervalMilliseconds)
    clock.step(hour)
    const second = await untilRotated(watch)
    clock.step(0)

    // An hour back, across a rotation and then across a retirement.
    await untilNearly(second.at, intervalMilliseconds)
    await holdBack(world)
    const third = await untilRotated(watch)
    await untilNearly(third.at, keepMilliseconds)
    expect(watch.stateOf(third.kid)).toBe('retiring')
    await holdBack(world)
    await watch.until(third.kid, 'retired')

    // Back and forth.
    const end = performance.now() + 5_000
    while (performance.now() < end) {
      clock.step(random.pick([0, hour, 0, -hour, month, -month]))
      await pause(random.between(50, 700))
    }
    clock.step(0)
    await untilRotated(watch)
    expect(await warning()).toBeUndefined()

    await watch.stop()
    expect(watch.stateOf(second.kid)).toBe('retiring')
    expect(await watch.findFaults(rules)).toEqual([])
    // Nor is that because nothing is ever found.
    const strict = (await watch.findFaults({ ...rules, leadSeconds: 60, keepSeconds: 60 })).join()
    expect(strict).toMatch(/signed \S+ ms after nobody had it/)
    expect(strict).toMatch(/left \S+ ms after it had signed/)
    expect(await server.end('SIGTERM')).toEqual({ code: 0, signal: null })
    const rotations = server.output().split('"kind":"rotate","alg":"ES256"').length - 1
    process.stdout.write(
      `F15: ${watch.tokens.length} tokens, ${watch.looks.length} JWKS, ${rotations} rotations, seed ${seed}\n`,
    )
    expect(rotations).toBeGreaterThanOrEqual(4)
  })

  it(`far ahead while a command changes the ring, holds it still until somebody sets it back (seed ${seed})`, async () => {
    // A command may take seconds on a busy machine, and the staged key shall still be one when it revokes it.
    const { installation, clock, server, watch, warning } = await start({ MAYFLY_KEY_ROTATION_INTERVAL: '15s' })
    const staged = watch.kidOf('staged') ?? ''
    clock.step(month)
    await mayflyJson(['key', 'revoke', staged], { ...installation, env: { ...installation.env, ...clock.env } })
    await watch.until(staged, 'compromised')
    clock.step(0)

    const examine = async () => {
      const { code, stdout } = await mayfly(['doctor', '--json'], installation)
      const findings = JSON.parse(stdout) as readonly Finding[]
      return { code, clock: findings.find(({ check }) => check === 'clock') }
    }
    const before = await examine()
    expect(before).toMatchObject({ code: 1, clock: { status: 'fault' } })
    expect(before.clock?.detail).toMatch(/^(?:30d|29d 23h) behind what the database has seen .*--reset-calendar/)
    const still = watch.ring()
    await pause(keepMilliseconds)
    expect(watch.ring()).toBe(still)
    expect(await warning()).toMatch(/behind what the database has seen.*--reset-calendar/)

    const kid = watch.kidOf('active') ?? ''
    await mayflyJson(['doctor', '--reset-calendar'], installation)
    expect(await examine()).toMatchObject({ code: 0, clock: { status: 'ok' } })
    await watch.until(kid, 'retiring')
    expect(await warning()).toBeUndefined()

    await watch.stop()
    expect(await watch.findFaults(rules)).toEqual([])
    expect(await server.end('SIGTERM')).toEqual({ code: 0, signal: null })
  })
})
