import { describe, expect, it } from 'vitest'
import { makeReplayUse } from '../../src/oauth/replay.ts'
import type { Store } from '../../src/store/store.ts'
import { ManualClock } from '../support/clock.ts'
import { addClient, addResource } from '../support/registry.ts'
import { issuance } from './family-store.ts'
import type { StoreUnderTest } from './store.ts'

const minute = 60_000

/** The contract of what remembers statements that count once. */
export function testReplayStore(name: string, under: StoreUnderTest): void {
  const clock = new ManualClock()
  const use = (jti: string, kind: 'assertion' | 'proof' = 'assertion') =>
    makeReplayUse(kind, ['billing', jti], clock.nowMilliseconds() + minute)

  const create = async (): Promise<Store> => {
    const store = await under.create(clock)
    await addResource(store)
    await addClient(store, 'billing')
    return store
  }

  describe(`${name}: statements that count once`, () => {
    it('count the first time', async () => {
      const store = await create()
      expect(await store.useOnce([use('one'), use('two', 'proof')])).toBeUndefined()
      expect(await store.useOnce([use('three')])).toBeUndefined()
    })

    it('J21 are told the second time, and by their kind', async () => {
      const store = await create()
      await store.useOnce([use('one'), use('one', 'proof')])
      expect(await store.useOnce([use('one')])).toBe('assertion')
      expect(await store.useOnce([use('one', 'proof')])).toBe('proof')
    })

    it('are told without counting', async () => {
      const store = await create()
      const later = use('one')
      expect(await store.findUsed([later])).toBeUndefined()
      expect(await store.useOnce([later])).toBeUndefined()
      expect(await store.findUsed([use('two', 'proof'), later])).toBe('assertion')
      expect(await store.useOnce([use('two', 'proof')])).toBeUndefined()
    })

    it('count all together or not at all', async () => {
      const store = await create()
      await store.useOnce([use('old')])
      expect(await store.useOnce([use('new'), use('old')])).toBe('assertion')
      expect(await store.useOnce([use('new')])).toBeUndefined()
    })

    it('I17 count once of a hundred at a time in two processes', async () => {
      const store = await create()
      const other = await under.openOther(store, clock)
      const uses = Array.from({ length: 100 }, (_, i) => (i % 2 === 0 ? store : other).useOnce([use('raced')]))
      const outcomes = await Promise.all(uses)
      expect(outcomes.filter((replayed) => replayed === undefined)).toHaveLength(1)
    })

    it('count with the token that rests on them, and not without it', async () => {
      const store = await create()
      const sequence = await store.readRegistrySequence()
      expect(await store.recordIssuance(issuance(clock), sequence - 1, { uses: [use('a')] })).toBe('moved')
      expect(await store.recordIssuance(issuance(clock), sequence, { uses: [use('a')] })).toBe('recorded')
      const replayed = issuance(clock)
      expect(await store.recordIssuance(replayed, sequence, { uses: [use('b', 'proof'), use('a')] })).toBe(
        'assertion_replayed',
      )
      expect(await store.findIssuance(replayed.jti)).toBeUndefined()
      expect(await store.useOnce([use('b', 'proof')])).toBeUndefined()
    })

    it('do not count when the refresh family of the token has moved on', async () => {
      const store = await create()
      const change = {
        kind: 'retry',
        familyId: 'none',
        generation: 1,
        at: 0,
        until: clock.nowMilliseconds() * 2,
      } as const
      const sequence = await store.readRegistrySequence()
      expect(await store.recordIssuance(issuance(clock), sequence, { change, uses: [use('a')] })).toBe('moved')
      expect(await store.useOnce([use('a')])).toBeUndefined()
    })

    it('I17 J24 do not count for whoever was paused until they were over, and perhaps forgotten', async () => {
      const store = await create()
      const late = [use('late')]
      const sequence = await store.readRegistrySequence()
      clock.advance(60)
      expect(await store.useOnce(late)).toBe('assertion')
      expect(await store.recordIssuance(issuance(clock), sequence, { uses: late })).toBe('assertion_replayed')
      clock.advance(-60)
    })

    it('I17 I26 J24 nor where wall time has stepped back meanwhile: they are forgotten by the calendar', async () => {
      const store = await create()
      const late = [use('late')]
      const sequence = await store.readRegistrySequence()
      await store.noteRingMark({ highWater: clock.nowMilliseconds() + minute, running: 0, resets: 0 })
      expect(await store.useOnce(late)).toBe('assertion')
      expect(await store.recordIssuance(issuance(clock), sequence, { uses: late })).toBe('assertion_replayed')
      expect(await store.recordIssuance(issuance(clock), sequence)).toBe('recorded')
    })

    it('J24 are remembered until nobody would take them any more, and then forgotten in small batches', async () => {
      const store = await create()
      for (const jti of ['a', 'b', 'c']) await store.useOnce([use(jti)])
      expect(await store.pruneReplays(clock.nowMilliseconds() + minute, 10)).toBe(0)
      expect(await store.useOnce([use('a')])).toBe('assertion')
      expect(await store.pruneReplays(clock.nowMilliseconds() + minute + 1, 2)).toBe(2)
      expect(await store.pruneReplays(clock.nowMilliseconds() + minute + 1, 2)).toBe(1)
    })
  })
}
