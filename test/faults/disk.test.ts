import { mkdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { openStore } from '../../src/store/open-store.ts'
import { mayfly, mayflyJson, serve, temporaryFolder } from '../support/process.ts'
import { api, basic, claimsOf, request, requestToken } from '../support/server.ts'
import { requireTools, run } from '../support/tools.ts'

beforeAll(() => requireTools('mount', 'umount', 'chattr', 'strace'))

const grant = { grant_type: 'client_credentials' }
const env = { MAYFLY_ISSUER: 'http://127.0.0.1:9' }

async function register(cwd: string): Promise<string> {
  await mayflyJson(['db', 'migrate'], { cwd })
  await mayflyJson(['resource', 'create', api, '--scope', 'read'], { cwd })
  const { client_secret: secret } = await mayflyJson<{ client_secret: string }>(
    ['client', 'create', 'job', '--audience', api],
    { cwd },
  )
  return basic('job', secret)
}

describe('F05 a full disk', () => {
  it('stops issuing with 503, leaves JWKS and metadata, and heals by itself', async () => {
    const cwd = temporaryFolder()
    mkdirSync(join(cwd, 'data'))
    run('mount', '-t', 'tmpfs', '-o', 'size=2m', 'tmpfs', join(cwd, 'data'))
    onTestFinished(() => void run('umount', '-l', join(cwd, 'data')))
    const authorization = await register(cwd)
    const server = await serve({ cwd, env })
    expect((await requestToken(server, grant, { authorization })).status).toBe(200)

    const ballast = join(cwd, 'data/ballast')
    expect(() => run('dd', 'if=/dev/zero', `of=${ballast}`, 'bs=4096')).toThrow()
    const issued: string[] = []
    let reply = await requestToken(server, grant, { authorization })
    for (let i = 0; i < 3_000 && reply.status === 200; i += 1) {
      issued.push(String(reply.json.access_token))
      reply = await requestToken(server, grant, { authorization })
    }
    expect([reply.status, reply.json.error]).toEqual([503, 'temporarily_unavailable'])
    expect(reply.headers.get('retry-after')).toBe('1')
    for (const path of ['/.well-known/jwks.json', '/.well-known/oauth-authorization-server', '/livez']) {
      expect((await request(`${server.url}${path}`)).status, path).toBe(200)
    }
    expect((await request(`${server.url}/readyz`)).status).toBe(503)

    rmSync(ballast)
    expect((await request(`${server.url}/readyz`)).status).toBe(200)
    expect((await requestToken(server, grant, { authorization })).status).toBe(200)
    expect(await server.end('SIGTERM')).toMatchObject({ code: 0 })
    const store = openStore(join(cwd, 'data/mayfly.db'), { create: false, examine: true })
    expect(await store.check()).toEqual([])
    for (const token of issued) expect(await store.findIssuance(String(claimsOf(token).jti))).toBeDefined()
    await store.close()
  })

  it('is named when a start meets it, and leaves nothing half made', async () => {
    const cwd = temporaryFolder()
    mkdirSync(join(cwd, 'data'))
    run('mount', '-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', join(cwd, 'data'))
    onTestFinished(() => void run('umount', '-l', join(cwd, 'data')))
    const { code, stderr } = await mayfly(['serve'], { cwd, env: { MAYFLY_PORT: '0' } })
    expect(code).toBe(1)
    expect(stderr).toMatch(/is full|cannot be written/)
    run('mount', '-o', 'remount,size=8m', join(cwd, 'data'))
    const server = await serve({ cwd, env })
    expect((await request(`${server.url}/readyz`)).status).toBe(200)
  })
})

describe('F08 a database that cannot be written', () => {
  it('ends the start with one sentence when file or folder are immutable, and starts again afterwards', async () => {
    const cwd = temporaryFolder()
    await register(cwd)
    const folder = join(cwd, 'data')
    const file = join(folder, 'mayfly.db')
    for (const target of [folder, file]) {
      run('chattr', '+i', target)
      onTestFinished(() => void run('chattr', '-i', target))
      const { code, stdout, stderr } = await mayfly(['serve'], { cwd, env: { MAYFLY_PORT: '0' } })
      run('chattr', '-i', target)
      expect([code, stdout]).toEqual([1, ''])
      expect(stderr).toMatch(/^error: .*mayfly\.db or its folder cannot be written/)
      expect(stderr.trimEnd().split('\n')).toHaveLength(1)
    }
    const server = await serve({ cwd, env })
    expect((await request(`${server.url}/readyz`)).status).toBe(200)
  })

  it('answers 503 while the mount below it is read-only, and heals by itself', async () => {
    const cwd = temporaryFolder()
    mkdirSync(join(cwd, 'data'))
    run('mount', '-t', 'tmpfs', '-o', 'size=8m', 'tmpfs', join(cwd, 'data'))
    onTestFinished(() => void run('umount', '-l', join(cwd, 'data')))
    const authorization = await register(cwd)
    run('mount', '-o', 'remount,ro', join(cwd, 'data'))
    const refused = await mayfly(['serve'], { cwd, env: { MAYFLY_PORT: '0' } })
    expect([refused.code, refused.stderr]).toEqual([1, expect.stringMatching(/cannot be written/)])
    run('mount', '-o', 'remount,rw', join(cwd, 'data'))
    const server = await serve({ cwd, env })
    expect((await requestToken(server, grant, { authorization })).status).toBe(200)
  })
})

describe('F18 a kill while the master key is written', () => {
  it.each(['openat', 'write', 'fsync', 'linkat', 'link', 'unlink', 'unlinkat'])(
    'at %s leaves the whole file or none, and the next start goes on',
    async (call) => {
      const cwd = temporaryFolder()
      const trace = join(temporaryFolder(), 'trace')
      const script = `const { createMasterKey } = await import('${join(import.meta.dirname, '../../src/key/master-key-file.ts')}'); createMasterKey('${join(cwd, 'keys/master.key')}')`
      const path =
        call === 'openat' || call === 'unlink' || call === 'unlinkat' || call.startsWith('link')
          ? ['-P', join(cwd, 'keys')]
          : []
      try {
        run(
          'strace',
          '-f',
          '-o',
          trace,
          ...path,
          '-e',
          `inject=${call}:signal=SIGKILL:when=1`,
          process.execPath,
          '--input-type=module',
          '-e',
          script,
        )
      } catch {
        // It was killed, which is the point.
      }
      const key = join(cwd, 'keys/master.key')
      const length = statSync(key, { throwIfNoEntry: false })?.size
      expect([undefined, 44]).toContain(length)
      writeFileSync(join(cwd, 'note'), '')
      const server = await serve({ cwd, env })
      expect((await request(`${server.url}/readyz`)).status).toBe(200)
      expect(await server.end('SIGTERM')).toMatchObject({ code: 0 })
    },
  )
})
