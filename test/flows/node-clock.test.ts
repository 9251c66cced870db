/** Time is the store's: a node whose clock is wrong says so, and does no harm. */
import { describe, expect, it } from 'vitest'
import { systemClock } from '../../src/lib/clock.ts'
import type { Log } from '../../src/lib/log.ts'
import { pause } from '../../src/lib/pause.ts'
import { recentMilliseconds } from '../../src/store/postgres/horizon.ts'
import { startFleet } from '../support/fleet.ts'
import { OffsetClock } from '../support/offset-clock.ts'
import { password, usePostgres } from '../support/postgres.ts'
import { mayflyJson } from '../support/process.ts'
import { claimsOf, request, requestToken, type TestServerOptions } from '../support/server.ts'

const postgres = usePostgres()
const grant = { grant_type: 'client_credentials' }
const recoveryMilliseconds = 2_000

async function start(options: TestServerOptions = {}) {
  const clock = new OffsetClock()
  const said: string[] = []
  const note =
    (level: string) =>
    (_: object, message: string): void =>
      void said.push(`${level}: ${message}`)
  const log: Log = { debug: () => {}, info: note('info'), warn: note('warn'), error: note('error') }
  const fleet = await startFleet(postgres(), { clock, log, ...options })
  const clockSaid = (): string[] => said.filter((line) => line.includes('clock'))
  return { ...fleet, clock, clockSaid }
}

/** How long it takes until something is so. */
async function until(is: () => Promise<boolean>): Promise<number> {
  const started = systemClock.monotonicMilliseconds()
  while (!(await is())) await pause(10)
  return systemClock.monotonicMilliseconds() - started
}

