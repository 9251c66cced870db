import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import { describe, expect, it, onTestFinished } from 'vitest'
import { type PreparedApp, prepareApp } from '../../src/app/prepare.ts'
import { parseSettings } from '../../src/config/settings.ts'
import { createMasterKey, readMasterKey } from '../../src/key/master-key-file.ts'
import { KeyRing, KeyRingOpener } from '../../src/key/ring.ts'
import {
  decryptPrivateKey,
  encryptPrivateKey,
  makeRootKey,
  unwrapRootKey,
  wrapRootKey,
} from '../../src/key/root-key.ts'
import { KeyMaterialError } from '../../src/key/signing-key.ts'
import { silentLog } from '../../src/lib/log.ts'
import { mayfly, temporaryFolder } from '../support/process.ts'
import { makeFirstRing } from '../support/ring.ts'
import { getToken, request, startTestServer, startWithClient } from '../support/server.ts'

async function prepare(folder: string, env: Record<string, string> = {}): Promise<PreparedApp> {
  const app = await prepareApp(parseSettings(env, folder), { log: silentLog })
  onTestFinished(() => app.close())
  return app
}

/** A folder with an installation in it that nobody has open. */
async function installation(): Promise<{ folder: string; key: string; database: string }> {
  const folder = temporaryFolder()
  const app = await prepareApp(parseSettings({}, folder), { log: silentLog })
  await app.close()
  return { folder, key: join(folder, 'keys/master.key'), database: join(folder, 'data/mayfly.db') }
}

function change(database: string, statement: string): void {
  const sqlite = new Database(database)
  sqlite.pragma('foreign_keys = OFF')
  sqlite.exec(statement)
  sqlite.close()
}

describe('a first start', () => {
  it('makes a master key for its owner alone, and an active and a staged key for each algorithm', async () => {
    const folder = temporaryFolder()
    const app = await prepare(folder)
    expect(app.provisioned).toMatchObject({ madeKeys: true, madeMasterKey: true })
    expect(statSync(join(folder, 'keys/master.key')).mode & 0o777).toBe(0o600)
    expect(readdirSync(join(folder, 'keys'))).toEqual(['master.key', 'master.key.witness'])
    const keys = (await app.store.readKeys())?.signingKeys ?? []
    expect(keys.map(({ alg, state }) => `${alg} ${state}`).sort()).toEqual([
      'ES256 active',
      'ES256 staged',
      'RS256 active',
      'RS256 staged',
    ])
    const types = (await app.store.listAudit({ limit: 10 })).map((entry) => entry.type).sort()
    expect(types).toEqual(['key.activated', 'key.activated', 'key.staged', 'key.staged', 'store.claimed'])
  })

  it('uses a master key that is there already: mounted, or left by a start that died', async () => {
    const folder = temporaryFolder()
    const path = join(folder, 'keys/master.key')
    createMasterKey(path)
    const before = readFileSync(path, 'utf8')
    const app = await prepare(folder)
    expect(app.provisioned).toMatchObject({ madeKeys: true, madeMasterKey: false })
    expect(readFileSync(path, 'utf8')).toBe(before)
  })

  it('keeps private keys encrypted: none of them, nor the root, stands in the database', async () => {
    const { folder, database, key } = await installation()
    const bytes = readFileSync(database)
    const master = readMasterKey(key)
    expect(bytes.includes(Buffer.from(master ?? ''))).toBe(false)
    const app = await prepare(folder)
    const material = await app.store.readKeys()
    expect(material?.rootKeys).toHaveLength(1)
    for (const { wrapped, version } of material?.rootKeys ?? []) {
      const root = unwrapRootKey({ wrapped, version }, master ?? new Uint8Array(), material?.storeId ?? '')
      expect(bytes.includes(Buffer.from(root.bytes))).toBe(false)
      for (const { kid, encryptedPrivateKey } of material?.signingKeys ?? []) {
        const der = decryptPrivateKey(root, material?.storeId ?? '', kid, encryptedPrivateKey)
        expect(bytes.includes(Buffer.from(der).subarray(20, 60))).toBe(false)
      }
    }
  })

  it('makes one installation when two processes start at once', async () => {
    const folder = temporaryFolder()
    const [one, two] = await Promise.all([prepare(folder), prepare(folder)])
    expect([one.provisioned.madeKeys, two.provisioned.madeKeys].filter(Boolean)).toHaveLength(1)
    expect(await one.store.readKeys()).toEqual(await two.store.readKeys())
    expect((await one.store.readKeys())?.signingKeys).toHaveLength(4)
  })
})

