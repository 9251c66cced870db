/** Refresh tickets on a real store and a real ring, without a server. What comes of them is in test/flows/refresh.test.ts. */
import { describe, expect, it } from 'vitest'
import type { Confirmation } from '../../src/oauth/confirmation.ts'
import type { Reason } from '../../src/oauth/errors.ts'
import type { TicketContext } from '../../src/token/refresh.ts'
import { makeTicket, parseTicket } from '../../src/token/ticket.ts'
import { makeClient } from '../support/client.ts'
import { refreshSettings, startTestIssuer, ticketsOn } from '../support/issuer.ts'
import { claimsOf } from '../support/jwt.ts'
import { api } from '../support/registry.ts'

const thumbprint = '0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I'
const another = 'bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg2'
const hour = 3_600_000
const minute = 60

/** A family that has just begun, and what can be done with its tickets. */
async function begin(confirmation?: Confirmation) {
  const { clock, store, ring, tokens, order, fence } = await startTestIssuer()
  const tickets = ticketsOn(store, clock)
  const bound = confirmation === undefined ? {} : { confirmation }
  const issued = await tokens.issue(order({ startsFamily: true, ...bound }), await fence())
  const first = issued?.refreshToken ?? ''
  const familyId = parseTicket(first)?.familyId ?? ''
  const familyNow = async () => {
    const family = await store.findFamily(familyId)
    if (family === undefined) throw new Error('no family')
    return family
  }
  const examine = async (ticket: string, changes: Partial<TicketContext> = {}) =>
    tickets.examine(ticket, {
      presentation: { wasGood: false },
      client: order().client,
      keys: ring.ticketKeys,
      origin: order().origin,
      sequence: await store.readRegistrySequence(),
      tokensAfter: 0,
      beforeEnd: async () => undefined,
      ...changes,
    })
  const use = async (
    ticket: string,
    now: Confirmation | undefined = confirmation,
    context: Partial<TicketContext> = {},
  ) => {
    const redemption = await examine(ticket, context)
    const changes = {
      grantType: 'refresh_token',
      redemption,
      ...(now === undefined ? {} : { confirmation: now }),
    } as const
    const next = await tokens.issue(order(changes), await fence())
    if (next?.refreshToken === undefined) throw new Error('no successor')
    return { ...next, refreshToken: next.refreshToken, claims: claimsOf(next.accessToken) }
  }
  const endings = async () => store.listAudit({ type: 'family.ended', limit: 10 })
  return {
    clock,
    store,
    ring,
    tokens,
    order,
    fence,
    tickets,
    issued,
    first,
    familyId,
    familyNow,
    examine,
    use,
    endings,
  }
}

type Family = Awaited<ReturnType<typeof begin>>

