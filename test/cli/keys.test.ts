import { createPublicKey, verify } from 'node:crypto'
import { chmodSync, existsSync, readFileSync, renameSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import { createLocalJWKSet, type JSONWebKeySet, jwtVerify } from 'jose'
import { describe, expect, it } from 'vitest'
import { changeRing } from '../../src/cli/open-ring.ts'
import { createMasterKey } from '../../src/key/master-key-file.ts'
import { RingClock } from '../../src/key/ring-clock.ts'
import { type Finished, mayfly, mayflyJson } from '../support/process.ts'
import { defaultTiming } from '../support/ring.ts'
import {
  addClient,
  addResource,
  getToken,
  headerOf,
  ManualClock,
  request,
  startTestServer,
  type TestClient,
  type TestServer,
} from '../support/server.ts'

interface KeyRow {
  readonly kid: string
  readonly alg: string
  readonly state: string
  readonly activates_at: string | null
  readonly leaves_jwks_at: string | null
  readonly compromised_at: string | null
  readonly rotation_requested_at: string | null
}

interface Setting {
  readonly server: TestServer
  readonly client: TestClient
  run(...args: string[]): Promise<Finished>
  json<T = Record<string, unknown>>(...args: string[]): Promise<T>
  keys(): Promise<readonly KeyRow[]>
  kidOf(state: string, alg?: string): Promise<string>
}

async function start(): Promise<Setting> {
  const server = await startTestServer()
  await addResource(server.store)
  const client = await addClient(server.store, 'billing')
  const options = { cwd: server.folder }
  const json = <T>(...args: string[]): Promise<T> => mayflyJson<T>(args, options)
  const keys = (): Promise<readonly KeyRow[]> => json('key', 'list')
  return {
    server,
    client,
    run: (...args) => mayfly(args, options),
    json,
    keys,
    kidOf: async (state, alg = 'ES256') => {
      const found = (await keys()).find((key) => key.state === state && key.alg === alg)
      if (found === undefined) throw new Error(`no ${state} ${alg} key`)
      return found.kid
    },
  }
}

/** Lets two days of running time and of the calendar go by for the keys that there are. */
function age({ folder }: TestServer): void {
  const days = 2 * 86_400_000
  change(
    folder,
    `UPDATE signing_key SET published_at = published_at - ${days}, published_running = published_running - ${days}`,
  )
}

function change(folder: string, statement: string): void {
  const sqlite = new Database(join(folder, 'data/mayfly.db'))
  sqlite.exec(statement)
  sqlite.exec(`UPDATE sequence SET value = value + 1 WHERE name = 'registry'`)
  sqlite.close()
}

async function readJwks({ url }: TestServer): Promise<JSONWebKeySet> {
  return (await request(`${url}/.well-known/jwks.json`)).json as unknown as JSONWebKeySet
}

async function verifies(server: TestServer, token: string): Promise<boolean> {
  try {
    await jwtVerify(token, createLocalJWKSet(await readJwks(server)), { typ: 'at+jwt' })
    return true
  } catch {
    return false
  }
}

const states = (keys: readonly KeyRow[], alg = 'ES256'): string[] =>
  keys
    .filter((key) => key.alg === alg)
    .map((key) => key.state)
    .sort()

describe('key list', () => {
  it('shows each key with what happened and what will', async () => {
    const { keys, run } = await start()
    const rows = await keys()
    expect(rows.map(({ alg, state }) => `${alg} ${state}`).sort()).toEqual([
      'ES256 active',
      'ES256 staged',
      'RS256 active',
      'RS256 staged',
    ])
    for (const row of rows) expect(Date.parse(row.activates_at ?? '')).toBeGreaterThan(0)
    const text = (await run('key', 'list')).stdout
    for (const { kid } of rows) expect(text).toContain(kid)
  })

  it('refuses on a database without keys, and makes none', async () => {
    const { server } = await start()
    rmSync(join(server.folder, 'keys'), { recursive: true })
    const ended = await mayfly(['key', 'list'], { cwd: join(server.folder, 'data'), env: {} })
    expect(ended).toMatchObject({ code: 1, stdout: '' })
    expect(ended.stderr).toMatch(/there is no database at \//)
  })
})

describe('key activate', () => {
  it('refuses before the lead is over, and changes nothing', async () => {
    const { keys, run } = await start()
    const before = (await keys()).map(({ kid, state }) => [kid, state])
    const ended = await run('key', 'activate', '--alg', 'ES256')
    expect(ended).toMatchObject({ code: 1, stdout: '' })
    expect(ended.stderr).toMatch(/must be published for (?:1d|23h 59m) more.*nothing was changed: `.*key rotate`/)
    expect((await keys()).map(({ kid, state }) => [kid, state])).toEqual(before)
  })

  it('does it all the same when told so by a flag that names the danger, and warns', async () => {
    const { server, client, kidOf, keys, run } = await start()
    const staged = await kidOf('staged')
    const ended = await run('key', 'activate', '--alg', 'ES256', '--allow-unverifiable-tokens')
    expect(ended.code).toBe(0)
    expect(ended.stderr).toMatch(/Warning: .* refuse its tokens for up to/)
    expect(headerOf(await getToken(server, client)).kid).toBe(staged)
    expect(states(await keys())).toEqual(['active', 'retiring', 'staged'])
    expect(states(await keys(), 'RS256')).toEqual(['active', 'staged'])
  })

  it('does it without a word once the lead is over', async () => {
    const { server, client, kidOf, run } = await start()
    age(server)
    const staged = await kidOf('staged')
    const ended = await run('key', 'activate')
    expect(ended.code, ended.stderr).toBe(0)
    expect(ended.stderr).not.toContain('Warning')
    expect(headerOf(await getToken(server, client)).kid).toBe(staged)
  })

  it('refuses an algorithm that there is not', async () => {
    const { run } = await start()
    const ended = await run('key', 'activate', '--alg', 'HS256')
    expect(ended).toMatchObject({ code: 2, stdout: '' })
    expect(ended.stderr).toContain('it takes ES256 or RS256')
  })
})

describe('key rotate', () => {
  it('asks for the rotation while the lead is not over, once, and says when it will be', async () => {
    const { json, keys } = await start()
    const [first] = await json<{ at: string; alg: string }[]>('key', 'rotate', '--alg', 'ES256')
    expect(Date.parse(first?.at ?? '')).toBeGreaterThan(Date.now() + 80_000_000)
    const requested = (await keys()).find((key) => key.state === 'active' && key.alg === 'ES256')?.rotation_requested_at
    expect(requested).not.toBeNull()
    await json('key', 'rotate', '--alg', 'ES256')
    expect((await keys()).find((key) => key.state === 'active' && key.alg === 'ES256')?.rotation_requested_at).toBe(
      requested,
    )
    const asked = await json<unknown[]>('audit', 'list', '--type', 'key.rotation_requested')
    expect(asked).toHaveLength(1)
  })

  it('rotates at once when the lead is over: the old key stays in the JWKS, and its tokens verify', async () => {
    const { server, client, kidOf, json, keys } = await start()
    const [old, staged, token] = [await kidOf('active'), await kidOf('staged'), await getToken(server, client)]
    age(server)
    const rows = await json<{ signs: string; retires: string }[]>('key', 'rotate')
    expect(rows.map(({ signs, retires }) => [signs, retires])).toContainEqual([staged, old])
    expect(states(await keys())).toEqual(['active', 'retiring', 'staged'])
    expect(headerOf(await getToken(server, client)).kid).toBe(staged)
    expect(await verifies(server, token)).toBe(true)
  })

  it('lets one of two commands do it that run at once', async () => {
    const { server, run, keys } = await start()
    age(server)
    const ended = await Promise.all([
      run('key', 'activate', '--alg', 'ES256'),
      run('key', 'activate', '--alg', 'ES256'),
    ])
    expect(ended.map(({ code }) => code).sort()).toEqual([0, 1])
    expect(states(await keys())).toEqual(['active', 'retiring', 'staged'])
  })
})

describe('key stage', () => {
  it('refuses where a staged key stands', async () => {
    const { run } = await start()
    const ended = await run('key', 'stage')
    expect(ended).toMatchObject({ code: 1, stdout: '' })
    expect(ended.stderr).toContain('a staged key stands behind each active one')
  })

  it('refuses without the master key, and names the file', async () => {
    const { server, run } = await start()
    const path = join(server.folder, 'keys/master.key')
    renameSync(path, `${path}.away`)
    const ended = await run('key', 'stage')
    expect(ended).toMatchObject({ code: 1, stdout: '' })
    expect(ended.stderr).toContain(`the master key ${path} is missing`)
    expect(existsSync(path)).toBe(false)
  })
})

describe('key revoke', () => {
  it('lets the staged key sign, takes the bad one out of the JWKS, and stages another', async () => {
    const { server, client, kidOf, json, keys, run } = await start()
    const token = await getToken(server, client)
    const [bad, staged] = [await kidOf('active'), await kidOf('staged')]
    const report = await json('key', 'revoke', bad)
    expect(report).toMatchObject({ revoked: [bad], signing: [staged] })
    expect(Date.parse(String(report.trusted_until_by_libraries))).toBe(Date.parse(String(report.revoked_at)) + 600_000)
    expect(Date.parse(String(report.trusted_until_by_max_age))).toBe(Date.parse(String(report.revoked_at)) + 300_000)
    expect((await readJwks(server)).keys.map(({ kid }) => kid)).not.toContain(bad)
    expect(headerOf(await getToken(server, client)).kid).toBe(staged)
    expect(await verifies(server, token)).toBe(false)
    expect(states(await keys())).toEqual(['active', 'compromised', 'staged'])
    const inspected = await json('token', 'inspect', token)
    expect(inspected).toMatchObject({ active: false, reason: 'its key was revoked as compromised' })
    const again = await run('key', 'revoke', bad)
    expect(again).toMatchObject({ code: 1, stdout: '' })
    expect(again.stderr).toContain('is revoked already: nothing was changed')
  })

  it('erases the private half', async () => {
    const { server, kidOf, json } = await start()
    const bad = await kidOf('active')
    await json('key', 'revoke', bad)
    const sqlite = new Database(join(server.folder, 'data/mayfly.db'), { readonly: true })
    const length = sqlite
      .prepare('SELECT length(encrypted_private_key) FROM signing_key WHERE kid = ?')
      .pluck()
      .get(bad)
    sqlite.close()
    expect(length).toBe(0)
  })

  it('replaces a staged key, and leaves the active one', async () => {
    const { kidOf, json, keys } = await start()
    const [active, bad] = [await kidOf('active'), await kidOf('staged')]
    expect(await json('key', 'revoke', bad)).toMatchObject({ revoked: [bad], signing: [] })
    expect(await kidOf('active')).toBe(active)
    expect(states(await keys())).toEqual(['active', 'compromised', 'staged'])
  })

  it('takes a retiring key out before its time', async () => {
    const { server, client, kidOf, json, keys } = await start()
    const [bad, token] = [await kidOf('active'), await getToken(server, client)]
    age(server)
    await json('key', 'rotate')
    expect(await verifies(server, token)).toBe(true)
    await json('key', 'revoke', bad)
    expect(await verifies(server, token)).toBe(false)
    expect(states(await keys())).toEqual(['active', 'compromised', 'staged'])
  })

  it('refuses a key that there is not', async () => {
    const { run } = await start()
    const ended = await run('key', 'revoke', 'nothing')
    expect(ended).toMatchObject({ code: 1, stdout: '' })
    expect(ended.stderr).toContain('there is no key "nothing"')
  })

  it('with --fresh distrusts every key of every algorithm, and signs with new ones at once', async () => {
    const { server, client, kidOf, json, keys } = await start()
    const old = (await keys()).map(({ kid }) => kid)
    const token = await getToken(server, client)
    const report = await json<{ revoked: string[]; unseen: string[]; refused_until: string }>(
      'key',
      'revoke',
      await kidOf('active'),
      '--fresh',
    )
    expect(report.revoked.toSorted()).toEqual(old.toSorted())
    expect(report.unseen).toHaveLength(2)
    expect(Date.parse(report.refused_until)).toBeGreaterThan(Date.now() + 200_000)
    const served = (await readJwks(server)).keys.map(({ kid }) => kid)
    expect(served).toHaveLength(4)
    for (const kid of old) expect(served).not.toContain(kid)
    expect(await verifies(server, token)).toBe(false)
    const fresh = await getToken(server, client)
    expect(report.unseen).toContain(headerOf(fresh).kid)
    expect(await verifies(server, fresh)).toBe(true)
  })

  it('with --fresh takes the kid of the key that was revoked before it was known how far it went', async () => {
    const { kidOf, json, keys } = await start()
    const bad = await kidOf('active')
    await json('key', 'revoke', bad)
    const left = (await keys()).filter((key) => key.kid !== bad).map((key) => key.kid)
    const report = await json<{ revoked: string[] }>('key', 'revoke', bad, '--fresh')
    expect(report.revoked.toSorted()).toEqual(left.toSorted())
    expect(states(await keys())).toEqual(['active', 'compromised', 'compromised', 'compromised', 'staged'])
  })
})

describe('key revoke, at a prompt', () => {
  it('dates what it does by when it was confirmed, and counts no running time for that', async () => {
    const { server, kidOf, keys } = await start()
    const { store } = server
    const material = await store.readKeys()
    if (material === undefined) throw new Error('no keys')
    const machine = new ManualClock(Date.now())
    const clock = new RingClock(machine, material.ringMark)
    const [moment, kid] = [clock.moment(), await kidOf('staged')]
    machine.advance(600)
    const change = { moves: [{ kid, from: 'staged', to: 'compromised' }], adds: [], reason: 'emergency' } as const
    const at = await changeRing({ store, material, clock, moment, timing: defaultTiming }, change, {
      actor: 'cli:test',
    })
    expect(at).toMatchObject({ now: moment.now + 600_000, running: moment.running })
    const revoked = (await keys()).find((key) => key.kid === kid)?.compromised_at
    expect(Date.parse(revoked ?? '')).toBe(moment.now + 600_000)
  })
})

describe('key export', () => {
  it('prints the JWKS that is served', async () => {
    const { server, json } = await start()
    const exported = await json<JSONWebKeySet>('key', 'export')
    const byKid = (jwks: JSONWebKeySet): unknown[] => jwks.keys.toSorted((a, b) => (`${a.kid}` < `${b.kid}` ? -1 : 1))
    expect(byKid(exported)).toEqual(byKid(await readJwks(server)))
    expect(JSON.stringify(exported)).not.toMatch(/"d":/)
  })

  it('prints PEM that verifies a token', async () => {
    const { server, client, json } = await start()
    const token = await getToken(server, client)
    const exported = await json<{ kid: string; pem: string }[]>('key', 'export', '--pem')
    const pem = exported.find(({ kid }) => kid === headerOf(token).kid)?.pem ?? ''
    const [head = '', body = '', signature = ''] = token.split('.')
    const key = { key: createPublicKey(pem), dsaEncoding: 'ieee-p1363' as const }
    expect(verify('sha256', Buffer.from(`${head}.${body}`), key, Buffer.from(signature, 'base64url'))).toBe(true)
  })
})

describe('key rewrap', () => {
  it('replaces the master key under a running server, and leaves keys, secrets and tokens as they are', async () => {
    const { server, client, json, run, keys } = await start()
    const [before, token] = [await keys(), await getToken(server, client)]
    const path = join(server.folder, 'keys/next.key')
    expect(await json('key', 'rewrap', '--new-master-key', 'keys/next.key')).toMatchObject({
      new_master_key_file: path,
    })
    expect(statSync(path).mode & 0o777).toBe(0o600)
    expect(await verifies(server, await getToken(server, client))).toBe(true)
    await server.stop()
    const refused = await run('serve')
    expect(refused).toMatchObject({ code: 1 })
    expect(refused.stderr).toContain('belongs to another database')
    const restarted = await startTestServer({ folder: server.folder, env: { MAYFLY_MASTER_KEY_FILE: path } })
    expect(await verifies(restarted, token)).toBe(true)
    expect(await verifies(restarted, await getToken(restarted, client))).toBe(true)
    expect((await keys()).map(({ kid, state }) => [kid, state])).toEqual(before.map(({ kid, state }) => [kid, state]))
  })

  it('lets a running server take up a root that was made under the new master key, from the old place', async () => {
    const { server, client, json } = await start()
    const [old, next] = [join(server.folder, 'keys/master.key'), join(server.folder, 'keys/next.key')]
    await json('key', 'rewrap', '--new-master-key', next)
    renameSync(next, old)
    await json('key', 'rotate-root')
    expect(await verifies(server, await getToken(server, client))).toBe(true)
  })

  it('takes a key file that an attempt before has left', async () => {
    const { server, json } = await start()
    const path = join(server.folder, 'keys/next.key')
    createMasterKey(path)
    const before = readFileSync(path, 'utf8')
    await json('key', 'rewrap', '--new-master-key', path)
    expect(readFileSync(path, 'utf8')).toBe(before)
    expect(await json('db', 'check')).toBeDefined()
    expect(await mayfly(['key', 'stage'], { cwd: server.folder, env: { MAYFLY_MASTER_KEY_FILE: path } })).toMatchObject(
      {
        code: 1,
        stderr: expect.stringContaining('a staged key stands') as string,
      },
    )
  })

  it('says which key is in force when it is run again after it was done', async () => {
    const { server, json, run } = await start()
    const path = join(server.folder, 'keys/next.key')
    await json('key', 'rewrap', '--new-master-key', path)
    const again = await run('key', 'rewrap', '--new-master-key', path)
    expect(again).toMatchObject({ code: 1, stdout: '' })
    expect(again.stderr).toContain(`${path} holds the master key that is in force and nothing was changed`)
  })

  it('F31 has one winner when two are run at once: what the other was told is an error', async () => {
    const { server, run } = await start()
    const ended = await Promise.all(['a', 'b'].map((name) => run('key', 'rewrap', '--new-master-key', `${name}.key`)))
    const codes = ended.map(({ code }) => code)
    expect(codes.toSorted()).toEqual([0, 1])
    const masterKey = join(server.folder, codes[0] === 0 ? 'a.key' : 'b.key')
    const opened = await mayfly(['doctor'], { cwd: server.folder, env: { MAYFLY_MASTER_KEY_FILE: masterKey } })
    expect(opened.stdout).toContain(`${masterKey} opens all 4 signing keys`)
  })

  it('refuses the key that is in force, a missing option, and a key file that others can read', async () => {
    const { server, run } = await start()
    const same = await run('key', 'rewrap', '--new-master-key', 'keys/master.key')
    expect(same).toMatchObject({ code: 1 })
    expect(same.stderr).toContain('holds the master key that is in force')
    expect(await run('key', 'rewrap')).toMatchObject({ code: 2 })
    const open = join(server.folder, 'keys/open.key')
    createMasterKey(open)
    chmodSync(open, 0o644)
    const refused = await run('key', 'rewrap', '--new-master-key', open)
    expect(refused).toMatchObject({ code: 1 })
    expect(refused.stderr).toContain('is open to every user')
  })
})

describe('key rotate-root', () => {
  it('encrypts every key under a new root, and leaves none of the old one', async () => {
    const { server, client, json } = await start()
    const token = await getToken(server, client)
    expect(await json('key', 'rotate-root')).toMatchObject({ root_version: 2 })
    const sqlite = new Database(join(server.folder, 'data/mayfly.db'), { readonly: true })
    expect(sqlite.prepare('SELECT version FROM root_key').pluck().all()).toEqual([2])
    sqlite.close()
    expect(await verifies(server, await getToken(server, client))).toBe(true)
    await server.stop()
    const restarted = await startTestServer({ folder: server.folder })
    expect(await verifies(restarted, token)).toBe(true)
    expect(await verifies(restarted, await getToken(restarted, client))).toBe(true)
  })
})