describe('F17 a start', () => {
  const faults: [string, (files: { key: string; folder: string }) => void, RegExp][] = [
    ['is missing', ({ key }) => rmSync(key), /is missing.*put it back from your backup/],
    ['is empty', ({ key }) => writeFileSync(key, ''), /does not hold 32 bytes/],
    [
      'is short',
      ({ key }) => writeFileSync(key, `${Buffer.alloc(16).toString('base64url')}\n`),
      /does not hold 32 bytes/,
    ],
    ['is garbage', ({ key }) => writeFileSync(key, Buffer.from([0, 1, 2, 250, 251])), /does not hold 32 bytes/],
    [
      'has a second line',
      ({ key }) => writeFileSync(key, `${readFileSync(key, 'utf8')}more\n`),
      /does not hold 32 bytes/,
    ],
    [
      'is a folder',
      ({ key }) => {
        rmSync(key)
        mkdirSync(key)
      },
      /is not a file/,
    ],
    ['is readable by others', ({ key }) => chmodSync(key, 0o644), /open to every user.*chmod o=/],
    ['is writable by others', ({ key }) => chmodSync(key, 0o602), /open to every user/],
    [
      'is of another database',
      ({ key }) => {
        rmSync(key)
        createMasterKey(key)
      },
      /belongs to another database/,
    ],
  ]

  it.each(faults)(
    'is refused when the master key %s, and nothing is made in its place',
    async (_, damage, sentence) => {
      const files = await installation()
      damage(files)
      const before = existsSync(files.key)
      await expect(prepare(files.folder)).rejects.toThrow(sentence)
      await expect(prepare(files.folder)).rejects.toBeInstanceOf(KeyMaterialError)
      expect(existsSync(files.key)).toBe(before)
    },
  )

  it('ends with exit code 1 and one sentence, before it listens', async () => {
    const { folder, key } = await installation()
    chmodSync(key, 0o644)
    const { code, stdout, stderr } = await mayfly(['serve'], { cwd: folder, env: { MAYFLY_PORT: '0' } })
    expect([code, stdout]).toEqual([1, ''])
    expect(stderr).toMatch(/^error: the master key .*\n$/)
  })

  it('accepts a file that the group may read, behind a link, in padded base64', async () => {
    const { folder, key } = await installation()
    const bytes = Buffer.from(readFileSync(key, 'utf8').trim(), 'base64url')
    writeFileSync(key, `${bytes.toString('base64')}\n`)
    chmodSync(key, 0o640)
    renameSync(key, `${key}.real`)
    symlinkSync(`${key}.real`, key)
    expect((await prepare(folder)).provisioned.madeKeys).toBe(false)
  })
})

describe('F19 a start', () => {
  it('is refused when the private keys of two rows are swapped', async () => {
    const { folder, database } = await installation()
    change(
      database,
      `UPDATE signing_key SET encrypted_private_key = (SELECT encrypted_private_key FROM signing_key other WHERE other.alg = signing_key.alg AND other.kid <> signing_key.kid)`,
    )
    await expect(prepare(folder)).rejects.toThrow(KeyMaterialError)
  })

  it('is refused when a published key was replaced by another, its kid along with it', async () => {
    const { folder, database } = await installation()
    const foreign = (await makeFirstRing('foreign')).signingKeys[0]
    const jwk = JSON.stringify(foreign?.publicJwk)
    change(
      database,
      `UPDATE signing_key SET public_jwk = '${jwk}', kid = '${foreign?.kid}' WHERE alg = 'ES256' AND state = 'active'`,
    )
    await expect(prepare(folder)).rejects.toThrow(KeyMaterialError)
    const other = await installation()
    change(other.database, `UPDATE signing_key SET public_jwk = '${jwk}' WHERE alg = 'ES256' AND state = 'active'`)
    await expect(prepare(other.folder)).rejects.toThrow()
  })

  it('is refused when a published key would show a private member', async () => {
    const { folder, database } = await installation()
    change(database, `UPDATE signing_key SET public_jwk = json_set(public_jwk, '$.d', 'AAAA') WHERE state = 'staged'`)
    await expect(prepare(folder)).rejects.toThrow()
  })

  it('is refused when key material was moved from another database under the same master key', async () => {
    const one = await installation()
    const folder = temporaryFolder()
    mkdirSync(join(folder, 'keys'))
    writeFileSync(join(folder, 'keys/master.key'), readFileSync(one.key), { mode: 0o600 })
    const two = await prepareApp(parseSettings({}, folder), { log: silentLog })
    await two.close()
    change(
      join(folder, 'data/mayfly.db'),
      `ATTACH '${one.database}' AS one; UPDATE root_key SET wrapped = (SELECT wrapped FROM one.root_key)`,
    )
    await expect(prepare(folder)).rejects.toThrow(/another database/)
  })

  it('is refused when an algorithm has no active key: a staged one does not step in', async () => {
    const { folder, database } = await installation()
    change(database, `UPDATE signing_key SET state = 'retired' WHERE alg = 'RS256' AND state = 'active'`)
    await expect(prepare(folder)).rejects.toThrow(/no RS256 key is active/)
  })
})

