/** Several workers on one port, black box: what they answer together, and what becomes of one that dies. */
import { spawn } from 'node:child_process'
import { chmodSync, renameSync, writeFileSync } from 'node:fs'
import { request as httpRequest } from 'node:http'
import { join } from 'node:path'
import { createLocalJWKSet, type JSONWebKeySet, jwtVerify } from 'jose'
import { describe, expect, it } from 'vitest'
import { makeAuthority, makeServerIdentity, writeTlsFiles } from '../support/certificates.ts'
import { basic } from '../support/credentials.ts'
import { type Outcome, startLoad } from '../support/load.ts'
import { usePostgres } from '../support/postgres.ts'
import { cleanEnvironment, finish, launcher, mayfly, mayflyJson, serve, temporaryFolder } from '../support/process.ts'
import { requestOverTls } from '../support/tls.ts'
import {
  addBilling,
  allGone,
  askAll,
  askOnce,
  isAlive,
  logLines,
  pidsOf,
  readIssued,
  readMetrics,
  serveWorkers,
  type WorkersServer,
  workerOf,
} from '../support/workers.ts'

const form = { grant_type: 'client_credentials' }
const postgres = usePostgres()

async function startWithBilling(count: number, env: Readonly<Record<string, string>> = {}) {
  const server = await serveWorkers(count, env)
  const authorization = await addBilling(server)
  const ask = () => askOnce(`${server.url}/token`, { form, headers: { authorization } })
  return { server, authorization, ask }
}

/** Kills a worker. @returns its number and process */
async function killOne(server: WorkersServer, signal: NodeJS.Signals = 'SIGKILL'): Promise<[number, number]> {
  const [[worker, pid] = [0, 0]] = pidsOf(server)
  process.kill(pid, signal)
  await server.lineOf(
    ({ message, worker: ended, by }) => message === 'worker ended' && ended === worker && by === signal,
  )
  return [worker, pid]
}

const comesBack = (server: WorkersServer, worker: number, before: number) =>
  server.lineOf((line) => line.message === 'worker serves' && line.worker === worker && line.pid !== before)

describe.each(['SQLite', 'PostgreSQL'])('workers on one %s', (store) => {
  const environment = async (): Promise<Readonly<Record<string, string>>> =>
    store === 'SQLite' ? {} : { MAYFLY_DATABASE_URL: await postgres().makeDatabase({ empty: true }) }

  it('make what is missing once, print one first line, and issue what one JWKS verifies', async () => {
    const { server, ask } = await startWithBilling(3, await environment())
    expect(server.output().match(/mayfly listening on/g)).toHaveLength(1)
    expect(server.output().match(/First start\. Made:/g)).toHaveLength(1)
    const jwks = await askAll(server, 3, () => askOnce(`${server.url}/.well-known/jwks.json`))
    expect(new Set([...jwks.values()].flat().map(({ text }) => text)).size).toBe(1)
    const keys = createLocalJWKSet(jwks.get(1)?.[0]?.json as unknown as JSONWebKeySet)
    const tokens = await askAll(server, 3, ask)
    for (const { status, json } of [...tokens.values()].flat()) {
      expect(status).toBe(200)
      const { payload } = await jwtVerify(String(json.access_token), keys, { issuer: server.url })
      expect(payload.client_id).toBe('billing')
    }
    expect(await server.end('SIGTERM')).toEqual({ code: 0, signal: null })
  })

  it('refuse a client in each of them at the next request after a command has disabled it', async () => {
    const { server, ask } = await startWithBilling(3, await environment())
    for (const { status } of [...(await askAll(server, 3, ask)).values()].flat()) expect(status).toBe(200)
    await mayflyJson(['client', 'disable', 'billing'], server)
    for (const { status } of [...(await askAll(server, 3, ask)).values()].flat()) expect(status).toBe(401)
    const issued = await mayflyJson<unknown[]>(['audit', 'list', '--type', 'token.issued', '--limit', '1000'], server)
    const before = issued.length
    await askAll(server, 3, ask)
    expect(
      await mayflyJson<unknown[]>(['audit', 'list', '--type', 'token.issued', '--limit', '1000'], server),
    ).toHaveLength(before)
  })
})

