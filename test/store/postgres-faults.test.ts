import { describe, expect, it, onTestFinished } from 'vitest'
import type { FamilyEnded } from '../../src/audit/event.ts'
import { generateSecret } from '../../src/client/client-secret.ts'
import { provisionKeys } from '../../src/key/provision.ts'
import { makeRequestId, makeUlid } from '../../src/lib/id.ts'
import { makeReplayUse } from '../../src/oauth/replay.ts'
import { openStoreAt } from '../../src/store/open-store.ts'
import { type Store, StoreOpenError } from '../../src/store/store.ts'
import { readWitness } from '../../src/store/witness.ts'
import { issuance, makeFamily } from '../suites/family-store.ts'
import { ManualClock } from '../support/clock.ts'
import { connect, password, placeOf, usePostgres } from '../support/postgres.ts'
import { temporaryFolder } from '../support/process.ts'
import { addClient, addResource, api } from '../support/registry.ts'
import { ReplyDropper } from '../support/reply-dropper.ts'

const server = usePostgres()
const by = 'cli:test'
const timing = { jwksMaxAgeSeconds: 300, accessTokenMaxTtlSeconds: 3600 }
const use = { create: false, examine: false } as const

async function open(url: string, clock: ManualClock): Promise<Store> {
  const store = await openStoreAt(placeOf(url), { ...use, clock })
  onTestFinished(() => store.close())
  return store
}

/** A store whose answers may get lost on their way, with a family and its token. */
async function makeWorld() {
  const direct = await server().makeDatabase()
  const clock = new ManualClock()
  const { dropper, url } = await ReplyDropper.before(direct)
  const store = await open(url, clock)
  await addResource(store)
  await addClient(store, 'billing')
  const sequence = await store.readRegistrySequence()
  const family = makeFamily(clock)
  await store.recordIssuance(issuance(clock), sequence, { change: { kind: 'start', family } })
  return { direct, clock, dropper, store, sequence, family }
}

