import {
  chmodSync,
  copyFileSync,
  existsSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import { describe, expect, it, onTestFinished } from 'vitest'
import { systemClock } from '../../src/lib/clock.ts'
import { StoreUnavailable } from '../../src/lib/store-error.ts'
import { openStore } from '../../src/store/open-store.ts'
import { migrate, readMigrationState } from '../../src/store/sqlite/migrate.ts'
import { openDatabase } from '../../src/store/sqlite/open.ts'
import type { Store } from '../../src/store/store.ts'
import { testStore } from '../suites/store.ts'
import { mayfly, temporaryFolder } from '../support/process.ts'
import { addClient, addResource } from '../support/server.ts'

function closeAfter(store: Store): Store {
  onTestFinished(() => store.close())
  return store
}

testStore('SQLite', {
  batches: true,
  create: async (clock) =>
    closeAfter(openStore(join(temporaryFolder(), 'mayfly.db'), { create: true, examine: true, clock })),
  openOther: async (store, clock) => closeAfter(openStore(store.location, { create: false, examine: false, clock })),
  breakInserts: async (store, table, how) => {
    const sqlite = new Database(store.location)
    const raise = { statement: `ABORT, 'broken'`, transaction: `ROLLBACK, 'broken'`, silently: 'IGNORE' }[how]
    sqlite.exec(`CREATE TRIGGER broken BEFORE INSERT ON ${table} BEGIN SELECT RAISE(${raise}); END`)
    return async () => {
      sqlite.exec('DROP TRIGGER broken')
      sqlite.close()
    }
  },
  holds: async (store, text) => {
    const sqlite = new Database(store.location, { readonly: true })
    const halves = sqlite.prepare('SELECT encrypted_private_key FROM signing_key').pluck().all() as Buffer[]
    sqlite.close()
    return halves.filter((half) => half.includes(text)).length
  },
})

const create = { create: true, examine: true } as const
const use = { create: false, examine: false } as const

async function filledDatabase(): Promise<string> {
  const path = join(temporaryFolder(), 'mayfly.db')
  const store = openStore(path, create)
  await addResource(store)
  for (let i = 0; i < 50; i += 1) await addClient(store, `client-${i}`)
  await store.close()
  return path
}

describe('a SQLite file', () => {
  it('is made for its owner alone, folders too', () => {
    const folder = temporaryFolder()
    const path = join(folder, 'a/b/mayfly.db')
    const sqlite = openDatabase(path, { ...create, now: 0 })
    for (const file of [path, `${path}-wal`]) expect(statSync(file).mode & 0o777).toBe(0o600)
    expect(statSync(join(folder, 'a')).mode & 0o777).toBe(0o700)
    sqlite.close()
  })

  it('F02 is durable at every open: WAL and synchronous=FULL, on a new file, an old one and after writes', () => {
    const path = join(temporaryFolder(), 'mayfly.db')
    for (const options of [create, use, use]) {
      const sqlite = openDatabase(path, { ...options, now: 0 })
      sqlite.exec(`UPDATE sequence SET value = value + 1`)
      expect(sqlite.pragma('journal_mode', { simple: true })).toBe('wal')
      expect(sqlite.pragma('synchronous', { simple: true })).toBe(2)
      expect(sqlite.pragma('foreign_keys', { simple: true })).toBe(1)
      sqlite.close()
    }
  })

  it('has only STRICT tables', () => {
    const sqlite = openDatabase(join(temporaryFolder(), 'mayfly.db'), { ...create, now: 0 })
    const tables = (sqlite.pragma('table_list') as { name: string; type: string; strict: number }[]).filter(
      ({ name, type }) => type === 'table' && !name.startsWith('sqlite_'),
    )
    expect(tables.length).toBeGreaterThan(8)
    expect(tables.filter(({ strict }) => strict === 0)).toEqual([])
    sqlite.close()
  })

  it('is not made by a command that only uses it, which names the absolute path', () => {
    const path = join(temporaryFolder(), 'none/mayfly.db')
    expect(() => openStore(path, use)).toThrow(path)
    expect(existsSync(path)).toBe(false)
  })

  it('F12 is refused when a page is damaged, and the sentence says what to do', async () => {
    const path = await filledDatabase()
    const file = openSync(path, 'r+')
    for (let page = 1; page * 4096 < statSync(path).size; page += 1)
      writeSync(file, Buffer.alloc(2048, 0x5a), 0, 2048, page * 4096)
    expect(() => openStore(path, create)).toThrow(/is damaged: .*mayfly db backup/)
  })

  it('F12 is refused when it is cut short, is no database, or is a folder', async () => {
    const cut = await filledDatabase()
    truncateSync(cut, Math.floor(statSync(cut).size / 2 / 4096) * 4096)
    expect(() => openStore(cut, create)).toThrow(/is damaged/)
    const text = join(temporaryFolder(), 'text.db')
    writeFileSync(text, 'this is not a database, it is a text that is long enough to be looked at '.repeat(20))
    expect(() => openStore(text, create)).toThrow(/is damaged/)
    expect(() => openStore(temporaryFolder(), create)).toThrow(/is not a file/)
  })

  it('F12 is refused beside a stray rollback journal', async () => {
    const path = await filledDatabase()
    writeFileSync(`${path}-journal`, 'stray')
    expect(() => openStore(path, create)).toThrow(/-journal lies beside/)
    rmSync(`${path}-journal`)
    await openStore(path, create).close()
  })

  it('F12 keeps the first keys when its -wal is lost right after the first start', async () => {
    const { prepareApp } = await import('../../src/app/prepare.ts')
    const { parseSettings } = await import('../../src/config/settings.ts')
    const { silentLog } = await import('../../src/lib/log.ts')
    const folder = temporaryFolder()
    const settings = parseSettings({}, folder)
    const app = await prepareApp(settings, { log: silentLog })
    const copy = join(temporaryFolder(), 'copy.db')
    copyFileSync(settings.databasePath, copy)
    const before = await app.store.readKeys()
    await app.close()
    const restored = closeAfter(openStore(copy, use))
    expect((await restored.readKeys())?.storeId).toBe(before?.storeId)
  })

  it('is refused when it belongs to another program', () => {
    const path = join(temporaryFolder(), 'other.db')
    const other = new Database(path)
    other.exec('CREATE TABLE theirs (x)')
    other.close()
    expect(() => openStore(path, create)).toThrow(/of another program/)
    expect(new Database(path).prepare('SELECT count(*) FROM theirs').pluck().get()).toBe(0)
  })

  it('is refused when a newer version wrote it, and when it needs a migration that was not asked for', async () => {
    const newer = await filledDatabase()
    const sqlite = new Database(newer)
    sqlite.exec(`INSERT INTO migration (position, hash, applied_at) VALUES (99, 'future', 0)`)
    sqlite.close()
    expect(() => openStore(newer, create)).toThrow(/newer Mayfly/)
    const older = join(temporaryFolder(), 'older.db')
    writeFileSync(older, '')
    expect(() => openStore(older, use)).toThrow(/mayfly db migrate/)
  })

  it('is migrated once when several processes start at the same time', async () => {
    const cwd = temporaryFolder()
    const runs = await Promise.all(Array.from({ length: 3 }, () => mayfly(['db', 'migrate', '--json'], { cwd })))
    expect(runs.map(({ code, stderr }) => [code, /error/.test(stderr)])).toEqual([
      [0, false],
      [0, false],
      [0, false],
    ])
    const made = runs.map(({ stdout }) => JSON.parse(stdout) as { made_keys: boolean })
    expect(made.filter((run) => run.made_keys)).toHaveLength(1)
    const check = await mayfly(['db', 'check', '--json'], { cwd })
    expect(JSON.parse(check.stdout)).toMatchObject({ ok: true })
  })

  it('loses no row to a migration that rebuilds a parent table', () => {
    const path = join(temporaryFolder(), 'mayfly.db')
    const sqlite = openDatabase(path, { ...create, now: 0 })
    sqlite.exec(`INSERT INTO root_key VALUES (1, x'00', 0)`)
    sqlite.exec(
      `INSERT INTO signing_key (kid, alg, state, public_jwk, encrypted_private_key, root_version, created_at, published_at) VALUES ('k', 'ES256', 'staged', '{}', x'00', 1, 0, 0)`,
    )
    sqlite.exec(`DELETE FROM migration`)
    expect(readMigrationState(sqlite).pending).toBeGreaterThan(0)
    // As drizzle-kit rebuilds a table: the children refer to it while it is gone.
    sqlite.pragma('foreign_keys = OFF')
    sqlite.exec(
      `CREATE TABLE new_root (version INTEGER PRIMARY KEY, wrapped BLOB NOT NULL, created_at INTEGER NOT NULL) STRICT; INSERT INTO new_root SELECT * FROM root_key; DROP TABLE root_key; ALTER TABLE new_root RENAME TO root_key`,
    )
    expect(sqlite.prepare('SELECT count(*) FROM signing_key').pluck().get()).toBe(1)
    expect(sqlite.pragma('foreign_key_check')).toEqual([])
    expect(() => migrate(sqlite, 0)).toThrow()
    expect(sqlite.prepare('SELECT count(*) FROM signing_key').pluck().get()).toBe(1)
    expect(sqlite.pragma('foreign_keys', { simple: true })).toBe(1)
    sqlite.close()
  })

  it('waits for another process that writes, then does its work, and gives up after a second', async () => {
    const path = await filledDatabase()
    const store = closeAfter(openStore(path, use))
    const other = new Database(path)
    onTestFinished(() => void other.close())
    other.exec('BEGIN IMMEDIATE')
    const waiting = store.checkWritable()
    setTimeout(() => other.exec('COMMIT'), 200)
    await waiting
    other.exec('BEGIN IMMEDIATE')
    const started = systemClock.monotonicMilliseconds()
    await expect(store.checkWritable()).rejects.toThrow()
    expect(systemClock.monotonicMilliseconds() - started).toBeGreaterThanOrEqual(1000)
    other.exec('ROLLBACK')
    await store.checkWritable()
  })

  it('lets a bounded number of acts wait, and refuses the next at once', async () => {
    const store = closeAfter(openStore(await filledDatabase(), use))
    const event = { type: 'token.refusals_sampled', address: '*', counts: {} } as const
    const waiting = Array.from({ length: 20_000 }, () => store.recordRefusal(event))
    await expect(store.recordRefusal(event)).rejects.toBeInstanceOf(StoreUnavailable)
    await Promise.all(waiting)
    await store.recordRefusal(event)
  })

  it('is backed up while it is written, for its owner alone, and the copy opens', async () => {
    const path = await filledDatabase()
    const store = closeAfter(openStore(path, use))
    const file = join(temporaryFolder(), 'backup.db')
    const writes = Promise.all(
      Array.from({ length: 50 }, (_, i) =>
        store.updateResource('https://api.example.test', { name: `n${i}` }, 'cli:test'),
      ),
    )
    await store.backup(file)
    await writes
    expect(statSync(file).mode & 0o777).toBe(0o600)
    const copy = closeAfter(openStore(file, create))
    expect(await copy.check()).toEqual([])
    expect(await copy.listClients({ limit: 100 })).toHaveLength(50)
    await expect(store.backup(file)).rejects.toThrow(/exists/)
    await expect(store.backup(join(temporaryFolder(), 'no/such/folder.db'))).rejects.toThrow(/cannot be written/)
  })

  it('F12 keeps changes that were made before its -wal was lost', async () => {
    const path = await filledDatabase()
    const store = closeAfter(openStore(path, use))
    await store.setClientStatus('client-1', 'disabled', 'cli:test')
    const copy = join(temporaryFolder(), 'copy.db')
    copyFileSync(path, copy)
    expect((await closeAfter(openStore(copy, use)).findClient('client-1')).value?.status).toBe('disabled')
  })

  it('writes something when it is asked whether it can', async () => {
    const path = await filledDatabase()
    const store = closeAfter(openStore(path, use))
    await store.checkWritable()
    const before = statSync(`${path}-wal`).size
    const sequence = await store.readRegistrySequence()
    await store.checkWritable()
    expect(statSync(`${path}-wal`).size).toBeGreaterThan(before)
    expect(await store.readRegistrySequence()).toBe(sequence)
  })

  it('holds no secret in clear', async () => {
    const path = join(temporaryFolder(), 'mayfly.db')
    const store = openStore(path, create)
    await addResource(store)
    const { secret } = await addClient(store, 'billing')
    await store.close()
    expect(readFileSync(path).includes(secret)).toBe(false)
    expect(readFileSync(path).includes(secret.slice(20, 63))).toBe(false)
  })

  it('says what it cannot write to', () => {
    const folder = temporaryFolder()
    writeFileSync(join(folder, 'file'), '')
    expect(() => openStore(join(folder, 'file/mayfly.db'), create)).toThrow(/cannot be written|not a file/)
    chmodSync(folder, 0o700)
  })
})
