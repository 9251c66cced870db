/** The questions about one token, on a real ring, without a server. What comes of them is in test/flows/introspection.test.ts. */
import { describe, expect, it } from 'vitest'
import type { Client } from '../../src/client/client.ts'
import { accessTokenType } from '../../src/oauth/claims.ts'
import { type Grounds, isForgery, judgeToken, readSignedToken, type TokenFault } from '../../src/token/verify.ts'
import { forge } from '../support/access.ts'
import { makeClient } from '../support/client.ts'
import { startTestIssuer, tokenSettings } from '../support/issuer.ts'
import { claimsOf } from '../support/jwt.ts'

async function start() {
  const { clock, store, ring, tokens, order, fence } = await startTestIssuer()
  const issued = await tokens.issue(order(), await fence())
  if (issued === undefined) throw new Error('no token')
  const grounds = (changes: Partial<Grounds> = {}): Grounds => ({
    issuer: tokenSettings.issuer,
    tokensAfter: 0,
    marks: { ends: () => undefined },
    now: clock.nowMilliseconds(),
    findKey: (kid) => ring.verifyingKey(kid),
    findClient: async () => makeClient(),
    findIssuance: (jti) => store.findIssuance(jti),
    ...changes,
  })
  const judge = async (changes: Partial<Grounds> = {}, token = issued.accessToken): Promise<TokenFault | 'active'> => {
    const signed = readSignedToken(token, grounds(changes).findKey)
    const found = typeof signed === 'string' ? signed : await judgeToken(signed, grounds(changes))
    return typeof found === 'string' ? found : 'active'
  }
  return { clock, store, ring, judge, token: issued.accessToken, claims: claimsOf(issued.accessToken) }
}

const client = (changes: Partial<Client>): Partial<Grounds> => ({ findClient: async () => makeClient(changes) })

