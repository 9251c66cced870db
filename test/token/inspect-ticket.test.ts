import { describe, expect, it } from 'vitest'
import { inspectTicket } from '../../src/token/inspect.ts'
import { makeTicket, parseTicket } from '../../src/token/ticket.ts'
import { startTestIssuer } from '../support/issuer.ts'
import { api } from '../support/registry.ts'

async function start() {
  const { clock, store, ring, tokens, order, fence } = await startTestIssuer()
  const first = (await tokens.issue(order({ startsFamily: true }), await fence()))?.refreshToken ?? ''
  const familyId = parseTicket(first)?.familyId ?? ''
  const keys = ring.ticketKeys
  const familyNow = async () => {
    const family = await store.findFamily(familyId)
    if (family === undefined) throw new Error('no family')
    return family
  }
  const use = async () => {
    const family = await familyNow()
    const redemption = { use: 'rotate', family, generation: family.generation } as const
    await tokens.issue(order({ grantType: 'refresh_token', redemption }), await fence())
  }
  const inspect = async (ticket = first, ticketKeys = keys) => {
    const parts = parseTicket(ticket)
    if (parts === undefined) throw new Error('no ticket')
    const now = clock.nowMilliseconds()
    return inspectTicket(parts, { store, keys: ticketKeys, retryWindowMilliseconds: 60_000, now })
  }
  const ticketOf = (generation: number, id = familyId, seed?: Uint8Array) =>
    familyNow().then((family) => {
      const key = keys.keyOf(keys.newestVersion)
      if (key === undefined) throw new Error('no key')
      return makeTicket({ rootVersion: keys.newestVersion, familyId: id, generation }, seed ?? family.seed, key)
    })
  return { clock, store, keys, familyId, familyNow, use, inspect, ticketOf, first }
}

type Scene = Awaited<ReturnType<typeof start>>

describe('the inspection of a refresh token', () => {
  it('says of ours that it can be used, for what, and until when', async () => {
    const { inspect, familyId } = await start()
    expect(await inspect()).toEqual({
      kind: 'refresh_token',
      active: true,
      reason: null,
      family: familyId,
      generation: 0,
      current_generation: 0,
      client_id: 'billing',
      audience: api,
      scope: 'read write',
      issued_at: '2026-01-02T03:04:05.000Z',
      expires_at: '2026-01-02T04:04:05.000Z',
      family_expires_at: '2026-01-03T03:04:05.000Z',
    })
  })

  it('says of one that was used a moment ago that it can be used once more', async () => {
    const { inspect, use, clock } = await start()
    await use()
    clock.advance(59.999)
    expect(await inspect()).toMatchObject({ active: true, reason: null, current_generation: 1, issued_at: null })
  })

  it.each<[string, string, (scene: Scene) => Promise<unknown>]>([
    [
      'that was used longer ago',
      'it was used already: whoever presents it ends the family',
      async ({ use, clock }) => {
        await use()
        clock.advance(60)
      },
    ],
    [
      'whose successor was used',
      'it was used already: whoever presents it ends the family',
      async ({ use }) => {
        await use()
        await use()
      },
    ],
    [
      'that has idled for too long',
      'it has expired, or its family has (2026-01-03T03:04:05.000Z at the latest)',
      async ({ clock }) => clock.advance(3_600),
    ],
    [
      'whose family was ended',
      'its family was ended (revoked)',
      ({ store, familyId }) => {
        const event = { type: 'family.ended', familyId, clientId: 'billing', reason: 'revoked' } as const
        return store.endFamily({ familyId, event: { ...event, actor: 'cli:test' } })
      },
    ],
    [
      'whose client is disabled',
      'its client is disabled',
      ({ store }) => store.setClientStatus('billing', 'disabled', 'cli:test'),
    ],
    ['whose client was deleted', 'its client was deleted', ({ store }) => store.deleteClient('billing', 'cli:test')],
    [
      'that was ended with its client, which is enabled again',
      'it was ended with everything else that its client had then',
      async ({ store }) => {
        await store.setClientStatus('billing', 'disabled', 'cli:test')
        await store.setClientStatus('billing', 'active', 'cli:test')
      },
    ],
  ])('says of one %s that it cannot, and why', async (_, reason, change) => {
    const scene = await start()
    await change(scene)
    expect(await scene.inspect()).toMatchObject({ active: false, reason, client_id: 'billing', family: scene.familyId })
  })

  it('says of one that was never made that the database has gone back', async () => {
    const { inspect, ticketOf } = await start()
    expect(await inspect(await ticketOf(3))).toMatchObject({
      active: false,
      reason: 'its family has not come so far: this database has gone back in time',
      generation: 3,
      current_generation: 0,
      issued_at: null,
    })
  })

  it('says nothing of a family to whoever made the token up', async () => {
    const { inspect, ticketOf, keys, first, familyId } = await start()
    const nothing = {
      active: false,
      current_generation: null,
      client_id: null,
      audience: null,
      scope: null,
      issued_at: null,
      expires_at: null,
      family_expires_at: null,
    }
    expect(await inspect(await ticketOf(0, familyId, Buffer.alloc(16)))).toMatchObject({
      ...nothing,
      reason: 'it is forged: it was not derived from its family',
    })
    expect(await inspect(await ticketOf(0, '01JZZZZZZZZZZZZZZZZZZZZZZZ'))).toMatchObject({
      ...nothing,
      reason: 'its family is not here: it died long ago, or is of another database',
    })
    expect(await inspect(first, { ...keys, keyOf: () => undefined })).toMatchObject({
      ...nothing,
      reason: 'the root key that it was derived from was replaced',
    })
  })

  it('changes nothing, whatever the token proves', async () => {
    const { inspect, use, familyNow, store } = await start()
    await use()
    await use()
    const before = await familyNow()
    expect(await inspect()).toMatchObject({ active: false })
    expect(await familyNow()).toEqual(before)
    expect(await store.listAudit({ type: 'family.ended', limit: 10 })).toEqual([])
  })
})
