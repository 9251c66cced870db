/** Steps of the machine's clock under a running server. What they do to its keys is in `ring-clock.test.ts`. */
import { setTimeout as pause } from 'node:timers/promises'
import { describe, expect, it, onTestFinished } from 'vitest'
import { openStore } from '../../src/store/open-store.ts'
import { AcknowledgedLog } from '../support/acknowledged.ts'
import { type Installation, makeInstallation } from '../support/installation.ts'
import { mayflyJson, type ServerProcess, serve } from '../support/process.ts'
import { createRandom, seed } from '../support/seed.ts'
import { basic, claimsOf, type Reply, request, requestToken } from '../support/server.ts'
import { SteppedClock } from '../support/stepped-clock.ts'

const grant = { grant_type: 'client_credentials' }
const hour = 3600
const ttlSeconds = 300

interface Stepped {
  readonly installation: Installation
  readonly clock: SteppedClock
  readonly server: ServerProcess
  readonly log: AcknowledgedLog
  /** Asks for a token, and checks its times against the clock. */
  ask(authorization?: string): Promise<Reply>
}

async function start(): Promise<Stepped> {
  const installation = await makeInstallation()
  const clock = new SteppedClock()
  // One of the tests is refused some ten times a second, and looks at how that is recorded.
  const env = { ...installation.env, ...clock.env, MAYFLY_RATE_LIMIT_FAILURES: '1000000' }
  const server = await serve({ cwd: installation.cwd, env })
  const log = new AcknowledgedLog()
  const ask = async (authorization = installation.authorization): Promise<Reply> => {
    const before = clock.nowSeconds()
    const reply = await requestToken(server, grant, { authorization })
    if (reply.status !== 200) return reply
    const token = String(reply.json.access_token)
    log.tokens.push(token)
    const { iat, nbf, exp } = claimsOf(token) as Record<'iat' | 'nbf' | 'exp', number>
    expect([exp - iat, nbf - iat, reply.json.expires_in]).toEqual([ttlSeconds, 0, ttlSeconds])
    expect(iat).toBeGreaterThanOrEqual(before)
    expect(iat).toBeLessThanOrEqual(clock.nowSeconds())
    return reply
  }
  return { installation, clock, server, log, ask }
}

async function expectNothingLost({ place }: Installation, log: AcknowledgedLog): Promise<void> {
  const store = openStore(place, { create: false, examine: true })
  onTestFinished(() => store.close())
  expect(await log.findLost(store)).toEqual([])
}

describe('F15 a clock that steps', () => {
  it('is what tokens are dated by: none expires before it begins, none has another life', async () => {
    const { installation, clock, server, log, ask } = await start()
    for (const offset of [0, hour, 0, -hour, 0, 30 * 24 * hour, -30 * 24 * hour, 0]) {
      clock.step(offset)
      for (let i = 0; i < 3; i += 1) expect((await ask()).status).toBe(200)
      expect((await request(`${server.url}/readyz`)).status).toBe(200)
      expect((await request(`${server.url}/.well-known/jwks.json`)).status).toBe(200)
    }
    expect(await server.end('SIGTERM')).toEqual({ code: 0, signal: null })
    await expectNothingLost(installation, log)
  })

  it('expires a secret once it stands past its end, and not before', async () => {
    const { installation, clock, ask } = await start()
    const { client_secret: secret } = await mayflyJson<{ client_secret: string }>(
      ['secret', 'create', 'job', '--expires-in', '30m'],
      installation,
    )
    const authorization = basic('job', secret)
    expect((await ask(authorization)).status).toBe(200)
    clock.step(hour)
    expect((await ask(authorization)).json.error).toBe('invalid_client')
    expect((await ask()).status).toBe(200)
    clock.step(31 * 60)
    expect((await ask(authorization)).json.error).toBe('invalid_client')
  })

  it(`leaves records that are due to stay, and samples refusals by true minutes (seed ${seed})`, async () => {
    const { installation, clock, server, log, ask } = await start()
    const random = createRandom()
    const begun = performance.now()
    let refused = 0
    // Both happen once a true minute, and are written within five seconds.
    while (performance.now() - begun < 67_000) {
      clock.step(random.pick([0, hour, -hour]))
      expect((await ask()).status).toBe(200)
      for (let i = 0; i < 3; i += 1) {
        expect((await ask(basic('job', 'wrong'))).json.error).toBe('invalid_client')
        refused += 1
      }
      await pause(250)
    }
    clock.step(0)
    expect(await server.end('SIGTERM')).toEqual({ code: 0, signal: null })
    const one = await mayflyJson<unknown[]>(
      ['audit', 'list', '--type', 'token.refused', '--limit', '1000'],
      installation,
    )
    const sampled = await mayflyJson<{ counts: Record<string, number> }[]>(
      ['audit', 'list', '--type', 'token.refusals_sampled'],
      installation,
    )
    const counted = sampled.flatMap(({ counts }) => Object.values(counts)).reduce((sum, n) => sum + n, 0)
    process.stdout.write(`F15: ${refused} refusals: ${one.length} recorded, ${counted} counted\n`)
    expect(counted).toBeGreaterThan(0)
    // 60 a minute, and what came in the second one.
    expect(one.length).toBeGreaterThanOrEqual(60)
    expect(one.length).toBeLessThanOrEqual(120)
    expect(one.length + counted).toBe(refused)
    await expectNothingLost(installation, log)
  })
})