describe('F15 a node whose clock is 90 s off that of the database', () => {
  it.each([90, -90])(
    'I26 issues nothing, says why, and is well within two seconds of being right again: %d s',
    async (seconds) => {
      const { one, two, client, nodes, clock, clockSaid } = await start()
      const [wrong, right] = nodes
      const { accessToken, refreshToken } = await wrong.begin()
      const ready = async (): Promise<boolean> => (await request(`${one.url}/readyz`)).status === 200
      expect(await ready()).toBe(true)

      clock.offsetSeconds = seconds
      // From the first request on.
      const refused = [
        await requestToken(one, grant, { authorization: client.basic }),
        await requestToken(one, grant, { authorization: 'Basic eDp5' }),
        await wrong.refresh(refreshToken),
      ]
      for (const { status, headers, json } of refused) {
        expect([status, headers.get('retry-after'), json.error]).toEqual([503, '1', 'temporarily_unavailable'])
      }
      const { status, json } = await request(`${one.url}/readyz?verbose`)
      const checks = json.checks as { name: string; ok: boolean; detail?: string }[]
      expect([status, checks.filter(({ ok }) => !ok).map(({ name }) => name)]).toEqual([503, ['clock']])
      const way = seconds > 0 ? 'ahead of' : 'behind'
      expect(checks.find(({ name }) => name === 'clock')?.detail).toMatch(
        new RegExp(`^(?:89|90)\\.\\d s ${way} the clock of the database: ready within 1\\.5 s of it$`),
      )
      const { text } = await request(`${one.url}/metrics`)
      const offset = Number(/^mayfly_clock_offset_seconds (\S+)$/m.exec(text)?.[1])
      expect(Math.abs(offset - seconds)).toBeLessThan(2)
      await until(async () => clockSaid().length > 0)
      expect(clockSaid()).toEqual(['error: the clock is off: no tokens until it is set right'])
      // What it answers of others' tokens goes by the time of the database.
      expect(await wrong.isActive(accessToken)).toBe(true)
      expect((await request(`${one.url}/.well-known/jwks.json`)).status).toBe(200)
      // Whom it has refused has lost nothing.
      expect((await right.refresh(refreshToken)).status).toBe(200)
      expect((await request(`${two.url}/readyz`)).status).toBe(200)

      clock.offsetSeconds = 0
      expect(await until(ready)).toBeLessThan(recoveryMilliseconds)
      const issued = await requestToken(one, grant, { authorization: client.basic })
      expect(issued.status).toBe(200)
      const { iat } = claimsOf(String(issued.json.access_token))
      expect(Math.abs(Number(iat) - systemClock.nowMilliseconds() / 1000)).toBeLessThan(3)
      await until(async () => clockSaid().length > 1)
      expect(clockSaid()[1]).toBe('info: the clock is right again')
    },
  )

  it('I3 has moved no one else’s time: windows and lives on other nodes are what they were', async () => {
    const { nodes, one, clock } = await start({ env: { MAYFLY_REFRESH_RETRY_WINDOW: '60s' } })
    const [wrong, right] = nodes
    const { accessToken, refreshToken } = await right.begin()
    const rotated = await right.refresh(refreshToken)
    clock.offsetSeconds = 90
    // Long enough for whatever is done now and then, on both.
    await pause(6_000)
    const retried = await right.refresh(refreshToken)
    expect([retried.status, retried.json.refresh_token]).toEqual([200, rotated.json.refresh_token])
    clock.offsetSeconds = 0
    await until(async () => (await request(`${one.url}/readyz`)).status === 200)
    expect((await wrong.refresh(refreshToken)).json.refresh_token).toBe(rotated.json.refresh_token)
    expect(await wrong.isActive(accessToken)).toBe(true)
    expect(await one.store.readMoment()).toBe(0)
    expect(await one.store.listAudit({ type: 'family.ended', limit: 1 })).toEqual([])
  })

  it('issues as before when it is off by less than two seconds', async () => {
    const { one, client, clock, clockSaid } = await start()
    for (const seconds of [1.7, -1.7]) {
      clock.offsetSeconds = seconds
      await pause(250)
      expect((await requestToken(one, grant, { authorization: client.basic })).status).toBe(200)
    }
    expect(clockSaid()).toEqual([])
  })

  it('that starts with a wrong clock dates nothing by it', async () => {
    const clock = new OffsetClock()
    clock.offsetSeconds = 90
    const { one, client, nodes } = await startFleet(postgres(), { clock })
    expect((await request(`${one.url}/readyz`)).status).toBe(503)
    expect((await requestToken(one, grant, { authorization: client.basic })).status).toBe(503)
    const { refreshToken } = await nodes[1].begin()
    expect((await nodes[1].refresh(refreshToken)).status).toBe(200)
    const mark = (await one.store.readKeys())?.ringMark
    expect(Number(mark?.highWater) - systemClock.nowMilliseconds()).toBeLessThan(5_000)
  })
})

/** Two nodes of which the first can be told another time by the database. @returns how, in seconds off; `already`: at its start */
async function startWithStepper(already = 0) {
  const isReadyOne = async (): Promise<boolean> => (await request(`${fleet.one.url}/readyz`)).status === 200
  const fleet = await startFleet(postgres(), {}, async (url) => {
    const database = String(url.split('/').at(-1))
    await postgres().query(database, stepping)
    await postgres().query(database, 'UPDATE stepped.clock SET seconds = $1', [already])
    return url.replace('//mayfly:', '//stepped:')
  })
  const step = async (seconds: number): Promise<void> => {
    await postgres().query(String(fleet.url.split('/').at(-1)), 'UPDATE stepped.clock SET seconds = $1', [seconds])
    await until(async () => (await isReadyOne()) === (seconds === 0))
  }
  return { ...fleet, step }
}

// Whoever signs in by that name asks a clock that can be set.
const stepping = `
  DO $$ BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'stepped') THEN
      CREATE ROLE stepped SUPERUSER LOGIN PASSWORD '${password}';
    END IF;
  END $$;
  ALTER ROLE stepped SET search_path = public, pg_catalog;
  DROP SCHEMA IF EXISTS stepped CASCADE;
  CREATE SCHEMA stepped;
  CREATE TABLE stepped.clock AS SELECT 0::float8 AS seconds;
  CREATE OR REPLACE FUNCTION public.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE
    AS 'SELECT pg_catalog.clock_timestamp() + seconds * interval ''1 s'' FROM stepped.clock'`

