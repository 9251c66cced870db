/** Nodes on one PostgreSQL, of which some live by a wrong clock of the machine. What else it may not do: `flows/node-clock.test.ts`. */
import { setTimeout as pause } from 'node:timers/promises'
import { expect, it } from 'vitest'
import { serveFleet } from '../support/fleet.ts'
import { usePostgres } from '../support/postgres.ts'
import type { ServerProcess } from '../support/process.ts'
import { claimsOf, request } from '../support/server.ts'
import { SteppedClock } from '../support/stepped-clock.ts'

const postgres = usePostgres()
// Several looks.
const whileMilliseconds = 500

const isReady = async ({ url }: ServerProcess): Promise<boolean> => (await request(`${url}/readyz`)).status === 200

it('F15 I26 a node that is started 90 s off issues nothing and says why, its sibling goes on, and 1 s off is no matter', {
  timeout: 60_000,
}, async () => {
  const [ahead, behind, near] = [new SteppedClock(), new SteppedClock(), new SteppedClock()]
  ahead.step(90)
  behind.step(-90)
  near.step(1)
  const fleet = await serveFleet(postgres(), [{}, near.env, ahead.env, behind.env])
  const [right, , ...wrong] = fleet.servers
  const [sibling, tolerated, ...refusing] = fleet.nodes

  const { accessToken, refreshToken } = await sibling.begin()
  for (const [i, way] of ['ahead of', 'behind'].entries()) {
    const [server, node] = [wrong[i], refusing[i]]
    if (server === undefined || node === undefined) throw new Error('a node is missing')
    await expect(node.begin()).rejects.toThrow(/503 .*temporarily_unavailable/)
    const refused = await node.refresh(refreshToken)
    expect([refused.status, refused.headers.get('retry-after')]).toEqual([503, '1'])
    const { status, json } = await request(`${server.url}/readyz?verbose`)
    const failing = (json.checks as { name: string; ok: boolean; detail?: string }[]).filter(({ ok }) => !ok)
    expect([status, failing.map(({ name }) => name)]).toEqual([503, ['clock']])
    expect(failing[0]?.detail).toMatch(new RegExp(`^(?:89|90)\\.\\d s ${way} the clock of the database: `))
    expect(server.errors()).toContain('the clock is off: no tokens until it is set right')
    // What it says of others' tokens goes by the database's time.
    expect(await node.isActive(accessToken)).toBe(true)
  }

  // Nothing of that was anything to the others.
  expect(await isReady(right)).toBe(true)
  expect((await sibling.refresh(refreshToken)).status).toBe(200)
  expect(await isReady(fleet.two)).toBe(true)
  expect(fleet.two.errors()).not.toContain('the clock is off')
  const issued = await tolerated.begin()
  expect(Math.abs(Number(claimsOf(issued.accessToken).iat) - Date.now() / 1000)).toBeLessThan(3)
  expect(await sibling.isActive(issued.accessToken)).toBe(true)

  // Not by being nearer, but by being near.
  ahead.step(1.8)
  behind.step(-1.8)
  await pause(whileMilliseconds)
  expect(await Promise.all(wrong.map(isReady))).toEqual([false, false])
  ahead.step(1)
  behind.step(-1)
  await pause(whileMilliseconds)
  expect(await Promise.all(wrong.map(isReady))).toEqual([true, true])
  for (const node of refusing) expect(await sibling.isActive((await node.begin()).accessToken)).toBe(true)
})