describe('key material at rest', () => {
  const root = makeRootKey(1)
  const master = new Uint8Array(32).fill(7)

  it('comes back under its own key, database and name alone', () => {
    const wrapped = wrapRootKey(root, master, 'store')
    expect(unwrapRootKey(wrapped, master, 'store').bytes).toEqual(root.bytes)
    expect(() => unwrapRootKey(wrapped, new Uint8Array(32), 'store')).toThrow(KeyMaterialError)
    expect(() => unwrapRootKey(wrapped, master, 'other')).toThrow(KeyMaterialError)
    expect(() => unwrapRootKey({ ...wrapped, version: 2 }, master, 'store')).toThrow(KeyMaterialError)
    const encrypted = encryptPrivateKey(root, 'store', 'kid', Buffer.from('private'))
    expect(Buffer.from(decryptPrivateKey(root, 'store', 'kid', encrypted)).toString()).toBe('private')
    expect(() => decryptPrivateKey(root, 'store', 'other', encrypted)).toThrow(KeyMaterialError)
    expect(() => decryptPrivateKey(makeRootKey(1), 'store', 'kid', encrypted)).toThrow(KeyMaterialError)
  })

  it('is refused when any bit of it was changed, or it was cut', () => {
    const { wrapped, version } = wrapRootKey(root, master, 'store')
    for (let i = 0; i < wrapped.length; i += 1) {
      const changed = Uint8Array.from(wrapped, (byte, at) => (at === i ? byte ^ 1 : byte))
      expect(() => unwrapRootKey({ wrapped: changed, version }, master, 'store')).toThrow(KeyMaterialError)
      expect(() => unwrapRootKey({ wrapped: wrapped.subarray(0, i), version }, master, 'store')).toThrow(
        KeyMaterialError,
      )
    }
  })

  it('never encrypts twice to the same bytes', () => {
    expect(wrapRootKey(root, master, 'store').wrapped).not.toEqual(wrapRootKey(root, master, 'store').wrapped)
  })
})

describe('the ring', () => {
  it('lets no staged key step in for an active one', () => {
    expect(() => new KeyRing([]).activeSigner('ES256')).toThrow(/no ES256 key is active/)
  })

  it('allows one active key for each algorithm, by a rule of the database', async () => {
    const { database } = await installation()
    expect(() => change(database, `UPDATE signing_key SET state = 'active'`)).toThrow(/UNIQUE/)
    expect(() => change(database, `UPDATE signing_key SET state = 'nonsense'`)).toThrow(/CHECK/)
  })

  it('says what is missing when its root was replaced under another master key, and opens once that is there', async () => {
    const first = { ...(await makeFirstRing('store')), ringMark: { highWater: 0, running: 0, resets: 0 } }
    const [old, next] = [new Uint8Array(32), new Uint8Array(32).fill(1)]
    let file: Uint8Array | undefined = old
    const opener = new KeyRingOpener(old, { rereadMasterKey: () => file })
    await opener.open(first)
    const replaced = { ...first, rootKeys: [wrapRootKey(makeRootKey(2), next, 'store')] }
    for (const wrong of [old, undefined]) {
      file = wrong
      await expect(opener.open(replaced)).rejects.toThrow(/^the root key was replaced, .*MAYFLY_MASTER_KEY_FILE/)
    }
    file = next
    expect((await opener.open(replaced)).root.root.version).toBe(2)
  })

  it('survives a restart: what was issued before verifies after, with the same JWKS', async () => {
    const { server, client } = await startWithClient({ env: { MAYFLY_ISSUER: 'http://127.0.0.1:9999' } })
    const token = await getToken(server, client)
    const before = await request(`${server.url}/.well-known/jwks.json`)
    await server.stop()
    const again = await startTestServer({ folder: server.folder, env: { MAYFLY_ISSUER: 'http://127.0.0.1:9999' } })
    const after = await request(`${again.url}/.well-known/jwks.json`)
    expect(after.text).toBe(before.text)
    const { createLocalJWKSet, jwtVerify } = await import('jose')
    const keys = createLocalJWKSet(after.json as never)
    const { payload } = await jwtVerify(token, keys, {
      issuer: 'http://127.0.0.1:9999',
      typ: 'at+jwt',
      algorithms: ['ES256'],
    })
    expect(payload.client_id).toBe('billing')
    await getToken(again, client)
  })
})