describe('a refresh family', () => {
  it('begins with a token, and says until when it lives', async () => {
    const { clock, familyNow, familyId, issued, first, ring } = await begin()
    const now = clock.nowMilliseconds()
    expect(await familyNow()).toEqual({
      familyId,
      clientId: 'billing',
      subject: 'billing',
      audience: api,
      scopes: ['read', 'write'],
      seed: expect.any(Uint8Array),
      generation: 0,
      generationAt: now,
      rootVersion: ring.ticketKeys.newestVersion,
      expiresAt: now + hour,
      familyExpiresAt: now + 24 * hour,
    })
    expect((await familyNow()).seed).toHaveLength(16)
    expect(parseTicket(first)).toMatchObject({ generation: 0, rootVersion: ring.ticketKeys.newestVersion })
    expect(claimsOf(issued?.accessToken ?? '').sid).toBe(familyId)
    expect(issued?.isRetry).toBe(false)
  })

  it('has a seed of its own', async () => {
    const { store, tokens, order, fence, familyNow } = await begin()
    const other = await tokens.issue(order({ startsFamily: true }), await fence())
    const found = await store.findFamily(parseTicket(other?.refreshToken ?? '')?.familyId ?? '')
    expect(found?.seed).not.toEqual((await familyNow()).seed)
  })

  it('RT-01 goes on to the next generation when its ticket is used', async () => {
    const { clock, use, first, familyId, familyNow, store, issued } = await begin()
    clock.advance(10 * minute)
    const next = await use(first)
    expect(parseTicket(next.refreshToken)).toMatchObject({ familyId, generation: 1 })
    expect(next).toMatchObject({ isRetry: false, claims: { sid: familyId } })
    expect(await familyNow()).toMatchObject({
      generation: 1,
      generationAt: clock.nowMilliseconds(),
      expiresAt: clock.nowMilliseconds() + hour,
      lastJti: next.claims.jti,
    })
    expect(await store.findIssuance(String(next.claims.jti))).toMatchObject({ familyId, refreshGeneration: 0 })
    const before = await store.findIssuance(String(claimsOf(issued?.accessToken ?? '').jti))
    expect(before).toMatchObject({ familyId })
    expect(before).not.toHaveProperty('refreshGeneration')
  })

  it('RT-08 is prolonged by its use up to its absolute end and no further', async () => {
    const { clock, use, first, familyNow } = await begin()
    const end = (await familyNow()).familyExpiresAt
    let ticket = first
    for (let used = 0; used < 26; used += 1) {
      clock.advance(55 * minute)
      ticket = (await use(ticket)).refreshToken
      const { expiresAt, familyExpiresAt } = await familyNow()
      expect(familyExpiresAt).toBe(end)
      expect(expiresAt).toBe(Math.min(clock.nowMilliseconds() + hour, end))
    }
    clock.advance((end - clock.nowMilliseconds()) / 1000)
    await expect(use(ticket)).rejects.toMatchObject({ reason: 'refresh_expired' })
  })

  it('RT-03 answers a retry with the very same ticket, for as long as the window lasts', async () => {
    const { clock, use, first, familyNow } = await begin()
    const next = await use(first)
    clock.advance(refreshSettings.refreshRetryWindowSeconds - 0.001)
    const again = await use(first)
    expect(again).toMatchObject({ refreshToken: next.refreshToken, isRetry: true })
    expect(again.accessToken).not.toBe(next.accessToken)
    expect(await familyNow()).toMatchObject({ generation: 1 })
    clock.advance(0.001)
    await expect(use(first)).rejects.toMatchObject({ reason: 'refresh_retry_too_late' })
  })

  it('is not retried once its window is over, though the retry was judged before', async () => {
    const { clock, use, examine, first, tokens, order, fence } = await begin()
    await use(first)
    const redemption = await examine(first)
    clock.advance(refreshSettings.refreshRetryWindowSeconds)
    await expect(
      tokens.issue(order({ grantType: 'refresh_token', redemption }), await fence()),
    ).resolves.toBeUndefined()
  })

  it('I1 is used by one of two who were both told that they may', async () => {
    const { examine, first, tokens, order, fence } = await begin()
    const redemption = await examine(first)
    const ask = async () => tokens.issue(order({ grantType: 'refresh_token', redemption }), await fence())
    expect(await ask()).toBeDefined()
    expect(await ask()).toBeUndefined()
  })

  it.each<[string, string, Reason, string, (family: Family) => Promise<string>]>([
    [
      'RT-02',
      'when a ticket comes whose successor was used',
      'refresh_reused',
      'reused',
      async ({ use, first }) => {
        await use((await use(first)).refreshToken)
        return first
      },
    ],
    [
      'RT-02',
      'when a ticket comes after the window',
      'refresh_retry_too_late',
      'retry_too_late',
      async ({ use, first, clock }) => {
        await use(first)
        clock.advance(minute)
        return first
      },
    ],
    [
      'F13',
      'when a ticket comes that the store has not made',
      'refresh_generation_ahead',
      'generation_ahead',
      async ({ familyNow, ring }) => {
        const { seed, ...family } = await familyNow()
        const key = ring.ticketKeys.keyOf(family.rootVersion)
        if (key === undefined) throw new Error('no key')
        return makeTicket({ ...family, generation: 3 }, seed, key)
      },
    ],
  ])('%s ends for ever, and on record, %s', async (_, __, reason, end, presented) => {
    const family = await begin()
    const ticket = await presented(family)
    const { generation } = await family.familyNow()
    const endedBefore: unknown[] = []
    const beforeEnd = async () => {
      endedBefore.push((await family.familyNow()).end)
    }
    await expect(family.examine(ticket, { beforeEnd })).rejects.toMatchObject({ name: 'OAuthError', reason })
    expect(endedBefore).toEqual([undefined])
    expect((await family.familyNow()).end).toBe(end)
    expect(await family.endings()).toMatchObject([
      {
        type: 'family.ended',
        familyId: family.familyId,
        clientId: 'billing',
        reason: end,
        presentedGeneration: parseTicket(ticket)?.generation,
        currentGeneration: generation,
        address: '192.0.2.1',
        requestId: expect.stringMatching(/^req_/),
      },
    ])
    await expect(family.examine(ticket)).rejects.toMatchObject({ reason: 'refresh_ended' })
  })

  it('does not end when what the client proved itself with was used before', async () => {
    const { use, first, examine, familyNow, endings } = await begin()
    await use((await use(first)).refreshToken)
    const beforeEnd = () => Promise.reject(new Error('replayed'))
    await expect(examine(first, { beforeEnd })).rejects.toThrow('replayed')
    expect(await familyNow()).not.toHaveProperty('end')
    expect(await endings()).toEqual([])
  })

  it('does not end on the word of a client that the registry has moved on from', async () => {
    const { use, first, examine, familyNow, store } = await begin()
    await use((await use(first)).refreshToken)
    const sequence = await store.readRegistrySequence()
    await store.setClientStatus('billing', 'disabled', 'cli:test')
    await expect(examine(first, { sequence })).rejects.toMatchObject({ reason: 'refresh_reused' })
    expect(await familyNow()).not.toHaveProperty('end')
  })

  it('ends when its ticket was reused, though somebody uses the next one meanwhile', async () => {
    const { use, first, examine, familyNow, endings } = await begin()
    const { refreshToken } = await use((await use(first)).refreshToken)
    const beforeEnd = async () => {
      await use(refreshToken)
    }
    await expect(examine(first, { beforeEnd })).rejects.toMatchObject({ reason: 'refresh_reused' })
    expect(await familyNow()).toMatchObject({ end: 'reused', generation: 3 })
    expect(await endings()).toHaveLength(1)
  })

  it('does not end when the store that had gone back has caught up meanwhile', async () => {
    const { use, first, examine, familyNow, store, ring } = await begin()
    const { seed, ...old } = await familyNow()
    const key = ring.ticketKeys.keyOf(old.rootVersion)
    if (key === undefined) throw new Error('no key')
    const ahead = makeTicket({ ...old, generation: 1 }, seed, key)
    const beforeEnd = async () => {
      await use(first)
    }
    await expect(examine(ahead, { beforeEnd })).rejects.toMatchObject({ reason: 'refresh_generation_ahead' })
    expect(await familyNow()).not.toHaveProperty('end')
    expect(await store.listAudit({ type: 'family.ended', limit: 10 })).toEqual([])
  })

  it('I3 does not end when the ticket was good as the same request came, and was overtaken since', async () => {
    const { use, first, examine, familyNow } = await begin()
    const presentation = { wasGood: false }
    await examine(first, { presentation })
    expect(presentation.wasGood).toBe(true)
    await use((await use(first)).refreshToken)
    await expect(examine(first, { presentation })).rejects.toMatchObject({ reason: 'refresh_overtaken' })
    expect(await familyNow()).not.toHaveProperty('end')
  })
})

