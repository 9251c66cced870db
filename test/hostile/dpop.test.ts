import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { canary, exchange, expectOrderly, patience, runs, seed, serverOfFile, shortLimits } from '../support/hostile.ts'
import { claimsOf } from '../support/jwt.ts'
import { makeProof, makeProofKey } from '../support/proof.ts'
import { headerBytes, honestRequest } from './requests.ts'

const serverNow = serverOfFile({ limits: shortLimits })
const key = makeProofKey()

const json = fc.oneof(
  fc.jsonValue({ maxDepth: 2 }),
  fc.constant(canary),
  fc.constantFrom('none', 'HS256', 'GET', -1, 1e300),
)
const headerMembers = fc.constantFrom('typ', 'alg', 'jwk', 'kid', 'crit', 'b64', 'jku', '__proto__')
const claimNames = fc.constantFrom('jti', 'htm', 'htu', 'iat', 'exp', 'nbf', 'nonce', 'ath', 'constructor')

/** A signed proof with what should not be in it, or one of which a piece was replaced, or any bytes. */
const proofs = fc.oneof(
  fc
    .tuple(fc.dictionary(headerMembers, json), fc.dictionary(claimNames, json))
    .map(([header, claims]) => makeProof(key, `${serverNow().issuer}/token`, Date.now(), { header, claims })),
  fc.tuple(fc.nat(), fc.nat({ max: 12 }), headerBytes(12)).map(([at, length, bytes]) => {
    const good = makeProof(key, `${serverNow().issuer}/token`, Date.now())
    const start = at % good.length
    return good.slice(0, start) + bytes + good.slice(start + length)
  }),
  headerBytes(60),
  fc.integer({ min: 1, max: 12_000 }).map((length) => '.'.repeat(length)),
)

describe('hostile proofs', () => {
  it(`I21 C17 C18 get a token that is bound to their key, or none (FC_SEED=${seed})`, patience, async () => {
    const server = serverNow()
    const seen = { issued: 0, refused: 0 }
    const property = fc.asyncProperty(fc.array(proofs, { minLength: 1, maxLength: 2 }), async (values) => {
      const before = server.state()
      const lines = values.map((value) => `DPoP: ${value}`)
      const { replies } = await exchange(server.url, honestRequest(server.basic.basic, lines), { replies: 1 })
      const [reply] = replies
      if (reply === undefined) throw new Error('no reply')
      expectOrderly(reply)
      const issued = reply.status === 200
      expect(server.state()).toEqual({ ...before, issued: before.issued + Number(issued) })
      seen[issued ? 'issued' : 'refused'] += 1
      if (issued) {
        const token = JSON.parse(reply.body) as { access_token: string; token_type: string }
        expect([values.length, token.token_type]).toEqual([1, 'DPoP'])
        expect(claimsOf(token.access_token).cnf).toEqual({ jkt: key.jkt })
      }
      expect(server.takeLog()).not.toContain(canary)
    })
    await fc.assert(property, runs(200))
    await server.askHonestly()
    expect(seen.refused).toBeGreaterThan(20)
  })
})
