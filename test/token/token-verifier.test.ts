/** Answers that go by what a store remembers, on a real store whose memory the test sets. */
import { describe, expect, it } from 'vitest'
import { silentLog } from '../../src/lib/log.ts'
import { StoreUnavailable } from '../../src/lib/store-error.ts'
import { OAuthError } from '../../src/oauth/errors.ts'
import { Registry } from '../../src/registry/registry.ts'
import type { Sequences } from '../../src/registry/registry-store.ts'
import type { Store } from '../../src/store/store.ts'
import { ForgeryAlarm } from '../../src/token/forgery-alarm.ts'
import { introspect } from '../../src/token/introspect.ts'
import type { Fence } from '../../src/token/issue.ts'
import { MarkSet } from '../../src/token/marks.ts'
import { TokenVerifier, type Verification } from '../../src/token/token-verifier.ts'
import { startTestIssuer } from '../support/issuer.ts'
import { claimsOf } from '../support/jwt.ts'
import { addClient, api } from '../support/registry.ts'
import { defaultTiming } from '../support/ring.ts'

const origin = { requestId: 'req_1', address: '192.0.2.1' } as const
const by = 'cli:test'

const isActive = ({ active }: Verification): boolean => active

async function start() {
  const { clock, store, ring, opener, tokens, order, fence } = await startTestIssuer()
  let remembered: Sequences | undefined
  let isAway = false
  const looks = { registry: 0, mark: 0, both: 0 }
  const look = <T>(kind: keyof typeof looks, read: () => Promise<T>) => {
    looks[kind] += 1
    return isAway ? Promise.reject(new StoreUnavailable('away')) : read()
  }
  const held: Store = {
    ...store,
    recentSequences: () => remembered,
    readSequences: () => look('both', () => store.readSequences()),
    readRegistrySequence: () => look('registry', () => store.readRegistrySequence()),
    readMarkSequence: () => look('mark', () => store.readMarkSequence()),
  }
  const forged: string[] = []
  const alarm = new ForgeryAlarm({ audit: store, log: silentLog, onForged: () => forged.push('forged') })
  const marks = new MarkSet(held, clock)
  const registry = new Registry(held, opener, defaultTiming, clock)
  const verifier = new TokenVerifier({ registry, store: held, clock, marks, alarm })
  const issue = async (activeSigner?: Fence['activeSigner']): Promise<string> => {
    const issued = await tokens.issue(order(), { ...(await fence()), ...(activeSigner && { activeSigner }) })
    if (issued === undefined) throw new Error('no token')
    return issued.accessToken
  }
  const ask = (token: string): Promise<Verification> => verifier.answer((_, verify) => verify(token, origin), isActive)
  const revoke = (token: string) => {
    const jti = String(claimsOf(token).jti)
    const expiresAt = clock.nowMilliseconds() + 300_000
    return store.revokeToken({ expiresAt }, { type: 'token.revoked', jti, clientId: 'billing', actor: by })
  }
  return {
    clock,
    store,
    ring,
    marks,
    verifier,
    looks,
    forged,
    issue,
    ask,
    revoke,
    remember: async () => {
      remembered = await store.readSequences()
    },
    forget: () => {
      remembered = undefined
    },
    goAway: () => {
      isAway = true
    },
    count: () => Object.values(looks).reduce((sum, each) => sum + each, 0),
  }
}