describe('F20 an answer of PostgreSQL that is lost', () => {
  it('is found again where a token was recorded, alone or among many', async () => {
    const { store, clock, dropper, sequence } = await makeWorld()
    for (const size of [1, 20]) {
      const records = Array.from({ length: size }, () => issuance(clock))
      dropper.dropNext(/record_alone/)
      const outcomes = await Promise.all(records.map((record) => store.recordIssuance(record, sequence)))
      expect(new Set(outcomes)).toEqual(new Set(['recorded']))
      for (const record of records) expect(await store.findIssuance(record.jti)).toEqual(record)
    }
    expect(dropper.dropped).toBe(2)
    expect(await store.listAudit({ type: 'token.issued', limit: 100 })).toHaveLength(22)
  })

  it('is found again though the registry has moved since: what was recorded was recorded', async () => {
    const { store, direct, clock, dropper, sequence } = await makeWorld()
    const raw = await connect(direct)
    // As soon as the record is written, somebody changes something.
    await raw.query(`CREATE FUNCTION move() RETURNS trigger LANGUAGE plpgsql AS $$
      BEGIN UPDATE sequence SET value = value + 1 WHERE name = 'registry'; RETURN NEW; END $$;
      CREATE TRIGGER moves AFTER INSERT ON issuance FOR EACH ROW EXECUTE FUNCTION move()`)
    dropper.dropNext(/record_alone/)
    expect(await store.recordIssuance(issuance(clock), sequence)).toBe('recorded')
    expect(await store.readRegistrySequence()).toBe(sequence + 1)
    expect(await store.recordIssuance(issuance(clock), sequence)).toBe('moved')
    await raw.query('DROP FUNCTION move CASCADE')
  })

  it('I1 I3 is found again where a family began, went on or was retried: nobody is taken for a thief', async () => {
    const { store, clock, dropper, sequence, family } = await makeWorld()
    const { familyId } = family
    const at = clock.nowMilliseconds()
    const changes = [
      { kind: 'start', family: makeFamily(clock) },
      { kind: 'rotate', familyId, generation: 0, rootVersion: 1, lastJti: undefined, at, expiresAt: at + 60_000 },
      { kind: 'retry', familyId, generation: 1, at, until: at + 60_000 },
    ] as const
    for (const change of changes) {
      dropper.dropNext(/record_with_acts/)
      const uses = [makeReplayUse('assertion', [change.kind], at + 60_000)]
      const record = issuance(clock)
      expect(await store.recordIssuance(record, sequence, { change, uses }), change.kind).toBe('recorded')
      expect(await store.findIssuance(record.jti)).toEqual(record)
      expect(await store.useOnce(uses)).toBe('assertion')
    }
    expect(dropper.dropped).toBe(3)
    expect(await store.findFamily(familyId)).toMatchObject({ generation: 1 })
    expect(await store.listAudit({ type: 'token.issued', limit: 10 })).toHaveLength(4)
  })

  it('I17 is no leave to use a statement again: nobody knows, and the next one is told', async () => {
    const { store, clock, dropper } = await makeWorld()
    const once = [makeReplayUse('proof', ['once'], clock.nowMilliseconds() + 60_000)]
    dropper.dropNext(/use_once/)
    await expect(store.useOnce(once)).rejects.toMatchObject({ name: 'StoreUnavailable', outcomeUnknown: true })
    expect(await store.useOnce(once)).toBe('proof')
  })

  it('F21 of COMMIT is found again by the record of the change, which happens once', async () => {
    const { store, clock, dropper, sequence, family } = await makeWorld()
    const { secretId, sha256 } = generateSecret()
    const { familyId, clientId } = family
    const event: FamilyEnded = {
      type: 'family.ended',
      familyId,
      clientId,
      reason: 'reused',
      requestId: makeRequestId(clock.nowMilliseconds()),
      address: '::1',
    }
    const revoked = { type: 'token.revoked', jti: 'a', clientId, actor: by } as const
    const acts: readonly [string, () => Promise<unknown>][] = [
      ['secret.created', () => store.createSecret(clientId, { kind: 'generated', secretId, sha256 }, by)],
      ['client.updated', () => store.updateClient(clientId, { name: 'renamed' }, by)],
      ['family.ended', () => store.endFamily({ familyId, event })],
      ['token.revoked', () => store.revokeToken({ expiresAt: clock.nowMilliseconds() + 60_000 }, revoked)],
      ['client.disabled', () => store.setClientStatus(clientId, 'disabled', by)],
    ]
    for (const [type, act] of acts) {
      // Within a millisecond, records of tokens and of changes stand in any order.
      clock.advance(0.001)
      const before = await store.listAudit({ limit: 100 })
      dropper.dropNext(/COMMIT/)
      expect(await act(), type).not.toBe(false)
      const [newest, ...rest] = await store.listAudit({ limit: 100 })
      expect(newest?.type).toBe(type)
      expect(rest).toEqual(before)
    }
    expect(dropper.dropped).toBe(acts.length)
    expect(await store.readRegistrySequence()).toBe(sequence + 3)
    expect(await store.readMarkSequence()).toBe(2)
    expect((await store.findClient(clientId)).value).toMatchObject({ name: 'renamed', status: 'disabled' })
  })

  it('in the middle of a change has changed nothing: it is made again, and happens once', async () => {
    const { store, dropper, sequence } = await makeWorld()
    dropper.dropNext(/update "client"/)
    expect(await store.setClientStatus('billing', 'disabled', by)).toMatchObject({ status: 'disabled' })
    expect(dropper.dropped).toBe(1)
    expect(await store.readRegistrySequence()).toBe(sequence + 1)
    expect(await store.listAudit({ type: 'client.disabled', limit: 10 })).toHaveLength(1)
  })

  it('of a refusal leaves one record', async () => {
    const { store, dropper } = await makeWorld()
    dropper.dropNext(/write_event/)
    await store.recordRefusal({ type: 'token.refusals_sampled', address: '*', counts: { form_malformed: 3 } })
    expect(dropper.dropped).toBe(1)
    expect(await store.listAudit({ type: 'token.refusals_sampled', limit: 10 })).toHaveLength(1)
  })
})

describe('F23 what stands in the way for a moment', () => {
  it('is tried again: a deadlock and a serialization failure', async () => {
    const { store, direct, clock, sequence } = await makeWorld()
    const raw = await connect(direct)
    for (const [state, table, act] of [
      ['40001', 'issuance', () => store.recordIssuance(issuance(clock), sequence)],
      ['40P01', 'audit_event', () => store.setClientStatus('billing', 'disabled', by)],
    ] as const) {
      // A sequence goes on when a statement is undone: the first two fail.
      await raw.query(`CREATE SEQUENCE tries; CREATE FUNCTION break() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN IF nextval('tries') < 3 THEN RAISE EXCEPTION USING ERRCODE = '${state}'; END IF; RETURN NEW; END $$;
        CREATE TRIGGER broken BEFORE INSERT ON ${table} FOR EACH ROW EXECUTE FUNCTION break()`)
      await act()
      await raw.query('DROP FUNCTION break CASCADE; DROP SEQUENCE tries')
    }
    expect(await store.readRegistrySequence()).toBe(sequence + 1)
  })

  it('is given up when it stays', async () => {
    const { store, direct, clock, sequence } = await makeWorld()
    const raw = await connect(direct)
    await raw.query(`CREATE FUNCTION break() RETURNS trigger LANGUAGE plpgsql AS $$
      BEGIN RAISE EXCEPTION USING ERRCODE = '40001'; END $$;
      CREATE TRIGGER broken BEFORE INSERT ON issuance FOR EACH ROW EXECUTE FUNCTION break()`)
    await expect(store.recordIssuance(issuance(clock), sequence)).rejects.toMatchObject({ outcomeUnknown: false })
    await raw.query('DROP FUNCTION break CASCADE')
  })
})

