import { createHmac, createPublicKey } from 'node:crypto'
import { join } from 'node:path'
import fc from 'fast-check'
import { exportJWK, generateKeyPair, SignJWT } from 'jose'
import { describe, expect, it, onTestFinished } from 'vitest'
import type { KeyState } from '../../src/key/signing-key.ts'
import { makeUlid } from '../../src/lib/id.ts'
import { openStore } from '../../src/store/open-store.ts'
import { type Inspection, inspectIssuance, inspectToken } from '../../src/token/inspect.ts'
import { startTestIssuer, type TestIssuer } from '../support/issuer.ts'
import { claimsOf, headerOf } from '../support/jwt.ts'
import { temporaryFolder } from '../support/process.ts'
import { defaultTiming } from '../support/ring.ts'
import { anyText } from '../support/text.ts'

interface Setting extends TestIssuer {
  readonly token: string
  inspect(token: string, at?: number): Promise<Inspection>
  /** Signs with the key that signs our tokens, as somebody would who has stolen it. */
  forge(claims: object, header?: object): Promise<string>
}

async function start(): Promise<Setting> {
  const issuer = await startTestIssuer()
  const { clock, store, ring, tokens, order, fence } = issuer
  const token = (await tokens.issue(order(), await fence()))?.accessToken
  if (token === undefined) throw new Error('no token')
  const signer = ring.activeSigner('ES256')
  return {
    ...issuer,
    token,
    inspect: (text, at = clock.nowMilliseconds()) => inspectToken(text, store, at),
    forge: async (claims, header = {}) => {
      const input = `${encode({ typ: 'at+jwt', alg: 'ES256', kid: signer.kid, ...header })}.${encode(claims)}`
      return `${input}.${Buffer.from(await signer.sign(Buffer.from(input))).toString('base64url')}`
    },
  }
}

function encode(value: unknown): string {
  return Buffer.from(JSON.stringify(value)).toString('base64url')
}

/** Without the token, from its record. */
async function inspectRecord({ store, clock, token }: Setting) {
  const record = await store.findIssuance(String(claimsOf(token).jti))
  if (record === undefined) throw new Error('no record')
  return inspectIssuance(record, store, clock.nowMilliseconds())
}

const notOurs = { active: false, recorded: false }

