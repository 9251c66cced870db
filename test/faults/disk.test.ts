import { readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { openStore } from '../../src/store/open-store.ts'
import { AcknowledgedLog } from '../support/acknowledged.ts'
import { makeInstallation } from '../support/installation.ts'
import { mayfly, mayflyJson, serve, temporaryFolder } from '../support/process.ts'
import { api, claimsOf, request, requestToken } from '../support/server.ts'
import { mountTmpfs, requireTools, run } from '../support/tools.ts'

beforeAll(() => requireTools('mount', 'umount', 'chattr', 'strace'))

const grant = { grant_type: 'client_credentials' }
const env = { MAYFLY_ISSUER: 'http://127.0.0.1:9' }

describe('F05 a full disk', () => {
  it('stops issuing with 503, leaves JWKS and metadata, and heals by itself', async () => {
    const cwd = temporaryFolder()
    mountTmpfs(join(cwd, 'data'), '2m')
    const { authorization } = await makeInstallation(cwd)
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

  it('is named when a move meets it in the new place; the old one serves on, and the next run needs room alone', async () => {
    const { cwd } = await makeInstallation()
    const target = join(cwd, 'new')
    mountTmpfs(target, '64k')
    const copy = () => mayfly(['db', 'copy', '--to', 'file:new/mayfly.db'], { cwd })
    for (const size of ['128k', '256k', '400k']) {
      run('mount', '-o', `remount,size=${size}`, target)
      const { code, stderr } = await copy()
      expect([code, stderr], size).toEqual([1, expect.stringMatching(/is full: make room|look for room on its disk/)])
      expect(
        readdirSync(target).filter((name) => name.endsWith('.tmp')),
        size,
      ).toEqual([])
      expect(await mayflyJson(['db', 'check'], { cwd })).toMatchObject({ ok: true, unfinished_copy: null })
    }
    run('mount', '-o', 'remount,size=8m', target)
    expect(await copy()).toMatchObject({ code: 0 })
  })

  it('is named when a start meets it, and leaves nothing half made', async () => {
    const cwd = temporaryFolder()
    mountTmpfs(join(cwd, 'data'), '64k')
    const { code, stderr } = await mayfly(['serve'], { cwd, env: { MAYFLY_PORT: '0' } })
    expect(code).toBe(1)
    expect(stderr).toMatch(/is full|cannot be written/)
    run('mount', '-o', 'remount,size=8m', join(cwd, 'data'))
    const server = await serve({ cwd, env })
    expect((await request(`${server.url}/readyz`)).status).toBe(200)
  })
})

describe('F05 a full disk under a command', () => {
  it.each(['nobody', 'a server'])('ends it with one sentence and nothing half done, beside %s', async (beside) => {
    const cwd = temporaryFolder()
    const disk = mountTmpfs(join(cwd, 'data'), '2m')
    const { authorization, place, env } = await makeInstallation(cwd)
    const server = beside === 'nobody' ? undefined : await serve({ cwd, env })
    const ballast = join(disk, 'ballast')
    expect(() => run('dd', 'if=/dev/zero', `of=${ballast}`, 'bs=4096')).toThrow()
    while (server !== undefined && (await requestToken(server, grant, { authorization })).status === 200);
    for (const change of [
      ['client', 'disable', 'job'],
      ['secret', 'create', 'job'],
      ['client', 'create', 'other', '--audience', api],
    ]) {
      const { code, stdout, stderr } = await mayfly(change, { cwd })
      expect([code, stdout, stderr]).toEqual([
        1,
        '',
        expect.stringMatching(/^error: the disk of .*mayfly\.db is full: make room and try again\n$/),
      ])
    }
    rmSync(ballast)
    expect(await mayflyJson(['client', 'list'], { cwd })).toMatchObject([
      { client_id: 'agent', status: 'active' },
      { client_id: 'job', status: 'active' },
    ])
    expect(await mayflyJson(['audit', 'list', '--type', 'client.disabled'], { cwd })).toEqual([])
    expect((await mayfly(['client', 'disable', 'job'], { cwd })).code).toBe(0)
    if (server !== undefined)
      expect((await requestToken(server, grant, { authorization })).json.error).toBe('invalid_client')
    const store = openStore(place, { create: false, examine: true })
    onTestFinished(() => store.close())
    expect(await new AcknowledgedLog().findLost(store)).toEqual([])
  })
})

describe('F06 a full disk under the master key', () => {
  it('ends the first start, and leaves neither a short key nor keys that it cannot open', async () => {
    const cwd = temporaryFolder()
    // Pages for the master key, the witness and what either is written to first.
    const keys = mountTmpfs(join(cwd, 'keys'), '16k')
    writeFileSync(join(keys, 'ballast'), Buffer.alloc(16 * 1024))
    const { code, stdout, stderr } = await mayfly(['serve'], { cwd, env: { MAYFLY_PORT: '0' } })
    expect([code, stdout, stderr.trimEnd().split('\n').length]).toEqual([1, '', 1])
    expect(readdirSync(keys)).toEqual(['ballast'])
    rmSync(join(keys, 'ballast'))
    const server = await serve({ cwd, env })
    expect((await request(`${server.url}/readyz`)).status).toBe(200)
  })
})

describe('F08 a database that cannot be written', () => {
  it('ends the start with one sentence when file or folder are immutable, and starts again afterwards', async () => {
    const cwd = temporaryFolder()
    await makeInstallation(cwd)
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

  it.each([
    { name: 'mayfly.db', token: 200, command: 1 },
    { name: 'mayfly.db-wal', token: 503, command: 1 },
    { name: '.', token: 200, command: 0 },
  ])(
    'gives out no token without a record while $name is immutable under a server, and heals by itself',
    async (made) => {
      const { cwd, authorization, place, env } = await makeInstallation()
      const server = await serve({ cwd, env })
      const log = new AcknowledgedLog()
      const ask = async (): Promise<number> => {
        const reply = await requestToken(server, grant, { authorization })
        if (reply.status === 200) log.tokens.push(String(reply.json.access_token))
        else expect([reply.json.error, reply.headers.get('retry-after')]).toEqual(['temporarily_unavailable', '1'])
        return reply.status
      }
      expect(await ask()).toBe(200)
      const target = join(cwd, 'data', made.name)
      run('chattr', '+i', target)
      try {
        for (let i = 0; i < 3; i += 1) expect(await ask()).toBe(made.token)
        expect((await request(`${server.url}/.well-known/jwks.json`)).status).toBe(200)
        expect((await request(`${server.url}/readyz`)).status).toBe(made.token)
        const { code, stderr } = await mayfly(['client', 'update', 'job', '--access-token-ttl', '1m'], { cwd })
        expect([code, stderr]).toEqual([made.command, expect.stringMatching(/cannot be written|^Changed /)])
        expect(stderr.trimEnd().split('\n')).toHaveLength(1)
      } finally {
        run('chattr', '-i', target)
      }
      expect(await ask()).toBe(200)
      expect((await request(`${server.url}/readyz`)).status).toBe(200)
      expect(await server.end('SIGTERM')).toMatchObject({ code: 0 })
      const store = openStore(place, { create: false, examine: true })
      onTestFinished(() => store.close())
      expect(await log.findLost(store)).toEqual([])
    },
  )

  it('ends the start while the mount below it is read-only, and starts when it is not', async () => {
    const cwd = temporaryFolder()
    mountTmpfs(join(cwd, 'data'), '8m')
    const { authorization } = await makeInstallation(cwd)
    run('mount', '-o', 'remount,ro', join(cwd, 'data'))
    const refused = await mayfly(['serve'], { cwd, env: { MAYFLY_PORT: '0' } })
    expect([refused.code, refused.stderr]).toEqual([1, expect.stringMatching(/cannot be written/)])
    run('mount', '-o', 'remount,rw', join(cwd, 'data'))
    const server = await serve({ cwd, env })
    expect((await requestToken(server, grant, { authorization })).status).toBe(200)
  })
})

describe('F12 a -wal that is lost', () => {
  // What lay in it alone is gone, and the file cannot know. Changes to the registry go into the main file at once, so none
  // of them is lost.
  it('takes no change of the registry with it', async () => {
    const { cwd, authorization, place, env } = await makeInstallation()
    const server = await serve({ cwd, env })
    await mayflyJson(['client', 'create', 'other', '--audience', api], { cwd })
    await mayflyJson(['client', 'disable', 'job'], { cwd })
    expect((await requestToken(server, grant, { authorization })).json.error).toBe('invalid_client')
    await server.end('SIGKILL')
    rmSync(`${place}-wal`)
    const log = new AcknowledgedLog()
    log.changes.push({ type: 'client.created', clientId: 'other' }, { type: 'client.disabled', clientId: 'job' })
    const again = await serve({ cwd, env })
    expect((await requestToken(again, grant, { authorization })).json.error).toBe('invalid_client')
    const store = openStore(place, { create: false, examine: true })
    onTestFinished(() => store.close())
    expect(await log.findLost(store)).toEqual([])
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
