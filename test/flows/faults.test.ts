import { Agent, request as httpRequest } from 'node:http'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import { describe, expect, it, onTestFinished } from 'vitest'
import { openStore } from '../../src/store/open-store.ts'
import { makeInstallation } from '../support/installation.ts'
import { ask } from '../support/load.ts'
import { mayfly, mayflyJson, type ServerProcess, serve, temporaryFolder } from '../support/process.ts'
import { claimsOf, request, requestToken, startWithClient } from '../support/server.ts'

const grant = { grant_type: 'client_credentials' }

async function serveWithClient(
  env: Record<string, string> = {},
): Promise<{ cwd: string; server: ServerProcess; authorization: string }> {
  const { cwd, authorization, env: own } = await makeInstallation()
  const server = await serve({ cwd, env: { ...own, ...env } })
  return { cwd, server, authorization }
}

describe('F42 a statement that fails', () => {
  it.each(['issuance', 'audit_event'])(
    'in %s lets no token out without its record, and heals by itself',
    async (table) => {
      const { server, client } = await startWithClient()
      const sqlite = new Database(join(server.folder, 'data/mayfly.db'))
      onTestFinished(() => void sqlite.close())
      sqlite.exec(
        `CREATE TRIGGER broken BEFORE INSERT ON ${table} BEGIN SELECT RAISE(ABORT, 'broken by the test'); END`,
      )
      const headers = { authorization: client.basic }
      const token = await requestToken(server, grant, headers)
      const refusal = await requestToken(server, { ...grant, scope: 'admin' }, headers)
      const broken = table === 'issuance' ? token : refusal
      const whole = table === 'issuance' ? refusal : token
      expect([broken.status, broken.json.error]).toEqual([503, 'temporarily_unavailable'])
      expect(broken.headers.get('retry-after')).toBe('1')
      expect(broken.headers.get('cache-control')).toContain('no-store')
      expect(whole.status).toBe(table === 'issuance' ? 400 : 200)
      sqlite.exec('DROP TRIGGER broken')
      expect((await requestToken(server, grant, headers)).status).toBe(200)
      expect((await requestToken(server, { ...grant, scope: 'admin' }, headers)).json.error).toBe('invalid_scope')
    },
  )

  it('does not harm requests that share the transaction', async () => {
    const { server, client } = await startWithClient()
    const sqlite = new Database(join(server.folder, 'data/mayfly.db'))
    onTestFinished(() => void sqlite.close())
    sqlite.exec(
      `CREATE TRIGGER broken BEFORE INSERT ON issuance WHEN new.scope = 'write' BEGIN SELECT RAISE(ABORT, 'broken'); END`,
    )
    const headers = { authorization: client.basic }
    const scopes = Array.from({ length: 40 }, (_, i) => (i % 4 === 0 ? 'write' : 'read'))
    const replies = await Promise.all(scopes.map((scope) => requestToken(server, { ...grant, scope }, headers)))
    expect(replies.map(({ status }) => status)).toEqual(scopes.map((scope) => (scope === 'write' ? 503 : 200)))
  })

  it('HTTP-15 goes on with the JWKS and metadata while the database is locked, and answers 503 within its time', async () => {
    const { server, client } = await startWithClient()
    await requestToken(server, grant, { authorization: client.basic })
    const sqlite = new Database(join(server.folder, 'data/mayfly.db'))
    onTestFinished(() => void sqlite.close())
    sqlite.exec('BEGIN EXCLUSIVE')
    const pending = requestToken(server, grant, { authorization: client.basic })
    expect((await request(`${server.url}/.well-known/jwks.json`)).status).toBe(200)
    expect((await request(`${server.url}/.well-known/oauth-authorization-server`)).status).toBe(200)
    const reply = await pending
    expect([reply.status, reply.json.error]).toEqual([503, 'temporarily_unavailable'])
    sqlite.exec('ROLLBACK')
    expect((await requestToken(server, grant, { authorization: client.basic })).status).toBe(200)
  })
})

