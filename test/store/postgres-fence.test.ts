/** What the fence promises, with connections that the test stops where it wants; it looks at `pg_locks`, and never at a clock. */
import type pg from 'pg'
import { describe, expect, it, onTestFinished } from 'vitest'
import type { FamilyEnded } from '../../src/audit/event.ts'
import { makeRequestId, makeUlid } from '../../src/lib/id.ts'
import { RegistryError } from '../../src/lib/store-error.ts'
import { openStoreAt } from '../../src/store/open-store.ts'
import type { Store } from '../../src/store/store.ts'
import { MarkSet } from '../../src/token/marks.ts'
import { issuance, makeFamily } from '../suites/family-store.ts'
import { ManualClock } from '../support/clock.ts'
import { connect, placeOf, usePostgres } from '../support/postgres.ts'
import { addClient, addResource, api } from '../support/registry.ts'

const server = usePostgres()
const by = 'cli:test'
const closeGate = 'SELECT pg_advisory_xact_lock(84943065992281)'

interface World {
  readonly url: string
  readonly clock: ManualClock
  readonly store: Store
  /** The registry sequence with the client `billing`. */
  readonly sequence: number
  /** A connection of the test's own. */
  readonly raw: pg.Client
  /** Resolves when so many others wait for a lock. */
  waiting(count: number): Promise<void>
}

async function open(url: string, clock: ManualClock): Promise<Store> {
  const store = await openStoreAt(placeOf(url), { create: false, examine: false, clock })
  onTestFinished(() => store.close())
  return store
}

async function makeWorld(): Promise<World> {
  const url = await server().makeDatabase()
  const clock = new ManualClock()
  const store = await open(url, clock)
  await addResource(store)
  await addClient(store, 'billing')
  const [raw, watch] = [await connect(url), await connect(url)]
  const waiting = async (count: number): Promise<void> => {
    for (;;) {
      const { rows } = await watch.query(
        `SELECT count(*)::int AS waiting FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`,
      )
      if (rows[0].waiting === count) return
    }
  }
  return { url, clock, store, sequence: await store.readRegistrySequence(), raw, waiting }
}

describe('the fence of a PostgreSQL store', () => {
  it('I5 holds up a token that comes while a change is being committed, and refuses it after that', async () => {
    const { store, clock, sequence, raw, waiting } = await makeWorld()
    await raw.query(`BEGIN; ${closeGate}; UPDATE sequence SET value = value + 1 WHERE name = 'registry'`)
    const record = issuance(clock)
    const outcome = store.recordIssuance(record, sequence)
    await waiting(1)
    await raw.query('COMMIT')
    // The statement began before the change was committed: what it saw then would have let it through.
    expect(await outcome).toBe('moved')
    expect(await store.findIssuance(record.jti)).toBeUndefined()
  })

  it('I5 refuses a refresh, the start of a family and a retry in the same way', async () => {
    const { store, clock, sequence, raw, waiting } = await makeWorld()
    const family = makeFamily(clock)
    await store.recordIssuance(issuance(clock), sequence, { change: { kind: 'start', family } })
    const { familyId, generation } = family
    const at = clock.nowMilliseconds()
    const changes = [
      { kind: 'start', family: makeFamily(clock) },
      { kind: 'rotate', familyId, generation, rootVersion: 1, lastJti: undefined, at, expiresAt: at + 1_000 },
      { kind: 'retry', familyId, generation, at, until: at + 60_000 },
    ] as const
    await raw.query(`BEGIN; ${closeGate}; UPDATE sequence SET value = value + 1 WHERE name = 'registry'`)
    const outcomes = changes.map((change) => store.recordIssuance(issuance(clock), sequence, { change }))
    // They share a statement.
    await waiting(1)
    await raw.query('COMMIT')
    expect(await Promise.all(outcomes)).toEqual(['moved', 'moved', 'moved'])
    expect(await store.findFamily(familyId)).toEqual(family)
    expect(await store.listAudit({ type: 'token.issued', limit: 10 })).toHaveLength(1)
  })

  it('I4 I5 lets no change return before what went through it has been committed', async () => {
    const { store, clock, sequence, raw, waiting } = await makeWorld()
    const { jti } = issuance(clock)
    await raw.query('BEGIN')
    const { rows } = await raw.query('SELECT registry_fence() AS value')
    expect(Number(rows[0].value)).toBe(sequence)
    const disabled = store.setClientStatus('billing', 'disabled', by)
    await waiting(1)
    // A token that was dated ahead, and comes at the last moment: the end of the client's tokens is behind it.
    const ahead = clock.nowMilliseconds() + 3_600_000
    await raw.query(
      `INSERT INTO issuance VALUES ($1, 'billing', NULL, 'client_credentials', 'sec_x', $2, NULL, 'kid', 0, 'req_x', '')`,
      [makeUlid(ahead), api],
    )
    await raw.query('COMMIT')
    expect((await disabled).tokensAfter).toBe(ahead + 2_000)
    expect(await store.recordIssuance(issuance(clock, { jti }), sequence)).toBe('moved')
  })

  it('does not let those who issue overtake a change that waits', async () => {
    const { store, clock, sequence, raw, waiting } = await makeWorld()
    await raw.query('BEGIN; SELECT registry_fence()')
    const disabled = store.setClientStatus('billing', 'disabled', by)
    await waiting(1)
    const late = store.recordIssuance(issuance(clock), sequence)
    await waiting(2)
    await raw.query('COMMIT')
    await disabled
    expect(await late).toBe('moved')
  })

  it('lets changes happen one after the other, each on what the last one left', async () => {
    const { store, url, clock, sequence } = await makeWorld()
    const other = await open(url, clock)
    const results = await Promise.allSettled(
      [store, other, store, other].map((each, i) =>
        each.createClient(`new-${i % 2}`, { ...settings, name: `n${i}` }, undefined, by),
      ),
    )
    const refused = results.filter((result) => result.status === 'rejected')
    expect(refused).toHaveLength(2)
    for (const { reason } of refused) expect(reason).toBeInstanceOf(RegistryError)
    expect(await store.readRegistrySequence()).toBe(sequence + 2)
  })

  it('is not held up by a change that has not come to its end', async () => {
    const { store, clock, sequence, raw } = await makeWorld()
    await raw.query(`BEGIN; SELECT value FROM sequence WHERE name = 'registry' FOR UPDATE`)
    await raw.query(`UPDATE client SET status = 'disabled' WHERE client_id = 'billing'`)
    expect(await store.recordIssuance(issuance(clock), sequence)).toBe('recorded')
    await raw.query('ROLLBACK')
  })

  it('F24 holds up nobody for a refresh family that somebody else has locked', async () => {
    const { store, clock, sequence, raw, waiting } = await makeWorld()
    const families = [makeFamily(clock), makeFamily(clock)]
    for (const family of families) {
      await store.recordIssuance(issuance(clock), sequence, { change: { kind: 'start', family } })
    }
    const at = clock.nowMilliseconds()
    const refresh = ({ familyId }: (typeof families)[number]) => {
      const change = {
        kind: 'rotate',
        familyId,
        generation: 0,
        rootVersion: 1,
        lastJti: undefined,
        at,
        expiresAt: at + 1_000,
      } as const
      return store.recordIssuance(issuance(clock), sequence, { change })
    }
    await raw.query('BEGIN')
    await raw.query('SELECT 1 FROM refresh_family WHERE family_id = $1 FOR UPDATE', [families[0]?.familyId])
    const [held, free] = families.map(refresh)
    expect(await free).toBe('recorded')
    await waiting(1)
    await raw.query('COMMIT')
    expect(await held).toBe('recorded')
  })

  it('F24 gives up on a gate that stays closed, with nothing done', async () => {
    const { store, clock, sequence, raw } = await makeWorld()
    await raw.query(`BEGIN; ${closeGate}`)
    const record = issuance(clock)
    await expect(store.recordIssuance(record, sequence)).rejects.toMatchObject({ outcomeUnknown: false })
    await expect(store.updateResource(api, { name: 'x' }, by)).rejects.toMatchObject({ outcomeUnknown: false })
    await raw.query('ROLLBACK')
    expect(await store.findIssuance(record.jti)).toBeUndefined()
    expect(await store.readRegistrySequence()).toBe(sequence)
    expect(await store.recordIssuance(record, sequence)).toBe('recorded')
  })
})

