/** Issuers on one PostgreSQL, black box over HTTP and by the command line. */
import { describe, expect, it } from 'vitest'
import { systemClock } from '../../src/lib/clock.ts'
import { pause } from '../../src/lib/pause.ts'
import { recentMilliseconds } from '../../src/store/postgres/horizon.ts'
import { fleetIssuer as issuer, startFleet as startNodes } from '../support/fleet.ts'
import { createGate, gatedSigners } from '../support/gate.ts'
import { password, usePostgres } from '../support/postgres.ts'
import { mayfly, mayflyJson, temporaryFolder } from '../support/process.ts'
import {
  basic,
  claimsOf,
  getToken,
  request,
  requestToken,
  type TestServer,
  type TestServerOptions,
} from '../support/server.ts'

const postgres = usePostgres()
const grant = { grant_type: 'client_credentials' }
const recoveryMilliseconds = 5_000

const startFleet = (options?: TestServerOptions) => startNodes(postgres(), options)

/** Resolves when something is so that must come within the bound of answers. */
async function soon(is: () => Promise<boolean>): Promise<void> {
  const started = systemClock.monotonicMilliseconds()
  for (;;) {
    const asked = systemClock.monotonicMilliseconds()
    if (await is()) return
    expect(asked - started).toBeLessThan(recentMilliseconds)
  }
}

describe('two issuers on one PostgreSQL', () => {
  it('issue, refresh and retry as one, and each knows the tokens of the other', async () => {
    const { one, two, client, nodes } = await startFleet()
    const [a, b] = nodes
    const { accessToken, refreshToken } = await a.begin()
    expect(await b.isActive(accessToken)).toBe(true)
    const refreshed = await b.refresh(refreshToken)
    expect(refreshed.status).toBe(200)
    const retried = await a.refresh(refreshToken)
    expect(retried.json.refresh_token).toBe(refreshed.json.refresh_token)
    expect(await a.isActive(String(refreshed.json.access_token))).toBe(true)
    const jwks = await Promise.all([one, two].map(({ url }) => request(`${url}/.well-known/jwks.json`)))
    expect(jwks[0]?.text).toBe(jwks[1]?.text)
    const token = claimsOf(await getToken(two, client))
    expect([token.iss, token.client_id]).toEqual([issuer, 'billing'])
  })

  it('I2 G05 end a family on both when one of its tokens comes again', async () => {
    const { nodes, two } = await startFleet()
    const [a, b] = nodes
    const { accessToken, refreshToken } = await a.begin()
    const second = await b.refresh(refreshToken)
    const third = await a.refresh(String(second.json.refresh_token))
    const reused = await b.refresh(refreshToken)
    expect([reused.status, reused.json.error]).toEqual([400, 'invalid_grant'])
    expect((await a.refresh(String(third.json.refresh_token))).json.error).toBe('invalid_grant')
    for (const node of nodes) await soon(async () => !(await node.isActive(accessToken)))
    expect(await two.store.listAudit({ type: 'family.ended', limit: 10 })).toMatchObject([{ reason: 'reused' }])
  })

  it('G05 I1 let a refresh token that comes 32 times at once on both have one successor', async () => {
    const { nodes, one } = await startFleet()
    const { refreshToken } = await nodes[0].begin()
    const replies = await Promise.all(
      Array.from({ length: 32 }, (_, i) => nodes[i % 2 === 0 ? 0 : 1].refresh(refreshToken)),
    )
    expect(new Set(replies.map(({ status }) => status))).toEqual(new Set([200]))
    expect(new Set(replies.map(({ json }) => json.refresh_token)).size).toBe(1)
    expect(await one.store.listAudit({ type: 'family.ended', limit: 1 })).toEqual([])
  })

  it('I6 hold a token for ended: who was asked to end it at the next request, the other within the bound', async () => {
    const { nodes } = await startFleet()
    const [a, b] = nodes
    for (const [ender, asked] of [
      [a, b],
      [b, a],
    ] as const) {
      const { accessToken } = await asked.begin()
      expect(await asked.isActive(accessToken)).toBe(true)
      expect((await ender.revoke(accessToken)).status).toBe(200)
      expect(await ender.isActive(accessToken)).toBe(false)
      expect((await ender.verify(accessToken)).status).toBe(401)
      await soon(async () => !(await asked.isActive(accessToken)))
      expect((await asked.verify(accessToken)).status).toBe(401)
    }
  })

  it('I5 keep back a token that one has signed when the other has disabled its client, and all of its tokens', async () => {
    const signers = gatedSigners()
    const { one, two, client, nodes } = await startFleet({ signerHook: signers.hook })
    const { accessToken } = await nodes[1].begin()
    const gate = createGate()
    signers.hold(gate)
    const pending = requestToken(one, grant, { authorization: client.basic })
    await gate.arrived
    await two.store.setClientStatus('billing', 'disabled', 'cli:test')
    gate.open()
    const refused = await pending
    expect([refused.status, refused.json.error]).toEqual([401, 'invalid_client'])
    expect(await nodes[0].isActive(accessToken)).toBe(false)
    signers.hold(undefined)
    await one.store.setClientStatus('billing', 'active', 'cli:test')
    await getToken(two, client)
    expect(await nodes[0].isActive(accessToken)).toBe(false)
  })

  it('F31 rotate the keys of one ring, which both publish and sign with', async () => {
    const { url, one, two, client } = await startFleet()
    const folder = one.folder
    const env = { MAYFLY_DATABASE_URL: url, MAYFLY_ISSUER: issuer }
    const [active] = await mayflyJson<{ kid: string; state: string }[]>(['key', 'list'], { cwd: folder, env })
    await mayflyJson(['key', 'revoke', String(active?.kid)], { cwd: folder, env })
    for (const node of [one, two]) {
      expect((await request(`${node.url}/.well-known/jwks.json`)).text).not.toContain(active?.kid)
      await getToken(node, client)
    }
  })
})

