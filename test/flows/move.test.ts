/** A server whose database moves to another place: what its clients see, by HTTP and by the command line. */
import { cpSync, existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { assertionType } from '../../src/client/private-key-jwt.ts'
import { createMasterKey } from '../../src/key/master-key-file.ts'
import { systemClock } from '../../src/lib/clock.ts'
import { openStoreAt } from '../../src/store/open-store.ts'
import { onlyAsks } from '../support/access.ts'
import { AcknowledgedLog } from '../support/acknowledged.ts'
import { AssertionMaker, makeTestKey } from '../support/assertion.ts'
import { startLoad } from '../support/load.ts'
import { password, placeOf, usePostgres } from '../support/postgres.ts'
import { mayfly, mayflyJson, serve, temporaryFolder } from '../support/process.ts'
import {
  addClient,
  addKeyClient,
  addResource,
  basic,
  claimsOf,
  getToken,
  request,
  requestToken,
  startTestServer,
  type TestServer,
} from '../support/server.ts'

const postgres = usePostgres()
const issuer = 'http://127.0.0.1:9'
const env = { MAYFLY_ISSUER: issuer }

interface Moved {
  readonly outcome: string
  readonly paused_seconds: number | null
  readonly rows: Record<string, number>
}

const copy = (cwd: string, to: string, more: readonly string[] = []): Promise<Moved> =>
  mayflyJson<Moved>(['db', 'copy', '--to', to, ...more], { cwd, env })

/** A server on the place that a folder's database has moved to, with the keys of that folder. */
async function startThere(folder: string, url: string): Promise<TestServer> {
  const there = temporaryFolder()
  cpSync(join(folder, 'keys'), join(there, 'keys'), { recursive: true })
  return startTestServer({ folder: there, env: { ...env, MAYFLY_DATABASE_URL: url } })
}

const refresh = (server: { url: string }, basic: string, token: string) =>
  requestToken(server, { grant_type: 'refresh_token', refresh_token: token }, { authorization: basic })

async function isActive(server: { url: string }, authorization: string, token: string) {
  const reply = await request(`${server.url}/introspect`, {
    method: 'POST',
    headers: { authorization, 'content-type': 'application/x-www-form-urlencoded' },
    body: new URLSearchParams({ token }).toString(),
  })
  return reply.status === 200 ? reply.json.active : reply.status
}

describe('a database that moves from SQLite to PostgreSQL while it is served', () => {
  it('G05 keeps secrets, tokens, chains, ends and used assertions; the old server refuses all of it, and the new one knows it', async () => {
    const old = await startTestServer({ env })
    await addResource(old.store)
    const agent = await addClient(old.store, 'agent', { grantTypes: ['client_credentials', 'refresh_token'] })
    const service = await addClient(old.store, 'service', onlyAsks(['https://api.example.test']))
    const key = makeTestKey()
    await addKeyClient(old.store, 'keyed', [key])
    const begin = async () => {
      const { json } = await requestToken(old, { grant_type: 'client_credentials' }, { authorization: agent.basic })
      return { access: String(json.access_token), refresh: String(json.refresh_token) }
    }
    const [midway, retried, reused, revoked] = [await begin(), await begin(), await begin(), await begin()]
    const second = String((await refresh(old, agent.basic, midway.refresh)).json.refresh_token)
    const retry = String((await refresh(old, agent.basic, retried.refresh)).json.refresh_token)
    const third = String((await refresh(old, agent.basic, reused.refresh)).json.refresh_token)
    await refresh(old, agent.basic, third)
    expect((await refresh(old, agent.basic, reused.refresh)).json.error).toBe('invalid_grant')
    await old.store.revokeToken(
      { expiresAt: Date.now() + 3_600_000 },
      { type: 'token.revoked', jti: String(claimsOf(revoked.access).jti), clientId: 'agent', actor: 'cli:test' },
    )
    const assertion = new AssertionMaker('keyed', issuer, key, systemClock).make()
    const byAssertion = {
      grant_type: 'client_credentials',
      client_assertion_type: assertionType,
      client_assertion: assertion,
    }
    expect((await requestToken(old, byAssertion)).status).toBe(200)
    const jwks = (await request(`${old.url}/.well-known/jwks.json`)).text

    const url = await postgres().makeDatabase({ empty: true })
    const moved = await copy(old.folder, url)
    expect(moved).toMatchObject({ outcome: 'copied', rows: { clients: 3, refresh_families: 4 } })
    const there = await startThere(old.folder, url)

    for (const call of [
      () => refresh(old, agent.basic, second),
      () => requestToken(old, { grant_type: 'client_credentials' }, { authorization: agent.basic }),
      () => requestToken(old, byAssertion),
      () =>
        request(`${old.url}/introspect`, {
          method: 'POST',
          headers: { authorization: service.basic, 'content-type': 'application/x-www-form-urlencoded' },
          body: `token=${midway.access}`,
        }),
      () =>
        request(`${old.url}/revoke`, {
          method: 'POST',
          headers: { authorization: agent.basic, 'content-type': 'application/x-www-form-urlencoded' },
          body: `token=${midway.access}`,
        }),
      () => request(`${old.url}/readyz`),
    ]) {
      const reply = await call()
      expect([reply.status, reply.json.error ?? 'server_error'], reply.text).toEqual([
        503,
        reply.json.error ?? 'server_error',
      ])
      expect(reply.headers.get('retry-after')).toMatch(/^\d+$/)
    }
    expect((await request(`${old.url}/.well-known/jwks.json`)).text).toBe(jwks)
    expect((await request(`${there.url}/.well-known/jwks.json`)).text).toBe(jwks)

    expect(await isActive(there, service.basic, midway.access)).toBe(true)
    expect(await isActive(there, service.basic, reused.access)).toBe(false)
    expect(await isActive(there, service.basic, revoked.access)).toBe(false)
    expect((await requestToken(there, byAssertion)).json.error).toBe('invalid_client')
    expect((await refresh(there, agent.basic, retried.refresh)).json.refresh_token).toBe(retry)
    const [once, again] = [await refresh(there, agent.basic, second), await refresh(there, agent.basic, second)]
    expect([once.status, again.json.refresh_token]).toEqual([200, once.json.refresh_token])
    const next = await refresh(there, agent.basic, String(once.json.refresh_token))
    expect(next.status).toBe(200)
    expect((await refresh(there, agent.basic, second)).json.error).toBe('invalid_grant')
    expect(await isActive(there, service.basic, midway.access)).toBe(false)
    expect(claimsOf(await getToken(there, agent)).iss).toBe(issuer)
  })

  it('has every token in the new place that the old server has acknowledged, and none that came after the fence', async () => {
    const cwd = temporaryFolder()
    const server = await serve({ cwd, env })
    await mayflyJson(['resource', 'create', 'https://api.example.test', '--scope', 'read write'], { cwd, env })
    const made = await mayflyJson<{ client_secret: string }>(
      ['client', 'create', 'job', '--audience', 'https://api.example.test', '--scope', 'read'],
      { cwd, env },
    )
    const log = new AcknowledgedLog()
    let refused = 0
    const load = startLoad(server, basic('job', made.client_secret), 8, ({ token, status }) => {
      if (token !== undefined) log.tokens.push(token)
      else if (status === 503) refused += 1
      else throw new Error(`status ${status}`)
    })
    const url = await postgres().makeDatabase({ empty: true })
    const moved = await copy(cwd, url)
    const acknowledged = log.tokens.length
    expect((await mayfly(['audit', 'list'], { cwd, env })).code).toBe(1)
    await load.stop()
    expect(acknowledged).toBeGreaterThan(50)
    expect(log.tokens).toHaveLength(acknowledged)
    expect(refused).toBeGreaterThan(0)
    const store = await openStoreAt(placeOf(url), { create: false, examine: false })
    onTestFinished(() => store.close())
    expect(await log.findLost(store)).toEqual([])
    // One whose answer was never read is recorded as well.
    expect(moved.rows.issued_tokens).toBeGreaterThanOrEqual(acknowledged)
    expect((await store.readUsage(0)).issuances).toBe(moved.rows.issued_tokens)
    expect(server.output()).toContain('the database has moved to postgres://mayfly@127.0.0.1')
    expect(server.output()).not.toContain(password)
    expect((await server.end('SIGTERM')).code).toBe(0)
  })
})

describe('db copy', () => {
  async function makeSource() {
    const server = await startTestServer({ env })
    await addResource(server.store)
    await server.stop()
    return server.folder
  }

  it('goes back from PostgreSQL to a file, says the same when it is run again, and shows no password', async () => {
    const cwd = await makeSource()
    const url = await postgres().makeDatabase({ empty: true })
    const [from, to] = [join(cwd, 'from.url'), join(cwd, 'to.url')]
    writeFileSync(from, `${url}\n`)
    writeFileSync(to, `file:${join(cwd, 'back/mayfly.db')}\n`)
    const first = await mayfly(['db', 'copy', '--from', 'file:data/mayfly.db', '--to', url], { cwd, env })
    expect(first.code, first.stderr).toBe(0)
    const back = await mayfly(['db', 'copy', '--from-file', from, '--to-file', to], { cwd, env })
    expect(back.code, back.stderr).toBe(0)
    const again = await mayflyJson<Moved>(['db', 'copy', '--from', url, '--to-file', to], { cwd, env })
    expect(again).toMatchObject({ outcome: 'already', paused_seconds: null, rows: { resources: 1 } })
    for (const { stdout, stderr } of [first, back]) {
      expect(stdout + stderr).not.toContain(password)
      expect(stdout).toContain('refuses everything from now on')
    }
    const settings = { cwd, env: { ...env, MAYFLY_DATABASE_URL: `file:${join(cwd, 'back/mayfly.db')}` } }
    expect(await mayflyJson(['db', 'check'], settings)).toMatchObject({ ok: true })
    const trail = await mayflyJson<{ type: string; detail: object }[]>(
      ['audit', 'list', '--type', 'store.copied'],
      settings,
    )
    expect(trail).toHaveLength(2)
  })

  it('is the word of the old place on every command, and accept-current brings it back', async () => {
    const cwd = await makeSource()
    const url = await postgres().makeDatabase({ empty: true })
    await copy(cwd, url)
    for (const args of [['db', 'check'], ['client', 'list'], ['serve'], ['db', 'migrate'], ['db', 'backup', 'x.db']]) {
      const { code, stdout, stderr } = await mayfly(args, { cwd, env })
      expect([code, stdout], args.join(' ')).toEqual([1, ''])
      expect(stderr).toMatch(
        /^error: \S+mayfly\.db has moved to postgres:\/\/mayfly@127\.0\.0\.1:\d+\/\w+, at 20[^\n]+\n$/,
      )
    }
    await mayflyJson(['db', 'restore', '--accept-current'], { cwd, env })
    expect(await mayflyJson(['db', 'check'], { cwd, env })).toMatchObject({ ok: true })
    // The witness has seen the old place go beyond the new one.
    const { stderr } = await mayfly(['db', 'migrate'], { cwd, env: { ...env, MAYFLY_DATABASE_URL: url } })
    expect(stderr).toContain('is an older copy of the database')
  })

  it('refuses what it cannot do, before it has made anything', async () => {
    const cwd = await makeSource()
    const url = await postgres().makeDatabase({ empty: true })
    mkdirSync(join(cwd, 'none'))
    cpSync(join(cwd, 'keys'), join(cwd, 'kept'), { recursive: true })
    const other = join(cwd, 'other/master.key')
    createMasterKey(other)
    const cases: readonly (readonly [readonly string[], number, RegExp, Readonly<Record<string, string>>?])[] = [
      [[], 2, /db copy takes --to or --to-file/],
      [['--to', 'file:x.db', '--to-file', 'x'], 2, /--to and --to-file are both given/],
      [
        ['--to', `postgres://mayfly:${password}@127.0.0.1/a b`],
        2,
        /--to names a PostgreSQL database and cannot be taken apart/,
      ],
      [['--to', `mysql://mayfly:${password}@h/db`], 2, /--to is "mysql:.*@h\/db": it takes file:/],
      [[`--too=${url}`], 2, /unknown option/],
      [['--to-file', 'absent'], 2, /--to-file is .*absent": it takes the path of a file that can be read/],
      [['--to', 'file:data/mayfly.db'], 2, /--from and --to are both \S+data\/mayfly\.db/],
      [['--to-file', url], 2, /--to-file takes the path of a file, and neither a URL nor nothing/],
      [['--to', url.replace('127.0.0.1', 'no-host.invalid')], 1, /has a host name that is not known: look at --to \(/],
      [['--from', 'file:nothing.db', '--to', url], 1, new RegExp(`there is no database at ${join(cwd, 'nothing.db')}`)],
      // The one name begins as the other does.
      [
        ['--from', 'file:data', '--to', 'file:dat'],
        1,
        /\/data is not a file: give MAYFLY_DATABASE_URL the path of one/,
      ],
      [['--to', url], 1, /the master key \S+ is missing/, { MAYFLY_MASTER_KEY_FILE: join(cwd, 'none/master.key') }],
      [['--to', url], 1, /belongs to another database/, { MAYFLY_MASTER_KEY_FILE: other }],
      [['--to', url.replace(password, 'wrong')], 1, /refuses the user or the password/],
      [['--to', url.replace(/test_\d+$/, 'absent')], 1, /does not exist: make it with `createdb`/],
    ]
    for (const [args, code, sentence, more] of cases) {
      const done = await mayfly(['db', 'copy', ...args], { cwd, env: { ...env, ...more } })
      expect([done.code, done.stdout], args.join(' ')).toEqual([code, ''])
      expect(done.stderr).toMatch(sentence)
      expect(done.stderr).not.toContain(password)
    }
    expect(existsSync(join(cwd, 'nothing.db'))).toBe(false)
    expect(await mayflyJson(['db', 'check'], { cwd, env })).toMatchObject({ ok: true })
    expect((await copy(cwd, url)).outcome).toBe('copied')
  })

  it('is not helped by a URL where backup and restore take a file: no password is repeated, nothing is made', async () => {
    const cwd = await makeSource()
    for (const verb of ['backup', 'restore']) {
      for (const wrong of [`postgres://mayfly:${password}@127.0.0.1/mayfly`, 'file:backup.db', '']) {
        const { code, stdout, stderr } = await mayfly(['db', verb, wrong], { cwd, env })
        expect([code, stdout], wrong).toEqual([2, ''])
        expect(stderr).toBe(`error: db ${verb} takes the path of a file, and neither a URL nor nothing\n`)
      }
    }
    expect(existsSync(join(cwd, 'file:backup.db'))).toBe(false)
  })

  it('needs a user who may make tables', async () => {
    const cwd = await makeSource()
    const url = await postgres().makeDatabase({ empty: true })
    const name = url.split('/').at(-1) ?? ''
    await postgres().query(name, `DROP ROLE IF EXISTS guest; CREATE ROLE guest LOGIN PASSWORD '${password}'`)
    const { code, stderr } = await mayfly(['db', 'copy', '--to', url.replace('mayfly:', 'guest:')], { cwd, env })
    expect(code).toBe(1)
    expect(stderr).toMatch(/does not let this user do that: let the user own the database/)
    expect(await mayflyJson(['db', 'check'], { cwd, env })).toMatchObject({ ok: true })
  })
})
