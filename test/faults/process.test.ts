import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, statSync } from 'node:fs'
import { Agent } from 'node:http'
import { connect, type Socket } from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'
import Database from 'better-sqlite3'
import { beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { openStore } from '../../src/store/open-store.ts'
import { AcknowledgedLog } from '../support/acknowledged.ts'
import { type Installation, makeInstallation } from '../support/installation.ts'
import { ask, startLoad } from '../support/load.ts'
import { launcher, mayfly, type ServerProcess, serve } from '../support/process.ts'
import { request, requestToken } from '../support/server.ts'
import { requireTools, run } from '../support/tools.ts'

beforeAll(() => requireTools('prlimit', 'strace'))

const grant = { grant_type: 'client_credentials' }

async function expectNothingLost({ place }: Installation, log: AcknowledgedLog): Promise<void> {
  const store = openStore(place, { create: false, examine: true })
  onTestFinished(() => store.close())
  expect(await log.findLost(store)).toEqual([])
}

/** Seconds of processor time that a process has used. */
function cpuSeconds(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
    .replace(/^.*\) /, '')
    .split(' ')
  return (Number(fields[11]) + Number(fields[12])) / 100
}

function pidOf({ child }: ServerProcess): number {
  return child.pid ?? expect.fail('it has no process')
}

async function until(isSo: () => Promise<boolean>, milliseconds: number): Promise<boolean> {
  const end = performance.now() + milliseconds
  while (performance.now() < end) {
    if (await isSo().catch(() => false)) return true
    await pause(20)
  }
  return false
}

describe('F35 no file descriptors left', () => {
  it('sheds connections without spinning, serves those that it has, and recovers', async () => {
    const installation = await makeInstallation()
    const { authorization } = installation
    const server = await serve(installation)
    const log = new AcknowledgedLog()
    const agent = new Agent({ keepAlive: true, maxSockets: 1 })
    onTestFinished(() => agent.destroy())
    const askKept = async (): Promise<number> => {
      const { status = 0, token } = await ask(server.url, authorization, agent)
      if (token !== undefined) log.tokens.push(token)
      return status
    }
    expect(await askKept()).toBe(200)
    const pid = pidOf(server)
    const used = run('ls', `/proc/${pid}/fd`).trimEnd().split('\n').length
    run('prlimit', '--pid', String(pid), `--nofile=${used + 10}`)
    const { sockets, shed } = await exhaust(server, 60)
    expect(shed()).toBeGreaterThan(20)

    const before = cpuSeconds(pid)
    await pause(2_000)
    expect(cpuSeconds(pid) - before).toBeLessThan(1)
    expect(await askKept()).toBe(200)

    for (const socket of sockets) socket.destroy()
    const jwks = async (): Promise<boolean> => (await request(`${server.url}/.well-known/jwks.json`)).status === 200
    expect(await until(jwks, 5_000)).toBe(true)
    const reply = await requestToken(server, grant, { authorization })
    log.tokens.push(String(reply.json.access_token))
    expect(await server.end('SIGTERM')).toEqual({ code: 0, signal: null })
    await expectNothingLost(installation, log)
  })
})

/** Opens connections that never ask for anything, and waits until the server has taken or shed them. */
async function exhaust(server: ServerProcess, count: number): Promise<{ sockets: Socket[]; shed(): number }> {
  const { port } = new URL(server.url)
  let shed = 0
  const sockets = Array.from({ length: count }, () =>
    connect(Number(port), '127.0.0.1')
      .on('error', () => {})
      .on('close', () => {
        shed += 1
      }),
  )
  await Promise.all(sockets.map((socket) => Promise.race([once(socket, 'connect'), once(socket, 'close')])))
  await until(async () => shed > 20, 2_000)
  return { sockets, shed: () => shed }
}

