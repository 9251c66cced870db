import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { createMasterKey, readMasterKey } from '../../src/key/master-key-file.ts'
import { checkMasterKey, provisionKeys } from '../../src/key/provision.ts'
import { unwrapRootKey } from '../../src/key/root-key.ts'
import { openStore } from '../../src/store/open-store.ts'
import type { Store } from '../../src/store/store.ts'
import { ManualClock } from '../support/clock.ts'
import { temporaryFolder } from '../support/process.ts'

const clock = new ManualClock()
const timing = { accessTokenMaxTtlSeconds: 1_234, jwksMaxAgeSeconds: 56 }

/** A database in a folder; each call opens it once more. */
function openIn(folder: string): Store {
  const store = openStore(join(folder, 'mayfly.db'), { create: true, examine: false, clock })
  onTestFinished(() => store.close())
  return store
}

describe('a first start', () => {
  it('claims the store with a root under the master key, and keys that remember today’s settings', async () => {
    const folder = temporaryFolder()
    const [store, path] = [openIn(folder), join(folder, 'master.key')]
    const { masterKey, ...made } = await provisionKeys(store, path, timing, clock)
    expect(made).toEqual({ madeKeys: true, madeMasterKey: true })
    expect(masterKey).toEqual(readMasterKey(path))
    const { storeId = '', rootKeys = [] } = (await store.readKeys()) ?? {}
    expect(rootKeys.map((root) => unwrapRootKey(root, masterKey, storeId).version)).toEqual([1])
    const now = clock.nowMilliseconds()
    const published = { createdAt: now, publishedAt: now, publishedRunning: 0, cachedSeconds: 0 }
    const remembered = { maxTtlSeconds: 1_234, maxAgeSeconds: 56 }
    const keys = await store.listKeys()
    for (const alg of ['ES256', 'RS256']) {
      const own = keys.filter((key) => key.alg === alg)
      expect(own.find(({ state }) => state === 'active')).toMatchObject({
        ...published,
        ...remembered,
        activatedAt: now,
      })
      const staged = own.find(({ state }) => state === 'staged')
      expect(staged).toMatchObject({ ...published, ...remembered })
      expect(staged).not.toHaveProperty('activatedAt')
      expect(own).toHaveLength(2)
    }
    const events = await store.listAudit({ limit: 10 })
    expect(events).toHaveLength(5)
    for (const event of events) expect(event).toMatchObject({ actor: 'server' })
  })

  it('makes nothing the second time', async () => {
    const folder = temporaryFolder()
    const [store, path] = [openIn(folder), join(folder, 'master.key')]
    const { masterKey } = await provisionKeys(store, path, timing, clock)
    const before = await store.readKeys()
    await expect(provisionKeys(store, path, timing, clock)).resolves.toEqual({
      masterKey,
      madeKeys: false,
      madeMasterKey: false,
    })
    expect(await store.readKeys()).toEqual(before)
  })

  it('F17 of two at once on one database with a master key each goes well for one, and is refused for the other', async () => {
    const folder = temporaryFolder()
    const starts = await Promise.allSettled(
      ['one.key', 'other.key'].map((name) => provisionKeys(openIn(folder), join(folder, name), timing, clock)),
    )
    expect(starts.map(({ status }) => status).toSorted()).toEqual(['fulfilled', 'rejected'])
    expect(starts.find(({ status }) => status === 'rejected')).toMatchObject({
      reason: {
        name: 'KeyMaterialError',
        message: expect.stringMatching(/another node has claimed the database meanwhile.*: copy that to /),
      },
    })
    expect(await openIn(folder).listKeys()).toHaveLength(4)
    // What opens nothing is not left behind.
    expect(readdirSync(folder).filter((name) => name.endsWith('.key'))).toHaveLength(1)
  })

  /** A store that another node claims, with a master key of its own, while this one makes its keys. */
  function openBehind(folder: string, meanwhile: () => void = () => undefined): Store {
    const store = openIn(folder)
    return {
      ...store,
      claimKeys: async (...claim) => {
        await provisionKeys(openIn(folder), join(folder, 'other.key'), timing, clock)
        meanwhile()
        return store.claimKeys(...claim)
      },
    }
  }

  it('F17 that comes second takes away the master key that it made, and no other', async () => {
    const [one, other] = [temporaryFolder(), temporaryFolder()]
    const path = join(one, 'master.key')
    await expect(provisionKeys(openBehind(one), path, timing, clock)).rejects.toMatchObject({
      name: 'KeyMaterialError',
      message: `another node has claimed the database meanwhile, with a master key of its own: copy that to ${path}, for this user alone, and start again`,
      cause: { name: 'KeyMaterialError', message: expect.stringMatching(/belongs to another database/) },
    })
    expect(existsSync(path)).toBe(false)
    const mine = join(other, 'master.key')
    createMasterKey(mine)
    const before = readFileSync(mine)
    await expect(provisionKeys(openBehind(other), mine, timing, clock)).rejects.toThrow(
      /^the master key .* belongs to another database/,
    )
    expect(readFileSync(mine)).toEqual(before)
  })

  it('F17 that comes second says so though somebody has taken its master key away already', async () => {
    const folder = temporaryFolder()
    const path = join(folder, 'master.key')
    const store = openBehind(folder, () => rmSync(path))
    await expect(provisionKeys(store, path, timing, clock)).rejects.toThrow(/^another node has claimed the database/)
  })

  it('of two at once on one master key goes well for both, and one of them made the keys', async () => {
    const folder = temporaryFolder()
    const path = join(folder, 'master.key')
    const starts = await Promise.all(
      [openIn(folder), openIn(folder)].map((store) => provisionKeys(store, path, timing, clock)),
    )
    expect(starts.map(({ madeKeys }) => madeKeys).toSorted()).toEqual([false, true])
    expect(starts[0]?.masterKey).toEqual(starts[1]?.masterKey)
  })

  it('leaves the store unclaimed when the master key is bad', async () => {
    const folder = temporaryFolder()
    const [store, path] = [openIn(folder), join(folder, 'master.key')]
    writeFileSync(path, 'nonsense', { mode: 0o600 })
    await expect(provisionKeys(store, path, timing, clock)).rejects.toThrow(/does not hold 32 bytes/)
    await expect(store.readKeys()).resolves.toBeUndefined()
  })
})

describe('the check of a master key', () => {
  it('refuses one of another database, with what went wrong as the cause', async () => {
    const folder = temporaryFolder()
    const store = openIn(folder)
    await provisionKeys(store, join(folder, 'master.key'), timing, clock)
    const material = await store.readKeys()
    if (material === undefined) throw new Error('no keys')
    const other = createMasterKey(join(folder, 'other.key'))
    expect(() => checkMasterKey(other, material, 'the/path')).toThrow(
      expect.objectContaining({
        name: 'KeyMaterialError',
        message: expect.stringMatching(
          /^the master key the\/path belongs to another database: point MAYFLY_MASTER_KEY/,
        ),
        cause: expect.objectContaining({ name: 'KeyMaterialError' }),
      }),
    )
    expect(() => checkMasterKey(undefined, material, 'the/path')).toThrow(
      /^the master key the\/path is missing, .*: put it back from your backup, or from another node of this database, or point MAYFLY_MASTER_KEY_FILE at it$/,
    )
  })
})