describe('the inspection of a token', () => {
  it('says that ours is active, what it says, and that it is recorded', async () => {
    const { inspect, token } = await start()
    await expect(inspect(token)).resolves.toEqual({
      kind: 'access_token',
      active: true,
      reason: null,
      fault: null,
      header: headerOf(token),
      claims: claimsOf(token),
      issued_at: '2026-01-02T03:04:05.000Z',
      expires_at: '2026-01-02T03:09:05.000Z',
      recorded: true,
    })
  })

  it('says that ours is dead from the second on at which it expires', async () => {
    const { clock, inspect, token } = await start()
    clock.advance(299.999)
    await expect(inspect(token)).resolves.toMatchObject({ active: true })
    clock.advance(0.001)
    await expect(inspect(token)).resolves.toMatchObject({ active: false, reason: 'it has expired', recorded: true })
  })

  it('never shows the signature', async () => {
    const { inspect, token } = await start()
    const [header, payload, signature = ''] = token.split('.')
    for (const text of [token, `${header}.${encode({ a: 1 })}.${signature}`, `${token}x`, `x${token}`]) {
      expect(JSON.stringify(await inspect(text))).not.toContain(signature.slice(0, 20))
    }
    expect(payload).not.toBe('')
  })

  it('says of a token that was tampered with that its signature is wrong', async () => {
    const { inspect, token } = await start()
    const [header = '', , signature = ''] = token.split('.')
    const changed = `${header}.${encode({ ...claimsOf(token), sub: 'admin' })}.${signature}`
    await expect(inspect(changed)).resolves.toMatchObject({
      active: false,
      reason: 'its signature is wrong',
      claims: { sub: 'admin' },
    })
  })

  it('says of a token with any one bit of its signature changed that it is not active', async () => {
    const { inspect, token } = await start()
    const [header, payload, signature = ''] = token.split('.')
    const bytes = Buffer.from(signature, 'base64url')
    for (let i = 0; i < bytes.length; i += 1) {
      const changed = Buffer.from(bytes)
      changed[i] = (changed[i] ?? 0) ^ 1
      const found = await inspect(`${header}.${payload}.${changed.toString('base64url')}`)
      expect(found.active, `byte ${i}`).toBe(false)
    }
  })

  it.each([
    ['alg none', { alg: 'none' }, ''],
    ['alg none, with a signature', { alg: 'none' }, 'AAAA'],
    ['alg HS256', { alg: 'HS256' }, 'AAAA'],
    ['no alg', {}, 'AAAA'],
    ['a critical extension', { alg: 'ES256', crit: ['b64'], b64: false }, 'AAAA'],
    ['a key of its own', { alg: 'ES256', jwk: { kty: 'EC' } }, 'AAAA'],
  ])('rejects %s', async (_, header, signature) => {
    const { inspect, token } = await start()
    const { kid } = headerOf(token)
    for (const own of [header, { ...header, kid, typ: 'at+jwt' }]) {
      const found = await inspect(`${encode(own)}.${encode(claimsOf(token))}.${signature}`)
      expect(found).toMatchObject({ active: false, reason: expect.any(String) })
    }
  })

  it('rejects a token of a key that is none of ours, also under the kid of ours', async () => {
    const { inspect, token } = await start()
    const { privateKey, publicKey } = await generateKeyPair('ES256')
    const sign = (header: { kid: string; jwk?: object }) =>
      new SignJWT(claimsOf(token)).setProtectedHeader({ alg: 'ES256', typ: 'at+jwt', ...header }).sign(privateKey)
    await expect(inspect(await sign({ kid: 'other' }))).resolves.toMatchObject({
      active: false,
      reason: 'its key is none of ours',
    })
    const kid = String(headerOf(token).kid)
    const jwk = await exportJWK(publicKey)
    await expect(inspect(await sign({ kid, jwk }))).resolves.toMatchObject({ reason: 'its signature is wrong' })
  })

  it.each([
    ['nothing', ''],
    ['a word', 'garbage'],
    ['two dots', '..'],
    ['two parts', 'e30.e30'],
    ['four parts', 'e30.e30.AAAA.AAAA'],
    ['an encrypted token', 'e30.e30.e30.e30.e30'],
    ['parts that are not JSON', 'AAAA.AAAA.AAAA'],
    ['a list for claims', `${encode({ alg: 'ES256' })}.${encode([1])}.AAAA`],
    ['null for a header', `${encode(null)}.${encode({})}.AAAA`],
    ['a text for claims', `${encode({ alg: 'ES256' })}.${encode('x')}.AAAA`],
    ['base64 that is not base64url', `${encode({ alg: 'ES256' })}.e30=.AA+/`],
    ['a space before', ` ${encode({ alg: 'ES256' })}.e30.AAAA`],
    ['a generated secret', `mfs_${'x'.repeat(65)}`],
    ['more than 16 KiB', `${encode({ alg: 'ES256' })}.${encode({ x: 'x'.repeat(16_384) })}.AAAA`],
  ])('rejects %s as no signed JWT', async (_, text) => {
    const { inspect } = await start()
    await expect(inspect(text)).resolves.toEqual({
      kind: 'access_token',
      ...notOurs,
      reason: 'it is not a signed JWT',
      fault: 'malformed',
      header: null,
      claims: null,
      issued_at: null,
      expires_at: null,
    })
  })

  it('reads a token of 16 KiB, and rejects one character more unread', async () => {
    const { inspect } = await start()
    const start16 = `${encode({ alg: 'ES256' })}.${encode({ a: 1 })}.`
    const token = start16.padEnd(16 * 1024, 'A')
    await expect(inspect(token)).resolves.toMatchObject({ active: false, claims: { a: 1 } })
    await expect(inspect(`${token}A`)).resolves.toMatchObject({ reason: 'it is not a signed JWT', claims: null })
  })

  it('says of ours that its key is none of ours when the database has no keys yet', async () => {
    const { clock, token } = await start()
    const empty = openStore(join(temporaryFolder(), 'mayfly.db'), { create: true, examine: false, clock })
    onTestFinished(() => empty.close())
    await expect(inspectToken(token, empty, clock.nowMilliseconds())).resolves.toMatchObject({
      active: false,
      reason: 'its key is none of ours',
      recorded: false,
    })
  })

  it.each<[KeyState, string]>([
    ['compromised', 'its key was revoked as compromised'],
    ['retired', 'its key is retired, and whatever it signed is dead'],
  ])('says of ours, when its key is %s, why it is not active', async (to, reason) => {
    const { clock, store, inspect, token } = await start()
    const kid = String(headerOf(token).kid)
    const now = clock.nowMilliseconds()
    const changed = await store.changeRing(
      {
        moves: [
          { kid, from: 'active', to: 'retiring' },
          { kid, from: 'retiring', to },
        ],
        adds: [],
        at: { now, running: 0, wall: now, resets: 0 },
        timing: defaultTiming,
        reason: 'emergency',
      },
      'cli:test',
    )
    expect(changed).toBe(true)
    await expect(inspect(token)).resolves.toMatchObject({ active: false, reason, recorded: true })
  })

  it('says of the kid of a key of ours under another algorithm that it is of another', async () => {
    const { store, inspect, forge, token } = await start()
    const keys = (await store.readKeys())?.signingKeys ?? []
    const kid = keys.find(({ alg, state }) => alg === 'RS256' && state === 'active')?.kid
    await expect(inspect(await forge(claimsOf(token), { kid }))).resolves.toMatchObject({
      active: false,
      reason: 'its key is of another algorithm',
    })
  })

  it('says that ours is dead when it was dead before the clock stepped back', async () => {
    const { clock, store, inspect, token } = await start()
    await store.noteRingMark({ highWater: clock.nowMilliseconds() + 300_000, running: 0, resets: 0 })
    await expect(inspect(token)).resolves.toMatchObject({ active: false, reason: 'it has expired', recorded: true })
  })

  it('says of ours, while its issuer is the database’s, that it is active, also for an RS256 key', async () => {
    const { inspect, tokens, order, fence } = await start()
    const wanted = order()
    const issued = await tokens.issue({ ...wanted, audience: { ...wanted.audience, alg: 'RS256' } }, await fence())
    await expect(inspect(issued?.accessToken ?? '')).resolves.toMatchObject({ active: true, header: { alg: 'RS256' } })
  })

  it('says of a good signature without a record that somebody else may hold the key', async () => {
    const { clock, inspect, forge, token } = await start()
    const jti = makeUlid(clock.nowMilliseconds())
    for (const claims of [
      { ...claimsOf(token), jti },
      { ...claimsOf(token), jti: 'x' },
      { ...claimsOf(token), jti: '' },
      { ...claimsOf(token), jti: jti.toLowerCase() },
    ]) {
      await expect(inspect(await forge(claims))).resolves.toMatchObject({
        ...notOurs,
        reason: expect.stringMatching(/audit trail does not have it.*somebody else/),
      })
    }
  })

  it.each([
    ['sub', 'admin'],
    ['client_id', 'admin'],
    ['aud', 'https://other.example.test'],
    ['scope', 'read write admin'],
    ['scope', undefined],
    ['exp', 1_999_999_999],
  ])(
    'says of a good signature on another %s than the record has that somebody else may hold the key',
    async (name, value) => {
      const { inspect, forge, token } = await start()
      await expect(inspect(await forge({ ...claimsOf(token), [name]: value }))).resolves.toMatchObject({
        active: false,
        reason: expect.stringMatching(/another token of that jti.*somebody else/),
        recorded: true,
      })
    },
  )

  it.each([
    ['another issuer', { iss: 'https://other.example.test' }, {}, 'it is of another issuer'],
    ['another typ', {}, { typ: 'JWT' }, 'its typ is not at+jwt'],
    ['no typ', {}, { typ: undefined }, 'its typ is not at+jwt'],
    ['no exp', { exp: undefined }, {}, expect.stringContaining('somebody else may hold the signing key')],
    ['a text for exp', { exp: '9999999999' }, {}, 'it is not a signed JWT'],
    ['a fraction for exp', { exp: 9_999_999_999.5 }, {}, 'it is not a signed JWT'],
    ['a number for jti', { jti: 7 }, {}, 'it is not a signed JWT'],
    [
      'a claim that we never make',
      { admin: true },
      {},
      expect.stringContaining('somebody else may hold the signing key'),
    ],
    [
      'a header that we never make',
      {},
      { jku: 'x' },
      expect.stringContaining('somebody else may hold the signing key'),
    ],
    ['an exp in the past', { exp: 1 }, {}, 'it has expired'],
  ])('rejects %s, though the signature is right', async (_, claims, header, reason) => {
    const { inspect, forge, token } = await start()
    const forged = await forge({ ...claimsOf(token), ...claims }, header)
    await expect(inspect(forged)).resolves.toMatchObject({ active: false, reason })
  })

  it.each([
    'client-authentication+jwt',
    'dpop+jwt',
    'oauth-id-jag+jwt',
    'secevent+jwt',
    'statuslist+jwt',
    'token-introspection+jwt',
    'application/at+jwt',
    'AT+JWT',
  ])('AT-08 J18 rejects typ %s on the claims of our token, though our key signed it', async (typ) => {
    const { inspect, forge, token } = await start()
    await expect(inspect(await forge(claimsOf(token)))).resolves.toMatchObject({ active: true })
    await expect(inspect(await forge(claimsOf(token), { typ }))).resolves.toMatchObject({
      active: false,
      reason: 'its typ is not at+jwt',
    })
  })

  it.each(['ES256', 'RS256'])(
    'AT-09 J01 rejects HS256 keyed with our public %s key, in every spelling',
    async (alg) => {
      const { store, inspect, token } = await start()
      const material = await store.readKeys()
      const jwk = material?.signingKeys.find(({ publicJwk }) => publicJwk.alg === alg)?.publicJwk
      const pem = createPublicKey({ key: { ...jwk }, format: 'jwk' })
        .export({ type: 'spki', format: 'pem' })
        .toString()
      const der = Buffer.from(pem.replaceAll(/-----.+-----|\n/g, ''), 'base64')
      for (const secret of [pem, pem.trimEnd(), ` ${pem}`, der, JSON.stringify(jwk)]) {
        const input = `${encode({ typ: 'at+jwt', alg: 'HS256', kid: jwk?.kid })}.${encode(claimsOf(token))}`
        const found = await inspect(`${input}.${createHmac('sha256', secret).update(input).digest('base64url')}`)
        expect(found).toMatchObject({ active: false, reason: expect.any(String) })
      }
    },
  )

  it('AT-09 rejects the kid of a key of another algorithm, whichever alg the header names', async () => {
    const { store, inspect, forge, token } = await start()
    const material = await store.readKeys()
    const kid = material?.signingKeys.find(({ publicJwk }) => publicJwk.alg === 'RS256')?.publicJwk.kid
    for (const header of [{ kid }, { kid, alg: 'RS256' }, { alg: 'RS256' }]) {
      const found = await inspect(await forge(claimsOf(token), header))
      expect(found, JSON.stringify(header)).toMatchObject({ active: false, reason: expect.any(String) })
    }
  })

  it('says that ours is of another issuer when the database was given to one', async () => {
    const { store, inspect, token } = await start()
    await store.setIssuer('https://new.example.test', 'cli:test', { replace: true })
    await expect(inspect(token)).resolves.toMatchObject({ active: false, reason: 'it is of another issuer' })
  })

  it('takes dates beyond all sense without an error', async () => {
    const { inspect, forge } = await start()
    for (const exp of [1e300, -1e300, 8.64e12, -8.64e12, '1', null, {}]) {
      const found = await inspect(await forge({ exp, iat: exp }))
      expect(found).toMatchObject({ active: false, issued_at: null, expires_at: null })
    }
    await expect(inspect(await forge({ exp: 8.63e12, iat: 0 }))).resolves.toMatchObject({
      active: false,
      issued_at: '1970-01-01T00:00:00.000Z',
      expires_at: expect.stringMatching(/^\+275/),
    })
  })

  it('says of ours what ended it', async () => {
    const ended = async (end: (setting: Setting, jti: string) => Promise<unknown>) => {
      const setting = await start()
      await end(setting, String(claimsOf(setting.token).jti))
      const { active, reason, fault, recorded } = await setting.inspect(setting.token)
      expect([active, recorded]).toEqual([false, true])
      return [fault, reason]
    }
    const expiresAt = Date.UTC(2026, 0, 3)
    expect(
      await ended(({ store }, jti) =>
        store.revokeToken({ expiresAt }, { type: 'token.revoked', jti, clientId: 'billing', actor: 'cli:test' }),
      ),
    ).toEqual(['revoked', 'it was revoked'])
    expect(await ended(({ store }) => store.setClientStatus('billing', 'disabled', 'cli:test'))).toEqual([
      'client_disabled',
      'its client is disabled',
    ])
    expect(
      await ended(async ({ store }) => {
        await store.setClientStatus('billing', 'disabled', 'cli:test')
        await store.setClientStatus('billing', 'active', 'cli:test')
      }),
    ).toEqual(['client_ended', 'the tokens that its client had then were ended'])
    expect(await ended(({ store }) => store.deleteClient('billing', 'cli:test'))).toEqual([
      'client_deleted',
      'its client was deleted',
    ])
  })

  it('I21 answers whatever it is given, and calls nothing active but ours', async () => {
    const { inspect, token } = await start()
    const parts = token.split('.')
    const part = fc.oneof(
      fc.constantFrom(...parts, '', 'e30', 'bnVsbA', 'W10'),
      fc.jsonValue().map(encode),
      fc.base64String().map((text) => text.replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '')),
    )
    const tokens = fc.oneof(
      anyText(),
      fc.tuple(part, part, part).map((three) => three.join('.')),
    )
    await fc.assert(
      fc.asyncProperty(tokens, async (text) => {
        const found = await inspect(text)
        expect(found.active).toBe(text === token)
        expect(found.reason === null).toBe(text === token)
      }),
      { seed: 20_260_102, numRuns: 500 },
    )
  })
})