describe('a PostgreSQL database', () => {
  it('F43 is migrated once when several nodes start at the same time', async () => {
    const url = await server().makeDatabase({ empty: true })
    const options = { create: true, examine: true }
    const stores = await Promise.all([1, 2, 3].map(() => openStoreAt(placeOf(url), options)))
    for (const store of stores) expect(await store.check()).toEqual([])
    await Promise.all(stores.map((store) => store.close()))
    const raw = await connect(url)
    const { rows } = await raw.query('SELECT position FROM migration ORDER BY position')
    expect(rows.map(({ position }) => position)).toEqual([0, 1])
  })

  it('F43 is left as it was when a migration fails', async () => {
    const url = await server().makeDatabase({ empty: true })
    const raw = await connect(url)
    // The last statement of the first migration makes a function of this name.
    await raw.query('CREATE FUNCTION registry_fence() RETURNS bigint LANGUAGE sql AS $$ SELECT 1::bigint $$')
    await expect(openStoreAt(placeOf(url), { create: true, examine: true })).rejects.toBeInstanceOf(StoreOpenError)
    const { rows } = await raw.query(`SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace`)
    expect(rows).toEqual([])
  })

  it('is not made by a command that only uses it', async () => {
    const url = await server().makeDatabase({ empty: true })
    await expect(openStoreAt(placeOf(url), use)).rejects.toThrow(
      /has no tables of this version: run `mayfly db migrate`/,
    )
  })

  it('is refused when it belongs to another program, and left alone', async () => {
    const url = await server().makeDatabase({ empty: true })
    const raw = await connect(url)
    await raw.query('CREATE TABLE theirs (x text)')
    await expect(openStoreAt(placeOf(url), { create: true, examine: true })).rejects.toThrow(/of another program/)
    expect((await raw.query('SELECT * FROM theirs')).rows).toEqual([])
  })

  it('F43 is refused when a newer version wrote it', async () => {
    const url = await server().makeDatabase()
    const raw = await connect(url)
    await raw.query(`INSERT INTO migration VALUES (99, 'future', 0)`)
    for (const create of [true, false])
      await expect(openStoreAt(placeOf(url), { create, examine: true })).rejects.toThrow(/newer Mayfly/)
    await raw.query('DELETE FROM migration WHERE position = 99')
  })

  const wrong: readonly [string, RegExp, Partial<URL>][] = [
    ['/nothing', /^postgres:\/\/mayfly@127\.0\.0\.1:\d+\/nothing does not exist: .*\(3D000\)$/, {}],
    ['/postgres', /refuses the user or the password.*\(28P01\)$/, { password: 'wrong' }],
    ['/postgres', /does not answer: is the server running\? \(ECONNREFUSED\)$/, { port: '1' }],
  ]
  it.each(wrong)('I12 at %s is refused in a sentence that tells no password: %s', async (path, sentence, changes) => {
    const url = Object.assign(new URL(path, server().urlOf('')), changes)
    const refused = await openStoreAt(placeOf(url.href), use).catch((error: Error) => error)
    expect(refused).toBeInstanceOf(StoreOpenError)
    expect(String(refused)).not.toContain(password)
    expect((refused as Error).message).toMatch(sentence)
  })

  it('F02 commits durably whatever its default is, and says what its server is told that cannot be overruled', async () => {
    const url = await server().makeDatabase()
    const raw = await connect(url)
    await raw.query(
      `DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET synchronous_commit = off', current_database()); END $$`,
    )
    await raw.query(`CREATE FUNCTION break() RETURNS trigger LANGUAGE plpgsql AS $$
      BEGIN NEW.detail = to_json(current_setting('synchronous_commit')); RETURN NEW; END $$;
      CREATE TRIGGER broken BEFORE INSERT ON audit_event FOR EACH ROW EXECUTE FUNCTION break()`)
    const store = await open(url, new ManualClock())
    await store.createResource(api, { scopes: [] }, by)
    const { rows } = await raw.query('SELECT detail FROM audit_event')
    expect(rows).toEqual([{ detail: '"on"' }])
    await raw.query(
      `DO $$ BEGIN EXECUTE format('ALTER DATABASE %I RESET synchronous_commit', current_database()); END $$`,
    )
  })

  it('compares every text byte for byte, and says where one does not', async () => {
    const url = await server().makeDatabase()
    const store = await open(url, new ManualClock())
    expect(await store.check()).toEqual([])
    const raw = await connect(url)
    await raw.query('ALTER TABLE client ALTER COLUMN name TYPE text COLLATE "default"')
    expect(await store.check()).toEqual(['client.name is not compared byte for byte'])
    await raw.query('ALTER TABLE client ALTER COLUMN name TYPE text COLLATE "C"')
  })

  it('C07 holds nothing under a name that it cannot hold', async () => {
    const store = await open(await server().makeDatabase(), new ManualClock())
    expect((await store.findClient('a\0b')).value).toBeUndefined()
    expect((await store.findResource('a\0b')).value).toBeUndefined()
    expect(await store.listAudit({ clientId: 'a\0b', limit: 1 })).toEqual([])
  })

  it('F17 F43 is claimed by one of two nodes that have no folder in common; the other says what it needs', async () => {
    const url = await server().makeDatabase()
    const clock = new ManualClock()
    const nodes = [temporaryFolder(), temporaryFolder()].map((folder) => `${folder}/master.key`)
    const stores = [await open(url, clock), await open(url, clock)]
    const starts = await Promise.allSettled(
      stores.map((store, i) => provisionKeys(store, nodes[i] ?? '', timing, clock)),
    )
    expect(starts.map(({ status }) => status).toSorted()).toEqual(['fulfilled', 'rejected'])
    const loser = starts.findIndex(({ status }) => status === 'rejected')
    expect(starts[loser]).toMatchObject({
      reason: { message: expect.stringContaining(`copy that to ${nodes[loser]}`) },
    })
    expect(await stores[0]?.listKeys()).toHaveLength(4)
    const later = provisionKeys(await open(url, clock), `${temporaryFolder()}/master.key`, timing, clock)
    await expect(later).rejects.toThrow(/is missing, .* or from another node of this database/)
  })
})

