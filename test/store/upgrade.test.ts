/** A filled database of an older version, brought up to date. */
import { createHash } from 'node:crypto'
import { mkdirSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import Database from 'better-sqlite3'
import { describe, expect, it, onTestFinished } from 'vitest'
import { makeSigningKey } from '../../src/key/make-key.ts'
import { createMasterKey } from '../../src/key/master-key-file.ts'
import { makeRootKey, wrapRootKey } from '../../src/key/root-key.ts'
import { leadLeftMilliseconds } from '../../src/key/rotate.ts'
import { signingAlgs } from '../../src/key/signer.ts'
import type { KeyState } from '../../src/key/signing-key.ts'
import { openStore } from '../../src/store/open-store.ts'
import { readMigrationFiles } from '../../src/store/sqlite/drizzle.ts'
import { applicationId } from '../../src/store/sqlite/migrate.ts'
import { momentAt } from '../support/facts.ts'
import { root, temporaryFolder } from '../support/process.ts'
import { defaultTiming } from '../support/ring.ts'
import { addClient, getToken, headerOf, ManualClock, request, startTestServer } from '../support/server.ts'

const start = Date.UTC(2026, 0, 2, 3, 4, 5)
const longAgo = start - 90 * 86_400_000

/** An empty database that has the first `count` migrations, in a folder. */
function openOldDatabase(count: number): { folder: string; path: string; sqlite: Database.Database } {
  const folder = temporaryFolder()
  const path = join(folder, 'data/mayfly.db')
  mkdirSync(dirname(path))
  const sqlite = new Database(path)
  onTestFinished(() => void sqlite.close())
  sqlite.pragma('journal_mode = WAL')
  sqlite.pragma(`application_id = ${applicationId}`)
  sqlite.exec(
    'CREATE TABLE migration (position INTEGER PRIMARY KEY, hash TEXT NOT NULL, applied_at INTEGER NOT NULL) STRICT',
  )
  const files = readMigrationFiles({ migrationsFolder: join(root, 'src/store/sqlite/migrations') })
  files.slice(0, count).forEach(({ sql, hash }, position) => {
    for (const statement of sql) sqlite.exec(statement)
    sqlite.prepare('INSERT INTO migration VALUES (?, ?, ?)').run(position, hash, longAgo)
  })
  return { folder, path, sqlite }
}

/** A database as the first version wrote it, in a folder with its master key. */
async function makeOldDatabase(): Promise<{ folder: string; path: string; sqlite: Database.Database }> {
  const { folder, path, sqlite } = openOldDatabase(1)
  await fill(sqlite, createMasterKey(join(folder, 'keys/master.key')))
  return { folder, path, sqlite }
}

async function fill(sqlite: Database.Database, master: Uint8Array): Promise<void> {
  const rootKey = makeRootKey(1)
  const { wrapped } = wrapRootKey(rootKey, master, 'old-store')
  sqlite.prepare(`INSERT INTO installation VALUES (1, 'old-store', 'http://127.0.0.1:9', ?)`).run(longAgo)
  sqlite.prepare('INSERT INTO root_key VALUES (1, ?, ?)').run(wrapped, longAgo)
  const insertKey = sqlite.prepare('INSERT INTO signing_key VALUES (?, ?, ?, ?, ?, 1, ?, ?, ?, ?, ?, ?)')
  const addKey = async (alg: 'ES256' | 'RS256', state: KeyState, ...times: readonly (number | null)[]) => {
    const { kid, publicJwk, encryptedPrivateKey } = await makeSigningKey(rootKey, 'old-store', alg)
    insertKey.run(kid, alg, state, JSON.stringify(publicJwk), encryptedPrivateKey, longAgo, longAgo, ...times)
  }
  for (const alg of signingAlgs) {
    await addKey(alg, 'active', longAgo, null, null, null)
    await addKey(alg, 'staged', null, null, null, null)
  }
  await addKey('ES256', 'retired', longAgo, longAgo + 1, longAgo + 2, null)
  await addKey('ES256', 'compromised', null, null, null, longAgo + 3)
  sqlite.exec(`
    INSERT INTO resource VALUES ('https://api.example.test', NULL, '["read","write"]', NULL, NULL, ${longAgo}, ${longAgo});
    INSERT INTO client VALUES ('old', 'Old', 'active', '["client_credentials"]', '["client_secret_basic"]', '["read"]', NULL, ${longAgo}, ${longAgo}, NULL);
    INSERT INTO client_audience VALUES ('old', 0, 'https://api.example.test');
    INSERT INTO client_secret VALUES ('sec_1', 'old', x'${createHash('sha256').update('x').digest('hex')}', NULL, ${longAgo}, NULL, NULL);
    INSERT INTO issuance VALUES ('01ARYZ6S410000000000000000', 'old', NULL, 'client_credentials', 'sec_1', 'https://api.example.test', NULL, 'kid', 1, '01ARYZ6S410000000000000000', '::1');
    INSERT INTO audit_event VALUES ('01ARYZ6S420000000000000000', 'client.created', 'old', NULL, '{"actor":"cli:old"}');
    UPDATE sequence SET value = 7;
  `)
}

const tables = ['audit_event', 'client', 'client_audience', 'client_secret', 'installation', 'issuance', 'resource']
const more = ['root_key', 'sequence', 'signing_key']

/** Every row of every old table, by its old columns. */
function dump(sqlite: Database.Database, columns: ReadonlyMap<string, string>): [string, unknown[]][] {
  return [...columns].map(([table, names]) => [table, sqlite.prepare(`SELECT ${names} FROM ${table} ORDER BY 1`).all()])
}

function oldColumns(sqlite: Database.Database): ReadonlyMap<string, string> {
  const names = (table: string) => (sqlite.pragma(`table_info(${table})`) as { name: string }[]).map(({ name }) => name)
  return new Map([...tables, ...more].map((table) => [table, names(table).join()]))
}

describe('an upgrade of a filled database from before the ring rolled over by itself', () => {
  it('loses nothing, leaves every table STRICT, and finds nothing wrong with the result', async () => {
    const { path, sqlite } = await makeOldDatabase()
    const columns = oldColumns(sqlite)
    const before = dump(sqlite, columns)
    const store = openStore(path, { create: true, examine: true })
    onTestFinished(() => store.close())
    const after = dump(sqlite, columns).map(([table, rows]) => [
      table,
      // Counters that did not exist then.
      table === 'sequence' ? rows.filter((row) => !isDeepStrictEqual(row, { name: 'mark', value: 0 })) : rows,
    ])
    expect(after).toEqual(before)
    const lax = (sqlite.pragma('table_list') as { name: string; type: string; strict: number }[]).filter(
      ({ name, type, strict }) => type === 'table' && strict === 0 && !name.startsWith('sqlite_'),
    )
    expect(lax).toEqual([])
    expect(await store.check()).toEqual([])
    expect(sqlite.prepare('SELECT position FROM migration ORDER BY position').pluck().all()).toEqual([0, 1, 2, 3, 4, 5])
  })

  it('reads keys of before back: what they do not know is absent, what they must remember is the longest there is', async () => {
    const { path } = await makeOldDatabase()
    const store = openStore(path, { create: true, examine: true })
    onTestFinished(() => store.close())
    const keys = await store.listKeys()
    expect(keys).toHaveLength(6)
    for (const key of keys) {
      expect(key).toMatchObject({
        publishedAt: longAgo,
        publishedRunning: 0,
        cachedSeconds: 86_400,
        maxTtlSeconds: 86_400,
        maxAgeSeconds: 86_400,
      })
      expect(Object.values(key)).not.toContain(null)
    }
    const staged = keys.find(({ state }) => state === 'staged')
    for (const name of ['activatedAt', 'retiringAt', 'retiringRunning', 'retiredAt', 'rotationRequestedAt']) {
      expect(staged).not.toHaveProperty(name)
    }
    expect((await store.readKeys())?.ringMark).toEqual({ highWater: 0, running: 0, resets: 0 })
  })

  it('lets staged keys wait their lead from the upgrade on, however long ago they were made', async () => {
    const { path } = await makeOldDatabase()
    const store = openStore(path, { create: true, examine: true })
    onTestFinished(() => store.close())
    const staged = (await store.listKeys()).filter(({ state }) => state === 'staged')
    expect(staged).toHaveLength(2)
    for (const key of staged) {
      const upgraded = momentAt(start / 1000, { running: 0 })
      expect(leadLeftMilliseconds(key, upgraded, defaultTiming)).toBe((86_400 + 62) * 1000)
    }
  })

  it('serves on with the keys of before, and rotates when the lead has run', { timeout: 60_000 }, async () => {
    const { folder } = await makeOldDatabase()
    const clock = new ManualClock(start)
    const env = { MAYFLY_ISSUER: 'http://127.0.0.1:9' }
    const server = await startTestServer({ folder, clock, env, keyTickMilliseconds: 3_600_000 })
    const client = await addClient(server.store, 'new')
    const active = headerOf(await getToken(server, client)).kid
    await server.keys.tick()
    clock.advance(86_400 + 61)
    await server.keys.tick()
    expect(headerOf(await getToken(server, client)).kid).toBe(active)
    clock.advance(1)
    await server.keys.tick()
    expect(headerOf(await getToken(server, client)).kid).not.toBe(active)
    const { json } = await request(`${server.url}/.well-known/jwks.json`)
    expect(json.keys).toHaveLength(6)
  })
})

describe('an upgrade of a database from when the uses of refresh families had an index', () => {
  const families = ['01KDYAK3480000000000000001', '01KDYAK3480000000000000002', '01KDYAK3480000000000000003']
  const [used = '', fresh = '', lost = ''] = families
  const jtiOf = (use: number): string => `01KDYAK348${String(use).padStart(16, '0')}`

  function makeFilled(): string {
    const { path, sqlite } = openOldDatabase(3)
    sqlite.exec(`INSERT INTO installation VALUES (1, 'old-store', NULL, ${longAgo}, NULL)`)
    const family = sqlite.prepare(
      `INSERT INTO refresh_family VALUES (?, 'old', NULL, 'https://api.example.test', NULL, x'00', ?, ?, 1, ?, ?, NULL, NULL)`,
    )
    family.run(used, 3, start, start + 1, start + 2)
    family.run(fresh, 0, start, start + 1, start + 2)
    // The records of its uses were pruned.
    family.run(lost, 5, start, start + 1, start + 2)
    const issue = sqlite.prepare(
      `INSERT INTO issuance VALUES (?, 'old', NULL, 'refresh_token', 'sec_1', 'https://api.example.test', NULL, 'kid', 1, ?, '::1', ?, ?)`,
    )
    issue.run(jtiOf(0), jtiOf(0), null, null)
    issue.run(jtiOf(1), jtiOf(1), used, null)
    issue.run(jtiOf(2), jtiOf(2), used, 0)
    issue.run(jtiOf(3), jtiOf(3), used, 1)
    // A retry: the same generation once more.
    issue.run(jtiOf(4), jtiOf(4), used, 1)
    issue.run(jtiOf(5), jtiOf(5), used, 2)
    issue.run(jtiOf(6), jtiOf(6), fresh, null)
    sqlite.close()
    return path
  }

  it('loses nothing, and has all tables STRICT', async () => {
    const path = makeFilled()
    const store = openStore(path, { create: true, examine: true })
    onTestFinished(() => store.close())
    expect(await store.check()).toEqual([])
    expect(await store.listAudit({ type: 'token.issued', limit: 10 })).toHaveLength(7)
    expect(await store.findFamily(used)).toMatchObject({ generation: 3, lastJti: jtiOf(5) })
    for (const id of [fresh, lost]) expect(await store.findFamily(id)).toMatchObject({ lastJti: undefined })
  })

  it.each([
    [used, 0, jtiOf(2)],
    [used, 1, jtiOf(3)],
    [used, 2, jtiOf(5)],
    [lost, 4, undefined],
  ])('still knows who used which generation first (%s, %i)', async (familyId, generation, first) => {
    const store = openStore(makeFilled(), { create: true, examine: true })
    onTestFinished(() => store.close())
    const event = {
      type: 'family.ended',
      familyId,
      clientId: 'old',
      reason: 'reused',
      presentedGeneration: generation,
      actor: 'cli:test',
    } as const
    expect(await store.endFamily({ familyId, event })).toBe(true)
    const [entry] = await store.listAudit({ type: 'family.ended', limit: 1 })
    expect(entry && 'firstUse' in entry ? entry.firstUse?.requestId : undefined).toBe(first && `req_${first}`)
  })
})