const settings = {
  grantTypes: ['client_credentials'],
  authMethods: ['client_secret_basic'],
  scopes: [],
  audiences: [api],
} as const

describe('the marks of a PostgreSQL store', () => {
  const revoke = (store: Store, clock: ManualClock, jti: string) =>
    store.revokeToken(
      { expiresAt: clock.nowMilliseconds() + 60_000 },
      { type: 'token.revoked', jti, clientId: 'billing', actor: by },
    )

  it('F25 are never skipped by who reads what is new: two that are set at once are seen in the order of their numbers', async () => {
    const { store, url, clock, raw, waiting } = await makeWorld()
    const reader = new MarkSet(await open(url, clock), clock)
    await reader.refresh()
    // The first one has its number, and commits last. With numbers of a database sequence the second would not wait: the
    // reader would see 2, ask for what is after it from then on, and never see 1.
    await raw.query(`BEGIN; UPDATE sequence SET value = value + 1 WHERE name = 'mark'`)
    await raw.query(`INSERT INTO mark SELECT 'jti', 'first', 'billing', $1, value FROM sequence WHERE name = 'mark'`, [
      clock.nowMilliseconds() + 60_000,
    ])
    const second = revoke(store, clock, 'second')
    await waiting(1)
    await reader.refresh()
    expect(reader.sequence).toBe(0)
    await raw.query('COMMIT')
    expect(await second).toBe(true)
    await reader.refresh()
    for (const jti of ['first', 'second']) expect(reader.ends({ jti })).toBe('jti')
  })

  it('I2 end a family that is being refreshed, whoever comes first', async () => {
    const { store, clock, sequence, raw, waiting } = await makeWorld()
    const family = makeFamily(clock)
    await store.recordIssuance(issuance(clock), sequence, { change: { kind: 'start', family } })
    const { familyId } = family
    await raw.query('BEGIN')
    await raw.query('SELECT 1 FROM refresh_family WHERE family_id = $1 FOR UPDATE', [familyId])
    const event: FamilyEnded = {
      type: 'family.ended',
      familyId,
      clientId: 'billing',
      reason: 'reused',
      requestId: makeRequestId(clock.nowMilliseconds()),
      address: '::1',
    }
    const ended = store.endFamily({ familyId, event })
    await waiting(1)
    const at = clock.nowMilliseconds()
    const retry = { kind: 'retry', familyId, generation: 0, at, until: at + 60_000 } as const
    const retried = store.recordIssuance(issuance(clock), sequence, { change: retry })
    await waiting(2)
    await raw.query('COMMIT')
    expect([await ended, await retried]).toEqual([true, 'moved'])
  })
})
