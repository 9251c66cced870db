/** Going back in time, by the server and the commands as people run them: old backups, copies beside a foreign -wal, kills. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { copyFileSync, existsSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import { openStore } from '../../src/store/open-store.ts'
import { makeInstallation } from '../support/installation.ts'
import { startLoad } from '../support/load.ts'
import { cleanEnvironment, launcher, mayfly, mayflyJson, type ServerProcess, serve } from '../support/process.ts'
import { createRandom, seed } from '../support/seed.ts'
import {
  addClient,
  addResource,
  claimsOf,
  type Reply,
  request,
  requestToken,
  startTestServer,
} from '../support/server.ts'

const grant = { grant_type: 'client_credentials' }
const refreshing = { grantTypes: ['client_credentials', 'refresh_token'] } as const

interface World {
  readonly cwd: string
  readonly place: string
  readonly env: Readonly<Record<string, string>>
  /** The `Authorization` headers of a client that refreshes, and of one that is going to leave. */
  readonly job: string
  readonly leaver: string
}

async function makeWorld(): Promise<World> {
  const { cwd, place, env } = await makeInstallation()
  const store = openStore(place, { create: false, examine: false })
  const [job, leaver] = [await addClient(store, 'worker', refreshing), await addClient(store, 'leaver', refreshing)]
  await store.close()
  return { cwd, place, env, job: job.basic, leaver: leaver.basic }
}

const begin = (server: ServerProcess, authorization: string): Promise<Reply> =>
  requestToken(server, grant, { authorization })

const refresh = (server: ServerProcess, authorization: string, ticket: unknown): Promise<Reply> =>
  requestToken(server, { grant_type: 'refresh_token', refresh_token: String(ticket) }, { authorization })

/** A backup, and after it what must not be taken back: used refresh tokens, a new family, a client that has left. */
async function liveOn(world: World, server: ServerProcess) {
  const { cwd, job, leaver } = world
  const used = [await begin(server, job), await begin(server, job)].map(({ json }) => json.refresh_token)
  const left = (await begin(server, leaver)).json.refresh_token
  await mayflyJson(['db', 'backup', 'backup.db'], { cwd })
  const current = await Promise.all(used.map(async (ticket) => (await refresh(server, job, ticket)).json.refresh_token))
  const later = (await begin(server, job)).json.refresh_token
  await mayflyJson(['client', 'offboard', 'leaver'], { cwd })
  expect((await begin(server, leaver)).status).toBe(401)
  return { used, current, later, left }
}

function putOldFileBack({ cwd, place }: World): void {
  for (const end of ['-wal', '-shm']) rmSync(`${place}${end}`, { force: true })
  copyFileSync(join(cwd, 'backup.db'), place)
}

async function expectNoStart({ cwd, env }: World, sentence: RegExp): Promise<void> {
  const { code, stdout, stderr } = await mayfly(['serve'], { cwd, env: { ...env, MAYFLY_PORT: '0' } })
  expect([code, stdout]).toEqual([1, ''])
  expect(stderr).toMatch(sentence)
}

const isOlderCopy =
  /^error: [^\n]* is an older copy of the database[^\n]*db restore FILE[^\n]*db restore --accept-current/

describe('F13 an older backup', { timeout: 120_000 }, () => {
  it.each([
    ['put in place by hand and accepted', ['--accept-current']],
    ['restored', ['backup.db']],
  ])('I2 %s, makes no used refresh token and no family usable again, and issues anew', async (_, args) => {
    const world = await makeWorld()
    const { cwd, env, job } = world
    const before = await serve({ cwd, env })
    const tickets = await liveOn(world, before)
    await before.end('SIGTERM')
    putOldFileBack(world)
    await expectNoStart(world, isOlderCopy)
    await mayflyJson(['db', 'restore', ...args], { cwd })
    const after = await serve({ cwd, env })
    const started = await begin(after, job)
    expect(started.status).toBe(200)
    for (const ticket of [...tickets.used, ...tickets.current, tickets.later]) {
      const refused = await refresh(after, job, ticket)
      expect([refused.status, refused.json.error]).toEqual([400, 'invalid_grant'])
    }
    expect((await refresh(after, world.leaver, tickets.left)).status).toBe(400)
    expect((await refresh(after, job, started.json.refresh_token)).status).toBe(200)
    const [record] = await withStore(world, (store) => store.listAudit({ type: 'store.restored', limit: 1 }))
    expect(Number(claimsOf(String(started.json.access_token)).iat) * 1000).toBeGreaterThan(record?.at ?? Number.NaN)
    await after.end('SIGTERM')
    const again = await serve({ cwd, env })
    expect((await begin(again, job)).status).toBe(200)
  })

  it('beside the -wal of a server that was killed is not served, and what is restored has nothing of that -wal', async () => {
    const world = await makeWorld()
    const { cwd, env, job, place } = world
    const before = await serve({ cwd, env })
    await liveOn(world, before)
    await before.end('SIGKILL')
    expect(existsSync(`${place}-wal`)).toBe(true)
    copyFileSync(join(cwd, 'backup.db'), place)
    await expectNoStart(world, /is an older copy|is damaged/)
    await mayflyJson(['db', 'restore', 'backup.db'], { cwd })
    const found = await withStore(world, async (store) => ({
      problems: await store.check(),
      left: (await store.findClient('leaver')).value?.status,
      changes: await store.listAudit({ type: 'client.offboarded', limit: 1 }),
    }))
    expect(found).toEqual({ problems: [], left: 'active', changes: [] })
    const after = await serve({ cwd, env })
    expect((await begin(after, job)).status).toBe(200)
  })

  it('F03 is told from a database whose last change was committed while its process died', async () => {
    const world = await makeWorld()
    const store = openStore(world.place, { create: false, examine: false })
    await store.offboardClient('leaver', 'cli:test')
    await store.close()
    const server = await serve(world)
    expect((await begin(server, world.job)).status).toBe(200)
  })
})