describe('the witness of a PostgreSQL store', () => {
  async function makeWitnessed() {
    const url = await server().makeDatabase()
    const clock = new ManualClock()
    const file = `${temporaryFolder()}/witness`
    const openWith = async (more: object = {}): Promise<Store> => {
      const store = await openStoreAt(placeOf(url), { ...use, clock, witness: { file, ...more } })
      onTestFinished(() => store.close())
      return store
    }
    const store = await openWith()
    await provisionKeys(store, `${temporaryFolder()}/master.key`, timing, clock)
    await addResource(store)
    await addClient(store, 'billing')
    return { url, clock, file, store, openWith }
  }

  const known = (file: string) => [...(readWitness(file)?.values() ?? [])][0]

  it('knows of each change and mark when it is answered', async () => {
    const { store, file, clock } = await makeWitnessed()
    expect(known(file)).toEqual({ registry: await store.readRegistrySequence(), mark: 0, file: 0 })
    await store.revokeToken(
      { expiresAt: clock.nowMilliseconds() + 1 },
      { type: 'token.revoked', jti: makeUlid(0), clientId: 'billing', actor: by },
    )
    expect(known(file)).toMatchObject({ mark: 1 })
    await store.setClientStatus('billing', 'disabled', by)
    expect(known(file)).toEqual({ registry: await store.readRegistrySequence(), mark: 1, file: 0 })
  })

  it('refuses an older copy, lets it be looked at, and lets it be accepted as the present', async () => {
    const { store, url, openWith } = await makeWitnessed()
    const raw = await connect(url)
    await raw.query(`UPDATE sequence SET value = value - 1 WHERE name = 'registry'`)
    await expect(openWith()).rejects.toThrow(/is an older copy of the database: .*--accept-current/)
    const looked = await openWith({ tolerant: true })
    expect(looked.doubt).toContain('is an older copy')
    expect((await looked.findClient('billing')).value).toMatchObject({ status: 'active' })
    await expect(looked.setClientStatus('billing', 'disabled', by)).rejects.toBeInstanceOf(StoreOpenError)
    const { from, to, tokensAfter } = await looked.acceptAsPresent({ registry: 100, mark: 7, issuedUpTo: 0 }, by)
    expect([from.registry, to]).toEqual([to.registry - 101 + from.registry, { registry: 101, mark: 8 }])
    expect(looked.doubt).toBeUndefined()
    expect(await store.readRegistryHead()).toMatchObject({ sequence: 101, tokensAfter })
    await openWith()
  })
})