describe('F22 an issuer whose PostgreSQL is gone', () => {
  async function ready({ url }: TestServer): Promise<number> {
    return (await request(`${url}/readyz`)).status
  }

  it.each(['fast', 'immediate'] as const)(
    'answers 503 with Retry-After, goes on with JWKS and metadata, and is back by itself: %s',
    async (how) => {
      const { one, client, nodes } = await startFleet()
      const [node] = nodes
      const { accessToken, refreshToken } = await node.begin()
      await postgres().stop(how)
      const replies = [
        await requestToken(one, grant, { authorization: client.basic }),
        await requestToken(one, grant, { authorization: basic('billing', 'wrong') }),
        await node.refresh(refreshToken),
        await node.revoke(accessToken),
        await node.introspect(accessToken),
        await node.verify(accessToken),
        await request(`${one.url}/readyz`),
      ]
      for (const { status, headers } of replies) {
        expect([status, Number(headers.get('retry-after')) > 0]).toEqual([503, true])
      }
      for (const path of ['jwks.json', 'oauth-authorization-server', 'openid-configuration'])
        expect((await request(`${one.url}/.well-known/${path}`)).status).toBe(200)
      await postgres().start()
      const started = systemClock.monotonicMilliseconds()
      while ((await ready(one)) !== 200) await pause(20)
      expect(systemClock.monotonicMilliseconds() - started).toBeLessThan(recoveryMilliseconds)
      await getToken(one, client)
      expect(await node.isActive(accessToken)).toBe(true)
      // G10: no answer was no thief.
      expect((await node.refresh(refreshToken)).status).toBe(200)
    },
  )

  it('F22 F34 loses no token that it handed out, and takes nobody for a thief, when it goes away under load', async () => {
    const { one, two, client, nodes } = await startFleet()
    const handed: string[] = []
    let goes = true
    const issue = async (node: TestServer): Promise<void> => {
      while (goes) {
        const { status, json } = await requestToken(node, grant, { authorization: client.basic })
        if (status === 200) handed.push(String(json.access_token))
        else expect(status).toBe(503)
      }
    }
    const refresh = async (i: 0 | 1): Promise<void> => {
      let { refreshToken } = await nodes[i].begin()
      while (goes) {
        const { status, json } = await nodes[i].refresh(refreshToken)
        if (status === 200) refreshToken = String(json.refresh_token)
        else expect(status).toBe(503)
      }
    }
    const load = [issue(one), issue(two), issue(two), refresh(0), refresh(1)]
    while (handed.length < 50) await pause(5)
    await postgres().stop('immediate')
    await postgres().start()
    const before = handed.length
    while (handed.length < before + 50) await pause(5)
    goes = false
    await Promise.all(load)
    for (const token of handed) {
      const { jti, exp } = claimsOf(token)
      expect(await one.store.findIssuance(String(jti))).toMatchObject({ expiresAt: exp })
    }
    expect(await one.store.listAudit({ type: 'family.ended', limit: 1 })).toEqual([])
  })
})

describe('the command line on PostgreSQL', () => {
  it('makes, looks at and changes a database, and never says its password', { timeout: 120_000 }, async () => {
    const url = await postgres().makeDatabase({ empty: true })
    const cwd = temporaryFolder()
    const env = { MAYFLY_DATABASE_URL: url }
    const said: string[] = []
    const run = async (line: string, code = 0): Promise<string> => {
      const done = await mayfly(line.split(' '), { cwd, env })
      said.push(done.stdout, done.stderr)
      expect([line, done.code, done.code === code ? '' : done.stderr]).toEqual([line, code, ''])
      return done.stdout + done.stderr
    }
    expect(await run('db check', 1)).toContain('has no tables of this version')
    expect(await run('db migrate')).toMatch(/Changed postgres:\/\/mayfly@127\.0\.0\.1:\d+\/test_\d+/)
    await run('db check')
    await run('resource create https://api.example.test --scope read')
    await run('client create billing --audience https://api.example.test --scope read')
    expect(await run('client list')).toContain('billing')
    await run('client disable billing')
    await run('client offboard billing')
    expect(await run('audit list')).toContain('client.offboarded')
    expect(await run('doctor')).toContain('room on its server cannot be seen from here')
    expect(await run('db backup x.db')).toContain('holds_master_key')
    expect(await run('db restore x.db --yes')).toContain('before_restore_')
    expect(await run('db restore --accept-current --yes')).toContain('tokens_after')
    const other = await mayfly(['serve'], { cwd: temporaryFolder(), env: { ...env, MAYFLY_PORT: '0' } })
    said.push(other.stdout, other.stderr)
    expect([other.code, other.stderr]).toEqual([1, expect.stringContaining('or from another node of this database')])
    expect(said.join('\n')).not.toContain(password)
  })
})