describe('an access token', () => {
  it('is active when nothing is wrong with it, to the last moment of its life', async () => {
    const { clock, judge } = await start()
    expect(await judge()).toBe('active')
    expect(await judge({ now: clock.nowMilliseconds() + 299_999 })).toBe('active')
    expect(await judge({ now: clock.nowMilliseconds() + 300_000 })).toBe('expired')
  })

  it('is dead when its client is deleted or disabled', async () => {
    const { judge } = await start()
    expect(await judge({ findClient: async () => undefined })).toBe('client_deleted')
    expect(await judge(client({ status: 'disabled' }))).toBe('client_disabled')
  })

  it('G28 is dead when it was issued at or before a moment of its client or of the store, whichever is later', async () => {
    const { judge, claims } = await start()
    const issuedAt = Number(claims.iat) * 1000
    const at = (ofStore: number, ofClient: number) =>
      judge({ tokensAfter: issuedAt + ofStore, ...client({ tokensAfter: issuedAt + ofClient }) })
    expect(await at(-1, -1)).toBe('active')
    expect(await at(0, -1)).toBe('all_ended')
    expect(await at(-1, 0)).toBe('client_ended')
    expect(await at(-5_000, 5_000)).toBe('client_ended')
    expect(await at(5_000, -5_000)).toBe('all_ended')
    expect(await at(5_000, 5_000)).toBe('all_ended')
  })

  it('is dead when it or its family has a mark', async () => {
    const { judge } = await start()
    expect(await judge({ marks: { ends: () => 'jti' } })).toBe('revoked')
    expect(await judge({ marks: { ends: () => 'family' } })).toBe('family_ended')
  })

  it('is not the one on record when it is dated otherwise than its jti', async () => {
    const { judge, ring, claims } = await start()
    const signer = ring.activeSigner('ES256')
    const dated = (changes: object) =>
      forge(signer, { typ: accessTokenType, alg: 'ES256', kid: signer.kid }, { ...claims, ...changes })
    const issuedAt = Number(claims.iat)
    for (const iat of [issuedAt + 2, issuedAt - 2, issuedAt + 100, 0]) {
      expect(await judge({}, await dated({ iat, nbf: iat })), String(iat)).toBe('differs')
    }
    expect(await judge({}, await dated({ nbf: issuedAt + 1 }))).toBe('differs')
    const ended = { tokensAfter: issuedAt * 1000 }
    expect(await judge(ended, await dated({ iat: issuedAt + 1, nbf: issuedAt + 1 }))).toBe('all_ended')
  })

  it('I26 is not valid before its date, and is then: one who issues may be 2 s ahead of the store, one who judges 2 s behind', async () => {
    const { judge, claims } = await start()
    const date = Number(claims.nbf) * 1000
    expect(await judge({ now: date - 4_001 })).toBe('not_yet_valid')
    expect(await judge({ now: date - 3_600_000 })).toBe('not_yet_valid')
    expect(await judge({ now: date - 4_000 })).toBe('active')
  })

  it('is of no other issuer, and says so only once it is known to be ours', async () => {
    const { judge } = await start()
    expect(await judge({ issuer: 'https://new.example.test' })).toBe('other_issuer')
    expect(await judge({ issuer: undefined })).toBe('other_issuer')
    expect(await judge({ issuer: 'https://new.example.test', findIssuance: async () => undefined })).toBe('unrecorded')
  })

  it.each([
    ['clientId', 'other'],
    ['subject', 'other'],
    ['audience', 'https://other.example.test'],
    ['scope', 'read'],
    ['scope', undefined],
    ['kid', 'other'],
    ['familyId', 'F'],
    ['expiresAt', 1],
    ['confirmation', { jkt: '0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I' }],
  ])('is not the one on record when its %s differs', async (name, value) => {
    const { judge, store } = await start()
    const findIssuance: Grounds['findIssuance'] = async (jti) => {
      const record = await store.findIssuance(jti)
      return record && { ...record, [name]: value }
    }
    expect(await judge({ findIssuance })).toBe('differs')
  })

  it('JK-05 is dead when its key is no longer published', async () => {
    const { judge } = await start()
    expect(await judge({ findKey: () => undefined })).toBe('key_unknown')
  })

  it('I9 is of a key that has begun to sign, under the algorithm of that key', async () => {
    const { judge, ring, claims } = await start()
    for (const key of ring.keys) {
      const header = { typ: accessTokenType, alg: key.alg, kid: key.kid }
      const expected = key.state === 'staged' ? 'key_staged' : key.alg === 'ES256' ? 'active' : 'differs'
      expect(await judge({}, await forge(key.signer, header, claims)), `${key.alg} ${key.state}`).toBe(expected)
    }
  })

  it('AT-09 I9 is of no key under the name of another', async () => {
    const { judge, ring, claims } = await start()
    const pairs = ring.keys.flatMap((key) =>
      ring.keys.filter(({ kid }) => kid !== key.kid).map((other) => [key, other] as const),
    )
    for (const [key, other] of pairs) {
      const named = { typ: accessTokenType, alg: key.alg, kid: other.kid }
      const fault = other.alg === key.alg ? 'signature_wrong' : 'key_other_alg'
      expect(await judge({}, await forge(key.signer, named, claims))).toBe(fault)
      expect(await judge({}, await forge(key.signer, { ...named, alg: other.alg }, claims))).toBe('signature_wrong')
    }
  })

  it('J26 has no signature of zeros, in DER, too short or too long', async () => {
    const { judge, ring, token } = await start()
    const [head = '', body = '', signature = ''] = token.split('.')
    const { toDerSignature } = await import('../../src/lib/der-signature.ts')
    const raw = Buffer.from(signature, 'base64url')
    for (const bytes of [
      Buffer.alloc(64),
      Buffer.alloc(64, 0xff),
      toDerSignature(raw),
      raw.subarray(0, 63),
      Buffer.concat([raw, Buffer.alloc(1)]),
      Buffer.concat([raw.subarray(0, 32), Buffer.alloc(1), raw.subarray(32)]),
      Buffer.concat([raw.subarray(32), raw.subarray(0, 32)]),
      Buffer.concat([Buffer.alloc(32), raw.subarray(32)]),
      Buffer.concat([raw.subarray(0, 32), Buffer.alloc(32)]),
      Buffer.alloc(1),
    ]) {
      expect(await judge({}, `${head}.${body}.${Buffer.from(bytes).toString('base64url')}`)).toBe('signature_wrong')
    }
    const rsa = ring.keys.find((key) => key.alg === 'RS256' && key.state === 'active')
    const named = Buffer.from(JSON.stringify({ typ: accessTokenType, alg: 'RS256', kid: rsa?.kid })).toString(
      'base64url',
    )
    for (const length of [1, 255, 256, 257]) {
      const zeros = Buffer.alloc(length).toString('base64url')
      expect(await judge({}, `${named}.${body}.${zeros}`)).toBe('signature_wrong')
    }
  })

  it('of which we have made nothing is told from one that anybody can write', () => {
    const all: Readonly<Record<TokenFault, boolean>> = {
      malformed: false,
      other_type: false,
      key_unknown: false,
      key_staged: true,
      key_other_alg: false,
      signature_wrong: false,
      expired: false,
      not_yet_valid: false,
      misshapen: true,
      unrecorded: true,
      differs: true,
      other_issuer: false,
      client_deleted: false,
      client_disabled: false,
      client_ended: false,
      all_ended: false,
      family_ended: false,
      revoked: false,
    }
    const faults = Object.keys(all) as TokenFault[]
    expect(faults.filter(isForgery)).toEqual(faults.filter((fault) => all[fault]))
  })
})
