import { describe, expect, it, onTestFinished } from 'vitest'
import { KeyRingOpener } from '../../src/key/ring.ts'
import { systemClock } from '../../src/lib/clock.ts'
import { StoreUnavailable } from '../../src/lib/store-error.ts'
import { Registry } from '../../src/registry/registry.ts'
import { openStore } from '../../src/store/open-store.ts'
import { defaultTiming } from '../support/ring.ts'
import { addClient, addResource, startTestServer } from '../support/server.ts'

describe('a decision without a commit', () => {
  it('is made on what is there when it is asked for, and again when the registry moves under it', async () => {
    const server = await startTestServer()
    await addResource(server.store)
    await addClient(server.store, 'billing')
    const store = await server.openOther()
    const opener = new KeyRingOpener(server.prepared.provisioned.masterKey)
    const registry = new Registry(store, opener, defaultTiming, systemClock)
    const nameOf = async (moves: boolean) => {
      let made = 0
      const name = await registry.decideNow(async (view) => {
        made += 1
        if (moves && made === 1) await server.store.updateClient('billing', { name: 'Moved' }, 'cli:test')
        return (await view.findClient('billing')).client?.name
      })
      return [name, made]
    }
    expect(await nameOf(false)).toEqual(['billing', 1])
    await server.store.updateClient('billing', { name: 'Changed' }, 'cli:test')
    expect(await nameOf(false)).toEqual(['Changed', 1])
    await server.store.updateClient('billing', { name: 'Again' }, 'cli:test')
    expect(await nameOf(true)).toEqual(['Moved', 2])
  })

  it('may be that there is nothing', async () => {
    const server = await startTestServer()
    const opener = new KeyRingOpener(server.prepared.provisioned.masterKey)
    const registry = new Registry(await server.openOther(), opener, defaultTiming, systemClock)
    expect(await registry.decideNow(async () => undefined)).toBeUndefined()
  })

  it('is refused when the registry never stands still, or cannot be asked', async () => {
    const server = await startTestServer()
    await addResource(server.store)
    await addClient(server.store, 'billing')
    const store = await server.openOther()
    const opener = new KeyRingOpener(server.prepared.provisioned.masterKey)
    const registry = new Registry(store, opener, defaultTiming, systemClock)
    let n = 0
    const restless = registry.decideNow(async (view) => {
      n += 1
      await server.store.updateClient('billing', { name: `n${n}` }, 'cli:test')
      return view.findClient('billing')
    })
    await expect(restless).rejects.toMatchObject({ reason: 'registry_moving' })
    await store.close()
    await expect(registry.decideNow(async () => 1)).rejects.toBeInstanceOf(StoreUnavailable)
  })
})

describe('the registry without its store', () => {
  it('still has the last ring, also when a decision has just found it old', async () => {
    const server = await startTestServer()
    const path = server.store.location
    const store = openStore(path, { create: false, examine: false })
    onTestFinished(() => store.close())
    const opener = new KeyRingOpener(server.prepared.provisioned.masterKey)
    const registry = new Registry(store, opener, defaultTiming, systemClock)
    const { view } = await registry.currentOrLast()
    const decision = registry.decide(async () => {
      await store.close()
      return undefined
    })
    await expect(decision).rejects.toBeInstanceOf(StoreUnavailable)
    expect(await registry.currentOrLast()).toEqual({ view, isCurrent: false })
    expect(registry.lastRing).toBe(view.ring)
  })

  it('refuses to make one up when there never was any', async () => {
    const server = await startTestServer()
    const store = openStore(server.store.location, { create: false, examine: false })
    await store.close()
    const opener = new KeyRingOpener(server.prepared.provisioned.masterKey)
    const registry = new Registry(store, opener, defaultTiming, systemClock)
    await expect(registry.currentOrLast()).rejects.toBeInstanceOf(StoreUnavailable)
  })
})
