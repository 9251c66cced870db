/** What a client ends by presenting a token. What comes of it over HTTP is in test/flows/revocation.test.ts. */
import { describe, expect, it } from 'vitest'
import type { Client } from '../../src/client/client.ts'
import { readAccessTokenClaims } from '../../src/oauth/claims.ts'
import { endTarget, findTarget } from '../../src/token/revoke.ts'
import { makeTicket, parseTicket } from '../../src/token/ticket.ts'
import type { Verification } from '../../src/token/token-verifier.ts'
import { makeClient } from '../support/client.ts'
import { startTestIssuer, ticketsOn } from '../support/issuer.ts'
import { claimsOf } from '../support/jwt.ts'

async function start() {
  const { clock, store, ring, tokens, order, fence } = await startTestIssuer()
  const issued = await tokens.issue(order({ startsFamily: true }), await fence())
  const { accessToken = '', refreshToken = '' } = issued ?? {}
  const claims = readAccessTokenClaims(claimsOf(accessToken))
  if (claims === undefined) throw new Error('no claims')
  const alive: Verification = { active: true, claims }
  const verified: string[] = []
  const find = (token: string, client: Client = order().client, found: Verification = alive) =>
    findTarget(token, {
      client,
      keys: ring.ticketKeys,
      tickets: ticketsOn(store, clock),
      verify: async (text) => {
        verified.push(text)
        return found
      },
      origin: order().origin,
    })
  const familyId = parseTicket(refreshToken)?.familyId ?? ''
  return {
    clock,
    store,
    tokens,
    order,
    fence,
    find,
    verified,
    accessToken,
    refreshToken,
    claims,
    familyId,
    keys: ring.ticketKeys,
  }
}

const other = makeClient({ clientId: 'other' })
const ender = { requestId: 'req_x', address: '192.0.2.9' } as const

describe('a token that is given back', () => {
  it('RV-02 is ended: an access token of the client', async () => {
    const { store, find, accessToken, claims, verified } = await start()
    const target = await find(accessToken)
    expect(target).toEqual({ kind: 'access_token', claims })
    expect(verified).toEqual([accessToken])
    expect(await endTarget(store, target, ender)).toBe(true)
    expect(await endTarget(store, target, ender)).toBe(false)
    const { marks } = await store.readMarks(0)
    expect(marks).toEqual([{ kind: 'jti', id: claims.jti, expiresAt: claims.exp * 1000 }])
    expect(await store.listAudit({ type: 'token.revoked', limit: 10 })).toMatchObject([
      { type: 'token.revoked', jti: claims.jti, clientId: 'billing', ...ender },
    ])
  })

  it('RV-02 is ended with its family: a refresh token of the client, whatever tells whether it is a JWT', async () => {
    const { store, find, refreshToken, familyId, verified } = await start()
    const target = await find(refreshToken)
    expect(target).toMatchObject({ kind: 'refresh_token', family: { familyId, clientId: 'billing' } })
    expect(verified).toEqual([])
    expect(await endTarget(store, target, ender)).toBe(true)
    expect(await endTarget(store, target, ender)).toBe(false)
    expect(await store.findFamily(familyId)).toMatchObject({ end: 'revoked' })
    expect(await store.listAudit({ type: 'family.ended', limit: 10 })).toMatchObject([
      { type: 'family.ended', familyId, clientId: 'billing', reason: 'revoked', ...ender },
    ])
  })

  it('is ended with its family when it was used, or has expired: whoever has it has lost control of it', async () => {
    const { clock, find, refreshToken, familyId, tokens, order, fence, store } = await start()
    const family = await store.findFamily(familyId)
    if (family === undefined) throw new Error('no family')
    const redemption = { use: 'rotate', family, generation: 0 } as const
    await tokens.issue(order({ grantType: 'refresh_token', redemption }), await fence())
    clock.advance(2 * 86_400)
    expect(await find(refreshToken)).toMatchObject({ kind: 'refresh_token', family: { familyId } })
  })

  it('RV-03 is left alone when it is another client’s, and that is told to none but the trail', async () => {
    const { find, accessToken, refreshToken } = await start()
    expect(await find(accessToken, other)).toEqual({ kind: 'none', reason: 'token_of_another_client' })
    expect(await find(refreshToken, other)).toEqual({ kind: 'none', reason: 'refresh_of_another_client' })
  })

  it('is nothing when it is dead, made up, or no token', async () => {
    const { store, find, accessToken, familyId, keys } = await start()
    const none = { kind: 'none' } as const
    for (const fault of ['expired', 'revoked', 'malformed'] as const)
      expect(await find(accessToken, undefined, { active: false, fault })).toEqual(none)
    const key = keys.keyOf(keys.newestVersion)
    if (key === undefined) throw new Error('no key')
    const derivation = { familyId, generation: 0, rootVersion: keys.newestVersion }
    expect(await find(makeTicket(derivation, Buffer.alloc(16), key))).toEqual(none)
    expect(await endTarget(store, none, ender)).toBe(false)
    expect((await store.readMarks(0)).marks).toEqual([])
    expect(await store.findFamily(familyId)).not.toHaveProperty('end')
  })

  it('is nothing when its root or its family is gone, and an outage when the store is', async () => {
    const { clock, store, find, order, refreshToken } = await start()
    const context = {
      client: order().client,
      keys: { newestVersion: 2, keyOf: () => undefined },
      tickets: ticketsOn(store, clock),
      verify: () => Promise.reject(new Error('not a JWT')),
      origin: order().origin,
    }
    expect(await findTarget(refreshToken, context)).toEqual({ kind: 'none' })
    await store.close()
    await expect(find(refreshToken)).rejects.toMatchObject({ name: 'StoreUnavailable' })
  })
})
