import { spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  appendFileSync,
  chmodSync,
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import { afterAll, beforeAll, beforeEach, describe, expect, it, onTestFinished } from 'vitest'
import { createMasterKey } from '../../src/key/master-key-file.ts'
import { provisionKeys } from '../../src/key/provision.ts'
import { systemClock } from '../../src/lib/clock.ts'
import { makeRequestId, makeUlid } from '../../src/lib/id.ts'
import { openStore } from '../../src/store/open-store.ts'
import type { Store } from '../../src/store/store.ts'
import { readWitness } from '../../src/store/witness.ts'
import { makeInstallation } from '../support/installation.ts'
import {
  cleanEnvironment,
  type Finished,
  mayfly,
  mayflyJson,
  root,
  serve,
  temporaryFolder,
} from '../support/process.ts'
import { defaultTiming } from '../support/ring.ts'
import { addClient, api } from '../support/server.ts'

interface Restored {
  readonly store_id: string
  readonly replaced: string | null
  readonly restored_from: string | null
  readonly tokens_after: string
  readonly lost_changes: number | null
  readonly sequences: Record<'from' | 'to', { registry: number; mark: number }>
  readonly clients: readonly { client_id: string; status: string; lost_changes: readonly string[] | null }[]
  readonly signing_keys: readonly { kid: string; state: string; lost_changes: readonly string[] | null }[]
  readonly resources: readonly { resource: string; lost_changes: readonly string[] | null }[]
  readonly advice: readonly string[]
}

let template = ''
let cwd = ''
let place = ''
let witness = ''
let backup = ''

beforeAll(async () => {
  template = mkdtempSync(join(tmpdir(), 'mayfly-restore-'))
  await makeInstallation(template)
  await withStore(join(template, 'data/mayfly.db'), async (store) => {
    await addClient(store, 'leaver')
    await store.backup(join(template, 'backup.db'))
  })
})

afterAll(() => rmSync(template, { recursive: true, force: true }))

beforeEach(() => {
  cwd = temporaryFolder()
  cpSync(template, cwd, { recursive: true })
  place = join(cwd, 'data/mayfly.db')
  witness = join(cwd, 'keys/master.key.witness')
  backup = join(cwd, 'backup.db')
})

/** Works on a store as the server does, its witness beside it. */
async function withStore<T>(path: string, use: (store: Store) => Promise<T>): Promise<T> {
  const file = join(path, '../../keys/master.key.witness')
  const store = openStore(path, { create: false, examine: true, witness: { file } })
  try {
    return await use(store)
  } finally {
    await store.close()
  }
}

const run = (...args: string[]): Promise<Finished> => mayfly(args, { cwd })
const restore = (...args: string[]): Promise<Restored> => mayflyJson<Restored>(['db', 'restore', ...args], { cwd })

/** Changes what a backup does not know. */
const change = (): Promise<unknown> => withStore(place, (store) => store.offboardClient('leaver', 'cli:test'))

/** Puts the backup where the database lies, as somebody would who does not know the command. */
function goBack(): void {
  for (const end of ['-wal', '-shm']) rmSync(`${place}${end}`, { force: true })
  copyFileSync(backup, place)
}

const beside = (part: string): string[] => {
  const folder = join(cwd, 'data')
  return existsSync(folder) ? readdirSync(folder).filter((name) => name.includes(part)) : []
}
const leftovers = (): string[] => beside('.restore-')
const keptAside = (): string[] => beside('.before-restore-')

/** A restore that must not happen: the sentence, and everything is as it was. */
async function expectRefusal(sentence: RegExp, ...args: string[]): Promise<void> {
  const before = existsSync(place) ? readFileSync(place) : undefined
  const known = existsSync(witness) ? readFileSync(witness, 'utf8') : undefined
  const { code, stdout, stderr } = await run('db', 'restore', ...args)
  expect([code, stdout], stderr).toEqual([1, ''])
  expect(stderr).toMatch(/^error: [^\n]+\n$/)
  expect(stderr).toMatch(sentence)
  if (before === undefined) expect(existsSync(place)).toBe(false)
  else expect(readFileSync(place).equals(before)).toBe(true)
  if (known !== undefined) expect(readFileSync(witness, 'utf8')).toBe(known)
  expect([...leftovers(), ...keptAside()]).toEqual([])
}

describe('db restore FILE', () => {
  it('F13 puts the backup in place, ends all of before, and says what is gone and how to make it again', async () => {
    const { kid, secretId } = await withStore(place, async (store) => {
      const [key] = (await store.listKeys()).filter(({ state }) => state === 'staged')
      const other = await addClient(store, 'late')
      await store.offboardClient('leaver', 'cli:test')
      await store.setClientStatus('late', 'disabled', 'cli:test')
      await store.updateResource(api, { name: 'renamed' }, 'cli:test')
      const [secret] = (await store.findClient('job')).value?.secrets ?? []
      const id = secret?.secretId ?? 'sec_'
      await store.revokeSecret('job', id, 'cli:test')
      expect(other.clientId).toBe('late')
      return { kid: key?.kid ?? '', secretId: id }
    })
    await mayflyJson(['key', 'revoke', kid], { cwd })
    const before = await withStore(place, async (store) => store.readRegistrySequence())
    const asked = Date.now()
    const done = await restore('backup.db')
    expect(done).toMatchObject({ database: place, restored_from: backup, lost_changes: 8 })
    expect(done.sequences).toEqual({ from: { registry: 5, mark: 0 }, to: { registry: before + 1, mark: 1 } })
    expect(Date.parse(done.tokens_after)).toBeGreaterThanOrEqual(asked + 2_000)
    expect(done.clients.map(({ client_id, status, lost_changes }) => [client_id, status, lost_changes])).toEqual([
      ['agent', 'active', []],
      ['job', 'active', ['secret.revoked']],
      ['leaver', 'active', ['client.offboarded']],
      ['late', 'absent', ['client.created', 'secret.created', 'client.disabled']],
    ])
    expect(done.signing_keys.find((key) => key.kid === kid)).toMatchObject({
      state: 'staged',
      lost_changes: ['key.compromised'],
    })
    expect(done.signing_keys.filter(({ state }) => state === 'absent')).toHaveLength(1)
    expect(done.resources).toMatchObject([{ resource: api, lost_changes: ['resource.updated'] }])
    expect(done.advice).toEqual([
      `npx --no mayfly key revoke ${kid}`,
      `npx --no mayfly secret revoke job ${secretId}`,
      'npx --no mayfly client offboard leaver',
    ])
    expect(readWitness(witness)?.get(done.store_id)).toMatchObject(done.sequences.to)
    expect([statSync(place).mode & 0o777, leftovers()]).toEqual([0o600, []])
    await withStore(place, async (store) => {
      expect(await store.check()).toEqual([])
      expect((await store.findClient('leaver')).value?.status).toBe('active')
      expect(await store.readRegistryHead()).toMatchObject({ tokensAfter: Date.parse(done.tokens_after) })
      const [record] = await store.listAudit({ type: 'store.restored', limit: 2 })
      expect(record).toMatchObject({ storeId: done.store_id, detail: { ...done.sequences } })
    })
    const kept = openStore(done.replaced ?? '', { create: false, examine: true })
    onTestFinished(() => kept.close())
    expect((await kept.findClient('leaver')).value?.status).toBe('disabled')
    const list = await run('client', 'list')
    expect([list.code, list.stderr]).toEqual([0, ''])
    for (const advised of done.advice.slice(0, 1)) {
      const [, , , ...words] = advised.split(' ')
      expect((await run(...words)).code).toBe(0)
    }
  })

  it('can be restored from what it moved aside', async () => {
    await change()
    const { replaced } = await restore('backup.db')
    await restore(replaced ?? '')
    await withStore(place, async (store) => {
      expect((await store.findClient('leaver')).value?.status).toBe('disabled')
    })
  })

  it('makes a database where there was none, also where the witness knows of a later one', async () => {
    await change()
    const remembered = [...(readWitness(witness)?.values() ?? [])][0]
    rmSync(join(cwd, 'data'), { recursive: true })
    const done = await restore('backup.db')
    expect(done).toMatchObject({ replaced: null, lost_changes: null })
    expect(done.sequences.to).toEqual({ registry: (remembered?.registry ?? 0) + 1, mark: 1 })
    expect((await run('client', 'list')).stderr).toBe('')
  })

  it('brings a backup of an older version up to date', async () => {
    const sqlite = new Database(backup)
    sqlite.exec(`
      DROP TABLE client_introspects; DROP TABLE mark; DROP TABLE refresh_family;
      ALTER TABLE client DROP COLUMN tokens_after; ALTER TABLE installation DROP COLUMN tokens_after;
      ALTER TABLE issuance DROP COLUMN family_id; ALTER TABLE issuance DROP COLUMN refresh_generation;
      ALTER TABLE issuance DROP COLUMN confirmation; ALTER TABLE issuance DROP COLUMN previous_jti;
      DROP TABLE client_hour; DROP TABLE replay; DROP TABLE copy_state; DROP TABLE copy_change;
      ${['jwks', 'jwks_uri', 'assertion_alg', 'tls_subject_kind', 'tls_subject', 'certificate_bound', 'dpop_bound', 'tokens_per_hour'].map((name) => `ALTER TABLE client DROP COLUMN ${name};`).join('')}
      DELETE FROM sequence WHERE name = 'mark'; DELETE FROM migration WHERE position >= 2;`)
    sqlite.close()
    await change()
    expect(await restore('backup.db')).toMatchObject({ sequences: { from: { registry: 5, mark: 0 } } })
    await withStore(place, async (store) => expect(await store.check()).toEqual([]))
  })

  it('dates the end after the newest token of the database that it replaces, where that is dated ahead', async () => {
    const ahead = Date.now() + 3_600_000
    await withStore(place, async (store) => {
      const record = {
        jti: makeUlid(ahead),
        clientId: 'job',
        subject: 'job',
        grantType: 'client_credentials',
        secretId: 'sec_0123456789abcdef',
        audience: api,
        kid: 'kid',
        expiresAt: Math.floor(ahead / 1000) + 300,
        requestId: makeRequestId(ahead),
        address: '::1',
      }
      expect(await store.recordIssuance(record, await store.readRegistrySequence())).toBe('recorded')
    })
    const { tokens_after: after } = await restore('backup.db')
    expect(Date.parse(after)).toBeGreaterThanOrEqual(ahead)
  })

  it('replaces a database that is damaged, and keeps that with its -wal', async () => {
    await change()
    writeFileSync(place, Buffer.alloc(8192, 0x5a))
    writeFileSync(`${place}-wal`, 'foreign')
    const done = await restore('backup.db')
    expect(done.lost_changes).toBeNull()
    expect(readFileSync(done.replaced ?? '')).toEqual(Buffer.alloc(8192, 0x5a))
    expect(readFileSync(`${done.replaced}-wal`, 'utf8')).toBe('foreign')
    expect(existsSync(`${place}-wal`)).toBe(false)
    await withStore(place, async (store) => expect(await store.check()).toEqual([]))
  })

  it('applies no -wal that lies beside the backup or beside a database that is missing', async () => {
    const later = temporaryFolder()
    cpSync(cwd, later, { recursive: true })
    const sqlite = new Database(join(later, 'data/mayfly.db'))
    sqlite.pragma('wal_autocheckpoint = 0')
    sqlite.exec(`UPDATE client SET status = 'disabled'`)
    for (const path of [`${backup}-wal`, `${place}-wal`]) copyFileSync(join(later, 'data/mayfly.db-wal'), path)
    sqlite.close()
    rmSync(place)
    const { code, stderr } = await run('db', 'restore', 'backup.db')
    expect([code, stderr]).toEqual([0, expect.stringContaining(`${backup}-wal is not part of the backup`)])
    expect(keptAside()).toEqual([expect.stringMatching(/-wal$/)])
    await withStore(place, async (store) => {
      expect(await store.check()).toEqual([])
      const statuses = (await store.listClients({ limit: 9 })).map(({ status }) => status)
      expect(statuses).toEqual(['active', 'active', 'active'])
    })
  })

  it('removes what a restore that was killed had copied', async () => {
    const name = join(cwd, 'data/mayfly.db.restore-0123456789ab.tmp')
    for (const end of ['', '-wal', '-shm']) writeFileSync(`${name}${end}`, 'x')
    await restore('backup.db')
    expect(leftovers()).toEqual([])
  })

  it('F12 refuses what is no backup of this database, and changes nothing', { timeout: 120_000 }, async () => {
    const sqliteFile = (name: string, edit: (sqlite: Database.Database) => void): string => {
      const sqlite = new Database(join(cwd, name))
      edit(sqlite)
      sqlite.close()
      return name
    }
    const copyWith = (name: string, edit: (sqlite: Database.Database) => void): string => {
      copyFileSync(backup, join(cwd, name))
      return sqliteFile(name, edit)
    }
    writeFileSync(join(cwd, 'text.db'), 'no database')
    const bytes = readFileSync(backup)
    for (let page = 2; page * 4096 < bytes.length; page += 1) bytes.fill(0x5a, page * 4096, page * 4096 + 2048)
    writeFileSync(join(cwd, 'damaged.db'), bytes)
    writeFileSync(join(cwd, 'cut.db'), readFileSync(backup).subarray(0, 5 * 4096))
    await openStore(join(cwd, 'unclaimed.db'), { create: true, examine: false }).close()
    await makeStore(join(cwd, 'other.db'), join(cwd, 'keys/master.key'))
    createMasterKey(join(cwd, 'foreign.key'))
    await makeStore(join(cwd, 'foreign.db'), join(cwd, 'foreign.key'))
    const refused: [string, RegExp][] = [
      ['nowhere.db', /nowhere\.db cannot be read \(ENOENT\)/],
      ['data', /cannot be read \(EISDIR\)/],
      ['text.db', /is no Mayfly database/],
      [sqliteFile('program.db', (sqlite) => sqlite.exec('CREATE TABLE a (b)')), /is no Mayfly database/],
      ['damaged.db', /damaged\.db is damaged/],
      ['cut.db', /cut\.db is damaged/],
      [copyWith('newer.db', (s) => s.exec(`UPDATE migration SET hash = 'x' WHERE position = 1`)), /newer Mayfly/],
      ['unclaimed.db', /has no keys/],
      ['other.db', /is a backup of another database than/],
      ['foreign.db', /is a backup of another database than/],
      ['data/mayfly.db', /is the database itself: .*--accept-current/],
    ]
    for (const [file, sentence] of refused) await expectRefusal(sentence, file)
    rmSync(place)
    await expectRefusal(/master\.key belongs to another database/, 'foreign.db')
    renameSync(join(cwd, 'keys/master.key'), join(cwd, 'away.key'))
    await expectRefusal(/master\.key is missing/, 'backup.db')
  })

  it('refuses a stray journal beside the database, and a database of another program in its place', async () => {
    writeFileSync(`${place}-journal`, 'stray')
    await expectRefusal(/-journal lies beside the database/, 'backup.db')
    rmSync(`${place}-journal`)
    rmSync(place)
    const sqlite = new Database(place)
    sqlite.exec('CREATE TABLE a (b)')
    sqlite.close()
    await expectRefusal(/is a database of another program/, 'backup.db')
  })
})

/** A store of its own that a master key opens. */
async function makeStore(path: string, masterKeyFile: string): Promise<void> {
  const store = openStore(path, { create: true, examine: false })
  await provisionKeys(store, masterKeyFile, defaultTiming, systemClock)
  await store.close()
}

describe('db restore --accept-current', () => {
  it('F13 lets an old copy be the present, wherever it came from', async () => {
    await change()
    goBack()
    const refused = await run('client', 'disable', 'leaver')
    expect([refused.code, refused.stdout]).toEqual([1, ''])
    const done = await restore('--accept-current')
    expect(done).toMatchObject({ restored_from: null, replaced: null, lost_changes: null, advice: [] })
    expect(done.sequences).toEqual({ from: { registry: 5, mark: 0 }, to: { registry: 7, mark: 1 } })
    expect(done.clients.map(({ client_id }) => client_id)).toEqual(['agent', 'job', 'leaver'])
    expect(readWitness(witness)?.get(done.store_id)).toMatchObject(done.sequences.to)
    expect((await run('client', 'disable', 'leaver')).code).toBe(0)
    const again = await restore('--accept-current')
    expect(again.sequences).toEqual({ from: { registry: 8, mark: 1 }, to: { registry: 9, mark: 2 } })
  })

  it('refuses where there is no database, and makes none', async () => {
    rmSync(join(cwd, 'data'), { recursive: true })
    await expectRefusal(/there is no database at/, '--accept-current')
  })

  it('refuses without the master key that goes with it', async () => {
    rmSync(join(cwd, 'keys/master.key'))
    const { code, stderr } = await run('db', 'restore', '--accept-current')
    expect([code, stderr]).toEqual([1, expect.stringContaining('is missing')])
  })
})

describe('both ways of db restore', () => {
  it.each([[[]], [['backup.db', '--accept-current']]])('end with 2 for %j', async (args) => {
    const { code, stdout, stderr } = await run('db', 'restore', ...args)
    expect([code, stdout]).toEqual([2, ''])
    expect(stderr).toMatch(/^error: db restore takes the path of a backup, or --accept-current/)
  })

  it('refuse while another process has the database open, though it does nothing', { timeout: 60_000 }, async () => {
    const program = `import { openStore } from ${JSON.stringify(join(root, 'src/store/open-store.ts'))}
      const store = openStore(${JSON.stringify(place)}, { create: false, examine: false })
      console.log('open')
      setInterval(() => store.location, 1000)`
    const args = ['--input-type=module', '-e', program]
    const idle = spawn(process.execPath, args, { env: cleanEnvironment(), stdio: ['ignore', 'pipe', 'inherit'] })
    onTestFinished(() => void idle.kill('SIGKILL'))
    await once(idle.stdout, 'data')
    for (const way of ['backup.db', '--accept-current']) await expectRefusal(/is in use: stop the server/, way)
    idle.kill('SIGKILL')
    await once(idle, 'close')
    await restore('backup.db')
  })

  it('refuse while a server runs, which goes on', { timeout: 60_000 }, async () => {
    const server = await serve({ cwd })
    await change()
    for (const way of ['backup.db', '--accept-current']) {
      const { code, stderr } = await run('db', 'restore', way)
      expect([code, stderr]).toEqual([1, expect.stringMatching(/is in use: stop the server/)])
    }
    expect((await fetch(`${server.url}/readyz`)).status).toBe(200)
    await withStore(place, async (store) => {
      expect((await store.findClient('leaver')).value?.status).toBe('disabled')
    })
    expect(await server.end('SIGTERM')).toEqual({ code: 0, signal: null })
  })

  it('refuse beside a witness that holds something else, until somebody has moved it away', async () => {
    writeFileSync(witness, 'garbage')
    for (const way of ['backup.db', '--accept-current']) await expectRefusal(/does not hold what Mayfly writes/, way)
    rmSync(witness)
    const { store_id: id } = await restore('backup.db')
    expect(readWitness(witness)?.has(id)).toBe(true)
  })

  it('I23 end with 1 when it is done and the witness cannot be written', async () => {
    const env = { MAYFLY_WITNESS_FILE: '/proc/mayfly/witness' }
    for (const way of ['backup.db', '--accept-current']) {
      const { code, stdout, stderr } = await mayfly(['db', 'restore', way], { cwd, env })
      expect([code, stdout]).toEqual([1, ''])
      expect(stderr).toMatch(/error: it is done and in force.*MAYFLY_WITNESS_FILE/)
    }
    await withStore(place, async (store) => {
      expect(await store.listAudit({ type: 'store.restored', limit: 5 })).toHaveLength(2)
    })
  })
})

describe('an old copy of the database', () => {
  beforeEach(async () => {
    await change()
    goBack()
  })

  it('F13 does not start, and no command changes it', { timeout: 60_000 }, async () => {
    const changing = [
      ['serve'],
      ['db', 'migrate'],
      ['client', 'disable', 'job'],
      ['client', 'offboard', 'job'],
      ['resource', 'update', api, '--name', 'x'],
      ['key', 'rewrap', '--new-master-key', 'keys/next.key'],
      ['doctor', '--reset-calendar'],
    ]
    const bytes = readFileSync(place)
    for (const args of changing) {
      const { code, stdout, stderr } = await mayfly(args, { cwd, env: { MAYFLY_PORT: '0' } })
      expect([code, stdout], args.join(' ')).toEqual([1, ''])
      expect(stderr).toMatch(
        /is an older copy .*npx --no mayfly db restore FILE.*npx --no mayfly db restore --accept-current/,
      )
    }
    expect(readFileSync(place).equals(bytes)).toBe(true)
  })

  it('can be looked at and backed up, and each command says what it is', { timeout: 60_000 }, async () => {
    const looking = [
      ['client', 'list'],
      ['client', 'offboard', 'leaver', '--plan'],
      ['resource', 'show', api],
      ['key', 'list'],
      ['audit', 'list'],
      ['db', 'check'],
      ['db', 'backup', 'again.db'],
    ]
    for (const args of looking) {
      const { code, stderr } = await run(...args)
      expect(code, args.join(' ')).toBe(0)
      expect(stderr).toMatch(/^Warning: .* is an older copy/)
    }
    const doctor = await run('doctor', '--json')
    expect(doctor.code).toBe(1)
    expect(JSON.parse(doctor.stdout)).toContainEqual({
      check: 'witness',
      status: 'fault',
      detail: expect.stringContaining('is an older copy'),
    })
  })
})

describe('the witness of an installation', () => {
  it('that cannot be written stops a start with a sentence that names the setting', async () => {
    const env = { MAYFLY_PORT: '0', MAYFLY_WITNESS_FILE: '/proc/mayfly/witness' }
    const { code, stdout, stderr } = await mayfly(['serve'], { cwd, env })
    expect([code, stdout]).toEqual([1, ''])
    expect(stderr).toMatch(
      /^error: the witness \/proc\/mayfly\/witness cannot be written \(ENOENT\): .*MAYFLY_WITNESS_FILE/,
    )
  })

  it('I23 lets no command that changes something end with success when it cannot be written', async () => {
    const env = { MAYFLY_WITNESS_FILE: '/proc/mayfly/witness' }
    const disable = () => mayfly(['client', 'disable', 'leaver'], { cwd, env })
    for (const ended of [await disable(), await disable()]) {
      expect([ended.code, ended.stdout]).toEqual([1, ''])
      expect(ended.stderr).toMatch(/^error: it is done and in force, but .*cannot be written.*MAYFLY_WITNESS_FILE/)
    }
    const shown = await mayflyJson(['client', 'show', 'leaver'], { cwd, env })
    expect(shown.status).toBe('disabled')
  })

  it('is looked after by doctor: one that is missing, in the wrong place, or open to others', async () => {
    const about = async (env: Record<string, string> = {}) => {
      const { stdout } = await mayfly(['doctor', '--json'], { cwd, env })
      return (JSON.parse(stdout) as { check: string }[]).filter(({ check }) => check === 'witness')
    }
    expect(await about()).toMatchObject([{ status: 'ok' }])
    chmodSync(witness, 0o666)
    expect(await about()).toMatchObject([{ status: 'fault', detail: expect.stringContaining(`chmod go-w ${witness}`) }])
    copyFileSync(witness, join(cwd, 'data/witness'))
    const beside = await about({ MAYFLY_WITNESS_FILE: 'data/witness' })
    expect(beside).toMatchObject([{ status: 'warning', detail: expect.stringContaining('beside the database') }])
    rmSync(witness)
    expect(await about()).toMatchObject([{ status: 'warning', detail: expect.stringContaining('does not know') }])
    appendFileSync(witness, 'garbage')
    expect(await about()).toMatchObject([{ status: 'fault', detail: expect.stringContaining('does not hold') }])
  })

  it('goes with the master key when that is replaced', async () => {
    mkdirSync(join(cwd, 'next'))
    await mayflyJson(['key', 'rewrap', '--new-master-key', 'next/master.key'], { cwd })
    const [known] = [...(readWitness(join(cwd, 'next/master.key.witness'))?.values() ?? [])]
    const [old] = [...(readWitness(witness)?.values() ?? [])]
    expect([known?.registry, known?.mark]).toEqual([old?.registry, old?.mark])
    expect(known?.registry).toBeGreaterThan(4)
  })
})
