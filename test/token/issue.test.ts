import { join } from 'node:path'
import { createLocalJWKSet, jwtVerify } from 'jose'
import { describe, expect, it, onTestFinished } from 'vitest'
import type { Client } from '../../src/client/client.ts'
import type { SigningAlg } from '../../src/key/signer.ts'
import { isUlid, ulidMilliseconds } from '../../src/lib/id.ts'
import type { Resource } from '../../src/resource/resource.ts'
import { openStore } from '../../src/store/open-store.ts'
import { type Fence, TokenIssuer, type TokenSettings } from '../../src/token/issue.ts'
import { makeClient } from '../support/client.ts'
import { ManualClock } from '../support/clock.ts'
import { tokenSettings as settings, startTestIssuer, type TestIssuer, ticketsOn } from '../support/issuer.ts'
import { claimsOf, headerOf } from '../support/jwt.ts'
import { temporaryFolder } from '../support/process.ts'
import { api } from '../support/registry.ts'

const { issuer } = settings

interface Setting extends TestIssuer {
  readonly keys: ReturnType<typeof createLocalJWKSet>
}

async function start(): Promise<Setting> {
  const issuer = await startTestIssuer()
  const keys = createLocalJWKSet({ keys: issuer.ring.publicJwks().map((jwk) => ({ ...jwk })) })
  return { ...issuer, keys }
}

function resourceWith(ttl: number | undefined): Resource {
  const resource = { uri: api, scopes: [], createdAt: 0, updatedAt: 0 }
  return ttl === undefined ? resource : { ...resource, accessTokenTtlSeconds: ttl }
}

function clientWith(ttl: number | undefined): Client {
  return makeClient({ audiences: [api], ...(ttl === undefined ? {} : { accessTokenTtlSeconds: ttl }) })
}

/** An issuer on an empty store: it can tell how long tokens live, and issue none. */
function issuerWith(changes: Partial<TokenSettings> = {}): TokenIssuer {
  const clock = new ManualClock()
  const store = openStore(join(temporaryFolder(), 'mayfly.db'), { create: true, examine: false, clock })
  onTestFinished(() => store.close())
  return new TokenIssuer({ ...settings, ...changes }, store, ticketsOn(store, clock), clock)
}

describe('the life of a token', () => {
  it.each([
    ['the default when neither names one', undefined, undefined, 300],
    ['what the resource names', 60, undefined, 60],
    ['what the client names', undefined, 60, 60],
    ['longer than the default when that is named', 1_800, undefined, 1_800],
    ['the least of both, of the resource', 60, 120, 60],
    ['the least of both, of the client', 120, 60, 60],
    ['never above the cap, for a resource', 86_400, undefined, 3_600],
    ['never above the cap, for a client', undefined, 86_400, 3_600],
    ['never above the cap, for both', 7_200, 86_400, 3_600],
    ['one second, if that is named', 1, 86_400, 1],
  ])('I14 is %s', (_, resource, client, seconds) => {
    const lives = { audience: resourceWith(resource), client: clientWith(client) }
    expect(issuerWith().lifetimeSeconds(lives)).toBe(seconds)
  })

  it('I14 is cut by a cap that was lowered below the default and what is registered', () => {
    const tokens = issuerWith({ accessTokenMaxTtlSeconds: 10 })
    expect(tokens.lifetimeSeconds({ audience: resourceWith(undefined), client: clientWith(undefined) })).toBe(10)
    expect(tokens.lifetimeSeconds({ audience: resourceWith(600), client: clientWith(700) })).toBe(10)
  })
})