describe('F15 a clock of the database that is stepped and set right again', () => {
  it.each([90, -90])(
    'makes no thief of who retries at the node that saw it, whoever dated the use: %d s',
    async (seconds) => {
      const { nodes, one, step } = await startWithStepper()
      const [saw, didNot] = nodes
      const families = await Promise.all([saw, didNot].map((node) => node.begin()))
      const before = await Promise.all(families.map(({ refreshToken }) => didNot.refresh(refreshToken)))
      const others = await didNot.begin()

      await step(seconds)
      expect((await saw.refresh(others.refreshToken)).status).toBe(503)
      const meanwhile = await didNot.refresh(others.refreshToken)
      // As long as whatever is done now and then needs.
      await pause(5_500)
      await step(0)

      for (const [i, { refreshToken }] of [...families, others].entries()) {
        const retried = await saw.refresh(refreshToken)
        const successor = [...before, meanwhile][i]?.json.refresh_token
        expect([i, retried.status, retried.json.refresh_token]).toEqual([i, 200, successor])
      }
      // What is dated from now on is dated as before.
      const { accessToken, refreshToken } = await saw.begin()
      expect((await saw.refresh(refreshToken)).status).toBe(200)
      const family = await one.store.findFamily(String(claimsOf(accessToken).sid))
      expect(Math.abs(Number(family?.generationAt) - systemClock.nowMilliseconds())).toBeLessThan(3_000)
      expect((await one.store.readMoment()) - systemClock.nowMilliseconds()).toBeLessThan(3_000)
      expect(await one.store.listAudit({ type: 'family.ended', limit: 1 })).toEqual([])
    },
  )
})

describe('F15 a clock of the database that is wrong while a node starts', () => {
  it('gives that node, and through it the others, no other time than they had', async () => {
    const { nodes, one, two, step } = await startWithStepper(3_600)
    expect((await request(`${one.url}/readyz`)).status).toBe(503)
    const [saw, didNot] = nodes
    const { refreshToken } = await didNot.begin()
    const rotated = await didNot.refresh(refreshToken)
    await step(0)
    const retried = await saw.refresh(refreshToken)
    expect([retried.status, retried.json.refresh_token]).toEqual([200, rotated.json.refresh_token])
    // As long as whatever is done now and then needs.
    await pause(5_500)
    const again = await didNot.refresh(refreshToken)
    expect([again.status, again.json.refresh_token]).toEqual([200, rotated.json.refresh_token])
    expect((await two.store.readMoment()) - systemClock.nowMilliseconds()).toBeLessThan(3_000)
    const mark = (await two.store.readKeys())?.ringMark
    expect(Number(mark?.highWater) - systemClock.nowMilliseconds()).toBeLessThan(3_000)
    expect(await two.store.listAudit({ type: 'family.ended', limit: 1 })).toEqual([])
  })
})

describe('F15 a command on a machine whose clock is an hour ahead', () => {
  it('dates and judges by the time of the database: a token that lives can be ended, a secret lives as long as was said', async () => {
    const { url, two, nodes } = await startFleet(postgres())
    const { accessToken } = await nodes[1].begin()
    const ahead = 'const%20now=Date.now;Date.now=()=>now()+36e5'
    const env = { MAYFLY_DATABASE_URL: url, NODE_OPTIONS: `--import=data:text/javascript,${ahead}` }
    const run = (...args: string[]) => mayflyJson(args, { cwd: two.folder, env })
    expect(await run('token', 'inspect', accessToken)).toMatchObject({ active: true })
    expect(await run('token', 'revoke', String(claimsOf(accessToken).jti))).toMatchObject({ revoked: true })
    await pause(recentMilliseconds)
    expect(await nodes[1].isActive(accessToken)).toBe(false)
    const made = await run('secret', 'create', 'billing', '--expires-in', '1h')
    const left = Date.parse(String(made.expires_at)) - systemClock.nowMilliseconds()
    expect(Math.abs(left - 3_600_000)).toBeLessThan(60_000)
  }, 60_000)
})