describe('a worker that dies', () => {
  it('takes its own connections along and no others, comes back, and /metrics never falls', async () => {
    const { server, authorization } = await startWithBilling(2)
    const outcomes: Outcome[] = []
    const connections = 12
    const load = startLoad(server, authorization, connections, (outcome) => outcomes.push(outcome))
    while (outcomes.length < 200) await new Promise((resolve) => setImmediate(resolve))
    const seen = [await readIssued(server.url)]
    const [worker, pid] = await killOne(server)
    const back = comesBack(server, worker, pid).then(() => false)
    const tick = () => new Promise<boolean>((resolve) => setImmediate(() => resolve(true)))
    do seen.push(await readIssued(server.url))
    while (await Promise.race([back, tick()]))
    const after = outcomes.length
    while (outcomes.length < after + 100) await new Promise((resolve) => setImmediate(resolve))
    await load.stop()
    seen.push(await readIssued(server.url))
    expect(seen).toEqual([...seen].sort((a, b) => a - b))
    const failed = outcomes.filter(({ error }) => error !== undefined)
    expect(failed.length).toBeLessThan(connections)
    expect(outcomes.filter(({ status }) => status !== undefined && status !== 200)).toEqual([])
    const issued = outcomes.filter(({ token }) => token !== undefined).length
    // Of what the dead one had counted the last look is kept: lost is what came between that and its end.
    expect(seen.at(-1)).toBeLessThanOrEqual(issued + failed.length)
    expect(seen.at(-1)).toBeGreaterThan(Math.max(seen[0] ?? 0, issued / 2))
    expect((await readMetrics(server.url)).get('mayfly_worker_restarts_total')).toBe(1)
    expect(await server.end('SIGTERM')).toEqual({ code: 0, signal: null })
  })

  it('is started again later and later while it goes on dying, and the other one answers', async () => {
    const { server, ask } = await startWithBilling(2)
    const second = pidsOf(server).get(2)
    const waits: unknown[] = []
    for (let pid = pidsOf(server).get(1) ?? 0; waits.length < 3; ) {
      const before = pid
      process.kill(pid, 'SIGKILL')
      const count = waits.length
      await server.lineOf(() => logLines(server).filter(({ message }) => message === 'worker ended').length > count)
      expect((await ask()).status).toBe(200)
      pid = Number((await comesBackAfter(server, 1, before)).pid)
      waits.push(
        logLines(server)
          .filter(({ message }) => message === 'worker ended')
          .at(-1)?.restart_in_ms,
      )
    }
    expect(waits).toEqual([200, 400, 800])
    expect(pidsOf(server).get(2)).toBe(second)
  })

  it('is none that a start ends for: what keeps it from coming back is in the log until it is mended', async () => {
    const { server, ask } = await startWithBilling(2)
    chmodSync(join(server.cwd, 'keys/master.key'), 0o644)
    const [worker, pid] = await killOne(server)
    const line = await server.lineOf(({ message, err }) => message === 'worker ended' && err !== undefined)
    expect(line).toMatchObject({ worker, by: 1, err: { name: 'KeyMaterialError' } })
    expect((await ask()).status).toBe(200)
    chmodSync(join(server.cwd, 'keys/master.key'), 0o600)
    await comesBack(server, worker, pid)
    await askAll(server, 2, ask)
  })

  it('has its port again when all have died, though it was a free one', async () => {
    const { server, ask } = await startWithBilling(2, { MAYFLY_METRICS_LISTEN: '127.0.0.1:0' })
    const metrics = /metrics on (\S+)\/metrics/.exec(server.output())?.[1] ?? ''
    const before = pidsOf(server)
    for (const pid of before.values()) process.kill(pid, 'SIGKILL')
    await Promise.all([...before].map(([worker, pid]) => comesBack(server, worker, pid)))
    for (const { status } of [...(await askAll(server, 2, ask)).values()].flat()) expect(status).toBe(200)
    expect((await readMetrics(metrics)).get('mayfly_worker_restarts_total')).toBe(2)
    expect((await askOnce(`${server.url}/metrics`)).status).toBe(404)
  })

  it('has that port also when the others have named it since', async () => {
    const { server, ask } = await startWithBilling(2)
    for (const numbers of [[1, 2], [1]]) {
      const before = pidsOf(server)
      for (const number of numbers) process.kill(before.get(number) ?? 0, 'SIGKILL')
      for (const number of numbers) await comesBackAfter(server, number, before.get(number) ?? 0)
    }
    for (const { status } of [...(await askAll(server, 2, ask)).values()].flat()) expect(status).toBe(200)
  })

  it('is replaced when somebody ends it by SIGTERM, which fails no request', async () => {
    const { server, authorization } = await startWithBilling(2)
    const outcomes: Outcome[] = []
    const load = startLoad(server, authorization, 8, (outcome) => outcomes.push(outcome))
    while (outcomes.length < 100) await new Promise((resolve) => setImmediate(resolve))
    const [[worker, pid] = [0, 0]] = pidsOf(server)
    process.kill(pid, 'SIGTERM')
    await comesBack(server, worker, pid)
    await load.stop()
    expect(outcomes.filter(({ status }) => status !== 200)).toEqual([])
  })
})

