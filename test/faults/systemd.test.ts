/** The unit for systemd that is in examples/: read by systemd-analyze, and its command run under the same restrictions. */
import { execFileSync, spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { type Finished, finish, freePort } from '../support/process.ts'
import { request } from '../support/server.ts'
import { requireTools, run } from '../support/tools.ts'
import { installUnit, startConfined, type Unit, user } from '../support/unit.ts'

const parent = mkdtempSync(join(tmpdir(), 'mayfly-unit-'))
let unit: Unit
let port: number

beforeAll(async () => {
  requireTools('systemd-analyze', 'strace', 'unshare', 'setpriv', 'findmnt')
  unit = await installUnit(parent)
}, 240_000)

afterAll(() => rmSync(parent, { recursive: true, force: true }), 240_000)

beforeEach(async () => {
  port = await freePort()
  for (const name of readdirSync(join(parent, 'lib')))
    rmSync(join(parent, 'lib', name), { recursive: true, force: true })
})

const settings = async (): Promise<Record<string, string>> => ({
  MAYFLY_PORT: String(port),
  MAYFLY_METRICS_LISTEN: `127.0.0.1:${await freePort()}`,
})

/** Starts the command of the unit, and waits for its first line. */
async function startUnit(
  env: Readonly<Record<string, string>> = {},
  under: readonly string[] = [],
  writable: readonly string[] = [],
) {
  const command = [...under, ...unit.value('ExecStart').split(' ')]
  const child = startConfined(unit, command, { ...(await settings()), ...env }, writable)
  const ended = finish(child)
  await new Promise<void>((done, fail) => {
    child.stdout?.once('data', () => done())
    ended.then(({ code, stderr }) => fail(new Error(`it ended with ${code}: ${stderr}`)), fail)
  })
  return { child, ended }
}

async function runConfined(command: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<Finished> {
  return finish(startConfined(unit, command, { ...(await settings()), ...env }))
}

/** The calls of the kernel that a filter of the unit lets through. */
function allowedCalls(): ReadonlySet<string> {
  const sets = new Map<string, readonly string[]>()
  for (const block of run('systemd-analyze', 'syscall-filter').split('\n\n')) {
    const [name = '', ...members] = block.trim().split('\n')
    sets.set(
      name,
      members.map((line) => line.trim()).filter((line) => !line.startsWith('#')),
    )
  }
  const expand = (name: string): readonly string[] =>
    name.startsWith('@') ? (sets.get(name) ?? expect.fail(`no set ${name}`)).flatMap(expand) : [name]
  const allowed = new Set<string>()
  for (const filter of unit.values('SystemCallFilter')) {
    const names = filter.replace(/^~/, '').split(' ').flatMap(expand)
    for (const name of names) filter.startsWith('~') ? allowed.delete(name) : allowed.add(name)
  }
  return allowed
}

describe('the unit', () => {
  it('has nothing that systemd-analyze complains about, and little that it could still be denied', () => {
    const analyze = (...args: string[]): string =>
      execFileSync('systemd-analyze', [...args, unit.file], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] })
    expect(analyze('verify')).toBe('')
    // Fails above 2.0 of 10.
    expect(analyze('security', '--offline=yes', '--threshold=20')).toMatch(/Overall exposure level .* [01]\.\d OK/)
  })

  it('is refused by it with a directive that is misspelt, so that silence means something', () => {
    const file = join(parent, 'wrong.service')
    writeFileSync(file, readFileSync(unit.file, 'utf8').replace('KillMode=mixed', 'KillMode=softly'))
    const checked = spawn('systemd-analyze', ['verify', file], { stdio: 'pipe' })
    return expect(finish(checked)).resolves.toMatchObject({ stderr: expect.stringContaining('softly') })
  })

  it('serves with one worker and with several, writes to its two folders alone, and ends with 0 in time', async () => {
    for (const workers of ['1', '3']) {
      const { child, ended } = await startUnit({ MAYFLY_WORKERS: workers })
      const { status, json } = await request(`http://127.0.0.1:${port}/.well-known/oauth-authorization-server`)
      expect([status, json]).toMatchObject([200, { issuer: 'https://tokens.example.com' }])
      expect((await request(`http://127.0.0.1:${port}/readyz`)).status).toBe(200)
      const pid = child.pid ?? expect.fail('it has no process')
      const state = readFileSync(`/proc/${pid}/status`, 'utf8')
      expect(state).toMatch(new RegExp(`^Uid:\\t${user}\\t${user}\\t`, 'm'))
      expect(state).toMatch(/^CapBnd:\t0+\n/m)
      expect(state).toMatch(/^NoNewPrivs:\t1\n/m)
      const before = performance.now()
      child.kill('SIGTERM')
      expect(await ended).toMatchObject({ code: 0, signal: null })
      expect(performance.now() - before).toBeLessThan(Number.parseInt(unit.value('TimeoutStopSec'), 10) * 1000)
    }
    const files = readdirSync(join(parent, 'lib'), { recursive: true, encoding: 'utf8' })
    expect(files.sort()).toEqual([
      'mayfly',
      'mayfly-keys',
      'mayfly-keys/master.key',
      'mayfly-keys/master.key.witness',
      'mayfly/mayfly.db',
    ])
    for (const file of files)
      expect([file, statSync(join(parent, 'lib', file)).mode & 0o077, statSync(join(parent, 'lib', file)).uid]).toEqual(
        [file, 0, user],
      )
  })

  it('asks the kernel for nothing that its filter denies', async () => {
    const folder = join(parent, 'lib', 'trace')
    mkdirSync(folder, { recursive: true, mode: 0o777 })
    run('chmod', '777', folder)
    const strace = ['strace', '-f', '-c', '-U', 'name', '-o', join(folder, 'calls')]
    const { child, ended } = await startUnit({ MAYFLY_WORKERS: '2' }, strace, [folder])
    for (let i = 0; i < 20; i += 1)
      expect((await request(`http://127.0.0.1:${port}/.well-known/jwks.json`)).status).toBe(200)
    const server = readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, 'utf8').trim()
    process.kill(Number(server), 'SIGTERM')
    expect(await ended).toMatchObject({ code: 0 })
    // Between a heading and the sum.
    const called = readFileSync(join(folder, 'calls'), 'utf8')
      .split('\n')
      .filter((name) => /^[a-z]\w+$/.test(name) && name !== 'syscall' && name !== 'total')
    expect(called).toEqual(expect.arrayContaining(['clone3', 'fsync', 'accept4']))
    const allowed = allowedCalls()
    expect(called.filter((name) => !allowed.has(name))).toEqual([])
  })

  it('lets commands run in the folder of the settings, beside the server, and nobody write there', async () => {
    const { child, ended } = await startUnit()
    const command = unit.value('ExecStart').split(' ')[0] ?? ''
    const created = await runConfined([command, 'resource', 'create', 'https://api.example.com'])
    expect(created).toMatchObject({ code: 0, stderr: expect.stringContaining(join(parent, 'lib/mayfly/mayfly.db')) })
    for (const path of ['etc/x', 'lib/x', 'usr/x'])
      expect((await runConfined(['touch', join(parent, path)])).stderr, path).toMatch(/Read-only file system/)
    child.kill('SIGTERM')
    expect(await ended).toMatchObject({ code: 0 })
  })

  it('is not started again for a setting that cannot be used, and is for a database that cannot be had', async () => {
    const command = unit.value('ExecStart').split(' ')
    const wrong = await runConfined(command, { MAYFLY_WORKERS: 'many' })
    expect(wrong.stderr).toMatch(/MAYFLY_WORKERS/)
    expect(String(wrong.code)).toBe(unit.value('RestartPreventExitStatus'))
    const away = `postgres://mayfly:x@127.0.0.1:${await freePort()}/mayfly`
    const unreachable = await runConfined(command, { MAYFLY_DATABASE_URL: away })
    expect(unreachable.code).toBe(1)
    expect([unit.value('Restart'), unit.value('StartLimitIntervalSec')]).toEqual(['on-failure', '0'])
  })
})
