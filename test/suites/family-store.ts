/** What any store must do with refresh families and marks. */
import { describe, expect, it } from 'vitest'
import type { FamilyEnded, IssuanceRecord } from '../../src/audit/event.ts'
import type { Clock } from '../../src/lib/clock.ts'
import { makeRequestId, makeUlid, ulidMilliseconds } from '../../src/lib/id.ts'
import { StoreUnavailable } from '../../src/lib/store-error.ts'
import type { Store } from '../../src/store/store.ts'
import type { RefreshFamily } from '../../src/token/family.ts'
import type { FamilyChange } from '../../src/token/family-store.ts'
import { longestTokenLifeMilliseconds, maxMarksPerClient } from '../../src/token/mark-store.ts'
import { ManualClock } from '../support/clock.ts'
import { addClient, addResource, api } from '../support/registry.ts'
import type { StoreUnderTest } from './store.ts'

const hour = 3_600_000

/** A refresh family of `billing`, begun now. */
export function makeFamily(clock: Clock, changes: Partial<RefreshFamily> = {}): RefreshFamily {
  const now = clock.nowMilliseconds()
  return {
    familyId: makeUlid(now),
    clientId: 'billing',
    subject: 'billing',
    audience: api,
    scopes: ['read', 'write'],
    seed: Buffer.alloc(16, 3),
    generation: 0,
    generationAt: now,
    rootVersion: 1,
    expiresAt: now + hour,
    familyExpiresAt: now + 24 * hour,
    ...changes,
  }
}

/** A record of a token of `billing`. */
export function issuance(clock: Clock, more: Partial<IssuanceRecord> = {}): IssuanceRecord {
  const now = clock.nowMilliseconds()
  return {
    jti: makeUlid(now),
    clientId: 'billing',
    subject: 'billing',
    grantType: 'refresh_token',
    secretId: 'sec_0123456789abcdef',
    audience: api,
    kid: 'kid',
    expiresAt: Math.floor(now / 1000) + 300,
    requestId: makeRequestId(now),
    address: '192.0.2.7',
    ...more,
  }
}

const ending = ({ familyId, clientId }: RefreshFamily, clock: Clock, more: Partial<FamilyEnded> = {}): FamilyEnded => ({
  type: 'family.ended',
  familyId,
  clientId,
  reason: 'reused',
  requestId: makeRequestId(clock.nowMilliseconds()),
  address: '192.0.2.8',
  ...more,
})

