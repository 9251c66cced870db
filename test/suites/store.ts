/** What any store must do: the contract of `Store`, run on every implementation. */
import { describe, expect, it } from 'vitest'
import type { IssuanceRecord } from '../../src/audit/event.ts'
import type { ClientProofSettings, ClientSettings } from '../../src/client/client.ts'
import { generateSecret } from '../../src/client/client-secret.ts'
import type { NewSecret } from '../../src/client/client-store.ts'
import type { FirstKeys } from '../../src/key/key-store.ts'
import type { Clock } from '../../src/lib/clock.ts'
import { makeRequestId, makeUlid } from '../../src/lib/id.ts'
import { StoreUnavailable } from '../../src/lib/store-error.ts'
import type { Store } from '../../src/store/store.ts'
import type { RefreshFamily } from '../../src/token/family.ts'
import { makeFirstRing } from '../support/ring.ts'
import { ManualClock } from '../support/server.ts'
import { testFamilyStore } from './family-store.ts'
import { testKeyStore } from './key-store.ts'
import { testQuotas } from './quotas.ts'
import { testReplayStore } from './replay-store.ts'

/** How the suite gets at one kind of store. Everything that it opens is closed with the test. */
export interface StoreUnderTest {
  /** Whether acts of one process that wait together share a transaction, and happen in the order in which they came. */
  readonly batches: boolean
  /** A fresh, empty, migrated store. */
  create(clock: Clock): Promise<Store>
  /** Another process's view of the same data. */
  openOther(store: Store, clock: Clock): Promise<Store>
  /** Makes inserts into a table fail: the statement alone, the whole transaction with it (and the connection, where there is one), or without a word. */
  breakInserts(store: Store, table: string, how: 'statement' | 'transaction' | 'silently'): Promise<() => Promise<void>>
  /** How many private halves of keys hold a text. */
  holds(store: Store, text: string): Promise<number>
}

const api = 'https://api.example.test'
const by = 'cli:test'

const settings: ClientSettings = {
  name: 'Billing',
  grantTypes: ['client_credentials'],
  authMethods: ['client_secret_basic'],
  scopes: ['read'],
  audiences: [api],
}

/** How a client proves itself without a secret, and what its tokens are bound to. */
const proofs: ClientProofSettings = {
  keys: {
    kind: 'inline',
    jwks: [
      {
        kty: 'EC',
        crv: 'P-256',
        x: 'l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs',
        y: '9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA',
        kid: 'one',
      },
    ],
  },
  assertionAlg: 'ES256',
  tlsSubject: { kind: 'san_dns', value: 'billing.example.com' },
  certificateBound: true,
  dpopBound: true,
  tokensPerHour: 1_000,
}

function newSecret(expiresAt?: number): NewSecret {
  const { secretId, sha256 } = generateSecret()
  return { kind: 'generated', secretId, sha256, ...(expiresAt === undefined ? {} : { expiresAt }) }
}

function argonHash(cost = 'm=19456,t=2,p=1'): NewSecret {
  const { secretId } = generateSecret()
  return { kind: 'imported', secretId, argon2id: `$argon2id$v=19$${cost}$${'A'.repeat(22)}$${'A'.repeat(43)}` }
}

function issuance(clock: Clock, more: Partial<IssuanceRecord> = {}): IssuanceRecord {
  const now = clock.nowMilliseconds()
  return {
    jti: makeUlid(now),
    clientId: 'billing',
    subject: 'billing',
    grantType: 'client_credentials',
    secretId: 'sec_0123456789abcdef',
    audience: api,
    scope: 'read',
    kid: 'kid',
    expiresAt: Math.floor(now / 1000) + 300,
    requestId: makeRequestId(now),
    address: '127.0.0.1',
    ...more,
  }
}

const makeKeys = (storeId: string, now: number): Promise<FirstKeys> => makeFirstRing(storeId, { now, staged: true })