function comesBackAfter(server: WorkersServer, worker: number, before: number) {
  return server.lineOf(() => pidsOf(server).get(worker) !== before).then(() => ({ pid: pidsOf(server).get(worker) }))
}

describe('a worker that is paused', () => {
  it('holds up neither new connections nor /metrics, whose counters stay', async () => {
    const { server, ask } = await startWithBilling(2)
    for (const { status } of [...(await askAll(server, 2, ask)).values()].flat()) expect(status).toBe(200)
    const issued = await readIssued(server.url)
    const [[, pid] = [0, 0]] = pidsOf(server)
    process.kill(pid, 'SIGSTOP')
    try {
      for (const { status } of await Promise.all(Array.from({ length: 24 }, ask))) expect(status).toBe(200)
      const metrics = await readMetrics(server.url)
      expect(metrics.get('mayfly_workers{state="silent"}')).toBe(1)
      expect(metrics.get('mayfly_workers{state="ready"}')).toBe(1)
      expect(await readIssued(server.url)).toBe(issued + 24)
    } finally {
      process.kill(pid, 'SIGCONT')
    }
    while ((await readMetrics(server.url)).get('mayfly_workers{state="ready"}') !== 2);
    expect(await server.end('SIGTERM')).toEqual({ code: 0, signal: null })
  })
})

describe('a supervisor that is paused', () => {
  it('keeps nobody from a token; failures count in each worker alone, and /metrics says that it cannot', async () => {
    const { server, ask } = await startWithBilling(2)
    const fail = () => askOnce(`${server.url}/token`, { form, headers: { authorization: basic('billing', 'wrong') } })
    server.child.kill('SIGSTOP')
    try {
      for (const { status } of await Promise.all(Array.from({ length: 24 }, ask))) expect(status).toBe(200)
      for (const { status } of await Promise.all(Array.from({ length: 24 }, fail))) expect(status).toBe(401)
      const metrics = await askOnce(`${server.url}/metrics`)
      expect([metrics.status, metrics.json.error]).toEqual([503, 'temporarily_unavailable'])
    } finally {
      server.child.kill('SIGCONT')
    }
    expect((await askOnce(`${server.url}/metrics`)).status).toBe(200)
    const alone = logLines(server).filter(({ message }) => /by this worker alone/.test(String(message)))
    expect(alone.length).toBeGreaterThan(0)
  })
})

describe('native TLS of workers', () => {
  it('has the new certificate in each of them after its files were replaced', async () => {
    const authority = await makeAuthority()
    const folder = temporaryFolder()
    const server = await serveWorkers(2, writeTlsFiles(folder, await makeServerIdentity(authority)))
    const ask = () => requestOverTls({ url: `${server.url}/livez`, ca: authority.cert })
    const before = (await ask()).peer
    const next = await makeServerIdentity(authority)
    for (const [name, text, mode] of [
      ['tls.crt', next.cert, 0o644],
      ['tls.key', next.key, 0o600],
    ] as const) {
      writeFileSync(join(folder, `${name}.new`), text, { mode })
      renameSync(join(folder, `${name}.new`), join(folder, name))
    }
    for (const number of [1, 2])
      await server.lineOf(({ message, worker }) => message === 'TLS files read again' && worker === number)
    const peers = new Set<string>()
    for (let i = 0; i < 16; i += 1) peers.add((await ask()).peer)
    expect(peers.size).toBe(1)
    expect(peers.has(before)).toBe(false)
    expect(await server.end('SIGTERM')).toEqual({ code: 0, signal: null })
  })
})

