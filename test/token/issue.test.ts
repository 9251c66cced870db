import { join } from 'node:path'
import { createLocalJWKSet, jwtVerify } from 'jose'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import type { Client } from '../../src/client/client.ts'
import type { SigningAlg } from '../../src/key/signer.ts'
import { isUlid, ulidMilliseconds } from '../../src/lib/id.ts'
import { makeReplayUse } from '../../src/oauth/replay.ts'
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

  it.each([
    ['a key', 'DPoP', { jkt: '0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I' }],
    ['a certificate', 'Bearer', { 'x5t#S256': 'bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg2' }],
  ] as const)('DP-18 is bound to %s, and so is its record; it is called %s', async (_, tokenType, confirmation) => {
    const { store, tokens, order, fence } = await start()
    const issued = await tokens.issue(order({ confirmation }), await fence())
    const claims = claimsOf(issued?.accessToken ?? '')
    expect(claims.cnf).toEqual(confirmation)
    expect(issued?.tokenType).toBe(tokenType)
    await expect(store.findIssuance(String(claims.jti))).resolves.toMatchObject({ confirmation })
  })

  it('names on record the key or certificate of a client that has proved itself without a secret', async () => {
    const { store, tokens, order, fence } = await start()
    const issued = await tokens.issue(order({ credentialId: 'key_k1' }), await fence())
    const record = await store.findIssuance(String(claimsOf(issued?.accessToken ?? '').jti))
    expect(record).toMatchObject({ credentialId: 'key_k1' })
    expect(record).not.toHaveProperty('secretId')
  })

  it('comes with no refresh token unless one was asked for', async () => {
    const { tokens, order, fence } = await start()
    for (const more of [{}, { startsFamily: false }]) {
      const issued = await tokens.issue(order(more), await fence())
      expect(issued).not.toHaveProperty('refreshToken')
      expect(claimsOf(issued?.accessToken ?? '')).not.toHaveProperty('sid')
    }
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

describe('a token is refused', () => {
  it.each(['assertion', 'proof'] as const)('JA-07 when the %s that it rests on has counted already', async (kind) => {
    const { clock, store, tokens, order, fence } = await start()
    const uses = [makeReplayUse(kind, ['a', 'b'], clock.nowMilliseconds() + 60_000)]
    await expect(tokens.issue(order({ uses }), await fence())).resolves.toBeDefined()
    await expect(tokens.issue(order({ uses }), await fence())).rejects.toMatchObject({
      name: 'OAuthError',
      reason: `${kind}_replayed`,
    })
    await expect(store.listAudit({ type: 'token.issued', limit: 10 })).resolves.toHaveLength(1)
  })

  it('when its client has had what it may in this hour, and says when the next one begins', async () => {
    const { clock, store, tokens, order, fence } = await start()
    const client = { ...order().client, tokensPerHour: 2 }
    for (let i = 0; i < 2; i += 1) await expect(tokens.issue(order({ client }), await fence())).resolves.toBeDefined()
    await expect(tokens.issue(order({ client }), await fence())).rejects.toMatchObject({
      reason: 'quota_used_up',
      limit: { name: 'tokens', quota: 2, windowSeconds: 3_600, remaining: 0, resetSeconds: 3_600 - 4 * 60 - 5 },
    })
    await expect(store.listAudit({ type: 'token.issued', limit: 10 })).resolves.toHaveLength(2)
    clock.advance(3_600 - 4 * 60 - 5)
    await expect(tokens.issue(order({ client }), await fence())).resolves.toBeDefined()
  })
})

describe('a client whose tokens of up to a moment were ended', () => {
  async function startEnded(behindMilliseconds: number) {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    onTestFinished(() => {
      vi.useRealTimers()
    })
    const setting = await start()
    const at = await setting.fence()
    // The second of the moment is ended as a whole, and a token of the next one is alive.
    const first = Math.ceil(setting.clock.nowMilliseconds() / 1000) * 1000 + behindMilliseconds
    return { ...setting, first, ended: { ...at, tokensAfter: first - 1 } }
  }

  it.each([1_000, 3_000])('waits %i ms for the next second that counts', async (behind) => {
    const { clock, tokens, order, ended, first } = await startEnded(behind)
    let isDone = false
    const pending = tokens.issue(order(), ended).finally(() => {
      isDone = true
    })
    await vi.advanceTimersByTimeAsync(behind - 1)
    expect(isDone).toBe(false)
    clock.advance(behind / 1000)
    await vi.advanceTimersByTimeAsync(1)
    expect(claimsOf((await pending)?.accessToken ?? '').iat).toBe(first / 1000)
  })

  it('does not wait once that second has come', async () => {
    const { tokens, order, ended } = await startEnded(0)
    await expect(tokens.issue(order(), ended)).resolves.toBeDefined()
  })

  it('waits for the whole second when the moment is its first millisecond', async () => {
    const { clock, tokens, order, fence } = await start()
    const at = await fence()
    clock.advance(0.999)
    const pending = tokens.issue(order(), { ...at, tokensAfter: Math.floor(clock.nowMilliseconds() / 1000) * 1000 })
    clock.advance(0.001)
    expect(claimsOf((await pending)?.accessToken ?? '').iat).toBe(clock.nowMilliseconds() / 1000)
  })

  it('is told to come again when the clock is further behind, or stands still', async () => {
    const { store, tokens, order, ended } = await startEnded(3_001)
    await expect(tokens.issue(order(), ended)).rejects.toMatchObject({ reason: 'clock_behind' })
    const standing = tokens.issue(order(), { ...ended, tokensAfter: ended.tokensAfter - 2_001 })
    const refused = expect(standing).rejects.toMatchObject({ reason: 'clock_behind' })
    await vi.advanceTimersByTimeAsync(2_999)
    await vi.advanceTimersByTimeAsync(1)
    await refused
    await expect(store.listAudit({ type: 'token.issued', limit: 10 })).resolves.toEqual([])
  })

  it('gets its token though a timer ends a moment early, twice', async () => {
    const { clock, tokens, order, ended, first } = await startEnded(1_000)
    const pending = tokens.issue(order(), ended)
    clock.advance(0.99)
    await vi.advanceTimersByTimeAsync(1_000)
    clock.advance(0.009)
    await vi.advanceTimersByTimeAsync(10)
    clock.advance(0.001)
    await vi.advanceTimersByTimeAsync(1)
    expect(claimsOf((await pending)?.accessToken ?? '').iat).toBe(first / 1000)
  })
})