describe('an answer about a token', () => {
  it('is yes without a look while the store remembers what is in memory', async () => {
    const { issue, ask, remember, count } = await start()
    const token = await issue()
    await ask(token)
    await remember()
    const before = count()
    for (let i = 0; i < 3; i += 1) expect(await ask(token)).toMatchObject({ active: true })
    expect(count()).toBe(before)
  })

  it('I6 is looked for when the store remembers nothing, or something else than what is in memory', async () => {
    const { issue, ask, remember, forget, revoke, store } = await start()
    const [token, other, third] = [await issue(), await issue(), await issue()]
    await ask(token)
    await revoke(token)
    forget()
    expect(await ask(token)).toEqual({ active: false, fault: 'revoked' })
    await revoke(other)
    await remember()
    expect(await ask(other)).toEqual({ active: false, fault: 'revoked' })
    await store.setClientStatus('billing', 'disabled', by)
    await remember()
    expect(await ask(third)).toEqual({ active: false, fault: 'client_disabled' })
  })

  it('may be yes for as long as the store remembers what was before, and is no once anybody has looked', async () => {
    const { issue, ask, remember, revoke, verifier } = await start()
    const token = await issue()
    await ask(token)
    await remember()
    await revoke(token)
    expect(await ask(token)).toMatchObject({ active: true })
    expect(await verifier.decide((_, verify) => verify(token, origin))).toEqual({ active: false, fault: 'revoked' })
    // The marks are further than what the store remembers: the two are not of one moment any more.
    expect(await ask(token)).toEqual({ active: false, fault: 'revoked' })
  })

  it('is no only after a look: what has begun again elsewhere is found', async () => {
    const { issue, ask, remember, store, clock } = await start()
    const token = await issue()
    await ask(token)
    await store.setClientStatus('billing', 'disabled', by)
    expect(await ask(token)).toEqual({ active: false, fault: 'client_disabled' })
    await remember()
    await store.setClientStatus('billing', 'active', by)
    clock.advance(3)
    expect(await ask(await issue())).toMatchObject({ active: true })
    expect(await ask(token)).toEqual({ active: false, fault: 'client_ended' })
  })

  it('is no after one look when nothing has moved', async () => {
    const { issue, ask, remember, clock, count } = await start()
    const token = await issue()
    await ask(token)
    await remember()
    clock.advance(300)
    const before = count()
    expect(await ask(token)).toEqual({ active: false, fault: 'expired' })
    expect(await ask('no token')).toEqual({ active: false, fault: 'malformed' })
    expect(count()).toBe(before + 2)
  })

  it('raises no alarm for a token of a key that began to sign elsewhere a moment ago', async () => {
    const { issue, ask, remember, store, ring, clock, forged } = await start()
    await ask(await issue())
    await remember()
    const staged = ring.keys.find(({ state, alg }) => state === 'staged' && alg === 'ES256')
    const active = ring.activeSigner('ES256')
    if (staged === undefined) throw new Error('no key is staged')
    const moves = [
      { kid: active.kid, from: 'active', to: 'retiring' },
      { kid: staged.kid, from: 'staged', to: 'active' },
    ] as const
    const moment = { now: clock.nowMilliseconds(), wall: clock.nowMilliseconds(), running: 0, resets: 0 }
    const change = { moves, adds: [], at: moment, timing: defaultTiming, reason: 'command' } as const
    expect(await store.changeRing(change, by)).toBe(true)
    const token = await issue(() => staged.signer)
    expect(await ask(token)).toMatchObject({ active: true })
    expect(forged).toEqual([])
  })

  it('raises one alarm for a token that is forged, after a look', async () => {
    const { issue, ask, remember, store, clock, forged } = await start()
    const token = await issue()
    await ask(token)
    await remember()
    const unrecorded = await issue()
    await store.pruneAudit({ issuance: clock.nowMilliseconds() + 1_000, others: 0, limit: 10 })
    expect(await ask(unrecorded)).toMatchObject({ active: false, fault: 'unrecorded' })
    expect(forged).toHaveLength(1)
  })

  it('is a refusal only after a look, and made again when something has moved', async () => {
    const { issue, ask, remember, verifier, store, looks } = await start()
    await ask(await issue())
    await remember()
    const seen: number[] = []
    const refuse = (): Promise<Verification> =>
      verifier.answer(async (view) => {
        seen.push(view.sequence)
        throw new OAuthError('client_unknown')
      }, isActive)
    const both = looks.both
    await expect(refuse()).rejects.toMatchObject({ reason: 'client_unknown' })
    expect([seen.length, looks.both]).toEqual([1, both + 1])
    await addClient(store, 'late')
    await expect(refuse()).rejects.toMatchObject({ reason: 'client_unknown' })
    const sequence = await store.readRegistrySequence()
    expect(seen).toEqual([seen[0], seen[0], sequence])
  })

  it('I6 is no only when neither a client nor a mark has moved', async () => {
    const { issue, ask, remember, verifier, revoke } = await start()
    const [token, other] = [await issue(), await issue()]
    await ask(token)
    await remember()
    let attempts = 0
    const refuse = (): Promise<boolean> =>
      verifier.answer(
        async () => {
          attempts += 1
          return false
        },
        (answer) => answer,
      )
    expect([await refuse(), attempts]).toEqual([false, 1])
    await revoke(other)
    expect([await refuse(), attempts]).toEqual([false, 3])
  })

  it('I23 is not tried again on a store that has failed', async () => {
    const { issue, ask, remember, verifier } = await start()
    await ask(await issue())
    await remember()
    let attempts = 0
    const fail = (): Promise<Verification> => {
      attempts += 1
      return Promise.reject(new StoreUnavailable('away'))
    }
    await expect(verifier.answer(fail, isActive)).rejects.toMatchObject({ message: 'away' })
    expect(attempts).toBe(1)
  })

  it('finds a client that was made elsewhere a moment ago', async () => {
    const { issue, ask, remember, verifier, store } = await start()
    await ask(await issue())
    await remember()
    await addClient(store, 'late')
    const found = await verifier.answer(
      async (view) => (await view.findClient('late')).client,
      (client) => client !== undefined,
    )
    expect(found?.clientId).toBe('late')
  })

  it('IN-02 is no to a caller who may not know only after a look: it may have been allowed to a moment ago', async () => {
    const { issue, ask, remember, verifier, store } = await start()
    await addClient(store, 'service', { introspects: [] })
    const token = await issue()
    await ask(token)
    const introspects = () =>
      verifier.answer(
        async (view, verify) => {
          const found = await verify(token, origin)
          const { client } = await view.findClient('service')
          if (!found.active || client === undefined) throw new Error('both are there')
          return introspect(found, client).active
        },
        (active) => active,
      )
    await remember()
    expect(await introspects()).toBe(false)
    await store.updateClient('service', { introspects: [api] }, by)
    expect(await introspects()).toBe(true)
  })

  it('I23 is none when the store cannot be asked, but for a yes that it remembers', async () => {
    const { issue, ask, remember, forget, goAway } = await start()
    const token = await issue()
    await ask(token)
    await remember()
    goAway()
    expect(await ask(token)).toMatchObject({ active: true })
    await expect(ask('no token')).rejects.toBeInstanceOf(StoreUnavailable)
    forget()
    await expect(ask(token)).rejects.toBeInstanceOf(StoreUnavailable)
  })
})