/** Runs the contract suite on one kind of store. */
export function testStore(name: string, under: StoreUnderTest): void {
  const clock = new ManualClock()
  const create = async (): Promise<Store> => {
    const store = await under.create(clock)
    await store.createResource(api, { scopes: ['read', 'write'] }, by)
    return store
  }
  const createWithClient = async (): Promise<Store> => {
    const store = await create()
    await store.createClient('billing', settings, newSecret(), by)
    return store
  }

  describe(`${name}: the registry sequence`, () => {
    it('moves by one with every change, and says what was changed and by whom', async () => {
      const store = await create()
      const secret = newSecret()
      const steps: [string, () => Promise<unknown>][] = [
        ['client.created', () => store.createClient('billing', settings, secret, by)],
        ['client.updated', () => store.updateClient('billing', { scopes: [] }, by)],
        ['client.disabled', () => store.setClientStatus('billing', 'disabled', by)],
        ['client.enabled', () => store.setClientStatus('billing', 'active', by)],
        ['secret.created', () => store.createSecret('billing', newSecret(), by)],
        ['secret.revoked', () => store.revokeSecret('billing', secret.secretId, by)],
        ['client.offboarded', () => store.offboardClient('billing', by)],
        ['resource.updated', () => store.updateResource(api, { name: 'API' }, by)],
        ['client.deleted', () => store.deleteClient('billing', by)],
        ['resource.deleted', () => store.deleteResource(api, by)],
      ]
      for (const [type, run] of steps) {
        clock.advance(1)
        const before = await store.readRegistrySequence()
        await run()
        expect(await store.readRegistrySequence(), type).toBe(before + 1)
        const entries = await store.listAudit({ limit: 2, since: clock.nowMilliseconds() })
        expect(
          entries.map((entry) => entry.type),
          type,
        ).toContain(type)
        for (const entry of entries) expect(entry).toMatchObject({ actor: by, at: clock.nowMilliseconds() })
      }
    })

    it('stays where it is when nothing changes, or a change is refused', async () => {
      const store = await createWithClient()
      const before = await store.readRegistrySequence()
      await store.setClientStatus('billing', 'active', by)
      await store.noteSecretUse(new Map([['sec_x', 1]]))
      await store.recordIssuance(issuance(clock), before)
      await store.checkWritable()
      await expect(store.createClient('billing', settings, newSecret(), by)).rejects.toMatchObject({ code: 'exists' })
      await expect(store.updateResource('https://no.test', {}, by)).rejects.toMatchObject({ code: 'unknown' })
      expect(await store.readRegistrySequence()).toBe(before)
    })

    it('comes with each read, never newer than what was read', async () => {
      const store = await createWithClient()
      const sequence = await store.readRegistrySequence()
      expect(await store.findClient('billing')).toMatchObject({ sequence, value: { clientId: 'billing' } })
      expect(await store.findResource(api)).toMatchObject({ sequence, value: { uri: api } })
      expect(await store.readRegistryHead()).toMatchObject({ sequence })
    })
  })

  describe(`${name}: the fence`, () => {
    it('records a token at the sequence that it was decided on, once and durably', async () => {
      const store = await createWithClient()
      const record = issuance(clock)
      expect(await store.recordIssuance(record, await store.readRegistrySequence())).toBe('recorded')
      const other = await under.openOther(store, clock)
      expect(await other.findIssuance(record.jti)).toEqual(record)
      expect(await other.findIssuance(makeUlid(0))).toBeUndefined()
    })

    it('keeps a subject that is not the client, and the lack of a scope', async () => {
      const store = await createWithClient()
      const { scope: _, ...record } = issuance(clock, { subject: 'somebody' })
      await store.recordIssuance(record, await store.readRegistrySequence())
      expect(await store.findIssuance(record.jti)).toEqual(record)
    })

    it('records nothing once the registry has moved, in this process or another', async () => {
      const store = await createWithClient()
      const other = await under.openOther(store, clock)
      for (const changer of [store, other]) {
        const sequence = await store.readRegistrySequence()
        await changer.updateResource(api, { name: `by ${changer === store}` }, by)
        const record = issuance(clock)
        expect(await store.recordIssuance(record, sequence)).toBe('moved')
        expect(await store.findIssuance(record.jti)).toBeUndefined()
      }
    })

    it('holds between acts that are submitted together, in their order', async () => {
      const store = await createWithClient()
      const sequence = await store.readRegistrySequence()
      const outcomes = await Promise.all([
        store.recordIssuance(issuance(clock), sequence),
        store.setClientStatus('billing', 'disabled', by),
        store.recordIssuance(issuance(clock), sequence),
        store.recordIssuance(issuance(clock), sequence + 1),
      ])
      const [first, , second, third] = outcomes
      if (under.batches) expect([first, second, third]).toEqual(['recorded', 'moved', 'recorded'])
      // Where each goes its own way, they happen in some order, and a token counts on one side of the change.
      else
        expect([second, first].filter((outcome) => outcome === 'recorded').length).toBeGreaterThanOrEqual(
          third === 'recorded' ? 0 : 1,
        )
      const recorded = await store.listAudit({ type: 'token.issued', limit: 10 })
      expect(recorded).toHaveLength(outcomes.filter((outcome) => outcome === 'recorded').length)
      expect(await store.recordIssuance(issuance(clock), sequence)).toBe('moved')
    })

    it('does not move for a change that was refused beside it', async () => {
      const store = await createWithClient()
      const sequence = await store.readRegistrySequence()
      const [refused, recorded] = await Promise.allSettled([
        store.createClient('billing', settings, newSecret(), by),
        store.recordIssuance(issuance(clock), sequence),
      ])
      expect(refused.status).toBe('rejected')
      expect(recorded).toEqual({ status: 'fulfilled', value: 'recorded' })
    })
  })

  describe(`${name}: acts that fail`, () => {
    it('F42 fail alone when their statement fails', async () => {
      const store = await createWithClient()
      const repair = await under.breakInserts(store, 'issuance', 'statement')
      const sequence = await store.readRegistrySequence()
      const [token, refusal] = await Promise.allSettled([
        store.recordIssuance(issuance(clock), sequence),
        store.recordRefusal({ type: 'token.refusals_sampled', address: '*', counts: { form_malformed: 3 } }),
      ])
      expect(token).toMatchObject({ status: 'rejected', reason: expect.any(StoreUnavailable) })
      expect(refusal.status).toBe('fulfilled')
      await repair()
      expect(await store.recordIssuance(issuance(clock), sequence)).toBe('recorded')
    })

    it('fail when their insert is swallowed: no token without its record', async () => {
      const store = await createWithClient()
      const sequence = await store.readRegistrySequence()
      for (const table of ['issuance', 'audit_event']) {
        const repair = await under.breakInserts(store, table, 'silently')
        const act =
          table === 'issuance'
            ? store.recordIssuance(issuance(clock), sequence)
            : store.setClientStatus('billing', 'disabled', by)
        await expect(act).rejects.toBeInstanceOf(StoreUnavailable)
        await repair()
      }
      expect((await store.findClient('billing')).value?.status).toBe('active')
    })

    it('take everything of their transaction with them when that is rolled back, and nothing half', async () => {
      const store = await createWithClient()
      const repair = await under.breakInserts(store, 'issuance', 'transaction')
      const sequence = await store.readRegistrySequence()
      const before = await store.listAudit({ limit: 100 })
      const outcomes = await Promise.allSettled([
        store.recordRefusal({ type: 'token.refusals_sampled', address: '*', counts: {} }),
        store.recordIssuance(issuance(clock), sequence),
        store.createSecret('billing', newSecret(), by),
        store.setClientStatus('billing', 'disabled', by),
      ])
      const failed = outcomes.filter((outcome) => outcome.status === 'rejected')
      for (const { reason } of failed) expect(reason).toBeInstanceOf(StoreUnavailable)
      if (under.batches) {
        expect(failed).toHaveLength(4)
        expect(await store.listAudit({ limit: 100 })).toEqual(before)
        expect(await store.readRegistrySequence()).toBe(sequence)
        expect((await store.findClient('billing')).value).toMatchObject({ status: 'active' })
      } else {
        expect(outcomes.filter(({ status }, i) => i !== 1 && status === 'rejected')).toEqual([])
        expect(await store.listAudit({ limit: 100 })).toHaveLength(before.length + 3)
        expect(await store.readRegistrySequence()).toBe(sequence + 2)
      }
      expect(await store.listAudit({ type: 'token.issued', limit: 10 })).toEqual([])
      await repair()
      expect(await store.recordIssuance(issuance(clock), await store.readRegistrySequence())).toBe('recorded')
    })

    it('change nothing when their audit record cannot be written', async () => {
      const store = await createWithClient()
      const repair = await under.breakInserts(store, 'audit_event', 'statement')
      const sequence = await store.readRegistrySequence()
      await expect(store.setClientStatus('billing', 'disabled', by)).rejects.toBeInstanceOf(StoreUnavailable)
      await expect(store.createClient('two', settings, newSecret(), by)).rejects.toBeInstanceOf(StoreUnavailable)
      expect((await store.findClient('billing')).value?.status).toBe('active')
      expect((await store.findClient('two')).value).toBeUndefined()
      expect(await store.readRegistrySequence()).toBe(sequence)
      await repair()
    })
  })

  describe(`${name}: two processes`, () => {
    it('lose no act of each other under load', async () => {
      const store = await createWithClient()
      const other = await under.openOther(store, clock)
      const sequence = await store.readRegistrySequence()
      const records = Array.from({ length: 400 }, () => issuance(clock))
      const outcomes = await Promise.all(
        records.map((record, i) => (i % 2 === 0 ? store : other).recordIssuance(record, sequence)),
      )
      expect(outcomes.every((outcome) => outcome === 'recorded')).toBe(true)
      expect(await other.listAudit({ type: 'token.issued', limit: 1000 })).toHaveLength(400)
    })

    it('count every change exactly once', async () => {
      const store = await createWithClient()
      const other = await under.openOther(store, clock)
      const before = await store.readRegistrySequence()
      await Promise.all(
        Array.from({ length: 40 }, (_, i) => (i % 2 === 0 ? store : other).updateResource(api, { name: `n${i}` }, by)),
      )
      expect(await other.readRegistrySequence()).toBe(before + 40)
    })

    it('claim a store once', async () => {
      const store = await under.create(clock)
      const other = await under.openOther(store, clock)
      expect(await store.readKeys()).toBeUndefined()
      const [one, two] = [await makeKeys('one', 1), await makeKeys('two', 2)]
      const won = await Promise.all([store.claimKeys(one, 'server'), other.claimKeys(two, 'server')])
      expect(won.filter(Boolean)).toHaveLength(1)
      const kept = await store.readKeys()
      expect(kept).toEqual(await other.readKeys())
      expect(kept?.storeId).toBe(won[0] ? 'one' : 'two')
      expect(kept?.signingKeys.map((key) => key.state).sort()).toEqual(['active', 'staged'])
    })
  })

  describe(`${name}: resources`, () => {
    it('are read back as they were made, and listed by URI', async () => {
      const store = await create()
      const full = { name: 'B', scopes: ['a', 'b'], alg: 'RS256', accessTokenTtlSeconds: 60 } as const
      await store.createResource('urn:b', full, by)
      expect((await store.findResource('urn:b')).value).toMatchObject({ uri: 'urn:b', ...full })
      expect((await store.listResources()).map(({ uri }) => uri)).toEqual([api, 'urn:b'])
    })

    it('lose an optional member by null, and keep what is not named', async () => {
      const store = await create()
      await store.createResource('urn:b', { scopes: ['a'], alg: 'RS256', accessTokenTtlSeconds: 60 }, by)
      const updated = await store.updateResource('urn:b', { alg: null }, by)
      expect(updated).not.toHaveProperty('alg')
      expect((await store.findResource('urn:b')).value).toEqual(updated)
      expect(updated).toMatchObject({ scopes: ['a'], accessTokenTtlSeconds: 60 })
    })

    it('refuse to be made twice, and to be changed or deleted when they are not there', async () => {
      const store = await create()
      await expect(store.createResource(api, { scopes: [] }, by)).rejects.toMatchObject({ code: 'exists' })
      await expect(store.updateResource('urn:no', { name: 'x' }, by)).rejects.toMatchObject({ code: 'unknown' })
      await expect(store.deleteResource('urn:no', by)).rejects.toMatchObject({ code: 'unknown' })
    })

    it('refuse to be deleted while a client has them, and name the client', async () => {
      const store = await createWithClient()
      await expect(store.deleteResource(api, by)).rejects.toMatchObject({
        code: 'in_use',
        message: expect.stringContaining('billing'),
      })
      await store.deleteClient('billing', by)
      await store.deleteResource(api, by)
      expect((await store.findResource(api)).value).toBeUndefined()
    })
  })

  describe(`${name}: clients`, () => {
    it('are read back as they were made', async () => {
      const store = await create()
      await store.createResource('urn:a', { scopes: ['x'] }, by)
      const full = { ...settings, audiences: ['urn:a', api], scopes: ['x', 'read'], accessTokenTtlSeconds: 90 }
      const created = await store.createClient('full', full, newSecret(), by)
      expect(created).toMatchObject({ clientId: 'full', status: 'active', ...full })
      expect((await store.findClient('full')).value).toEqual(created)
    })

    it('keep how they prove themselves and what binds them; null takes it away, and what is not named stays', async () => {
      const store = await create()
      const created = await store.createClient('keyed', { ...settings, ...proofs }, undefined, by)
      expect(created).toMatchObject({ ...proofs, secrets: [] })
      expect((await store.findClient('keyed')).value).toEqual(created)
      const uri = { kind: 'uri', uri: 'https://keys.example.com/jwks.json' } as const
      const changed = await store.updateClient('keyed', { keys: uri, tlsSubject: null, dpopBound: false }, by)
      const { tlsSubject: _, dpopBound: __, ...rest } = proofs
      expect(changed).toMatchObject({ ...rest, keys: uri })
      expect(changed).not.toHaveProperty('tlsSubject')
      expect(changed).not.toHaveProperty('dpopBound')
      const bare = await store.updateClient('keyed', { keys: null, assertionAlg: null, tokensPerHour: null }, by)
      for (const name of ['keys', 'assertionAlg', 'tokensPerHour']) expect(bare).not.toHaveProperty(name)
    })

    it('refuse an audience or a scope that does not exist, and name the command that makes it', async () => {
      const store = await create()
      const unknown = { ...settings, audiences: ['urn:no'] }
      await expect(store.createClient('x', unknown, newSecret(), by)).rejects.toThrow(/mayfly resource create urn:no/)
      await expect(store.createClient('x', { ...settings, scopes: ['no'] }, newSecret(), by)).rejects.toThrow(
        /scope no/,
      )
      await expect(store.updateClient('x', {}, by)).rejects.toMatchObject({ code: 'unknown' })
      await store.createClient('x', settings, newSecret(), by)
      await expect(store.updateClient('x', { scopes: ['no'] }, by)).rejects.toThrow(/scope no/)
      expect((await store.findClient('x')).value?.scopes).toEqual(['read'])
    })

    it('can be changed though a resource has given up one of their scopes', async () => {
      const store = await createWithClient()
      await store.updateResource(api, { scopes: ['write'] }, by)
      expect(await store.updateClient('billing', { accessTokenTtlSeconds: 60 }, by)).toMatchObject({ scopes: ['read'] })
      await expect(store.updateClient('billing', { scopes: ['read', 'no'] }, by)).rejects.toThrow(/scope no/)
    })

    it('accept further methods beside the registered one', async () => {
      const store = await createWithClient()
      const both = await store.updateClient('billing', { alsoAccept: ['client_secret_post'] }, by)
      expect(both.authMethods).toEqual(['client_secret_basic', 'client_secret_post'])
      expect((await store.updateClient('billing', { authMethods: ['client_secret_post'] }, by)).authMethods).toEqual([
        'client_secret_post',
      ])
    })

    it('never get an id back that was deleted', async () => {
      const store = await createWithClient()
      await store.deleteClient('billing', by)
      expect((await store.findClient('billing')).value).toBeUndefined()
      expect(await store.listClients({ limit: 10 })).toEqual([])
      await expect(store.createClient('billing', settings, newSecret(), by)).rejects.toMatchObject({ code: 'exists' })
      await expect(store.setClientStatus('billing', 'active', by)).rejects.toMatchObject({ code: 'unknown' })
    })

    it('have ids that are compared byte for byte', async () => {
      const store = await createWithClient()
      for (const id of ['Billing', 'billing ', 'billin', 'billing%'])
        expect((await store.findClient(id)).value).toBeUndefined()
    })

    it('are listed in pages by id', async () => {
      const store = await create()
      for (const id of ['d', 'a', 'c', 'b']) await store.createClient(id, settings, newSecret(), by)
      const first = await store.listClients({ limit: 3 })
      expect(first.map(({ clientId }) => clientId)).toEqual(['a', 'b', 'c'])
      expect((await store.listClients({ after: 'c', limit: 3 })).map(({ clientId }) => clientId)).toEqual(['d'])
    })
  })

  describe(`${name}: the end of all access of a client`, () => {
    const family = (bornAt: number, more: Partial<RefreshFamily> = {}): RefreshFamily => ({
      familyId: makeUlid(bornAt),
      clientId: 'billing',
      subject: 'billing',
      audience: api,
      scopes: [],
      seed: Buffer.alloc(16),
      generation: 0,
      generationAt: bornAt,
      rootVersion: 1,
      expiresAt: bornAt + 3_600_000,
      familyExpiresAt: bornAt + 86_400_000,
      ...more,
    })

    it('I5 is one act: it is disabled, its secrets are gone, what was issued is dead, and one record says so', async () => {
      const store = await createWithClient()
      const second = newSecret()
      await store.createSecret('billing', second, by)
      const [first] = (await store.findClient('billing')).value?.secrets ?? []
      const sequence = await store.readRegistrySequence()
      const done = await store.offboardClient('billing', by)
      const now = clock.nowMilliseconds()
      expect(done).toEqual({
        client: (await store.findClient('billing')).value,
        secrets: expect.arrayContaining([first?.secretId, second.secretId]),
        keys: [],
        endedBefore: 0,
        endedAt: now,
      })
      expect(done.client).toMatchObject({ status: 'disabled', disabledAt: now, secrets: [] })
      expect(done.client.tokensAfter).toBeGreaterThanOrEqual(now + 2_000)
      expect(await store.readRegistrySequence()).toBe(sequence + 1)
      const records = await store.listAudit({ type: 'client.offboarded', limit: 10 })
      expect(records).toMatchObject([{ clientId: 'billing', actor: by, detail: { secrets: done.secrets } }])
    })

    it('fences what was decided on before it, and is itself refused for a client that there is not', async () => {
      const store = await createWithClient()
      const sequence = await store.readRegistrySequence()
      await store.offboardClient('billing', by)
      expect(await store.recordIssuance(issuance(clock), sequence)).toBe('moved')
      const start = { kind: 'start' as const, family: family(clock.nowMilliseconds()) }
      expect(await store.recordIssuance(issuance(clock), sequence, { change: start })).toBe('moved')
      await expect(store.offboardClient('nobody', by)).rejects.toMatchObject({ code: 'unknown' })
      await store.deleteClient('billing', by)
      await expect(store.offboardClient('billing', by)).rejects.toMatchObject({ code: 'unknown' })
    })

    it('happens once: again it changes nothing, and tells when it was', async () => {
      const store = await createWithClient()
      const first = await store.offboardClient('billing', by)
      clock.advance(60)
      const sequence = await store.readRegistrySequence()
      const again = await store.offboardClient('billing', by)
      expect(again).toEqual({
        client: first.client,
        secrets: [],
        keys: [],
        endedBefore: first.client.tokensAfter,
        endedAt: first.endedAt,
      })
      expect(await store.readRegistrySequence()).toBe(sequence)
      expect(await store.listAudit({ type: 'client.offboarded', limit: 10 })).toHaveLength(1)
    })

    it('takes the keys of a client and the name of its certificate, and says which they were', async () => {
      const store = await createWithClient()
      await store.createClient('keyed', { ...settings, ...proofs }, undefined, by)
      const done = await store.offboardClient('keyed', by)
      expect(done.secrets).toEqual([])
      expect(done.keys).toEqual([
        'key_0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I',
        'tls_client_auth_san_dns=billing.example.com',
      ])
      const { keys, tlsSubject, dpopBound } = done.client
      expect([keys, tlsSubject, dpopBound]).toEqual([undefined, undefined, true])
      const again = await store.offboardClient('keyed', by)
      expect(again).toMatchObject({ keys: [], endedAt: done.endedAt })
    })

    it('takes the secrets of a client that had only been disabled, and keeps when that was', async () => {
      const store = await createWithClient()
      const { disabledAt } = await store.setClientStatus('billing', 'disabled', by)
      clock.advance(60)
      const done = await store.offboardClient('billing', by)
      expect(done.secrets).toHaveLength(1)
      expect(done).toMatchObject({ endedAt: clock.nowMilliseconds(), client: { disabledAt } })
      expect(done.endedBefore).toBe((disabledAt ?? 0) + 2_000)
    })

    it('can be counted afterwards: families and tokens that were alive, and when the last token dies', async () => {
      const own = new ManualClock()
      const store = await under.create(own)
      await store.createResource(api, { scopes: ['read'] }, by)
      for (const id of ['billing', 'other']) await store.createClient(id, settings, newSecret(), by)
      const issue = async (seconds: number, more: Partial<IssuanceRecord> = {}, born?: RefreshFamily) => {
        const expiresAt = Math.floor(own.nowMilliseconds() / 1000) + seconds
        const record = issuance(own, { expiresAt, ...more })
        const start = born === undefined ? undefined : { kind: 'start' as const, family: born }
        expect(await store.recordIssuance(record, await store.readRegistrySequence(), { change: start })).toBe(
          'recorded',
        )
        return record
      }
      await issue(900)
      await store.setClientStatus('billing', 'disabled', by)
      const { tokensAfter = 0 } = await store.setClientStatus('billing', 'active', by)
      own.advance(3)
      const now = own.nowMilliseconds()
      const [kept, over, ended] = [family(now), family(now, { expiresAt: now + 1_000 }), family(now)]
      await issue(300, { familyId: kept.familyId }, kept)
      await issue(1, { familyId: over.familyId }, over)
      const { jti } = await issue(300)
      await issue(300, { familyId: ended.familyId }, ended)
      await issue(600, { clientId: 'other' })
      await store.revokeToken(
        { expiresAt: now + 300_000 },
        { type: 'token.revoked', jti, clientId: 'billing', actor: by },
      )
      await store.endFamily({
        familyId: ended.familyId,
        event: { type: 'family.ended', familyId: ended.familyId, clientId: 'billing', reason: 'revoked', actor: by },
      })
      own.advance(2)
      const { endedBefore } = await store.offboardClient('billing', by)
      expect(endedBefore).toBe(tokensAfter)
      const at = own.nowMilliseconds()
      expect(await store.countFamilies('billing', { now: at, bornAfter: endedBefore })).toBe(1)
      const last = Math.floor(now / 1000) - 3 + 900
      expect(await store.readLiveTokens('billing', at, endedBefore)).toEqual({ count: 1, lastExpiresAt: last })
      expect(await store.readLiveTokens('billing', at)).toEqual({ count: 2, lastExpiresAt: last })
      expect(await store.readLiveTokens('nobody', at)).toEqual({ count: 0 })
    })
  })

  describe(`${name}: secrets`, () => {
    it('are known by the newest token that they got, as far back as is asked for', async () => {
      const store = await createWithClient()
      const since = clock.nowMilliseconds()
      const sequence = await store.readRegistrySequence()
      for (const secretId of ['sec_a', 'sec_a', 'sec_b']) {
        clock.advance(10)
        await store.recordIssuance(issuance(clock, { secretId }), sequence)
      }
      expect(await store.findLastUse('sec_a', since)).toBe(since + 20_000)
      expect(await store.findLastUse('sec_b', since + 30_000)).toBe(since + 30_000)
      expect(await store.findLastUse('sec_b', since + 30_001)).toBeUndefined()
      expect(await store.findLastUse('sec_c', since)).toBeUndefined()
    })

    it('do not pile up when they have expired', async () => {
      const store = await createWithClient()
      for (let i = 0; i < 40; i += 1) {
        await store.createSecret('billing', newSecret(clock.nowMilliseconds() + 500), by)
        clock.advance(1)
      }
      expect((await store.findClient('billing')).value?.secrets.length).toBeLessThanOrEqual(12)
    })

    it('overlap, at most ten live ones, and end one by one', async () => {
      const store = await createWithClient()
      const secrets = Array.from({ length: 9 }, () => newSecret())
      for (const secret of secrets) await store.createSecret('billing', secret, by)
      await expect(store.createSecret('billing', newSecret(), by)).rejects.toMatchObject({ code: 'limit' })
      await store.revokeSecret('billing', secrets[0]?.secretId ?? 'sec_', by)
      await store.createSecret('billing', newSecret(clock.nowMilliseconds() + 1000), by)
      clock.advance(2)
      await store.createSecret('billing', newSecret(), by)
      expect((await store.findClient('billing')).value?.secrets).toHaveLength(11)
    })

    it('refuse an unknown client, and to be revoked for another client', async () => {
      const store = await createWithClient()
      const secret = newSecret()
      await store.createClient('other', settings, secret, by)
      await expect(store.createSecret('nobody', newSecret(), by)).rejects.toMatchObject({ code: 'unknown' })
      await expect(store.revokeSecret('billing', secret.secretId, by)).rejects.toMatchObject({ code: 'unknown' })
      await expect(store.revokeSecret('billing', 'sec_nothing', by)).rejects.toMatchObject({ code: 'unknown' })
      expect((await store.findClient('other')).value?.secrets).toHaveLength(1)
    })

    it('remember the latest use, never an earlier one', async () => {
      const store = await create()
      const secret = newSecret()
      await store.createClient('billing', settings, secret, by)
      for (const at of [2000, 1000]) await store.noteSecretUse(new Map([[secret.secretId, at]]))
      expect((await store.findClient('billing')).value?.secrets[0]).toMatchObject({ lastUsedAt: 2000 })
    })

    it('that are imported all cost the same, and the head says how much', async () => {
      const store = await create()
      expect(await store.readRegistryHead()).not.toHaveProperty('importedCost')
      await store.createClient('one', settings, argonHash(), by)
      expect(await store.readRegistryHead()).toMatchObject({ importedCost: { memoryKib: 19_456, passes: 2, lanes: 1 } })
      await expect(store.createClient('two', settings, argonHash('m=65536,t=3,p=4'), by)).rejects.toMatchObject({
        code: 'invalid',
      })
      await store.createClient('three', settings, argonHash(), by)
      await store.deleteClient('one', by)
      await store.deleteClient('three', by)
      expect(await store.readRegistryHead()).not.toHaveProperty('importedCost')
      await store.createClient('four', settings, argonHash('m=65536,t=3,p=4'), by)
    })
  })

  describe(`${name}: the issuer`, () => {
    it('is stored once, and replaced only when that is asked for', async () => {
      const store = await under.create(clock)
      await store.claimKeys(await makeKeys('id', 1), 'server')
      expect(await store.readRegistryHead()).not.toHaveProperty('issuer')
      expect(await store.setIssuer('https://a.test', 'server')).toBe('https://a.test')
      expect(await store.setIssuer('https://b.test', 'server')).toBe('https://a.test')
      const before = await store.readRegistrySequence()
      expect(await store.setIssuer('https://b.test', by, { replace: true })).toBe('https://b.test')
      expect(await store.readRegistryHead()).toMatchObject({ issuer: 'https://b.test', sequence: before + 1 })
    })
  })

  describe(`${name}: the audit trail`, () => {
    it('is read newest first, by client, type, request and time', async () => {
      const store = await createWithClient()
      clock.advance(10)
      const since = clock.nowMilliseconds()
      const record = issuance(clock)
      await store.recordIssuance(record, await store.readRegistrySequence())
      clock.advance(1)
      const requestId = makeRequestId(clock.nowMilliseconds())
      await store.recordRefusal({
        type: 'token.refused',
        reason: 'secret_wrong',
        clientId: 'billing',
        requestId,
        address: '::1',
      })
      const all = await store.listAudit({ limit: 100 })
      expect(all.map((entry) => entry.at)).toEqual(all.map((entry) => entry.at).toSorted((a, b) => b - a))
      const types = async (query: object) =>
        (await store.listAudit({ limit: 100, ...query })).map((entry) => entry.type)
      expect(await types({ since })).toEqual(['token.refused', 'token.issued'])
      expect(await types({ since, limit: 1 })).toEqual(['token.refused'])
      expect(await types({ since, type: 'token.issued' })).toEqual(['token.issued'])
      expect(await types({ requestId: record.requestId })).toEqual(['token.issued'])
      expect(await types({ requestId })).toEqual(['token.refused'])
      expect(await types({ clientId: 'nobody' })).toEqual([])
      expect(await types({ clientId: 'billing', since })).toEqual(['token.refused', 'token.issued'])
      expect((await store.listAudit({ limit: 1, requestId }))[0]).toMatchObject({
        reason: 'secret_wrong',
        address: '::1',
        clientId: 'billing',
      })
    })

    it('is pruned in batches, each kind by its own age, and no further', async () => {
      const store = await createWithClient()
      const sequence = await store.readRegistrySequence()
      for (let i = 0; i < 5; i += 1) await store.recordIssuance(issuance(clock), sequence)
      clock.advance(100)
      const kept = issuance(clock)
      await store.recordIssuance(kept, sequence)
      const before = { issuance: clock.nowMilliseconds(), others: 0, limit: 3 }
      expect(await store.pruneAudit(before)).toBe(3)
      expect(await store.pruneAudit(before)).toBe(2)
      expect(await store.pruneAudit(before)).toBe(0)
      expect((await store.listAudit({ type: 'token.issued', limit: 10 })).map((entry) => entry.id)).toEqual([kept.jti])
      expect(await store.listAudit({ type: 'client.created', limit: 10 })).toHaveLength(1)
      await store.pruneAudit({ issuance: 0, others: clock.nowMilliseconds(), limit: 1000 })
      expect((await store.listAudit({ limit: 10 })).map((entry) => entry.type)).toEqual(['token.issued'])
    })
  })

  describe(`${name}: F15 the order of the audit trail`, () => {
    const types = async (store: Store): Promise<readonly unknown[]> =>
      (await store.listAudit({ type: 'resource.updated', limit: 100 })).map((entry) => Object(entry).detail?.name)
    const rename = (store: Store, i: number) => store.updateResource(api, { name: `n${i}` }, by)

    it('is that of the changes, within a millisecond, over steps of the clock, restarts and processes', async () => {
      const own = new ManualClock()
      const first = await under.create(own)
      await first.createResource(api, { scopes: [] }, by)
      const second = await under.openOther(first, own)
      const steps = [0, 0, 0, -3600, 0, 10, 7200, 0, -86_400, 0, 0.001, 3600]
      for (const [i, seconds] of steps.entries()) {
        own.step(seconds)
        await rename(i % 2 === 0 ? first : second, i)
      }
      const third = await under.openOther(first, own)
      await first.close()
      await rename(third, steps.length)
      expect(await types(second)).toEqual(Array.from({ length: steps.length + 1 }, (_, i) => `n${steps.length - i}`))
    })

    it('shows for each record what the clock showed, and finds it by that', async () => {
      const own = new ManualClock()
      const store = await under.create(own)
      await store.createResource(api, { scopes: [] }, by)
      const shown: number[] = []
      for (const [i, seconds] of [0, -3600, 60, 7200, -86_400].entries()) {
        own.step(seconds)
        await rename(store, i)
        shown.unshift(own.nowMilliseconds())
      }
      const list = await store.listAudit({ type: 'resource.updated', limit: 100 })
      expect(list.map(({ at }) => at)).toEqual(shown)
      expect(list[0]).not.toHaveProperty('wallAt')
      const since = await store.listAudit({ type: 'resource.updated', since: shown[4] ?? 0, limit: 100 })
      expect(since.map(({ at }) => at)).toEqual([shown[1], shown[4]])
    })

    it('has tokens among the changes by what the clock showed', async () => {
      const own = new ManualClock()
      const store = await under.create(own)
      await store.createResource(api, { scopes: [] }, by)
      own.step(-3600)
      const issue = async () => {
        own.advance(1)
        await store.recordIssuance(issuance(own), await store.readRegistrySequence())
        own.advance(1)
      }
      await issue()
      await rename(store, 0)
      await issue()
      const list = (await store.listAudit({ limit: 4 })).map(({ type }) => type)
      expect(list.filter((type) => type !== 'resource.created')).toEqual([
        'token.issued',
        'resource.updated',
        'token.issued',
      ])
    })

    it('does not keep for longer what was written while ids stood ahead of the clock', async () => {
      const own = new ManualClock()
      const store = await under.create(own)
      await store.createResource(api, { scopes: [] }, by)
      own.step(-365 * 86_400)
      for (const i of [0, 1]) {
        await rename(store, i)
        own.advance(60)
      }
      await store.pruneAudit({ issuance: 0, others: own.nowMilliseconds() - 60_000, limit: 100 })
      expect(await types(store)).toEqual(['n1'])
    })
  })

  testKeyStore(name, under)
  testFamilyStore(name, under)
  testReplayStore(name, under)
  testQuotas(name, under)

  describe(`${name}: as a whole`, () => {
    it('finds nothing wrong with itself', async () => {
      const store = await createWithClient()
      expect(await store.check()).toEqual([])
    })

    it('does what it was asked before it closes, and nothing after', async () => {
      const store = await createWithClient()
      const record = issuance(clock)
      const recorded = store.recordIssuance(record, await store.readRegistrySequence())
      await store.close()
      expect(await recorded).toBe('recorded')
      await expect(store.checkWritable()).rejects.toBeInstanceOf(StoreUnavailable)
      await expect(store.findClient('billing')).rejects.toBeInstanceOf(StoreUnavailable)
    })
  })
}