describe('F01 SIGKILL', () => {
  it('loses no record of a token that was handed out, and leaves a sound database', { timeout: 120_000 }, async () => {
    const { cwd, server: first, authorization } = await serveWithClient()
    let server = first
    const tokens: string[] = []
    for (let cycle = 0; cycle < 6; cycle += 1) {
      const agent = new Agent({ keepAlive: true, maxSockets: 16 })
      let alive = true
      const before = tokens.length
      const load = Array.from({ length: 16 }, async () => {
        while (alive) {
          const { token, error } = await ask(server.url, authorization, agent)
          if (token !== undefined) tokens.push(token)
          if (error !== undefined) return
        }
      })
      while (tokens.length < before + 100 + cycle * 37) await new Promise((resolve) => setImmediate(resolve))
      await server.end('SIGKILL')
      alive = false
      await Promise.all(load)
      agent.destroy()
      server = await serve({ cwd, env: { MAYFLY_ISSUER: 'http://127.0.0.1:9' } })
    }
    await server.end('SIGTERM')
    const store = openStore(join(cwd, 'data/mayfly.db'), { create: false, examine: true })
    onTestFinished(() => store.close())
    expect(await store.check()).toEqual([])
    expect(tokens.length).toBeGreaterThan(600)
    const missing: unknown[] = []
    for (const token of tokens) {
      const { jti, exp } = claimsOf(token)
      const record = await store.findIssuance(String(jti))
      if (record?.expiresAt !== exp) missing.push(jti)
    }
    expect(missing).toEqual([])
  })
})

describe('F34 SIGTERM', () => {
  it('lets every request finish, resets none, and ends with 0 within 10 s', { timeout: 60_000 }, async () => {
    const { cwd, server, authorization } = await serveWithClient()
    const agent = new Agent({ keepAlive: true, maxSockets: 16 })
    const outcomes: { status?: number; error?: string }[] = []
    let going = true
    const load = Array.from({ length: 16 }, async () => {
      while (going) {
        const outcome = await ask(server.url, authorization, agent)
        outcomes.push(outcome)
        if (outcome.error !== undefined) return
      }
    })
    while (outcomes.length < 200) await new Promise((resolve) => setImmediate(resolve))
    const started = performance.now()
    const ended = await server.end('SIGTERM')
    going = false
    await Promise.all(load)
    agent.destroy()
    expect(ended).toEqual({ code: 0, signal: null })
    expect(performance.now() - started).toBeLessThan(10_000)
    const errors = outcomes.map(({ error }) => error).filter((error) => error !== undefined && error !== 'ECONNREFUSED')
    expect(errors).toEqual([])
    expect(outcomes.filter(({ status }) => status !== undefined && status !== 200)).toEqual([])
    const check = await mayflyJson(['db', 'check'], { cwd })
    expect(check).toMatchObject({ ok: true })
  })

  it('ends an idle server, and one with a request that never ends, in time', { timeout: 60_000 }, async () => {
    const { server } = await serveWithClient()
    const agent = new Agent({ keepAlive: true })
    const slow = httpRequest(`${server.url}/token`, {
      method: 'POST',
      agent,
      headers: { 'content-type': 'application/x-www-form-urlencoded', 'content-length': 100 },
    })
    slow.on('error', () => {})
    slow.write('grant_type=')
    await request(`${server.url}/livez`)
    const started = performance.now()
    expect(await server.end('SIGTERM')).toEqual({ code: 0, signal: null })
    expect(performance.now() - started).toBeLessThan(10_000)
    agent.destroy()
  })

  it('takes SIGINT in the same way', async () => {
    const { server } = await serveWithClient()
    expect(await server.end('SIGINT')).toEqual({ code: 0, signal: null })
  })
})

describe('F35 running out of file descriptors', () => {
  it('sheds connections, and serves again when they are gone', { timeout: 60_000 }, async () => {
    const { cwd, authorization, server: first } = await serveWithClient()
    await first.end('SIGTERM')
    const { launcher } = await import('../support/process.ts')
    const command = ['sh', '-c', 'ulimit -n 60; exec "$0" "$@"', process.execPath, launcher, 'serve']
    const server = await serve({ cwd, command, env: { MAYFLY_ISSUER: 'http://127.0.0.1:9' } })
    const { connect } = await import('node:net')
    const { port } = new URL(server.url)
    const sockets = Array.from({ length: 120 }, () => connect(Number(port), '127.0.0.1').on('error', () => {}))
    await Promise.all(
      sockets.map((socket) => new Promise((resolve) => socket.once('connect', resolve).once('close', resolve))),
    )
    for (const socket of sockets) socket.destroy()
    let status = 0
    for (let i = 0; i < 50 && status !== 200; i += 1) {
      status = await requestToken(server, grant, { authorization }).then(
        (reply) => reply.status,
        () => 0,
      )
    }
    expect(status).toBe(200)
    expect(await server.end('SIGTERM')).toEqual({ code: 0, signal: null })
  })
})