describe('the end of the supervisor', () => {
  it.each(['SIGTERM', 'SIGINT', 'SIGKILL'] as const)(
    'by %s lets all workers finish what they have, resets nothing, and leaves none behind',
    { timeout: 60_000 },
    async (signal) => {
      const { server, authorization } = await startWithBilling(3)
      const pids = [...pidsOf(server).values()]
      expect(pids.filter(isAlive)).toHaveLength(3)
      const outcomes: Outcome[] = []
      const load = startLoad(server, authorization, 12, (outcome) => outcomes.push(outcome))
      while (outcomes.length < 200) await new Promise((resolve) => setImmediate(resolve))
      const started = performance.now()
      const ended = await server.end(signal)
      await load.stop()
      expect(ended).toEqual(signal === 'SIGKILL' ? { code: null, signal } : { code: 0, signal: null })
      expect(performance.now() - started).toBeLessThan(10_000)
      const errors = outcomes.map(({ error }) => error).filter((error) => error !== undefined)
      expect(errors.filter((error) => error !== 'ECONNREFUSED')).toEqual([])
      expect(outcomes.filter(({ status }) => status !== undefined && status !== 200)).toEqual([])
      await allGone(pids)
      expect(await mayflyJson(['db', 'check'], { cwd: server.cwd })).toMatchObject({ ok: true })
    },
  )

  it('is at once at a second signal, for its workers too', async () => {
    const { server } = await startWithBilling(2)
    const pids = [...pidsOf(server).values()]
    const slow = Array.from({ length: 4 }, () => {
      const headers = { 'content-type': 'application/x-www-form-urlencoded', 'content-length': 100 }
      const call = httpRequest(`${server.url}/token`, { method: 'POST', headers })
      call.on('error', () => {}).write('grant_type=')
      return new Promise((resolve) => call.once('socket', (socket) => socket.once('connect', resolve)))
    })
    await Promise.all(slow)
    server.child.kill('SIGTERM')
    await server.lineOf(({ message, worker }) => message === 'draining' && worker !== undefined)
    expect(await server.end('SIGTERM')).toEqual({ code: null, signal: 'SIGTERM' })
    await allGone(pids)
  })
})

describe('a start of workers that is broken off', () => {
  it('by SIGTERM ends with 0 and says nothing of serving', { timeout: 60_000 }, async () => {
    const env = cleanEnvironment({ MAYFLY_PORT: '0', MAYFLY_WORKERS: '2', MAYFLY_NO_SETTING: '1' })
    const child = spawn(process.execPath, [launcher, 'serve'], { cwd: temporaryFolder(), env, stdio: 'pipe' })
    child.stderr.once('data', () => child.kill('SIGTERM'))
    expect(await finish(child)).toMatchObject({ code: 0, signal: null, stdout: '' })
  })
})

describe('a start of workers that cannot be', () => {
  it.each([
    [{ MAYFLY_WORKERS: '0' }, 2, /MAYFLY_WORKERS is "0": it takes a whole number from 1 to 64/],
    [{ MAYFLY_DATABASE_URL: 'postgres://u:hunter2@127.0.0.1:1/x' }, 1, /postgres:\/\/u@127.0.0.1:1\/x does not answer/],
    [{ MAYFLY_TLS_CERT_FILE: 'no', MAYFLY_TLS_KEY_FILE: 'no' }, 1, /no cannot be read: MAYFLY_TLS_CERT_FILE takes/],
    [{ NODE_UNIQUE_ID: '7' }, 1, /a process manager runs this process as one of its workers: set MAYFLY_WORKERS=1/],
    [{ MAYFLY_HOST: '127.0.0.1', MAYFLY_METRICS_LISTEN: '192.0.2.1:9' }, 1, /192\.0\.2\.1:9 cannot be listened on/],
  ])('ends with one sentence and no loop: %j', async (env, code, sentence) => {
    const ended = await mayfly(['serve'], {
      cwd: temporaryFolder(),
      env: { MAYFLY_PORT: '0', MAYFLY_WORKERS: '3', ...env },
    })
    expect(ended.code).toBe(code)
    expect(ended.stdout).toBe('')
    expect(ended.stderr).toMatch(sentence)
    expect(ended.stderr.trimEnd().split('\n')).toHaveLength(1)
    expect(ended.stderr).not.toContain('hunter2')
  })

  it('ends for a file that is no database, a port in use, and another issuer', async () => {
    const cwd = temporaryFolder()
    writeFileSync(join(cwd, 'x.db'), 'x'.repeat(8_192))
    const env = { MAYFLY_PORT: '0', MAYFLY_WORKERS: '2' }
    const damaged = await mayfly(['serve'], { cwd, env: { ...env, MAYFLY_DATABASE_URL: 'file:x.db' } })
    expect([damaged.code, damaged.stdout, damaged.stderr]).toEqual([1, '', expect.stringMatching(/x\.db is damaged/)])
    const alone = await serve({ cwd })
    const { port } = new URL(alone.url)
    const taken = await mayfly(['serve'], { cwd, env: { ...env, MAYFLY_PORT: port } })
    expect([taken.code, taken.stderr]).toEqual([1, expect.stringMatching(/127\.0\.0\.1:[0-9]+ is in use/)])
    const other = await mayfly(['serve'], { cwd, env: { ...env, MAYFLY_ISSUER: 'https://tokens.example.test' } })
    expect([other.code, other.stderr]).toEqual([1, expect.stringContaining('the database belongs to the issuer')])
  })
})

