/** Decisions about tokens on a real store, ring and registry. What comes of them over HTTP is in test/flows/introspection.test.ts. */
import { describe, expect, it } from 'vitest'
import type { AuditEvent } from '../../src/audit/event.ts'
import { silentLog } from '../../src/lib/log.ts'
import { maxJwtLength } from '../../src/oauth/jwt.ts'
import { Registry } from '../../src/registry/registry.ts'
import { ForgeryAlarm } from '../../src/token/forgery-alarm.ts'
import { MarkSet } from '../../src/token/marks.ts'
import { TokenVerifier } from '../../src/token/token-verifier.ts'
import type { TokenFault } from '../../src/token/verify.ts'
import { forge } from '../support/access.ts'
import { startTestIssuer } from '../support/issuer.ts'
import { claimsOf } from '../support/jwt.ts'
import { defaultTiming } from '../support/ring.ts'

const origin = { requestId: 'req_x', address: '192.0.2.1' } as const

async function start() {
  const { clock, store, ring, opener, tokens, order, fence } = await startTestIssuer()
  const issued = await tokens.issue(order(), await fence())
  if (issued === undefined) throw new Error('no token')
  const token = issued.accessToken
  const forged: AuditEvent[] = []
  const asked: string[] = []
  const verifier = new TokenVerifier({
    registry: new Registry(store, opener, defaultTiming, clock),
    marks: new MarkSet(store, clock),
    store: {
      findIssuance: (jti) => {
        asked.push(jti)
        return store.findIssuance(jti)
      },
      readSequences: () => store.readSequences(),
      recentSequences: () => store.recentSequences(),
    },
    clock,
    alarm: new ForgeryAlarm({
      audit: { recordRefusal: async (event) => void forged.push(event) },
      log: silentLog,
      onForged: () => undefined,
    }),
  })
  const verify = async (text = token): Promise<TokenFault | 'active'> => {
    const found = await verifier.decide((_, verifyOne) => verifyOne(text, origin))
    return found.active ? 'active' : found.fault
  }
  const revoke = (jti: string) => {
    const event = { type: 'token.revoked', jti, clientId: 'billing', actor: 'cli:test' } as const
    return store.revokeToken({ expiresAt: clock.nowMilliseconds() + 300_000 }, event)
  }
  const jti = String(claimsOf(token).jti)
  return { clock, store, ring, tokens, order, fence, verifier, verify, revoke, token, jti, forged, asked }
}

describe('a decision about a token', () => {
  it('has what the token says when it is active, the first time and from memory', async () => {
    const { verifier, token, order, fence, tokens } = await start()
    const ask = (text: string) => verifier.decide((_, verify) => verify(text, origin))
    const other = (await tokens.issue(order({ scopes: ['read'] }), await fence()))?.accessToken ?? ''
    for (const text of [token, other, token, other])
      expect(await ask(text)).toEqual({ active: true, claims: claimsOf(text) })
  })

  it('is given from memory while nothing has moved, and costs no look at the trail', async () => {
    const { verify, asked, jti } = await start()
    for (let i = 0; i < 3; i += 1) expect(await verify()).toBe('active')
    expect(asked).toEqual([jti])
  })

  it('I9 is asked for anew when the registry or the marks have moved, whatever it was that moved them', async () => {
    const { store, verify, revoke, asked, jti } = await start()
    expect(await verify()).toBe('active')
    await store.updateClient('billing', { name: 'Another name' }, 'cli:test')
    expect(await verify()).toBe('active')
    await revoke('another')
    expect(await verify()).toBe('active')
    expect(await verify()).toBe('active')
    expect(asked).toEqual([jti, jti, jti])
  })

  it.each<[TokenFault, string, (scene: Awaited<ReturnType<typeof start>>) => Promise<unknown>]>([
    ['revoked', 'it was revoked', ({ revoke, jti }) => revoke(jti)],
    [
      'client_disabled',
      'its client was disabled',
      ({ store }) => store.setClientStatus('billing', 'disabled', 'cli:test'),
    ],
    ['client_deleted', 'its client was deleted', ({ store }) => store.deleteClient('billing', 'cli:test')],
    ['expired', 'it has expired', async ({ clock }) => clock.advance(300)],
    ['not_yet_valid', 'the clock has stepped back', async ({ clock }) => clock.step(-6)],
    [
      'other_issuer',
      'the database was given to another issuer',
      ({ store }) => store.setIssuer('https://new.example.test', 'cli:test', { replace: true }),
    ],
  ])('is %s from the next request on when %s, though it lay in memory', async (fault, _, end) => {
    const scene = await start()
    expect(await scene.verify()).toBe('active')
    await end(scene)
    for (let i = 0; i < 2; i += 1) expect(await scene.verify()).toBe(fault)
    expect(scene.forged).toEqual([])
  })

  it('JK-05 is that its key is unknown from the next request on when that was revoked', async () => {
    const { clock, store, ring, verify } = await start()
    expect(await verify()).toBe('active')
    const now = clock.nowMilliseconds()
    const kid = ring.activeSigner('ES256').kid
    const staged = ring.keys.find(({ alg, state }) => alg === 'ES256' && state === 'staged')
    const changed = await store.changeRing(
      {
        moves: [
          { kid, from: 'active', to: 'compromised' },
          { kid: staged?.kid ?? '', from: 'staged', to: 'active' },
        ],
        adds: [],
        at: { now, running: 0, wall: now, resets: 0 },
        timing: defaultTiming,
        reason: 'emergency',
      },
      'cli:test',
    )
    expect(changed).toBe(true)
    expect(await verify()).toBe('key_unknown')
  })

  it.each([
    ['malformed', '', (token: string) => token.slice(1)],
    ['malformed', ', unread, when it is too long', (token: string) => token.padEnd(maxJwtLength + 1, 'A')],
    ['signature_wrong', '', (token: string) => token.replace(/\.[^.]+$/, `.${'A'.repeat(86)}`)],
    ['signature_wrong', ', and is read at its longest', (token: string) => longest(token)],
  ] as const)('is %s%s, and nothing is kept or told of', async (fault, _, change) => {
    const { verify, token, forged, asked } = await start()
    for (let i = 0; i < 2; i += 1) expect(await verify(change(token))).toBe(fault)
    expect(await verify()).toBe('active')
    expect([forged.length, asked.length]).toEqual([0, 1])
  })

  it('raises the alarm about a token of our key that we have not made, each time it comes', async () => {
    const { ring, verify, token, forged } = await start()
    const signer = ring.activeSigner('ES256')
    const header = { typ: 'at+jwt', alg: 'ES256', kid: signer.kid }
    const stolen = await forge(signer, header, { ...claimsOf(token), sub: 'admin' })
    for (let i = 0; i < 2; i += 1) expect(await verify(stolen)).toBe('differs')
    expect(forged).toMatchObject([{ type: 'token.forged', kid: signer.kid, detail: { fault: 'differs' }, ...origin }])
  })

  it('I23 is an outage when the store is gone, also for a token that lay in memory', async () => {
    const { store, verify } = await start()
    expect(await verify()).toBe('active')
    await store.close()
    await expect(verify()).rejects.toMatchObject({ name: 'StoreUnavailable' })
  })
})

/** Its header, one claim, and a signature that fills it up to the longest that is looked at. */
function longest(token: string): string {
  const start = token.replace(/\..*$/, '.eyJhIjoxfQ.')
  // A rest of one character is no base64url, and would be refused for that.
  expect((maxJwtLength - start.length) % 4).not.toBe(1)
  return start.padEnd(maxJwtLength, 'A')
}
