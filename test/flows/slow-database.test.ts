/** A PostgreSQL that is there and does not answer, or answers late. That it is gone is in `postgres.test.ts`. */
import { describe, expect, it } from 'vitest'
import { systemClock } from '../../src/lib/clock.ts'
import { pause } from '../../src/lib/pause.ts'
import { recentMilliseconds } from '../../src/store/postgres/horizon.ts'
import { isReady, startFleet } from '../support/fleet.ts'
import { connect, usePostgres } from '../support/postgres.ts'
import { ReplyDropper } from '../support/reply-dropper.ts'
import { request, requestToken } from '../support/server.ts'

const postgres = usePostgres()
const grant = { grant_type: 'client_credentials' }
const recoveryMilliseconds = 5_000
/** A look that is under way, and the next one. */
const findOutMilliseconds = 2_500
/** What needs the database for more than a look waits for as long as it does for its connections. */
const answerMilliseconds = 9_000

async function startBehindDropper() {
  const droppers: ReplyDropper[] = []
  const fleet = await startFleet(postgres(), {}, async (url) => {
    const before = await ReplyDropper.before(url)
    droppers.push(before.dropper)
    return before.url
  })
  const [dropper] = droppers
  if (dropper === undefined) throw new Error('nothing is in between')
  return { ...fleet, dropper }
}

async function connections(url: string): Promise<Record<string, number>> {
  const { text } = await request(`${url}/metrics`)
  const rows = [...text.matchAll(/^mayfly_store_connections\{state="(\w+)"\} (\d+)$/gm)]
  return Object.fromEntries(rows.map(([, state, count]) => [state, Number(count)]))
}

async function until(is: () => Promise<boolean>): Promise<number> {
  const started = systemClock.monotonicMilliseconds()
  while (!(await is())) await pause(10)
  return systemClock.monotonicMilliseconds() - started
}

describe('F24 a PostgreSQL whose statements wait until all connections are in use', () => {
  it('turns away what needs it, answers what it knows, says so in its metrics, and recovers by itself', {
    timeout: 60_000,
  }, async () => {
    const { url, one, client, nodes } = await startFleet(postgres())
    const [node] = nodes
    const { accessToken, refreshToken } = await node.begin()
    expect((await node.verify(accessToken)).status).toBe(200)
    expect(await node.isActive(accessToken)).toBe(true)
    expect(await connections(one.url)).toMatchObject({ waiting: 0, limit: 10 })
    const raw = await connect(url)
    await raw.query('BEGIN; LOCK TABLE refresh_family')
    const waiting = Array.from({ length: 60 }, () => node.refresh(refreshToken))
    await until(async () => {
      const { in_use: inUse = 0, waiting: left = 0 } = await connections(one.url)
      return inUse === 10 && left > 0
    })
    // Known tokens and clients need no connection of the pool, and looks have their own.
    for (let i = 0; i < 5; i += 1) {
      expect((await node.verify(accessToken)).status).toBe(200)
      expect(await node.isActive(accessToken)).toBe(true)
      expect((await request(`${one.url}/.well-known/jwks.json`)).headers.get('cache-control')).toContain('max-age=300')
      await pause(50)
    }
    const refused = (await Promise.all(waiting)).filter(({ status }) => status !== 200)
    expect(refused.length).toBeGreaterThan(0)
    for (const { status, headers } of refused) expect([status, headers.get('retry-after')]).toEqual([503, '1'])
    await raw.query('ROLLBACK')
    const recovered = await until(async () => (await node.refresh(refreshToken)).status === 200 && (await isReady(one)))
    expect(recovered).toBeLessThan(recoveryMilliseconds)
    expect((await requestToken(one, grant, { authorization: client.basic })).status).toBe(200)
    expect((await connections(one.url)).waiting).toBe(0)
    // G10: slowness was no thief.
    expect(await one.store.listAudit({ type: 'family.ended', limit: 1 })).toEqual([])
  })
})

describe('a network that has lost its way to PostgreSQL', () => {
  it('I6 I23 ends every answer about tokens within the bound and the time to find out, and JWKS and metadata go on', {
    timeout: 60_000,
  }, async () => {
    const { one, client, nodes, dropper } = await startBehindDropper()
    const [node, other] = nodes
    const { accessToken, refreshToken } = await node.begin()
    expect((await node.verify(accessToken)).status).toBe(200)
    dropper.hold()
    const began = systemClock.monotonicMilliseconds()
    // Somebody else ends it, and this node cannot hear of it.
    expect((await other.revoke(accessToken)).status).toBe(200)
    const revoked = systemClock.monotonicMilliseconds()
    for (;;) {
      const asked = systemClock.monotonicMilliseconds()
      const { status } = await node.verify(accessToken)
      if (status !== 200) break
      expect(asked - revoked).toBeLessThan(recentMilliseconds)
    }
    expect(systemClock.monotonicMilliseconds() - began).toBeLessThan(findOutMilliseconds + recentMilliseconds)
    const asked = systemClock.monotonicMilliseconds()
    const replies = await Promise.all([
      node.verify(accessToken),
      node.introspect(accessToken),
      node.refresh(refreshToken),
      node.revoke(accessToken),
      requestToken(one, grant, { authorization: client.basic }),
      request(`${one.url}/readyz`),
    ])
    for (const { status, headers } of replies) expect([status, headers.get('retry-after')]).toEqual([503, '1'])
    expect(systemClock.monotonicMilliseconds() - asked).toBeLessThan(answerMilliseconds)
    for (const path of ['jwks.json', 'oauth-authorization-server', 'openid-configuration'])
      expect((await request(`${one.url}/.well-known/${path}`)).status).toBe(200)
    expect(
      Number(/^mayfly_store_view_age_seconds (\S+)$/m.exec((await request(`${one.url}/metrics`)).text)?.[1]),
    ).toBeGreaterThan(1)

    dropper.release()
    expect(await until(() => isReady(one))).toBeLessThan(recoveryMilliseconds)
    expect((await node.verify(accessToken)).status).toBe(401)
    expect((await node.refresh(refreshToken)).status).toBe(200)
    expect(await one.store.listAudit({ type: 'family.ended', limit: 1 })).toEqual([])
  })
})