describe('a token', () => {
  it('AT-01 has the header and the claims of RFC 9068, and verifies', async () => {
    const { clock, tokens, order, fence, keys } = await start()
    const issued = await tokens.issue(order(), await fence())
    const token = issued?.accessToken ?? ''
    const now = Math.floor(clock.nowMilliseconds() / 1000)
    expect(headerOf(token)).toEqual({ typ: 'at+jwt', alg: 'ES256', kid: expect.any(String) })
    expect(claimsOf(token)).toEqual({
      iss: issuer,
      sub: 'billing',
      aud: api,
      exp: now + 300,
      iat: now,
      nbf: now,
      jti: expect.any(String),
      client_id: 'billing',
      scope: 'read write',
    })
    expect(issued).toMatchObject({ lifetimeSeconds: 300, scope: 'read write', alg: 'ES256' })
    const verified = await jwtVerify(token, keys, {
      issuer,
      audience: api,
      typ: 'at+jwt',
      algorithms: ['ES256'],
      currentDate: new Date(clock.nowMilliseconds()),
    })
    expect(verified.payload.sub).toBe('billing')
  })

  it('I14 has whole seconds for dates, though time has not, and the moment itself in its jti', async () => {
    const { clock, tokens, order, fence } = await start()
    clock.advance(0.987)
    const claims = claimsOf((await tokens.issue(order(), await fence()))?.accessToken ?? '')
    for (const date of [claims.exp, claims.iat, claims.nbf]) expect(Number.isInteger(date)).toBe(true)
    const jti = String(claims.jti)
    expect(isUlid(jti)).toBe(true)
    expect(ulidMilliseconds(jti)).toBe(clock.nowMilliseconds())
  })

  it('has no scope rather than an empty one', async () => {
    const { tokens, order, fence } = await start()
    const issued = await tokens.issue(order({ scopes: [] }), await fence())
    expect(claimsOf(issued?.accessToken ?? '')).not.toHaveProperty('scope')
    expect(issued?.scope).toBeUndefined()
  })

  it.each<[string, SigningAlg | undefined, SigningAlg, SigningAlg]>([
    ['the server’s algorithm', undefined, 'RS256', 'RS256'],
    ['the algorithm of its resource', 'RS256', 'ES256', 'RS256'],
    ['the algorithm of its resource, the other way round', 'ES256', 'RS256', 'ES256'],
  ])('is signed with %s', async (_, own, server, alg) => {
    const { clock, store, order, fence, keys } = await start()
    const tokens = new TokenIssuer({ ...settings, signingAlg: server }, store, ticketsOn(store, clock), clock)
    const { audience } = order()
    const issued = await tokens.issue(
      order({ audience: own === undefined ? audience : { ...audience, alg: own } }),
      await fence(),
    )
    expect(headerOf(issued?.accessToken ?? '').alg).toBe(alg)
    expect(issued?.alg).toBe(alg)
    const currentDate = new Date(clock.nowMilliseconds())
    await expect(jwtVerify(issued?.accessToken ?? '', keys, { algorithms: [alg], currentDate })).resolves.toBeDefined()
  })

  it('I10 has one record, that says what the token says', async () => {
    const { store, tokens, order, fence } = await start()
    const wanted = order()
    const token = (await tokens.issue(wanted, await fence()))?.accessToken ?? ''
    const claims = claimsOf(token)
    await expect(store.findIssuance(String(claims.jti))).resolves.toEqual({
      ...wanted.origin,
      jti: claims.jti,
      clientId: 'billing',
      subject: 'billing',
      grantType: 'client_credentials',
      secretId: wanted.credentialId,
      audience: api,
      scope: 'read write',
      kid: headerOf(token).kid,
      expiresAt: claims.exp,
    })
    await expect(store.listAudit({ type: 'token.issued', limit: 10 })).resolves.toHaveLength(1)
  })

  it('I10 without a scope has a record without one', async () => {
    const { store, tokens, order, fence } = await start()
    const token = (await tokens.issue(order({ scopes: [] }), await fence()))?.accessToken ?? ''
    const record = await store.findIssuance(String(claimsOf(token).jti))
    expect(record).toMatchObject({ clientId: 'billing' })
    expect(record).not.toHaveProperty('scope')
  })

  it('never comes twice', async () => {
    const { tokens, order, fence } = await start()
    const at = await fence()
    const issued = await Promise.all(Array.from({ length: 200 }, () => tokens.issue(order(), at)))
    expect(new Set(issued.map((token) => claimsOf(token?.accessToken ?? '').jti)).size).toBe(200)
  })

  it('I5 is refused when the registry moved since it was decided on, and leaves no record', async () => {
    const { store, tokens, order, fence } = await start()
    const before = await fence()
    await store.setClientStatus('billing', 'disabled', 'cli:test')
    await expect(tokens.issue(order(), before)).resolves.toBeUndefined()
    await expect(store.listAudit({ type: 'token.issued', limit: 10 })).resolves.toEqual([])
    await expect(tokens.issue(order(), await fence())).resolves.toBeDefined()
  })

  it('I5 is refused at a sequence that the registry has not reached', async () => {
    const { store, tokens, order, fence } = await start()
    const now = await fence()
    await expect(tokens.issue(order(), { ...now, sequence: now.sequence + 1 })).resolves.toBeUndefined()
    await expect(store.listAudit({ type: 'token.issued', limit: 10 })).resolves.toEqual([])
  })

  it('I23 is refused when the store is gone', async () => {
    const { store, tokens, order, fence } = await start()
    const before = await fence()
    await store.close()
    await expect(tokens.issue(order(), before)).rejects.toMatchObject({ name: 'StoreUnavailable' })
  })

  it('is refused without a record when its signer fails', async () => {
    const { store, tokens, order, fence } = await start()
    const before = await fence()
    const broken: Fence = {
      ...before,
      activeSigner: (alg) => ({ kid: 'k', alg, sign: () => Promise.reject(new Error('the module is away')) }),
    }
    await expect(tokens.issue(order(), broken)).rejects.toThrow('the module is away')
    await expect(store.listAudit({ type: 'token.issued', limit: 10 })).resolves.toEqual([])
  })
})