describe('a refresh ticket is refused without any effect', () => {
  it.each<[Reason, string, (family: Family) => Promise<unknown>]>([
    ['refresh_malformed', 'RT-07 when it has not the form of one', ({ examine, first }) => examine(`${first}x`)],
    [
      'refresh_malformed',
      'RT-07 when it is an access token',
      ({ examine, issued }) => examine(issued?.accessToken ?? ''),
    ],
    [
      'refresh_unknown',
      'RT-07 when there is no such family',
      async ({ examine, familyNow, ring }) => {
        const { seed, ...family } = await familyNow()
        const key = ring.ticketKeys.keyOf(family.rootVersion)
        if (key === undefined) throw new Error('no key')
        return examine(makeTicket({ ...family, familyId: '01JZZZZZZZZZZZZZZZZZZZZZZZ' }, seed, key))
      },
    ],
    [
      'refresh_forged',
      'RT-07 when it was made up for a family that there is',
      async ({ examine, familyNow, ring }) => {
        const { seed, ...family } = await familyNow()
        const key = ring.ticketKeys.keyOf(family.rootVersion)
        if (key === undefined) throw new Error('no key')
        return examine(makeTicket(family, Buffer.alloc(seed.length), key))
      },
    ],
    [
      'refresh_of_another_client',
      'RT-04 when another client brings it',
      ({ examine, first }) => examine(first, { client: makeClient({ clientId: 'other' }) }),
    ],
    [
      'refresh_root_replaced',
      'when the root is gone that it was derived from',
      ({ examine, first }) => examine(first, { keys: { newestVersion: 2, keyOf: () => undefined } }),
    ],
    [
      'refresh_expired',
      'RT-08 when it has idled for too long',
      ({ examine, first, clock }) => {
        clock.advance(3_600)
        return examine(first)
      },
    ],
    [
      'refresh_ended',
      'RT-09 when all tokens of then were ended',
      ({ examine, first, clock }) => examine(first, { tokensAfter: clock.nowMilliseconds() }),
    ],
  ])('as %s, %s', async (reason, _, ask) => {
    const family = await begin()
    const before = await family.familyNow()
    await expect(ask(family)).rejects.toMatchObject({ name: 'OAuthError', reason })
    expect(await family.familyNow()).toEqual(before)
    expect(await family.endings()).toEqual([])
  })

  it('when the root that the retry would be derived from is gone', async () => {
    const { tickets, familyNow } = await begin()
    const family = await familyNow()
    const keys = { newestVersion: 2, keyOf: () => undefined }
    for (const use of ['rotate', 'retry'] as const)
      expect(() => tickets.planNext({ use, family, generation: 0 }, keys)).toThrow('refresh_root_replaced')
  })
})