describe('limits over workers', () => {
  it('HTTP-17 refuse the 101st failure of a minute, whichever worker it comes to, also after one has died', async () => {
    const { server } = await startWithBilling(3)
    const fail = () => askOnce(`${server.url}/token`, { form, headers: { authorization: basic('billing', 'wrong') } })
    const first = await Promise.all(Array.from({ length: 60 }, fail))
    const [worker, pid] = await killOne(server)
    await comesBack(server, worker, pid)
    const second = await Promise.all(Array.from({ length: 60 }, fail))
    const statuses = [...first, ...second].map(({ status }) => status)
    expect(statuses.filter((status) => status === 401)).toHaveLength(100)
    expect(statuses.filter((status) => status === 429)).toHaveLength(20)
    const answered = await Promise.all([...first, ...second].map((answer) => workerOf(server, answer)))
    expect(new Set(answered).size).toBeGreaterThan(1)
    for (const { status } of [...(await askAll(server, 3, fail)).values()].flat()) expect(status).toBe(429)
  })

  it('let a client have as many requests a minute as one process would', async () => {
    const { ask } = await startWithBilling(3, { MAYFLY_RATE_LIMIT_PER_CLIENT: '10' })
    const answers = await Promise.all(Array.from({ length: 25 }, ask))
    expect(answers.filter(({ status }) => status === 200)).toHaveLength(10)
    expect(answers.filter(({ status }) => status === 429)).toHaveLength(15)
  })
})

describe('the log of workers', () => {
  it('is one stream of whole lines, each with the number of its worker', async () => {
    const { server, authorization } = await startWithBilling(3)
    const outcomes: Outcome[] = []
    const load = startLoad(server, authorization, 12, (outcome) => outcomes.push(outcome))
    while (outcomes.length < 600) await new Promise((resolve) => setImmediate(resolve))
    await load.stop()
    await server.end('SIGTERM')
    const lines = logLines(server)
    const answered = lines.filter(({ message }) => message === 'answered')
    expect(answered.length).toBeGreaterThanOrEqual(600)
    expect(new Set(answered.map(({ request_id: id }) => id)).size).toBe(answered.length)
    expect(new Set(answered.map(({ worker }) => worker))).toEqual(new Set([1, 2, 3]))
    expect(lines.filter(({ message }) => message === 'stopped').map(({ worker }) => worker)).toHaveLength(4)
  })
})

describe('mayfly serve --dev with workers', () => {
  it('prints one client, which each worker knows, and throws its folder away', async () => {
    const temp = temporaryFolder()
    const command = [process.execPath, launcher, 'serve', '--dev']
    const server = await serveWorkers(2, { TMPDIR: temp }, { command })
    while (!server.output().includes('/token')) await new Promise((resolve) => setImmediate(resolve))
    expect(server.output().match(/For development/g)).toHaveLength(1)
    const credentials = /-u '?([^\s']+)/.exec(server.output())?.[1] ?? ''
    const headers = { authorization: `Basic ${Buffer.from(credentials).toString('base64')}` }
    const answers = await askAll(server, 2, () => askOnce(`${server.url}/token`, { form, headers }))
    for (const { status } of [...answers.values()].flat()) expect(status).toBe(200)
    expect(await server.end('SIGTERM')).toEqual({ code: 0, signal: null })
  })
})
