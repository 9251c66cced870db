import { describe, expect, it, onTestFinished } from 'vitest'
import { KeyRingOpener } from '../../src/key/ring.ts'
import { systemClock } from '../../src/lib/clock.ts'
import { StoreUnavailable } from '../../src/lib/store-error.ts'
import { Registry } from '../../src/registry/registry.ts'
import { openStore } from '../../src/store/open-store.ts'
import { defaultTiming } from '../support/ring.ts'
import { startTestServer } from '../support/server.ts'

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