describe('the binding of a refresh family', () => {
  const key = { jkt: thumbprint }
  const certificate = { 'x5t#S256': thumbprint }
  const both = { ...key, ...certificate }

  it.each<[string, Confirmation | undefined, Confirmation | undefined]>([
    ['may begin with a key', undefined, key],
    ['may begin with a certificate', undefined, certificate],
    ['may go on to another key: the client has proved itself', key, { jkt: another }],
    ['TLS-10 may go on to a renewed certificate', certificate, { 'x5t#S256': another }],
    ['may get a certificate besides', key, both],
    ['may stay as it is', both, both],
  ])('%s', async (_, before, now) => {
    const { use, first, familyNow, issued } = await begin(before)
    expect(claimsOf(issued?.accessToken ?? '').cnf).toEqual(before)
    expect((await familyNow()).confirmation).toEqual(before)
    const next = await use(first, now)
    expect(next.claims.cnf).toEqual(now)
    expect(next.tokenType).toBe(now?.jkt === undefined ? 'Bearer' : 'DPoP')
    expect((await familyNow()).confirmation).toEqual(now)
  })

  it.each<[Reason, string, Confirmation, Confirmation | undefined]>([
    ['proof_missing', 'its key', key, undefined],
    ['proof_missing', 'its key for a certificate', key, certificate],
    ['proof_missing', 'its key and keep the certificate', both, certificate],
    ['certificate_missing', 'its certificate', certificate, undefined],
    ['certificate_missing', 'its certificate for a key', certificate, key],
    ['certificate_missing', 'its certificate and keep the key', both, key],
  ])('is refused as %s when it would shed %s', async (reason, _, before, now) => {
    const { tickets, ring, familyNow } = await begin(before)
    const redemption = { use: 'rotate', family: await familyNow(), generation: 0 } as const
    expect(() => tickets.planNext(redemption, ring.ticketKeys, now)).toThrow(reason)
  })

  it.each<[string, Confirmation | undefined, Confirmation | undefined]>([
    ['another key', key, { jkt: another }],
    ['another certificate', certificate, { 'x5t#S256': another }],
    ['a key where there was none', undefined, key],
    ['no key where there was one', key, undefined],
    ['one binding more', key, both],
  ])('RT-03 is the same in a retry: one with %s is refused, and ends nothing', async (_, before, now) => {
    const { use, first, examine, tickets, ring, familyNow, endings } = await begin(before)
    const next = await use(first)
    const redemption = await examine(first)
    expect(() => tickets.planNext(redemption, ring.ticketKeys, now)).toThrow('refresh_retry_other_key')
    expect(await familyNow()).not.toHaveProperty('end')
    expect(await endings()).toEqual([])
    expect(tickets.planNext(redemption, ring.ticketKeys, before).ticket).toBe(next.refreshToken)
  })
})
