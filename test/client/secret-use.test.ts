import { join } from 'node:path'
import Database from 'better-sqlite3'
import { describe, expect, it, onTestFinished } from 'vitest'
import type { SecretId } from '../../src/client/client-secret.ts'
import { SecretUse, useGranularityMilliseconds } from '../../src/client/secret-use.ts'
import { openStore } from '../../src/store/open-store.ts'
import type { Store } from '../../src/store/store.ts'
import { ManualClock } from '../support/clock.ts'
import { temporaryFolder } from '../support/process.ts'
import { addClient, addResource } from '../support/registry.ts'

const minutes = useGranularityMilliseconds / 60_000

interface Setting {
  readonly clock: ManualClock
  readonly store: Store
  readonly use: SecretUse
  readonly secretId: SecretId
  lastUsedAt(): Promise<number | undefined>
}

/** The id of a secret that no client has. */
function strangerId(i: number): SecretId {
  return `sec_${String(i).padStart(16, '0')}`
}

async function start(): Promise<Setting> {
  const clock = new ManualClock()
  const store = openStore(join(temporaryFolder(), 'mayfly.db'), { create: true, examine: false, clock })
  onTestFinished(() => store.close())
  await addResource(store)
  await addClient(store, 'billing')
  const secret = async () => (await store.findClient('billing')).value?.secrets[0]
  const secretId = (await secret())?.secretId
  if (secretId === undefined) throw new Error('no secret')
  return {
    clock,
    store,
    use: new SecretUse(store, clock),
    secretId,
    lastUsedAt: async () => (await secret())?.lastUsedAt,
  }
}

describe('the use of a secret', () => {
  it('is written when it is flushed, not before', async () => {
    const { clock, use, secretId, lastUsedAt } = await start()
    use.note(secretId, undefined)
    await expect(lastUsedAt()).resolves.toBeUndefined()
    await use.flush()
    await expect(lastUsedAt()).resolves.toBe(clock.nowMilliseconds())
  })

  it('moves no sequence, so that no other process reads its clients again', async () => {
    const { store, use, secretId } = await start()
    const before = await store.readRegistrySequence()
    use.note(secretId, undefined)
    await use.flush()
    await expect(store.readRegistrySequence()).resolves.toBe(before)
  })

  it('is not written again within five minutes', async () => {
    const { clock, use, secretId, lastUsedAt } = await start()
    const first = clock.nowMilliseconds()
    use.note(secretId, undefined)
    await use.flush()
    clock.advance(minutes * 60 - 1)
    use.note(secretId, undefined)
    await use.flush()
    await expect(lastUsedAt()).resolves.toBe(first)
  })

  it('is written again after five minutes, though the client in memory does not know the last time', async () => {
    const { clock, use, secretId, lastUsedAt } = await start()
    use.note(secretId, undefined)
    await use.flush()
    clock.advance(minutes * 60)
    use.note(secretId, undefined)
    await use.flush()
    await expect(lastUsedAt()).resolves.toBe(clock.nowMilliseconds())
  })

  it('is not written when another process wrote it lately', async () => {
    const { clock, use, secretId, lastUsedAt } = await start()
    use.note(secretId, clock.nowMilliseconds() - 60_000)
    await use.flush()
    await expect(lastUsedAt()).resolves.toBeUndefined()
  })

  it('is the last of several that were noted', async () => {
    const { clock, use, secretId, lastUsedAt } = await start()
    use.note(secretId, undefined)
    clock.advance(7)
    use.note(secretId, undefined)
    await use.flush()
    await expect(lastUsedAt()).resolves.toBe(clock.nowMilliseconds())
  })

  it('I26 never goes back, when the clock does', async () => {
    const { clock, use, secretId, lastUsedAt } = await start()
    const first = clock.nowMilliseconds()
    use.note(secretId, undefined)
    await use.flush()
    clock.step(-86_400)
    use.note(secretId, first)
    await use.flush()
    await expect(lastUsedAt()).resolves.toBe(first)
  })

  it('stays noted when it cannot be written, and is written later with the time of the use', async () => {
    const { clock, store, use, secretId, lastUsedAt } = await start()
    const usedAt = clock.nowMilliseconds()
    const other = new Database(store.location)
    onTestFinished(() => void other.close())
    other.exec(`CREATE TRIGGER broken BEFORE UPDATE ON client_secret BEGIN SELECT RAISE(ABORT, 'broken'); END`)
    use.note(secretId, undefined)
    await expect(use.flush()).rejects.toMatchObject({ name: 'StoreUnavailable' })
    await expect(use.flush()).rejects.toMatchObject({ name: 'StoreUnavailable' })
    await expect(lastUsedAt()).resolves.toBeUndefined()
    other.exec('DROP TRIGGER broken')
    clock.advance(60)
    await use.flush()
    await expect(lastUsedAt()).resolves.toBe(usedAt)
  })

  it('of a secret that is gone disturbs no other', async () => {
    const { clock, use, secretId, lastUsedAt } = await start()
    use.note('sec_0000000000000000', undefined)
    use.note(secretId, undefined)
    await use.flush()
    await expect(lastUsedAt()).resolves.toBe(clock.nowMilliseconds())
  })

  it('is written for more secrets than one act carries', async () => {
    const { clock, use, secretId, lastUsedAt } = await start()
    for (let i = 0; i < 1_200; i += 1) use.note(strangerId(i), undefined)
    use.note(secretId, undefined)
    await use.flush()
    await expect(lastUsedAt()).resolves.toBe(clock.nowMilliseconds())
  })

  it('is written in acts of at most 500, so that no request waits long behind one', async () => {
    const { clock, store } = await start()
    const sizes: number[] = []
    const watched: Store = {
      ...store,
      noteSecretUse: (part) => {
        sizes.push(part.size)
        return store.noteSecretUse(part)
      },
    }
    const use = new SecretUse(watched, clock)
    for (let i = 0; i < 1_200; i += 1) use.note(strangerId(i), undefined)
    await use.flush()
    expect(sizes).toEqual([500, 500, 200])
  })

  it('is written again when it came while the one before was being written', async () => {
    const { clock, use, secretId, lastUsedAt } = await start()
    use.note(secretId, undefined)
    const flushed = use.flush()
    clock.advance(1)
    use.note(secretId, undefined)
    await flushed
    await use.flush()
    await expect(lastUsedAt()).resolves.toBe(clock.nowMilliseconds())
  })

  it('is forgotten when 10,000 others wait to be written, and noted again when there is room', async () => {
    const { clock, use, secretId, lastUsedAt } = await start()
    for (let i = 0; i < 10_000; i += 1) use.note(strangerId(i), undefined)
    use.note(secretId, undefined)
    await use.flush()
    await expect(lastUsedAt()).resolves.toBeUndefined()
    use.note(secretId, undefined)
    await use.flush()
    await expect(lastUsedAt()).resolves.toBe(clock.nowMilliseconds())
  })

  it('is kept when it is the last of 10,000 that wait, and brought up to date while they do', async () => {
    const { clock, use, secretId, lastUsedAt } = await start()
    for (let i = 0; i < 9_999; i += 1) use.note(strangerId(i), undefined)
    use.note(secretId, undefined)
    clock.advance(1)
    use.note(secretId, undefined)
    await use.flush()
    await expect(lastUsedAt()).resolves.toBe(clock.nowMilliseconds())
  })
})
