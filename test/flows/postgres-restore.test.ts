/** Backups of a PostgreSQL database, and what comes of putting one back. */
import { existsSync, readdirSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import { describe, expect, it, onTestFinished } from 'vitest'
import { systemClock } from '../../src/lib/clock.ts'
import type { StagedBackup } from '../../src/store/copy/sides.ts'
import { openStoreAt } from '../../src/store/open-store.ts'
import { prepareRestore } from '../../src/store/postgres/restore.ts'
import { stageBackup } from '../../src/store/sqlite/staged-backup.ts'
import type { Store } from '../../src/store/store.ts'
import { AcknowledgedLog } from '../support/acknowledged.ts'
import { beforeQuery, settledOrWaiting } from '../support/between.ts'
import { fillFile, readContent } from '../support/content.ts'
import { startLoad } from '../support/load.ts'
import { connect, password, placeOf, usePostgres } from '../support/postgres.ts'
import { mayfly, mayflyJson } from '../support/process.ts'
import { createRandom, seed } from '../support/seed.ts'
import { addClient, addResource, requestToken, startTestServer, type TestServer } from '../support/server.ts'

const postgres = usePostgres()
const issuer = 'http://127.0.0.1:9'
const grantTypes = ['client_credentials', 'refresh_token'] as const

interface World {
  readonly url: string
  readonly folder: string
  readonly env: Readonly<Record<string, string>>
  readonly agent: { readonly basic: string }
  readonly leaver: { readonly basic: string }
  readonly backup: string
  serve(): Promise<TestServer>
}

/** A database that moved here from a file with rows in every table, with two clients. */
async function makeWorld(rows = 20): Promise<World> {
  const server = await startTestServer({ env: { MAYFLY_ISSUER: issuer } })
  await addResource(server.store)
  const agent = await addClient(server.store, 'agent', { grantTypes })
  const leaver = await addClient(server.store, 'leaver', { grantTypes })
  await server.stop()
  const { folder } = server
  fillFile(join(folder, 'data/mayfly.db'), createRandom(1), rows)
  const url = await postgres().makeDatabase({ empty: true })
  await mayflyJson(['db', 'copy', '--to', url], { cwd: folder })
  const env = { MAYFLY_DATABASE_URL: url, MAYFLY_ISSUER: issuer }
  const serve = () => startTestServer({ folder, env })
  return { url, folder, env, agent, leaver, backup: join(folder, 'backup.db'), serve }
}

async function withStore<T>({ url }: World, use: (store: Store) => Promise<T>): Promise<T> {
  const store = await openStoreAt(placeOf(url), { create: false, examine: false })
  try {
    return await use(store)
  } finally {
    await store.close()
  }
}

const begin = async (server: TestServer, { basic }: { readonly basic: string }): Promise<string> => {
  const { json } = await requestToken(server, { grant_type: 'client_credentials' }, { authorization: basic })
  return String(json.refresh_token)
}
const refresh = (server: TestServer, { basic }: { readonly basic: string }, token: string) =>
  requestToken(server, { grant_type: 'refresh_token', refresh_token: token }, { authorization: basic })

const filePlace = (databasePath: string) => ({ databasePath })
const restore = ({ folder, env }: World, ...args: string[]) =>
  mayflyJson<Record<string, unknown>>(['db', 'restore', ...args], { cwd: folder, env })

describe(`a backup of PostgreSQL (seed ${seed})`, () => {
  it('is a file with all that the database holds, for its owner alone, and a store of its own', async () => {
    const world = await makeWorld()
    const made = await mayflyJson(['db', 'backup', 'backup.db'], { cwd: world.folder, env: world.env })
    expect(made).toMatchObject({ backup: world.backup, holds_master_key: false })
    expect(statSync(world.backup).mode & 0o777).toBe(0o600)
    expect(await readContent(filePlace(world.backup))).toEqual(await readContent(placeOf(world.url)))
    expect(readdirSync(world.folder).filter((name) => name.startsWith('backup'))).toEqual(['backup.db'])
    const store = await openStoreAt(filePlace(world.backup), { create: false, examine: true })
    onTestFinished(() => store.close())
    expect(await store.check()).toEqual([])
  })

  it('is of one moment while tokens are issued, with all that were acknowledged before', async () => {
    const world = await makeWorld(0)
    const server = await world.serve()
    const log = new AcknowledgedLog()
    const load = startLoad(server, world.agent.basic, 6, ({ token }) => {
      if (token !== undefined) log.tokens.push(token)
    })
    while (log.tokens.length < 20) await new Promise((resolve) => setImmediate(resolve))
    const before = log.tokens.length
    await server.store.backup(world.backup)
    await load.stop()
    expect(log.tokens.length).toBeGreaterThan(before)
    const store = await openStoreAt(filePlace(world.backup), { create: false, examine: true })
    onTestFinished(() => store.close())
    log.tokens.splice(before)
    expect(await log.findLost(store)).toEqual([])
    const sqlite = new Database(world.backup, { readonly: true })
    onTestFinished(() => void sqlite.close())
    // Each token of the agent came with a family, in one transaction.
    const alone = sqlite.prepare(`SELECT count(*) FROM issuance i WHERE client_id = 'agent'
      AND NOT EXISTS (SELECT 1 FROM refresh_family f WHERE f.family_id = i.family_id)`)
    expect(alone.pluck().get()).toBe(0)
  })

  it('is not written over a file, nor where nothing can be written, and leaves nothing then', async () => {
    const world = await makeWorld()
    writeFileSync(world.backup, 'mine')
    const store = await openStoreAt(placeOf(world.url), { create: false, examine: false })
    onTestFinished(() => store.close())
    await expect(store.backup(world.backup)).rejects.toThrow(`${world.backup} exists: give the backup a new name`)
    await expect(store.backup(join(world.backup, 'x.db'))).rejects.toThrow('cannot be written: look for room')
    const client = await connect(world.url)
    await client.query('ALTER TABLE replay RENAME TO gone')
    await expect(store.backup(join(world.folder, 'late.db'))).rejects.toThrow(/relation "replay" does not exist/)
    expect(readdirSync(world.folder).filter((name) => name.includes('late'))).toEqual([])
  })
})

describe('a backup that is put back into PostgreSQL', { timeout: 120_000 }, () => {
  it('F13 I2 ends all of before, says what is gone, keeps what was there, and serves again', async () => {
    const world = await makeWorld()
    const server = await world.serve()
    const [used, kept] = [await begin(server, world.agent), await begin(server, world.leaver)]
    await server.store.backup(world.backup)
    const second = String((await refresh(server, world.agent, used)).json.refresh_token)
    const later = await begin(server, world.agent)
    await server.store.offboardClient('leaver', 'cli:test')
    await addClient(server.store, 'late')
    await server.stop()
    const before = await readContent(placeOf(world.url))
    const sequence = await withStore(world, (store) => store.readRegistrySequence())
    const done = await restore(world, 'backup.db')
    expect(done).toMatchObject({
      lost_changes: 3,
      restored_from: world.backup,
      sequences: { to: { registry: sequence + 1 } },
    })
    expect(done.advice).toEqual([expect.stringContaining('client offboard leaver')])
    const [, schema = ''] = /, schema (before_restore_\d+)$/.exec(String(done.replaced)) ?? []
    const client = await connect(world.url)
    const { rows } = await client.query(`SELECT count(*)::int AS kept FROM ${schema}.audit_event`)
    expect(rows).toEqual([{ kept: before.audit_event?.length }])
    const again = await world.serve()
    for (const [who, token] of [
      [world.agent, used],
      [world.agent, second],
      [world.agent, later],
      [world.leaver, kept],
    ] as const) {
      const refused = await refresh(again, who, token)
      expect([refused.status, refused.json.error]).toEqual([400, 'invalid_grant'])
    }
    expect((await refresh(again, world.agent, await begin(again, world.agent))).status).toBe(200)
    expect(await again.store.check()).toEqual([])
    expect((await again.store.findClient('late')).value).toBeUndefined()
    await again.stop()
    // And once more, with what is in the schema of the first time in nobody's way.
    expect((await restore(world, 'backup.db')).replaced).not.toBe(done.replaced)
  })

  it('makes the database where it is empty, also from the backup of a file, and one that was moved away', async () => {
    const world = await makeWorld()
    const file = filePlace(join(world.folder, 'data/mayfly.db'))
    const old = await openStoreAt(file, { create: false, examine: false, evenIfMoved: true })
    await old.backup(world.backup)
    await old.close()
    const url = await postgres().makeDatabase({ empty: true })
    const done = await restore({ ...world, url, env: { ...world.env, MAYFLY_DATABASE_URL: url } }, 'backup.db')
    expect(done).toMatchObject({ replaced: null, lost_changes: null })
    expect(await withStore({ ...world, url }, (store) => store.check())).toEqual([])
    const here = await readContent(placeOf(url))
    const { client, issuance, replay, mark } = await readContent(file)
    expect(here).toMatchObject({ client, issuance, replay, mark })
    // The other one is behind its witness now.
    const { stderr } = await mayfly(['serve'], { cwd: world.folder, env: world.env })
    expect(stderr).toContain('is an older copy of the database')
  })

  it('changes nothing where it is refused', async () => {
    const world = await makeWorld()
    await withStore(world, (store) => store.backup(world.backup))
    const stranger = await startTestServer()
    await stranger.store.backup(join(world.folder, 'young.db'))
    const change = (name: string, statement: string): void => {
      const sqlite = new Database(join(world.folder, name))
      sqlite.exec(statement)
      sqlite.close()
    }
    change('young.db', `UPDATE installation SET store_id = 'another'`)
    await withStore(world, (store) => store.backup(join(world.folder, 'newer.db')))
    change('newer.db', `INSERT INTO migration VALUES (99, 'new', 0)`)
    writeFileSync(join(world.folder, 'text.db'), 'no database')
    const before = await readContent(placeOf(world.url))
    const cases: readonly (readonly [string, RegExp])[] = [
      ['young.db', /is a backup of another database than postgres:/],
      ['newer.db', /was written by a newer Mayfly/],
      ['text.db', /is no Mayfly database/],
      ['absent.db', /cannot be read \(ENOENT\)/],
    ]
    const run = () => mayfly(['db', 'restore', 'backup.db'], { cwd: world.folder, env: world.env })
    for (const [name, sentence] of cases) {
      const { code, stdout, stderr } = await mayfly(['db', 'restore', name], { cwd: world.folder, env: world.env })
      expect([code, stdout], name).toEqual([1, ''])
      expect(stderr).toMatch(sentence)
      expect(stderr).not.toContain(password)
    }
    const server = await world.serve()
    expect((await run()).stderr).toMatch(/is in use: stop all servers/)
    await server.stop()
    const now = await readContent(placeOf(world.url))
    expect({ ...now, sequence: [], ring_mark: [], client_secret: [] }).toEqual({
      ...before,
      sequence: [],
      ring_mark: [],
      client_secret: [],
    })
    expect(readdirSync(world.folder).filter((name) => name.includes('.restore-'))).toEqual([])
    expect((await run()).code).toBe(0)
  })

  it('leaves what was there when it ends at any table, by a failure or with its connection', async () => {
    const world = await makeWorld(5)
    await withStore(world, (store) => store.backup(world.backup))
    const before = await readContent(placeOf(world.url))
    const { databasePath: location, postgresUrl } = placeOf(world.url)
    if (postgresUrl === undefined) throw new Error('no PostgreSQL')
    const client = await connect(world.url)
    for (let table = 1; table <= 16; table += 1) {
      let read = 0
      const stage = (): StagedBackup => {
        const staged = stageBackup(world.backup, systemClock)
        return {
          ...staged,
          readRows: (...args) => {
            const rows = staged.readRows(...args)
            if (args[1] !== undefined || ++read !== table) return rows
            if (table % 2 === 0) throw new Error('killed')
            return [...rows, [...(rows[0] ?? Array.from({ length: 20 }, () => null)), 'one too many']]
          },
        }
      }
      const restoring = await prepareRestore({ url: postgresUrl, location }, stage, systemClock)
      await restoring.store.acceptAsPresent(restoring.known, 'cli:test')
      await expect(restoring.finish(), `table ${table}`).rejects.toThrow()
      expect(read).toBe(table)
      expect(await readContent(placeOf(world.url))).toEqual(before)
      expect(existsSync(`${world.backup}-wal`)).toBe(false)
    }
    const { rows } = await client.query(`SELECT nspname FROM pg_namespace WHERE nspname LIKE 'before_restore%'`)
    expect(rows).toEqual([])
    const cut = await prepareRestore(
      { url: postgresUrl, location },
      () => stageBackup(world.backup, systemClock),
      systemClock,
    )
    await client.query(
      `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'mayfly copy' AND datname = current_database()`,
    )
    await cut.store.acceptAsPresent(cut.known, 'cli:test')
    await expect(cut.finish()).rejects.toThrow()
    expect(await readContent(placeOf(world.url))).toEqual(before)
    expect(readdirSync(world.folder).filter((name) => name.includes('.restore-'))).toEqual([])
  })

  it('is refused when somebody has changed the database since it was looked at', async () => {
    const world = await makeWorld(5)
    await withStore(world, (store) => store.backup(world.backup))
    const { databasePath: location, postgresUrl } = placeOf(world.url)
    if (postgresUrl === undefined) throw new Error('no PostgreSQL')
    const stage = () => stageBackup(world.backup, systemClock)
    const restoring = await prepareRestore({ url: postgresUrl, location }, stage, systemClock)
    await withStore(world, (store) => store.setClientStatus('leaver', 'disabled', 'cli:test'))
    await restoring.store.acceptAsPresent(restoring.known, 'cli:test')
    await expect(restoring.finish()).rejects.toThrow('is in use: stop all servers')
    expect((await withStore(world, (store) => store.findClient('leaver'))).value?.status).toBe('disabled')
  })

  it('is not mixed with what a node makes that starts in the middle, where there was nothing', async () => {
    const world = await makeWorld(5)
    await withStore(world, (store) => store.backup(world.backup))
    const place = placeOf(await postgres().makeDatabase({ empty: true }))
    if (place.postgresUrl === undefined) throw new Error('no PostgreSQL')
    const stage = () => stageBackup(world.backup, systemClock)
    const restoring = await prepareRestore({ url: place.postgresUrl, location: place.databasePath }, stage, systemClock)
    const { storeId } = await restoring.store.acceptAsPresent(restoring.known, 'cli:test')
    let node: Promise<Store> | undefined
    const started = beforeQuery(/to_regclass/, async () => {
      node = openStoreAt(place, { create: true, examine: false })
      await settledOrWaiting(place, node)
    })
    // What was there is deleted before the rows of the backup are written; in between the node makes the store its own.
    const claimed = beforeQuery(/^INSERT INTO installation/, async () => {
      const client = await connect(place.postgresUrl?.reveal() ?? '')
      await client
        .query(`INSERT INTO installation (id, store_id, created_at) VALUES (1, 'of-the-node', 0)`)
        .catch((error: Error) => expect(error.message).toContain('does not exist'))
    })
    await restoring.finish()
    expect([started(), claimed()]).toEqual([true, true])
    const store = await node
    expect((await store?.readKeys())?.storeId).toBe(storeId)
    await store?.close()
  })
})
