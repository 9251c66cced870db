import { describe, expect, it } from 'vitest'
import { StoreUnavailable } from '../../src/lib/store-error.ts'
import { makeReplayUse } from '../../src/oauth/replay.ts'
import type { Store } from '../../src/store/store.ts'
import type { RecordOutcome } from '../../src/token/token-store.ts'
import { ManualClock } from '../support/clock.ts'
import { addClient, addResource } from '../support/registry.ts'
import { issuance, makeFamily } from './family-store.ts'
import type { StoreUnderTest } from './store.ts'

/** What any store must do with quotas of tokens. */
export function testQuotas(name: string, under: StoreUnderTest): void {
  const create = async (): Promise<{ store: Store; clock: ManualClock }> => {
    const clock = new ManualClock(Date.UTC(2026, 0, 2, 3, 4, 5))
    const store = await under.create(clock)
    await addResource(store)
    await addClient(store, 'billing', { tokensPerHour: 3 })
    await addClient(store, 'shipping')
    return { store, clock }
  }

  const record = async (store: Store, clock: ManualClock, tokensPerHour?: number, clientId = 'billing') =>
    store.recordIssuance(issuance(clock, { clientId }), await store.readRegistrySequence(), { tokensPerHour })

  const recordMany = async (store: Store, clock: ManualClock, count: number, tokensPerHour = 3) => {
    const outcomes: RecordOutcome[] = []
    for (let i = 0; i < count; i += 1) outcomes.push(await record(store, clock, tokensPerHour))
    return outcomes
  }

  describe(`${name}: quotas of tokens`, () => {
    it('let so many tokens be recorded in an hour, and no more', async () => {
      const { store, clock } = await create()
      expect(await recordMany(store, clock, 4)).toEqual(['recorded', 'recorded', 'recorded', 'quota_used_up'])
      const refused = issuance(clock)
      const sequence = await store.readRegistrySequence()
      expect(await store.recordIssuance(refused, sequence, { tokensPerHour: 3 })).toBe('quota_used_up')
      expect(await store.findIssuance(refused.jti)).toBeUndefined()
      expect(await store.readHourlyCount('billing')).toMatchObject({ issued: 3 })
    })

    it('begin anew with the next hour', async () => {
      const { store, clock } = await create()
      await recordMany(store, clock, 3)
      clock.advance(55 * 60 + 54)
      expect(await record(store, clock, 3)).toBe('quota_used_up')
      clock.advance(1)
      expect(await store.readHourlyCount('billing')).toMatchObject({ issued: 0 })
      expect(await recordMany(store, clock, 4)).toEqual(['recorded', 'recorded', 'recorded', 'quota_used_up'])
    })

    it('are each of one client, and count nothing of a client that has none', async () => {
      const { store, clock } = await create()
      await recordMany(store, clock, 4)
      for (let i = 0; i < 5; i += 1) expect(await record(store, clock, undefined, 'shipping')).toBe('recorded')
      expect(await store.readHourlyCount('shipping')).toMatchObject({ issued: 0 })
      expect(await record(store, clock, 1, 'shipping')).toBe('recorded')
      expect(await record(store, clock, 1, 'shipping')).toBe('quota_used_up')
    })

    it('are exact under load in two processes', async () => {
      const { store, clock } = await create()
      const other = await under.openOther(store, clock)
      const sequence = await store.readRegistrySequence()
      const outcomes = await Promise.all(
        Array.from({ length: 400 }, (_, i) =>
          (i % 2 === 0 ? store : other).recordIssuance(issuance(clock), sequence, { tokensPerHour: 123 }),
        ),
      )
      expect(outcomes.filter((outcome) => outcome === 'recorded')).toHaveLength(123)
      expect(outcomes.filter((outcome) => outcome === 'quota_used_up')).toHaveLength(277)
      expect(await other.readHourlyCount('billing')).toMatchObject({ issued: 123 })
      expect(await store.readLiveTokens('billing', clock.nowMilliseconds())).toMatchObject({ count: 123 })
    })

    it('count what is recorded alone: not what the fence refuses, nor what is a replay', async () => {
      const { store, clock } = await create()
      const sequence = await store.readRegistrySequence()
      const uses = [makeReplayUse('assertion', ['billing', 'a'], clock.nowMilliseconds() + 60_000)]
      const acts = { uses, tokensPerHour: 3 }
      expect(await store.recordIssuance(issuance(clock), sequence - 1, acts)).toBe('moved')
      expect(await store.recordIssuance(issuance(clock), sequence, acts)).toBe('recorded')
      expect(await store.recordIssuance(issuance(clock), sequence, acts)).toBe('assertion_replayed')
      const change = { kind: 'retry', familyId: 'none', generation: 1, at: 0, until: clock.nowMilliseconds() } as const
      expect(await store.recordIssuance(issuance(clock), sequence, { change, tokensPerHour: 3 })).toBe('moved')
      expect(await store.readHourlyCount('billing')).toMatchObject({ issued: 1 })
    })

    it('G09 let nothing of the act happen when they are used up: no statement counts, no family begins', async () => {
      const { store, clock } = await create()
      await recordMany(store, clock, 3)
      const family = makeFamily(clock)
      const uses = [makeReplayUse('assertion', ['billing', 'b'], clock.nowMilliseconds() + 60_000)]
      const acts = { change: { kind: 'start', family }, uses, tokensPerHour: 3 } as const
      const sequence = await store.readRegistrySequence()
      expect(await store.recordIssuance(issuance(clock), sequence, acts)).toBe('quota_used_up')
      expect(await store.findFamily(family.familyId)).toBeUndefined()
      expect(await store.useOnce(uses)).toBeUndefined()
    })

    it.each(['statement', 'transaction', 'silently'] as const)(
      'F42 I23 record no token when it cannot be counted: %s',
      async (how) => {
        const { store, clock } = await create()
        const repair = await under.breakInserts(store, 'client_hour', how)
        const refused = issuance(clock)
        const sequence = await store.readRegistrySequence()
        await expect(store.recordIssuance(refused, sequence, { tokensPerHour: 3 })).rejects.toBeInstanceOf(
          StoreUnavailable,
        )
        await repair()
        expect(await store.findIssuance(refused.jti)).toBeUndefined()
        expect(await recordMany(store, clock, 4)).toEqual(['recorded', 'recorded', 'recorded', 'quota_used_up'])
      },
    )

    it.each([60, 3_600, 24 * 3_600])('I26 open no hour again when the clock steps back by %i s', async (seconds) => {
      const { store, clock } = await create()
      await recordMany(store, clock, 3)
      clock.step(-seconds)
      expect(await record(store, clock, 3)).toBe('quota_used_up')
      clock.step(seconds)
      expect(await record(store, clock, 3)).toBe('quota_used_up')
    })

    it('F15 are not closed for years by an hour of a wrong clock', async () => {
      const { store, clock } = await create()
      const year = 365 * 24 * 3_600
      clock.step(year)
      await recordMany(store, clock, 3)
      clock.step(-year)
      expect(await record(store, clock, 3)).toBe('quota_used_up')
      clock.advance(3_600)
      expect(await recordMany(store, clock, 4)).toEqual(['recorded', 'recorded', 'recorded', 'quota_used_up'])
    })

    it('hold at once when they are lowered, and let more pass when they are raised', async () => {
      const { store, clock } = await create()
      await recordMany(store, clock, 3)
      expect(await record(store, clock, 2)).toBe('quota_used_up')
      expect(await record(store, clock, 4)).toBe('recorded')
      expect(await record(store, clock, 4)).toBe('quota_used_up')
    })

    it('are kept with the client, and their counts go with it', async () => {
      const { store, clock } = await create()
      expect((await store.findClient('billing')).value).toMatchObject({ tokensPerHour: 3 })
      await store.updateClient('billing', { tokensPerHour: 5 }, 'cli:test')
      expect((await store.findClient('billing')).value).toMatchObject({ tokensPerHour: 5 })
      await store.updateClient('billing', { tokensPerHour: null }, 'cli:test')
      expect((await store.findClient('billing')).value).not.toHaveProperty('tokensPerHour')
      await recordMany(store, clock, 2)
      await store.deleteClient('billing', 'cli:test')
      expect(await store.readHourlyCount('billing')).toMatchObject({ issued: 0 })
    })

    it('do not move the registry', async () => {
      const { store, clock } = await create()
      const before = await store.readRegistrySequence()
      await recordMany(store, clock, 4)
      expect(await store.readRegistrySequence()).toBe(before)
    })
  })
}