describe('F07 an fsync that fails', () => {
  it('is answered with 503 each time, and the server goes on when the disk does', async () => {
    const installation = await makeInstallation()
    const { authorization } = installation
    const server = await serve(installation)
    const log = new AcknowledgedLog()
    const get = async (): Promise<number> => {
      const { status, json } = await requestToken(server, grant, { authorization })
      if (status === 200) log.tokens.push(String(json.access_token))
      return status
    }
    expect(await get()).toBe(200)
    const inject = ['-e', 'trace=fsync,fdatasync', '-e', 'inject=fsync,fdatasync:error=EIO']
    const strace = spawn('strace', ['-f', '-p', String(pidOf(server)), ...inject], {
      stdio: ['ignore', 'ignore', 'pipe'],
    })
    onTestFinished(() => void strace.kill('SIGKILL'))
    const ended = once(strace, 'close')
    await once(strace.stderr, 'data')
    for (let i = 0; i < 5; i += 1) expect(await get()).toBe(503)
    expect((await request(`${server.url}/readyz`)).status).toBe(503)
    expect((await request(`${server.url}/.well-known/jwks.json`)).status).toBe(200)
    strace.kill('SIGINT')
    await ended
    expect((await request(`${server.url}/readyz`)).status).toBe(200)
    expect(await get()).toBe(200)
    await server.end('SIGKILL')
    await expectNothingLost(installation, log)
  })
})

describe('F41 output that cannot be written', () => {
  it.each([
    { what: 'nobody reads', to: '&2' },
    { what: 'has no room', to: '/dev/full' },
  ])('goes on, refuses with records, and ends with 0 when its output $what', async ({ to }) => {
    const installation = await makeInstallation()
    const { authorization } = installation
    const command = ['sh', '-c', `exec "$0" "$@" 2>${to}`, process.execPath, launcher, 'serve']
    const server = await serve({ ...installation, command })
    server.child.stdout?.destroy()
    server.child.stderr?.destroy()
    const log = new AcknowledgedLog()
    for (let i = 0; i < 20; i += 1) {
      const { status, json } = await requestToken(server, grant, { authorization })
      expect(status).toBe(200)
      log.tokens.push(String(json.access_token))
      // Each of these writes a line to the log.
      expect((await requestToken(server, { ...grant, scope: 'other' }, { authorization })).json.error).toBe(
        'invalid_scope',
      )
    }
    const exit = once(server.child, 'exit')
    server.child.kill('SIGTERM')
    expect(await exit).toEqual([0, null])
    await expectNothingLost(installation, log)
    const { stdout } = await mayfly(['audit', 'list', '--type', 'token.refused', '--json'], installation)
    expect(JSON.parse(stdout)).toHaveLength(20)
  })
})

async function backlog({ url }: ServerProcess): Promise<number> {
  const { text } = await request(`${url}/metrics`)
  return Number(/^mayfly_store_backlog_bytes (?<bytes>.+)$/m.exec(text)?.groups?.bytes)
}

describe('F10 a reader that keeps a transaction open', () => {
  it('makes the -wal grow by what is written while it reads, which the metrics show, and no longer', {
    timeout: 60_000,
  }, async () => {
    const installation = await makeInstallation()
    const server = await serve(installation)
    const log = new AcknowledgedLog()
    const wal = `${installation.place}-wal`
    const issue = async (count: number): Promise<void> => {
      const wanted = log.tokens.length + count
      const load = startLoad(server, installation.authorization, 16, ({ token }) => {
        if (token !== undefined) log.tokens.push(token)
      })
      expect(await until(async () => log.tokens.length >= wanted, 30_000)).toBe(true)
      await load.stop()
    }
    const reader = new Database(installation.place)
    onTestFinished(() => void reader.close())
    reader.exec('BEGIN; SELECT count(*) FROM issuance')
    await issue(3_000)
    const held = statSync(wal).size
    expect(await backlog(server)).toBeGreaterThan(held * 0.9)
    reader.exec('COMMIT')
    await issue(3_000)
    const free = statSync(wal).size
    expect(await backlog(server)).toBeLessThan(1024 * 4096)
    process.stdout.write(`F10: the -wal took ${held} bytes beside a reader, then ${free}\n`)
    expect(held).toBeGreaterThan(1024 * 4096)
    expect(free).toBeLessThanOrEqual(held + 1024 * 4096)
    await server.end('SIGTERM')
    await expectNothingLost(installation, log)
  })
})