/** Runs the part of the contract that is about refresh families and marks. */
export function testFamilyStore(name: string, under: StoreUnderTest): void {
  const clock = new ManualClock()

  const create = async (): Promise<Store> => {
    const store = await under.create(clock)
    await addResource(store)
    await addClient(store, 'billing')
    return store
  }

  const record = async (store: Store, change: FamilyChange, more: Partial<IssuanceRecord> = {}): Promise<boolean> => {
    const outcome = await store.recordIssuance(issuance(clock, more), await store.readRegistrySequence(), { change })
    return outcome === 'recorded'
  }

  const begin = async (store: Store, changes: Partial<RefreshFamily> = {}): Promise<RefreshFamily> => {
    const family = makeFamily(clock, changes)
    expect(await record(store, { kind: 'start', family }, { familyId: family.familyId })).toBe(true)
    return family
  }

  const rotation = ({ familyId, generation, lastJti }: RefreshFamily, more: object = {}): FamilyChange => ({
    kind: 'rotate',
    familyId,
    generation,
    rootVersion: 1,
    lastJti,
    at: clock.nowMilliseconds(),
    expiresAt: clock.nowMilliseconds() + hour,
    ...more,
  })

  describe(`${name}: refresh families`, () => {
    it('are read back as they began, in another process too', async () => {
      const store = await create()
      const family = await begin(store)
      const other = await under.openOther(store, clock)
      expect(await other.findFamily(family.familyId)).toEqual(family)
      const bare = await begin(store, { scopes: [], subject: 'somebody' })
      expect(await store.findFamily(bare.familyId)).toEqual(bare)
      expect(await store.findFamily(makeUlid(0))).toBeUndefined()
    })

    it('go to the next generation with the record of a token, or not at all', async () => {
      const store = await create()
      const family = await begin(store)
      clock.advance(60)
      expect(await record(store, rotation(family, { rootVersion: 2 }), { refreshGeneration: 0 })).toBe(true)
      expect(await store.findFamily(family.familyId)).toEqual({
        ...family,
        generation: 1,
        lastJti: expect.any(String),
        generationAt: clock.nowMilliseconds(),
        rootVersion: 2,
        expiresAt: clock.nowMilliseconds() + hour,
      })
      const repair = await under.breakInserts(store, 'issuance', 'statement')
      await expect(record(store, { ...rotation(family), generation: 1 } as FamilyChange)).rejects.toBeInstanceOf(
        StoreUnavailable,
      )
      await repair()
      expect((await store.findFamily(family.familyId))?.generation).toBe(1)
    })

    it('G05 F42 I1 let one of all who use a generation at once through', async () => {
      const store = await create()
      const other = await under.openOther(store, clock)
      const family = await begin(store)
      const outcomes = await Promise.all(
        Array.from({ length: 32 }, (_, i) => record(i % 2 === 0 ? store : other, rotation(family))),
      )
      expect(outcomes.filter(Boolean)).toHaveLength(1)
      expect((await other.findFamily(family.familyId))?.generation).toBe(1)
      expect(await store.listAudit({ type: 'token.issued', limit: 100 })).toHaveLength(2)
    })

    it('are not used by a decision of before the registry moved', async () => {
      const store = await create()
      const family = await begin(store)
      const sequence = await store.readRegistrySequence()
      await store.setClientStatus('billing', 'disabled', 'cli:test')
      expect(await store.recordIssuance(issuance(clock), sequence, { change: rotation(family) })).toBe('moved')
      expect((await store.findFamily(family.familyId))?.generation).toBe(0)
    })

    it('remember what the token of their generation is bound to', async () => {
      const store = await create()
      const jkt = '0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I'
      const family = await begin(store, { confirmation: { jkt } })
      expect((await store.findFamily(family.familyId))?.confirmation).toEqual({ jkt })
      const x5t = { 'x5t#S256': 'bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg2' }
      await record(store, rotation(family, { confirmation: x5t }))
      expect((await store.findFamily(family.familyId))?.confirmation).toEqual(x5t)
      await record(store, rotation({ ...family, generation: 1 }))
      expect((await store.findFamily(family.familyId))?.confirmation).toBeUndefined()
    })

    it('are not used once they have expired, though the decision was made before', async () => {
      const store = await create()
      const family = await begin(store)
      const late = rotation(family)
      clock.advance(3_600)
      expect(await record(store, late)).toBe(false)
      expect(await store.listAudit({ type: 'token.issued', limit: 10 })).toHaveLength(1)
    })

    it('take a retry while the generation is the one that it follows, inside the window alone', async () => {
      const store = await create()
      const family = await begin(store)
      await record(store, rotation(family))
      const at = clock.nowMilliseconds()
      const retry = { kind: 'retry', familyId: family.familyId, generation: 1, at, until: at + 60_000 } as const
      expect(await record(store, retry)).toBe(true)
      expect(await record(store, { ...retry, generation: 0 })).toBe(false)
      clock.advance(60)
      expect(await record(store, retry)).toBe(false)
    })

    it('I2 end for ever, with a mark, and a record that names who used the generation first', async () => {
      const store = await create()
      const other = await under.openOther(store, clock)
      const family = await begin(store)
      const first = issuance(clock, { familyId: family.familyId, refreshGeneration: 0 })
      await store.recordIssuance(first, await store.readRegistrySequence(), { change: rotation(family) })
      const event = ending(family, clock, { presentedGeneration: 0, currentGeneration: 1 })
      const asked = { familyId: family.familyId, ifGeneration: 1, event }
      expect(await other.endFamily(asked)).toBe(true)
      expect(await store.findFamily(family.familyId)).toMatchObject({ generation: 1, end: 'reused' })
      expect(await store.listAudit({ type: 'family.ended', limit: 10 })).toMatchObject([
        {
          ...event,
          firstUse: { requestId: first.requestId, address: '192.0.2.7', at: clock.nowMilliseconds() },
        },
      ])
      expect((await store.readMarks(0)).marks).toMatchObject([{ kind: 'family', id: family.familyId }])
      expect(await store.endFamily(asked)).toBe(false)
      expect(await record(store, { ...rotation(family), generation: 1 } as FamilyChange)).toBe(false)
      expect(await store.listAudit({ type: 'family.ended', limit: 10 })).toHaveLength(1)
    })

    it.each([0, 1, 2])(
      'I2 are known to have been used by whom first, generation %i of some, retried or not',
      async (used) => {
        const store = await create()
        const { familyId } = await begin(store)
        const uses: IssuanceRecord[] = []
        for (let generation = 0; generation < 4; generation += 1) {
          clock.advance(10)
          const family = await store.findFamily(familyId)
          if (family === undefined) throw new Error('the family is gone')
          const use = issuance(clock, { familyId, refreshGeneration: generation })
          uses.push(use)
          expect(await record(store, rotation(family), use)).toBe(true)
          const at = clock.nowMilliseconds()
          const retry = { kind: 'retry', familyId, generation: generation + 1, at, until: at + 60_000 } as const
          expect(await record(store, retry, { familyId, refreshGeneration: generation })).toBe(true)
        }
        const family = await store.findFamily(familyId)
        expect(family).toMatchObject({ generation: 4, lastJti: uses[3]?.jti })
        const event = ending(makeFamily(clock, { familyId }), clock, {
          presentedGeneration: used,
          currentGeneration: 4,
        })
        expect(await store.endFamily({ familyId, event })).toBe(true)
        const { requestId, address, jti = '' } = uses[used] ?? {}
        expect(await store.listAudit({ type: 'family.ended', limit: 1 })).toMatchObject([
          { firstUse: { requestId, address, at: ulidMilliseconds(jti) } },
        ])
      },
    )

    it('end without the first use when its record, or one behind it, was pruned', async () => {
      const store = await create()
      const family = await begin(store)
      await record(store, rotation(family), { familyId: family.familyId, refreshGeneration: 0 })
      clock.advance(1)
      await store.pruneAudit({ issuance: clock.nowMilliseconds(), others: 0, limit: 10 })
      const event = ending(family, clock, { presentedGeneration: 0, currentGeneration: 1 })
      expect(await store.endFamily({ familyId: family.familyId, event })).toBe(true)
      const [entry] = await store.listAudit({ type: 'family.ended', limit: 1 })
      expect(entry).not.toHaveProperty('firstUse')
    })

    it('I3 do not end on a judgement that has become old', async () => {
      const store = await create()
      const family = await begin(store)
      const { familyId } = family
      const event = ending(family, clock)
      expect(await store.endFamily({ familyId, ifGeneration: 1, event })).toBe(false)
      const sequence = await store.readRegistrySequence()
      await store.updateClient('billing', { name: 'x' }, 'cli:test')
      expect(await store.endFamily({ familyId, ifSequence: sequence, event })).toBe(false)
      expect(await store.endFamily({ familyId: makeUlid(0), event })).toBe(false)
      expect(await store.findFamily(familyId)).toEqual(family)
      expect(await store.readMarks(0)).toEqual({ sequence: 0, marks: [] })
    })

    it.each(['audit_event', 'mark'])('do not end when %s cannot be written', async (table) => {
      const store = await create()
      const family = await begin(store)
      const repair = await under.breakInserts(store, table, 'statement')
      const asked = { familyId: family.familyId, event: ending(family, clock) }
      await expect(store.endFamily(asked)).rejects.toBeInstanceOf(StoreUnavailable)
      expect(await store.findFamily(family.familyId)).toEqual(family)
      await repair()
      expect(await store.endFamily(asked)).toBe(true)
    })

    it('I26 have lived to the latest moment that was noted, in another process too', async () => {
      const store = await create()
      const other = await under.openOther(store, clock)
      expect(await other.readMoment()).toBe(0)
      for (const at of [7_000, 9_000, 8_000]) await store.noteMoment(at)
      expect(await other.readMoment()).toBe(9_000)
      expect(await store.readMarkSequence()).toBe(0)
    })

    it('are counted while they can be used, and pruned in small batches once they are dead', async () => {
      const store = await create()
      const families = [await begin(store), await begin(store), await begin(store)]
      const born = clock.nowMilliseconds()
      const at = (now: number, bornAfter = 0) => store.countFamilies('billing', { now, bornAfter })
      expect(await at(born)).toBe(3)
      expect(await at(born, born)).toBe(0)
      expect(await at(born + hour)).toBe(0)
      const [first] = families
      if (first !== undefined) await store.endFamily({ familyId: first.familyId, event: ending(first, clock) })
      expect(await at(born)).toBe(2)
      const kept = async (): Promise<number> => {
        const found = await Promise.all(families.map(({ familyId }) => store.findFamily(familyId)))
        return found.filter((family) => family !== undefined).length
      }
      const ids = families.map(({ familyId }) => familyId).toSorted()
      expect(await store.pruneFamilies(born, { after: '', limit: 10 })).toBeUndefined()
      expect(await kept()).toBe(3)
      expect(await store.pruneFamilies(born + 1, { after: '', limit: 10 })).toBeUndefined()
      expect(await kept()).toBe(2)
      const left = ids.filter((id) => id !== first?.familyId)
      expect(await store.pruneFamilies(born + 2 * hour, { after: '', limit: 1 })).toBe(left[0])
      expect(await kept()).toBe(1)
      expect(await store.pruneFamilies(born + 2 * hour, { after: left[1] ?? '', limit: 1 })).toBeUndefined()
      expect(await kept()).toBe(1)
      expect(await store.pruneFamilies(born + 2 * hour, { after: left[0] ?? '', limit: 1 })).toBe(left[1])
      expect(await kept()).toBe(0)
    })
  })

  describe(`${name}: marks`, () => {
    const revoke = (store: Store, jti: string, clientId = 'billing', life = hour): Promise<boolean> =>
      store.revokeToken(
        { expiresAt: clock.nowMilliseconds() + life },
        { type: 'token.revoked', jti, clientId, actor: 'cli:test' },
      )

    it('are read by what is new since a moment, in another process too', async () => {
      const store = await create()
      const other = await under.openOther(store, clock)
      expect(await other.readMarks(0)).toEqual({ sequence: 0, marks: [] })
      expect(await revoke(store, 'a')).toBe(true)
      const { sequence } = await other.readMarks(0)
      expect(await revoke(store, 'b')).toBe(true)
      expect(await other.readMarkSequence()).toBeGreaterThan(sequence)
      expect((await other.readMarks(sequence)).marks).toEqual([
        { kind: 'jti', id: 'b', expiresAt: clock.nowMilliseconds() + hour },
      ])
    })

    it('are set once, with one record', async () => {
      const store = await create()
      expect(await revoke(store, 'a')).toBe(true)
      expect(await revoke(store, 'a')).toBe(false)
      expect(await store.listAudit({ type: 'token.revoked', limit: 10 })).toMatchObject([
        { jti: 'a', clientId: 'billing', actor: 'cli:test' },
      ])
      expect((await store.readMarks(0)).marks).toHaveLength(1)
    })

    it('are pruned when what they end has died by itself', async () => {
      const store = await create()
      await revoke(store, 'a', 'billing', 1_000)
      await revoke(store, 'b')
      expect(await store.pruneMarks(clock.nowMilliseconds() + 1_001, 10)).toBe(1)
      expect((await store.readMarks(0)).marks).toMatchObject([{ id: 'b' }])
    })

    it('of one client become one on all its tokens when they are too many, and leave other clients alone', async () => {
      const store = await create()
      await addClient(store, 'other')
      await revoke(store, 'theirs', 'other')
      const sequence = await store.readRegistrySequence()
      for (let i = 0; i < maxMarksPerClient; i += 1) await revoke(store, `jti-${i}`)
      expect((await store.findClient('billing')).value).not.toHaveProperty('tokensAfter')
      expect(await store.readRegistrySequence()).toBe(sequence)
      await revoke(store, 'one more')
      expect((await store.findClient('billing')).value?.tokensAfter).toBe(clock.nowMilliseconds() + 2_000)
      expect(await store.readRegistrySequence()).toBe(sequence + 1)
      expect((await store.readMarks(0)).marks).toMatchObject([{ id: 'theirs' }])
      expect((await store.findClient('other')).value).not.toHaveProperty('tokensAfter')
      expect(await store.listAudit({ type: 'client.tokens_ended', limit: 10 })).toHaveLength(1)
    })
  })

  describe(`${name}: the end of all that a client has`, () => {
    it.each(['disabled', 'deleted'])('is a moment that only rises, when it is %s', async (how) => {
      const store = await create()
      await store.setClientStatus('billing', 'disabled', 'cli:test')
      const first = clock.nowMilliseconds() + 2_000
      expect((await store.findClient('billing')).value?.tokensAfter).toBe(first)
      await store.setClientStatus('billing', 'active', 'cli:test')
      expect((await store.findClient('billing')).value?.tokensAfter).toBe(first)
      clock.advance(-60)
      if (how === 'deleted') await store.deleteClient('billing', 'cli:test')
      else await store.setClientStatus('billing', 'disabled', 'cli:test')
      const after = (await store.findClient('billing')).value?.tokensAfter
      expect(after).toBe(how === 'deleted' ? undefined : first)
      clock.advance(60)
    })

    it('I26 is not before the newest token, though the clock has stepped back', async () => {
      const store = await create()
      const ahead = issuance(clock)
      await store.recordIssuance(ahead, await store.readRegistrySequence())
      clock.advance(-3_600)
      await store.setClientStatus('billing', 'disabled', 'cli:test')
      expect((await store.findClient('billing')).value?.tokensAfter).toBe(clock.nowMilliseconds() + hour + 2_000)
      clock.advance(3_600)
    })

    it('is not put off for longer than any token lives, however far ahead a clock had been', async () => {
      const store = await create()
      const ahead = issuance(clock, { jti: makeUlid(clock.nowMilliseconds() + 14 * 365 * 24 * hour) })
      await store.recordIssuance(ahead, await store.readRegistrySequence())
      await store.setClientStatus('billing', 'disabled', 'cli:test')
      const { tokensAfter = 0 } = (await store.findClient('billing')).value ?? {}
      expect(tokensAfter).toBe(clock.nowMilliseconds() + longestTokenLifeMilliseconds + 2_000)
    })

    it('is not after the newest token of another client, which the clock may have dated far ahead', async () => {
      const store = await create()
      await addClient(store, 'other')
      const sequence = await store.readRegistrySequence()
      await store.recordIssuance(issuance(clock), sequence)
      const later = new ManualClock(clock.nowMilliseconds() + 30 * 24 * hour)
      await store.recordIssuance(issuance(later, { clientId: 'other' }), sequence)
      await store.setClientStatus('billing', 'disabled', 'cli:test')
      expect((await store.findClient('billing')).value?.tokensAfter).toBe(clock.nowMilliseconds() + 2_000)
    })

    it('I26 marks a family until its last token has died, though the clock has stepped back', async () => {
      const store = await create()
      const family = await begin(store)
      clock.advance(-3_600)
      await store.endFamily({ familyId: family.familyId, event: ending(family, clock) })
      clock.advance(3_600)
      const [mark] = (await store.readMarks(0)).marks
      expect(mark?.expiresAt).toBeGreaterThan(clock.nowMilliseconds() + 24 * hour)
    })

    it('tells when the last token would have died by itself, by the records', async () => {
      const store = await create()
      const sequence = await store.readRegistrySequence()
      const now = clock.nowMilliseconds()
      const seconds = Math.floor(now / 1000)
      expect(await store.readLiveTokens('billing', now)).toEqual({ count: 0 })
      for (const expiresAt of [seconds - 1, seconds, seconds + 60, seconds + 300]) {
        await store.recordIssuance(issuance(clock, { expiresAt }), sequence)
      }
      await store.recordIssuance(issuance(clock, { clientId: 'other', expiresAt: seconds + 999 }), sequence)
      expect(await store.readLiveTokens('billing', now)).toEqual({ count: 2, lastExpiresAt: seconds + 300 })
    })
  })
}