describe('the inspection of a record', () => {
  type Ending = (setting: Setting, jti: string) => unknown

  const revoked = (jti: string) => ({ type: 'token.revoked', jti, clientId: 'billing', actor: 'cli:test' }) as const

  it('says of a token that is alive that it is', async () => {
    await expect(inspectRecord(await start())).resolves.toEqual({ active: true, reason: null, fault: null })
  })

  it('says of one that came with a family, and is bound to a key, that it is alive until the family is ended', async () => {
    const setting = await start()
    const { tokens, order, fence, store } = setting
    const confirmation = { jkt: 'k'.repeat(43) }
    const issued = await tokens.issue(order({ startsFamily: true, confirmation }), await fence())
    const bound = { ...setting, token: String(issued?.accessToken) }
    const { jti, sid } = claimsOf(bound.token)
    expect(await store.findIssuance(String(jti))).toMatchObject({ familyId: sid, confirmation })
    await expect(inspectRecord(bound)).resolves.toMatchObject({ active: true })
    const familyId = String(sid)
    const event = { type: 'family.ended', familyId, clientId: 'billing', reason: 'revoked', actor: 'cli:test' } as const
    await store.endFamily({ familyId, event })
    await expect(inspectRecord(bound)).resolves.toMatchObject({ active: false, fault: 'family_ended' })
  })

  it.each<[string, Ending, Inspection['fault']]>([
    ['has expired', ({ clock }) => clock.advance(300), 'expired'],
    ['was revoked', ({ store }, jti) => store.revokeToken({ expiresAt: 2e12 }, revoked(jti)), 'revoked'],
    [
      'is of a client that is disabled',
      ({ store }) => store.setClientStatus('billing', 'disabled', 'cli:test'),
      'client_disabled',
    ],
    ['is of a client that is deleted', ({ store }) => store.deleteClient('billing', 'cli:test'), 'client_deleted'],
  ])('says of one that %s the same as of the token itself', async (_, end, fault) => {
    const setting = await start()
    await end(setting, String(claimsOf(setting.token).jti))
    const { active, reason } = await setting.inspect(setting.token)
    await expect(inspectRecord(setting)).resolves.toEqual({ active, reason, fault })
    expect(active).toBe(false)
  })

  it('says of one whose key was revoked that it is dead', async () => {
    const setting = await start()
    const { clock, store, token } = setting
    const now = clock.nowMilliseconds()
    const kid = String(headerOf(token).kid)
    const moves = [
      { kid, from: 'active', to: 'retiring' },
      { kid, from: 'retiring', to: 'compromised' },
    ] as const
    const at = { now, running: 0, wall: now, resets: 0 }
    await store.changeRing({ moves, adds: [], at, timing: defaultTiming, reason: 'emergency' }, 'cli:test')
    await expect(inspectRecord(setting)).resolves.toEqual({
      active: false,
      reason: 'its key was revoked as compromised',
      fault: 'key_unknown',
    })
  })
})