describe('a start that cannot be', () => {
  it.each([
    [{ MAYFLY_PORT: 'http' }, 2, /MAYFLY_PORT is "http": it takes a whole number from 0 to 65535/],
    [{ MAYFLY_HOST: '0.0.0.0' }, 2, /MAYFLY_HOST is "0.0.0.0".*MAYFLY_ISSUER/],
    [{ MAYFLY_ISSUER: 'http://tokens.example.test' }, 2, /MAYFLY_ISSUER.*it takes https/],
    [{ MAYFLY_ACCESS_TOKEN_TTL: '2h' }, 2, /MAYFLY_ACCESS_TOKEN_TTL is 2h.*at most MAYFLY_ACCESS_TOKEN_MAX_TTL/],
    [{ MAYFLY_AUDIT_ISSUANCE_RETENTION: '1h' }, 2, /MAYFLY_AUDIT_ISSUANCE_RETENTION is 1h.*1h \+ 1m = 61m/],
    [{ MAYFLY_DATABASE_URL: 'postgres://u:hunter2@db' }, 2, /PostgreSQL/],
    [{ MAYFLY_DATABASE_URL: 'postgres://u:hunter2@127.0.0.1:1/x' }, 1, /postgres:\/\/u@127.0.0.1:1\/x does not answer/],
  ])('ends with one sentence: %j', async (env, code, sentence) => {
    const ended = await mayfly(['serve'], { cwd: temporaryFolder(), env: { MAYFLY_PORT: '0', ...env } })
    expect(ended.code).toBe(code)
    expect(ended.stdout).toBe('')
    expect(ended.stderr).toMatch(sentence)
    expect(ended.stderr.trimEnd().split('\n')).toHaveLength(1)
    expect(ended.stderr).not.toContain('hunter2')
  })

  it('says which port is in use, and which issuer the database has', async () => {
    const { cwd, server } = await serveWithClient()
    const { port } = new URL(server.url)
    const taken = await mayfly(['serve'], { cwd, env: { MAYFLY_PORT: port, MAYFLY_ISSUER: 'http://127.0.0.1:9' } })
    expect([taken.code, taken.stderr]).toEqual([1, expect.stringMatching(/127\.0\.0\.1:[0-9]+ is in use/)])
    const other = await mayfly(['serve'], { cwd, env: { MAYFLY_PORT: '0', MAYFLY_ISSUER: 'http://127.0.0.1:10' } })
    expect([other.code, other.stderr]).toEqual([
      1,
      expect.stringMatching(/mayfly db accept-issuer http:\/\/127\.0\.0\.1:10/),
    ])
    await mayflyJson(['db', 'accept-issuer', 'http://127.0.0.1:10'], { cwd })
    await server.end('SIGTERM')
    await serve({ cwd, env: { MAYFLY_ISSUER: 'http://127.0.0.1:10' } })
  })

  it('is none for a second start on a free port, unless the database has a real issuer', async () => {
    const cwd = temporaryFolder()
    const first = await serve({ cwd })
    await first.end('SIGTERM')
    const second = await serve({ cwd })
    expect((await request(`${second.url}/.well-known/oauth-authorization-server`)).json.issuer).toBe(second.url)
    await second.end('SIGTERM')
    await mayflyJson(['db', 'accept-issuer', 'https://tokens.example.test'], { cwd })
    const refused = await mayfly(['serve'], { cwd, env: { MAYFLY_PORT: '0' } })
    expect([refused.code, refused.stderr]).toEqual([
      1,
      expect.stringContaining('belongs to the issuer https://tokens.example.test'),
    ])
  })
})