async function withStore<T>({ place }: World, use: (store: ReturnType<typeof openStore>) => Promise<T>): Promise<T> {
  const store = openStore(place, { create: false, examine: true })
  try {
    return await use(store)
  } finally {
    await store.close()
  }
}

describe('F14 a backup under load', { timeout: 180_000 }, () => {
  it('is of one moment, and serves when it is restored', async () => {
    const world = await makeWorld()
    const { cwd, env, job } = world
    const server = await serve({ cwd, env })
    let issued = 0
    const load = startLoad(server, job, 4, ({ token }) => {
      if (token !== undefined) issued += 1
    })
    while (issued < 200) await pause(5)
    await mayflyJson(['db', 'backup', 'backup.db'], { cwd })
    const atEnd = issued
    await load.stop()
    await server.end('SIGTERM')
    await mayflyJson(['db', 'restore', 'backup.db'], { cwd })
    const { problems, records } = await withStore(world, async (store) => ({
      problems: await store.check(),
      records: (await store.listAudit({ type: 'token.issued', limit: 100_000 })).length,
    }))
    expect(problems).toEqual([])
    expect(records).toBeGreaterThanOrEqual(200)
    expect(records).toBeLessThanOrEqual(atEnd + 4)
    const after = await serve({ cwd, env })
    expect((await begin(after, job)).status).toBe(200)
  })

  it(`that is killed leaves a whole file under its name, or none (seed ${seed})`, async () => {
    const random = createRandom()
    const world = await makeWorld()
    const server = await serve(world)
    const load = startLoad(server, world.job, 2, () => {})
    let [whole, killed] = [0, 0]
    for (let i = 0; i < 8; i += 1) {
      const file = join(world.cwd, `backup-${i}.db`)
      const options = { cwd: world.cwd, env: cleanEnvironment(world.env), stdio: 'ignore' as const }
      const child = spawn(process.execPath, [launcher, 'db', 'backup', file], options)
      const closed = once(child, 'close')
      // Half of the kills come once the copy has been begun.
      if (i % 2 === 0) await pause(random.between(100, 1_500))
      else while (child.exitCode === null && !hasBegun(world, file)) await pause(1)
      child.kill('SIGKILL')
      const [code] = await closed
      if (code === null) killed += 1
      if (!existsSync(file)) continue
      whole += 1
      const copy = openStore(file, { create: false, examine: true })
      expect(await copy.check()).toEqual([])
      await copy.close()
    }
    await load.stop()
    expect(killed).toBeGreaterThan(0)
    expect(whole).toBeLessThan(8)
  })
})

const hasBegun = ({ cwd }: World, file: string): boolean =>
  readdirSync(cwd).some((name) => join(cwd, name).startsWith(`${file}.`)) || existsSync(file)

describe('a server whose witness cannot be written', () => {
  it('I23 answers 503 to what ends something, though it is ended, issues on, says so, and heals', async () => {
    const server = await startTestServer({ env: { MAYFLY_WITNESS_FILE: 'witness/file' } })
    await addResource(server.store)
    const worker = await addClient(server.store, 'worker', refreshing)
    const ask = (form: Record<string, string>) => requestToken(server, form, { authorization: worker.basic })
    const first = await ask(grant)
    const again = { grant_type: 'refresh_token', refresh_token: String(first.json.refresh_token) }
    const second = await ask(again)
    await ask({ ...again, refresh_token: String(second.json.refresh_token) })
    const folder = join(server.folder, 'witness')
    rmSync(folder, { recursive: true })
    writeFileSync(folder, '')
    const reuse = await ask(again)
    expect([reuse.status, reuse.json.error]).toEqual([503, 'temporarily_unavailable'])
    expect(await server.store.listAudit({ type: 'family.ended', limit: 5 })).toMatchObject([{ reason: 'reused' }])
    expect((await ask(grant)).status).toBe(200)
    const verbose = async () => (await request(`${server.url}/readyz?verbose`)).json.checks
    expect((await request(`${server.url}/readyz`)).status).toBe(200)
    expect(await verbose()).toContainEqual({ name: 'witness', ok: true, warning: expect.any(String) })
    rmSync(folder)
    expect(await verbose()).toContainEqual({ name: 'witness', ok: true })
    expect((await ask(again)).status).toBe(400)
  })
})
