/** DPoP at the token endpoint, black box: RFC 9449. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { api, type DpopScene, issuer, startDpop, tokenUrl } from '../support/dpop.ts'
import { createGate, gatedSigners } from '../support/gate.ts'
import { seed } from '../support/hostile.ts'
import { mayfly } from '../support/process.ts'
import { athOf, makeProof, makeProofKey, malleate, signRaw } from '../support/proof.ts'
import { sendRaw } from '../support/raw.ts'
import { addClient, claimsOf, getToken, type Reply, request, requestToken } from '../support/server.ts'

const bad = [400, 'invalid_dpop_proof']
const outcome = ({ status, json }: Reply): unknown[] => [status, json.error]
const cnfOf = ({ json }: Reply): unknown => claimsOf(String(json.access_token)).cnf

/** A refusal is JSON that nobody keeps, and no token. */
function expectRefusal(reply: Reply, code = 'invalid_dpop_proof', hint?: string): void {
  expect(outcome(reply), hint).toEqual([400, code])
  expect(reply.headers.get('cache-control')).toBe('no-store')
  expect(reply.headers.get('content-type')).toBe('application/json')
  expect(reply.headers.get('www-authenticate')).toBeNull()
  expect(Object.keys(reply.json)).toEqual(['error', 'error_description'])
}

/** A request byte by byte, with these `DPoP` fields. */
function askRaw({ server, client }: DpopScene, fields: readonly string[]) {
  const body = 'grant_type=client_credentials'
  const head = [
    'POST /token HTTP/1.1',
    'Host: x',
    `Authorization: ${client.basic}`,
    'Content-Type: application/x-www-form-urlencoded',
    ...fields,
    `Content-Length: ${body.length}`,
    'Connection: close',
  ]
  return sendRaw(server.url, `${head.join('\r\n')}\r\n\r\n${body}`)
}

describe('a token for which a proof was sent', () => {
  it('DP-01 CC-01 is bound to the key of the proof, and of type DPoP', async () => {
    const { ask, key, server } = await startDpop()
    const reply = await ask()
    expect(reply.status).toBe(200)
    expect(reply.json).toMatchObject({ token_type: 'DPoP', expires_in: 300, scope: 'read write' })
    expect(cnfOf(reply)).toEqual({ jkt: key.jkt })
    expect(reply.headers.get('cache-control')).toBe('no-store')
    expect(reply.headers.get('dpop-nonce')).toBeNull()
    const [record] = await server.store.listAudit({ type: 'token.issued', limit: 1 })
    expect(record).toMatchObject({ confirmation: { jkt: key.jkt } })
    const metrics = await request(`${server.url}/metrics`)
    expect(metrics.text).toContain('alg="ES256",token_type="DPoP"} 1')
  })

  it('MD-06 I24 is had with each advertised alg, and with no other', async () => {
    const { ask, server, prove } = await startDpop()
    const { json } = await request(`${server.url}/.well-known/oauth-authorization-server`)
    const algs = json.dpop_signing_alg_values_supported as ('ES256' | 'RS256')[]
    expect(algs[0]).toBe('ES256')
    for (const alg of algs) {
      const key = makeProofKey(alg)
      const reply = await ask({}, { proof: prove({}, key) })
      expect([reply.status, cnfOf(reply)], alg).toEqual([200, { jkt: key.jkt }])
    }
    for (const alg of ['none', 'HS256', 'ES384', 'ES512', 'RS512', 'PS512', 'ES256K', 'Ed448'])
      expectRefusal(await ask({}, { proof: prove({ header: { alg } }) }), 'invalid_dpop_proof', alg)
  })

  it('DP-27 takes a header in any case, and a proof with more in it', async () => {
    const scene = await startDpop()
    const seconds = scene.clock.nowMilliseconds() / 1000
    const proof = scene.prove({ claims: { exp: seconds + 30, nbf: seconds, foo: {} }, header: { kid: 'x', foo: 1 } })
    expect((await askRaw(scene, [`dPoP: ${proof}`])).status).toBe(200)
  })

  it('DP-18 is not bound when there was no proof', async () => {
    const { ask } = await startDpop()
    const reply = await ask({}, { proof: null })
    expect(reply.json.token_type).toBe('Bearer')
    expect(claimsOf(String(reply.json.access_token))).not.toHaveProperty('cnf')
  })

  it('DP-21 has its key and type said at introspection, where no proof is asked for', async () => {
    const { ask, key, server } = await startDpop()
    const service = await addClient(server.store, 'service', {
      grantTypes: [],
      scopes: [],
      audiences: [],
      introspects: [api],
    })
    const introspect = async (token: unknown) => {
      const init = { method: 'POST', body: new URLSearchParams({ token: String(token) }) }
      return (await request(`${server.url}/introspect`, { ...init, headers: { authorization: service.basic } })).json
    }
    const bound = await ask()
    expect(await introspect(bound.json.access_token)).toMatchObject({
      active: true,
      token_type: 'DPoP',
      cnf: { jkt: key.jkt },
    })
    const free = await introspect((await ask({}, { proof: null })).json.access_token)
    expect(free).toMatchObject({ active: true, token_type: 'Bearer' })
    expect(free).not.toHaveProperty('cnf')
  })
})

describe('a bad proof', () => {
  it('DP-02 C17 is two of them, equal or not, a list, an empty one, and what is no JWT', async () => {
    const scene = await startDpop()
    const one = scene.prove()
    const other = scene.prove()
    for (const fields of [
      [`DPoP: ${one}`, `DPoP: ${one}`],
      [`DPoP: ${one}`, `dpop: ${other}`],
      [`DPoP: ${one}`, 'DPoP:'],
      [`DPoP: ${one},${other}`],
      [`DPoP: ${one}, ${other}`],
      ['DPoP:'],
      ['DPoP: ,'],
      ['DPoP: a.b.c'],
      [`DPoP: "${one}"`],
      [`DPoP: ${'.'.repeat(4_000)}`],
    ]) {
      const { status, body } = await askRaw(scene, fields)
      expect([status, JSON.parse(body).error], fields.join().slice(0, 60)).toEqual(bad)
    }
    expect(await scene.issued()).toBe(0)
    // None of that has used them up.
    expect((await scene.ask({}, { proof: one })).status).toBe(200)
  })

  const wrong: readonly [string, (scene: DpopScene) => string, string][] = [
    ['DP-03 lacks a claim', ({ prove }) => prove({ claims: { jti: undefined } }), 'proof_claim_missing'],
    ['DP-04 J18 is of another type', ({ prove }) => prove({ header: { typ: 'JWT' } }), 'proof_type_wrong'],
    ['DP-05 J04 has no algorithm', ({ prove }) => prove({ header: { alg: 'none' } }), 'proof_alg_unsupported'],
    [
      'DP-06 shows a key that did not sign it',
      ({ prove }) => prove({ header: { jwk: makeProofKey().jwk } }),
      'proof_signature_wrong',
    ],
    [
      'DP-07 C18 shows its private key',
      ({ prove, key }) => prove({ header: { jwk: key.privateKey.export({ format: 'jwk' }) } }),
      'proof_key_unfit',
    ],
    ['DP-08 is for another method', ({ prove }) => prove({ claims: { htm: 'GET' } }), 'proof_method_wrong'],
    [
      'DP-09 C15 is for another endpoint',
      ({ prove }) => prove({ claims: { htu: `${issuer}/revoke` } }),
      'proof_url_wrong',
    ],
    ['DP-09 is for the issuer', ({ prove }) => prove({ claims: { htu: issuer } }), 'proof_url_wrong'],
    [
      'DP-12 is for the address that the server listens on',
      ({ prove, server }) => prove({ claims: { htu: `${server.url}/token` } }),
      'proof_url_wrong',
    ],
    [
      'DP-13 J17 is of an hour ago',
      ({ prove, clock }) => prove({ claims: { iat: clock.nowMilliseconds() / 1000 - 3_600 } }),
      'proof_out_of_time',
    ],
    [
      'DP-13 J17 is of an hour ahead',
      ({ prove, clock }) => prove({ claims: { iat: clock.nowMilliseconds() / 1000 + 3_600 } }),
      'proof_out_of_time',
    ],
    [
      'J32 has a member twice',
      ({ key, clock }) => {
        const claims = `{"jti":"a","htm":"GET","htm":"POST","htu":"${tokenUrl}","iat":${clock.nowMilliseconds() / 1000}}`
        return signRaw(key, JSON.stringify({ typ: 'dpop+jwt', alg: 'ES256', jwk: key.jwk }), claims)
      },
      'proof_malformed',
    ],
    ['J13 has a critical header', ({ prove }) => prove({ header: { crit: ['x'], x: 1 } }), 'proof_malformed'],
  ]

  it.each(wrong)('%s: refused, and the reason is in the trail', async (_, make, reason) => {
    const scene = await startDpop()
    expectRefusal(await scene.ask({}, { proof: make(scene) }))
    expect(await scene.lastReason()).toBe(reason)
    expect(await scene.issued()).toBe(0)
    expect((await scene.ask()).status).toBe(200)
  })

  it('I10 I12 CA-13 is not written anywhere, and neither is a good one', async () => {
    const lines: string[] = []
    const note = (fields: object, message: string): void => void lines.push(JSON.stringify([message, fields]))
    const scene = await startDpop({ log: { debug: note, info: note, warn: note, error: note } })
    const proofs = [scene.prove(), scene.prove({ claims: { htm: 'GET' } }), 'eyJ.canary-of-a-proof.x']
    for (const proof of [...proofs, proofs[0]]) await scene.ask({}, { proof: proof ?? null })
    const trail = JSON.stringify(await scene.server.store.listAudit({ limit: 100 }))
    for (const proof of proofs) {
      for (const part of proof.split('.').filter((text) => text.length > 3)) {
        expect(lines.join('\n')).not.toContain(part)
        expect(trail).not.toContain(part)
      }
    }
    // Which key it was of, is no secret.
    expect(await scene.server.store.listAudit({ type: 'token.refused', limit: 1 })).toMatchObject([
      { reason: 'proof_replayed', jkt: scene.key.jkt },
    ])
    expect(lines.filter((line) => line.includes('proof_replayed')).join()).toContain(scene.key.jkt)
  })

  it('D13 is looked at after the client and its grant, and before what it asks for', async () => {
    const { ask, client, server } = await startDpop()
    const proof = 'a.b.c'
    const stranger = { ...client, basic: `${client.basic}x` }
    expect(outcome(await ask({ grant_type: 'x' }, { proof }))).toEqual([400, 'unsupported_grant_type'])
    expect(outcome(await ask({}, { proof, as: stranger }))).toEqual([401, 'invalid_client'])
    const plain = await addClient(server.store, 'plain')
    const refresh = { grant_type: 'refresh_token', refresh_token: 'x' }
    expect(outcome(await ask(refresh, { proof, as: plain }))).toEqual([400, 'unauthorized_client'])
    for (const form of [
      { scope: 'admin' },
      { resource: 'x' },
      { scope: '"' },
      refresh,
      { grant_type: 'refresh_token' },
    ])
      expect(outcome(await ask(form, { proof }))).toEqual(bad)
  })
})

describe('a client whose tokens shall be bound', () => {
  it('DP-18 C20 gets none without a proof, by any grant', async () => {
    const { ask, refresh, lastReason, server } = await startDpop({}, { dpopBound: true })
    expectRefusal(await ask({}, { proof: null }))
    expect(await lastReason()).toBe('proof_missing')
    const begun = await ask()
    expect(begun.json.token_type).toBe('DPoP')
    expectRefusal(await refresh(begun.json.refresh_token, { proof: null }))
    expect((await refresh(begun.json.refresh_token)).json.token_type).toBe('DPoP')
    expect(await server.store.listAudit({ type: 'family.ended', limit: 1 })).toEqual([])
  })

  it('C20 is held to it from the next request on, in every process', async () => {
    const { ask, refresh, server } = await startDpop()
    const begun = await ask({}, { proof: null })
    expect(begun.status).toBe(200)
    await (await server.openOther()).updateClient('billing', { dpopBound: true }, 'cli:test')
    expectRefusal(await ask({}, { proof: null }))
    expectRefusal(await refresh(begun.json.refresh_token, { proof: null }))
    const bound = await refresh(begun.json.refresh_token)
    expect(bound.json.token_type).toBe('DPoP')
    await (await server.openOther()).updateClient('billing', { dpopBound: null }, 'cli:test')
    expect((await ask({}, { proof: null })).json.token_type).toBe('Bearer')
    // What is bound stays so.
    expectRefusal(await refresh(bound.json.refresh_token, { proof: null }))
  })
})

describe('where a proof is for', () => {
  it('DP-10 DP-11 DP-12 C15 is the configured URL in any spelling that RFC 3986 holds for equal', async () => {
    const { ask, prove } = await startDpop()
    for (const htu of [`${tokenUrl}?x=1#y`, 'HTTPS://AS.EXAMPLE.TEST:443/token', `${issuer}/a/%2e%2e/%74oken`])
      expect((await ask({}, { proof: prove({ claims: { htu } }) })).status, htu).toBe(200)
    for (const htu of [`${tokenUrl}/`, `${issuer}//token`, tokenUrl.replace('https', 'http'), `${issuer}:8443/token`])
      expectRefusal(await ask({}, { proof: prove({ claims: { htu } }) }), 'invalid_dpop_proof', htu)
  })

  it('DP-10 does not have the query of the request', async () => {
    const { client, server, prove } = await startDpop()
    const reply = await request(`${server.url}/token?x=1`, {
      method: 'POST',
      body: new URLSearchParams({ grant_type: 'client_credentials' }),
      headers: { authorization: client.basic, dpop: prove() },
    })
    expect([reply.status, reply.json.token_type]).toEqual([200, 'DPoP'])
  })

  it('DP-12 has the path of the issuer', async () => {
    const scene = await startDpop({ env: { MAYFLY_ISSUER: 'https://as.example.test/t1' } })
    const at = { url: `${scene.server.url}/t1` }
    const ask = (htu: string) =>
      requestToken(
        at,
        { grant_type: 'client_credentials' },
        {
          authorization: scene.client.basic,
          dpop: scene.prove({ claims: { htu } }),
        },
      )
    expect((await ask('https://as.example.test/t1/token')).status).toBe(200)
    expectRefusal(await ask('https://as.example.test/token'))
  })

  it('DP-12 has the alias for clients with certificates too, where there is one', async () => {
    const alias = 'https://mtls.example.test'
    const env = { MAYFLY_TRUSTED_PROXIES: '127.0.0.1', MAYFLY_MTLS_URL: alias }
    const { ask, prove } = await startDpop({ env })
    expect((await ask({}, { proof: prove({ claims: { htu: `${alias}/token` } }) })).status).toBe(200)
    expect((await ask()).status).toBe(200)
    const plain = await startDpop()
    expectRefusal(await plain.ask({}, { proof: plain.prove({ claims: { htu: `${alias}/token` } }) }))
  })

  it(`I25 HTTP-14 H09 C15 is never what a header or a request target says (FC_SEED=${seed})`, {
    timeout: 60_000,
  }, async () => {
    const scene = await startDpop({ env: { MAYFLY_TRUSTED_PROXIES: '127.0.0.1' } })
    const { client, clock, key, server } = scene
    const host = fc.constantFrom('evil.test', 'evil.test:443', 'as.example.test', '127.0.0.1')
    const names = [
      'X-Forwarded-Host',
      'X-Forwarded-Proto',
      'X-Forwarded-Prefix',
      'X-Forwarded-Uri',
      'Forwarded',
      'X-Host',
    ]
    const header = fc.tuple(
      fc.constantFrom(...names),
      fc.constantFrom('evil.test', 'https', '/token', 'host=evil.test;proto=https'),
    )
    const target = fc.constantFrom('/token', 'http://evil.test/token', 'https://evil.test/token', '/token?htu=x')
    const property = fc.asyncProperty(
      host,
      fc.array(header, { maxLength: 4 }),
      target,
      fc.boolean(),
      async (named, headers, line, isGood) => {
        const claimed = isGood ? tokenUrl : `https://${named === 'as.example.test' ? 'evil.test' : named}/token`
        const body = 'grant_type=client_credentials'
        const head = [
          `POST ${line} HTTP/1.1`,
          `Host: ${named}`,
          ...headers.map(([name, value]) => `${name}: ${value}`),
          `Authorization: ${client.basic}`,
          `DPoP: ${makeProof(key, claimed, clock.nowMilliseconds())}`,
          'Content-Type: application/x-www-form-urlencoded',
          `Content-Length: ${body.length}`,
          'Connection: close',
        ]
        const reply = await sendRaw(server.url, `${head.join('\r\n')}\r\n\r\n${body}`)
        expect(reply.status, reply.body).toBe(isGood ? 200 : 400)
        if (!isGood) expect(reply.body).toContain('invalid_dpop_proof')
      },
    )
    await fc.assert(property, { seed, numRuns: 80 })
  })
})

describe('a proof that comes again', () => {
  it.each(['optional', 'required'])(
    'I17 F13 is not taken where the store has gone back and does not know of it, with nonces %s',
    async (mode) => {
      const { ask, prove, server, clock } = await startDpop({ env: { MAYFLY_DPOP_NONCE: mode } })
      const askWithNonce = async () => {
        const late = prove({ claims: { iat: clock.nowMilliseconds() / 1000 - 90 } })
        const { headers } = await ask({}, { proof: late })
        const nonce = headers.get('dpop-nonce')
        return [prove({ claims: { nonce } }), prove({ claims: { nonce, iat: clock.nowMilliseconds() / 1000 + 200 } })]
      }
      // Dated as far ahead as one may be.
      const iat = clock.nowMilliseconds() / 1000 + 10
      const proofs = [...(await askWithNonce()), ...(mode === 'optional' ? [prove(), prove({ claims: { iat } })] : [])]
      for (const proof of proofs) expect((await ask({}, { proof })).status).toBe(200)
      expect(await server.store.pruneReplays(Number.MAX_SAFE_INTEGER, 100)).toBe(proofs.length)
      await server.store.acceptAsPresent({ registry: 0, mark: 0, issuedUpTo: 0 }, 'cli:test')
      for (const seconds of [3, 7]) {
        clock.advance(seconds)
        for (const proof of proofs) {
          const replayed = await ask({}, { proof })
          expect([replayed.status, replayed.json.error]).toEqual([503, 'temporarily_unavailable'])
          expect(replayed.json.error_description).toBe('storage was restored: try again with a fresh DPoP proof')
          expect(replayed.headers.get('retry-after')).toBe('1')
        }
      }
      clock.advance(3)
      if (mode === 'optional') expect((await ask()).status).toBe(200)
      clock.advance(60)
      for (const proof of await askWithNonce()) expect((await ask({}, { proof })).status).toBe(200)
    },
  )

  it('DP-14 C16 J21 is refused, however it is spelt, and so is one of the same key and jti', async () => {
    const { ask, prove, lastReason, issued, clock } = await startDpop()
    const proof = prove({ claims: { jti: 'once' } })
    expect((await ask({}, { proof })).status).toBe(200)
    for (const again of [
      proof,
      malleate(proof),
      prove({ claims: { jti: 'once', htu: `${tokenUrl}?x` } }),
      prove({ claims: { jti: 'once', iat: clock.nowMilliseconds() / 1000 - 5 } }),
    ]) {
      expectRefusal(await ask({}, { proof: again }))
      expect(await lastReason()).toBe('proof_replayed')
    }
    expect(await issued()).toBe(1)
    const other = makeProofKey()
    expect((await ask({}, { proof: prove({ claims: { jti: 'once' } }, other) })).status).toBe(200)
  })

  it('C16 J24 is refused by another process, after a restart, and by another client’s credentials', async () => {
    const { ask, prove, startAgain, server } = await startDpop()
    const proof = prove()
    expect((await ask({}, { proof })).status).toBe(200)
    const thief = await addClient(server.store, 'thief')
    expectRefusal(await ask({}, { proof, as: thief }))
    const second = await startAgain()
    expectRefusal(await ask({}, { proof, at: second }))
    await server.stop()
    await second.stop()
    expectRefusal(await ask({}, { proof, at: await startAgain() }))
  })

  it('J24 I26 is refused once it is over, and when the clock has gone back since', async () => {
    const { ask, prove, clock, server, issued } = await startDpop()
    const proof = prove()
    expect((await ask({}, { proof })).status).toBe(200)
    clock.advance(61)
    await server.store.pruneReplays(clock.nowMilliseconds(), 1_000)
    expect((await ask({}, { proof })).status).toBe(400)
    // Whatever the wall clock shows now, the proof was over before.
    clock.step(-61)
    expect((await ask({}, { proof })).status).toBe(400)
    expect(await issued()).toBe(1)
  })

  it('I17 C16 J22 counts once of 100 that come at once to two servers on one database', {
    timeout: 60_000,
  }, async () => {
    const { ask, prove, startAgain, server, issued } = await startDpop()
    const servers = [server, await startAgain()]
    const proof = prove()
    const replies = await Promise.all(
      Array.from({ length: 100 }, (_, i) =>
        ask({}, { proof, ...(servers[i % 2] === undefined ? {} : { at: servers[i % 2] }) }),
      ),
    )
    const counts = Map.groupBy(replies, (reply) => outcome(reply).join(' '))
    expect([...counts].map(([name, all]) => [name, all.length]).toSorted()).toEqual([
      ['200 ', 1],
      ['400 invalid_dpop_proof', 99],
    ])
    expect(await issued()).toBe(1)
  })

  it('is good still when its request was refused for something else', async () => {
    const { ask, prove, refresh } = await startDpop()
    const proof = prove()
    expect(outcome(await ask({ scope: 'admin' }, { proof }))).toEqual([400, 'invalid_scope'])
    expect(outcome(await ask({ resource: 'https://other.example.test' }, { proof }))).toEqual([400, 'invalid_target'])
    expect(outcome(await refresh('mfr_x', { proof }))).toEqual([400, 'invalid_grant'])
    expect((await ask({}, { proof })).status).toBe(200)
  })

  it('G09 is good still when the store failed', async () => {
    const { ask, prove, server } = await startDpop()
    const proof = prove()
    const { store } = server
    const original = store.recordIssuance
    const failing = async (): Promise<never> => {
      const { StoreUnavailable } = await import('../../src/lib/store-error.ts')
      throw new StoreUnavailable('a disk that is full')
    }
    Object.assign(store, { recordIssuance: failing })
    expect(outcome(await ask({}, { proof }))).toEqual([503, 'temporarily_unavailable'])
    Object.assign(store, { recordIssuance: original })
    expect((await ask({}, { proof })).status).toBe(200)
  })

  it('I17 J24 does not count for a server that was paused until the proof was over and forgotten', async () => {
    const gate = createGate()
    const signers = gatedSigners()
    const { ask, prove, server, clock, issued, startAgain } = await startDpop({ signerHook: signers.hook })
    const second = await startAgain()
    const proof = prove()
    signers.hold(gate)
    const paused = ask({}, { proof })
    await gate.arrived
    signers.hold(undefined)
    expect((await ask({}, { proof, at: second })).status).toBe(200)
    clock.advance(200)
    expect(await server.store.pruneReplays(clock.nowMilliseconds(), 10)).toBe(1)
    gate.open()
    expectRefusal(await paused)
    expect(await issued()).toBe(1)
  })

  it.each([30, 90])('is judged anew for a request that is decided again, %i s later', async (wait) => {
    const gate = createGate()
    const signers = gatedSigners()
    const { ask, prove, server, clock, issued } = await startDpop({ signerHook: signers.hook })
    signers.hold(gate)
    const pending = ask({}, { proof: prove() })
    await gate.arrived
    signers.hold(undefined)
    await (await server.openOther()).updateClient('billing', { scopes: ['read'] }, 'cli:test')
    clock.advance(wait)
    gate.open()
    const reply = await pending
    if (wait < 60) expect([reply.status, reply.json.scope, reply.json.token_type]).toEqual([200, 'read', 'DPoP'])
    else expect(reply.status).toBe(400)
    expect(await issued()).toBe(wait < 60 ? 1 : 0)
  })
})

describe('a nonce', () => {
  const required = { env: { MAYFLY_DPOP_NONCE: 'required' } }
  const useNonce = [400, 'use_dpop_nonce']
  const nonceOf = (reply: Reply): string => reply.headers.get('dpop-nonce') ?? ''

  it('DP-15 DP-16 is asked for where it is required, and then one is good for many proofs', async () => {
    const { ask, prove, lastReason } = await startDpop(required)
    const refused = await ask()
    expectRefusal(refused, 'use_dpop_nonce')
    expect(await lastReason()).toBe('proof_nonce_missing')
    const nonce = nonceOf(refused)
    expect(nonce).toMatch(/^[\x21\x23-\x5B\x5D-\x7E]+$/)
    for (let i = 0; i < 3; i += 1) {
      const reply = await ask({}, { proof: prove({ claims: { nonce } }) })
      expect([reply.status, reply.json.token_type, reply.headers.get('cache-control')]).toEqual([
        200,
        'DPoP',
        'no-store',
      ])
    }
  })

  it('DP-15 stands in one header, and in no other answer', async () => {
    const scene = await startDpop(required)
    const { head } = await askRaw(scene, [`DPoP: ${scene.prove()}`])
    expect(head.match(/^dpop-nonce:/gim)).toHaveLength(1)
    expect(head.match(/^cache-control: no-store/gim)).toHaveLength(1)
    for (const form of [{ grant_type: 'x' }, { scope: 'admin' }])
      expect((await scene.ask(form, { proof: null })).headers.get('dpop-nonce')).toBeNull()
  })

  it('DP-15 C19 that is made up or over is answered like none', async () => {
    const { ask, prove, clock } = await startDpop(required)
    const good = nonceOf(await ask())
    for (const nonce of ['x', '', good.toLowerCase(), `${good}A`, good.slice(0, -1)]) {
      const reply = await ask({}, { proof: prove({ claims: { nonce } }) })
      expectRefusal(reply, 'use_dpop_nonce', nonce)
      expect(nonceOf(reply)).toBe(good)
    }
    clock.advance(300)
    const late = await ask({}, { proof: prove({ claims: { nonce: good } }) })
    expectRefusal(late, 'use_dpop_nonce')
    expect(nonceOf(late)).not.toBe(good)
    expect((await ask({}, { proof: prove({ claims: { nonce: nonceOf(late) } }) })).status).toBe(200)
  })

  it('DP-16 is followed on a good reply by the next, once there is one', async () => {
    const { ask, prove, clock } = await startDpop(required)
    const nonce = nonceOf(await ask())
    expect(nonceOf(await ask({}, { proof: prove({ claims: { nonce } }) }))).toBe('')
    clock.advance(60)
    const reply = await ask({}, { proof: prove({ claims: { nonce } }) })
    expect(reply.status).toBe(200)
    expect(nonceOf(reply)).not.toBe('')
    clock.advance(240)
    expect((await ask({}, { proof: prove({ claims: { nonce: nonceOf(reply) } }) })).status).toBe(200)
  })

  it('DP-17 is not needed less for having been given once', async () => {
    const { ask, prove } = await startDpop(required)
    const nonce = nonceOf(await ask())
    expect((await ask({}, { proof: prove({ claims: { nonce } }) })).status).toBe(200)
    expectRefusal(await ask(), 'use_dpop_nonce')
  })

  it('C19 is good in every process and after a restart', async () => {
    const { ask, prove, startAgain, server } = await startDpop(required)
    const nonce = nonceOf(await ask())
    const second = await startAgain()
    expect((await ask({}, { at: second, proof: prove({ claims: { nonce } }) })).status).toBe(200)
    await server.stop()
    await second.stop()
    expect((await ask({}, { at: await startAgain(), proof: prove({ claims: { nonce } }) })).status).toBe(200)
  })

  it('C19 of a root that was replaced is none any more, and the next try has one of the new root', async () => {
    const { ask, prove, server } = await startDpop(required)
    const old = nonceOf(await ask())
    expect((await mayfly(['key', 'rotate-root'], { cwd: server.folder })).code).toBe(0)
    const refused = await ask({}, { proof: prove({ claims: { nonce: old } }) })
    expectRefusal(refused, 'use_dpop_nonce')
    expect((await ask({}, { proof: prove({ claims: { nonce: nonceOf(refused) } }) })).status).toBe(200)
  })

  it('I26 is over for good when the clock has gone back', async () => {
    const { ask, prove, clock } = await startDpop(required)
    const nonce = nonceOf(await ask())
    clock.advance(400)
    expectRefusal(await ask({}, { proof: prove({ claims: { nonce } }) }), 'use_dpop_nonce')
    clock.step(-400)
    const reply = await ask({}, { proof: prove({ claims: { nonce } }) })
    expect(reply.status).toBe(400)
  })

  it('DP-18 is no reason to ask for a proof: a client that needs none gets its token', async () => {
    const { ask } = await startDpop(required)
    expect((await ask({}, { proof: null })).json.token_type).toBe('Bearer')
  })

  it('DP-13 helps a client whose clock is off by minutes, where none is required too', async () => {
    const { ask, prove, clock, lastReason } = await startDpop()
    for (const shift of [-240, 240]) {
      const iat = clock.nowMilliseconds() / 1000 + shift
      const refused = await ask({}, { proof: prove({ claims: { iat } }) })
      expectRefusal(refused, 'use_dpop_nonce')
      expect(await lastReason()).toBe('proof_clock_off')
      const reply = await ask({}, { proof: prove({ claims: { iat, nonce: nonceOf(refused) } }) })
      expect(outcome(reply)).toEqual([200, undefined])
    }
  })

  it('DP-14 J24 does not let a proof that is dated ahead come again', async () => {
    const { ask, prove, clock, server } = await startDpop()
    const iat = clock.nowMilliseconds() / 1000 + 240
    const nonce = nonceOf(await ask({}, { proof: prove({ claims: { iat } }) }))
    const proof = prove({ claims: { iat, nonce } })
    expect((await ask({}, { proof })).status).toBe(200)
    for (let i = 0; i < 10; i += 1) {
      clock.advance(60)
      await server.store.pruneReplays(clock.nowMilliseconds(), 1_000)
      expect((await ask({}, { proof })).status).toBe(400)
    }
  })

  it('is asked for with a code that RFC 9449 knows, in words for people', async () => {
    const { ask } = await startDpop(required)
    expect((await ask()).json).toEqual({
      error: 'use_dpop_nonce',
      error_description: 'make a new DPoP proof with the nonce of this reply',
    })
    expect(useNonce).toEqual(outcome(await ask()))
  })
})

interface Step {
  readonly key: number | undefined
  /** How many tickets back. */
  readonly ticket: number
  readonly wait: number
  readonly scope: { readonly scope?: string }
}

describe('a refresh token that came with a bound token', () => {
  it('DP-20 D3 may be used with another key, and the new token is bound to that', async () => {
    const { ask, refresh, prove, key } = await startDpop()
    const begun = await ask()
    expect(cnfOf(begun)).toEqual({ jkt: key.jkt })
    const other = makeProofKey('Ed25519')
    const reply = await refresh(begun.json.refresh_token, { proof: prove({}, other) })
    expect([reply.status, reply.json.token_type, cnfOf(reply)]).toEqual([200, 'DPoP', { jkt: other.jkt }])
  })

  it('DP-19 I16 is not used without a proof, and is not used up by the attempt', async () => {
    const { ask, refresh } = await startDpop()
    const { json } = await ask()
    expectRefusal(await refresh(json.refresh_token, { proof: null }))
    expect((await refresh(json.refresh_token)).json.token_type).toBe('DPoP')
  })

  it('DP-19 G15 is not used up by a wrong proof, whatever is wrong with it', async () => {
    const { ask, refresh, prove, server } = await startDpop()
    const { json } = await ask()
    const replayed = prove()
    await ask({}, { proof: replayed })
    for (const proof of ['a.b.c', prove({ claims: { htm: 'GET' } }), prove({ claims: { iat: 1 } }), replayed])
      expectRefusal(await refresh(json.refresh_token, { proof }))
    const familyId = String(claimsOf(String(json.access_token)).sid)
    const family = await server.store.findFamily(familyId)
    expect([family?.generation, family?.end]).toEqual([0, undefined])
    expect((await refresh(json.refresh_token)).status).toBe(200)
  })

  it('G11 RT-03 brings the same successor in the window, to the same key alone', async () => {
    const { ask, refresh, prove, server } = await startDpop()
    const { json } = await ask()
    const first = await refresh(json.refresh_token)
    const again = await refresh(json.refresh_token)
    expect(again.json.refresh_token).toBe(first.json.refresh_token)
    const thief = makeProofKey()
    expect(outcome(await refresh(json.refresh_token, { proof: prove({}, thief) }))).toEqual([400, 'invalid_grant'])
    expect(outcome(await refresh(json.refresh_token, { proof: null }))).toEqual([400, 'invalid_grant'])
    expect(await server.store.listAudit({ type: 'family.ended', limit: 1 })).toEqual([])
    expect((await refresh(json.refresh_token)).json.refresh_token).toBe(first.json.refresh_token)
    expect((await refresh(first.json.refresh_token)).status).toBe(200)
  })

  it('G11 is retried with the key of the answer that was lost, when that was another', async () => {
    const { ask, refresh, prove } = await startDpop()
    const { json } = await ask()
    const other = makeProofKey()
    const first = await refresh(json.refresh_token, { proof: prove({}, other) })
    expect(outcome(await refresh(json.refresh_token))).toEqual([400, 'invalid_grant'])
    const again = await refresh(json.refresh_token, { proof: prove({}, other) })
    expect([again.json.refresh_token, cnfOf(again)]).toEqual([first.json.refresh_token, { jkt: other.jkt }])
  })

  it('G11 is not retried with the very same request: its proof was used', async () => {
    const { ask, refresh, prove } = await startDpop()
    const { json } = await ask()
    const proof = prove()
    const first = await refresh(json.refresh_token, { proof })
    expect(first.status).toBe(200)
    expectRefusal(await refresh(json.refresh_token, { proof }))
    expect((await refresh(json.refresh_token)).json.refresh_token).toBe(first.json.refresh_token)
  })

  it('G15 C16 ends no family when a whole request is sent again that was used before', async () => {
    const { ask, refresh, prove, server, lastReason } = await startDpop()
    const { json } = await ask()
    const proof = prove()
    const first = await refresh(json.refresh_token, { proof })
    const second = await refresh(first.json.refresh_token)
    expectRefusal(await refresh(json.refresh_token, { proof }))
    expect(await lastReason()).toBe('proof_replayed')
    expect(await server.store.listAudit({ type: 'family.ended', limit: 1 })).toEqual([])
    expect((await refresh(second.json.refresh_token)).status).toBe(200)
    // With a proof of his own whoever has a used ticket ends the family, and that proof has counted.
    const own = prove()
    expect(outcome(await refresh(json.refresh_token, { proof: own }))).toEqual([400, 'invalid_grant'])
    expect(await server.store.listAudit({ type: 'family.ended', limit: 1 })).toHaveLength(1)
    expectRefusal(await ask({}, { proof: own }))
  })

  it('becomes bound when an unbound one is used with a proof', async () => {
    const { ask, refresh } = await startDpop()
    const { json } = await ask({}, { proof: null })
    const bound = await refresh(json.refresh_token)
    expect(bound.json.token_type).toBe('DPoP')
    expectRefusal(await refresh(bound.json.refresh_token, { proof: null }))
  })

  it('G05 I1 RT-03 has one successor for 20 who use it at once with one key at two servers', {
    timeout: 60_000,
  }, async () => {
    const { ask, refresh, startAgain, server } = await startDpop()
    const second = await startAgain()
    const { json } = await ask()
    const replies = await Promise.all(
      Array.from({ length: 20 }, (_, i) => refresh(json.refresh_token, { at: i % 2 === 0 ? server : second })),
    )
    expect(new Set(replies.map(({ status }) => status))).toEqual(new Set([200]))
    expect(new Set(replies.map(({ json }) => json.refresh_token)).size).toBe(1)
  })

  it(`I16 never leads to a token that is not bound, by any sequence of requests (FC_SEED=${seed})`, {
    timeout: 120_000,
  }, async () => {
    const scene = await startDpop()
    const keys = [scene.key, makeProofKey(), makeProofKey('Ed25519')]
    const step = fc.record({
      key: fc.option(fc.nat({ max: 2 }), { nil: undefined }),
      ticket: fc.nat({ max: 3 }),
      wait: fc.constantFrom(0, 0, 0, 30, 70),
      scope: fc.constantFrom<{ scope?: string }>({}, {}, { scope: 'read' }, { scope: 'admin' }),
    })
    const refreshWith = async ({ key, scope }: Step, ticket: unknown): Promise<unknown> => {
      const form = { grant_type: 'refresh_token', refresh_token: String(ticket), ...scope }
      const reply = await scene.ask(form, { proof: key === undefined ? null : scene.prove({}, keys[key]) })
      expect(reply.status).toBeLessThan(500)
      if (reply.status !== 200) return undefined
      expect(key).toBeDefined()
      expect([reply.json.token_type, cnfOf(reply)]).toEqual(['DPoP', { jkt: keys[key ?? 0]?.jkt }])
      return reply.json.refresh_token
    }
    const seen = { good: 0, refused: 0 }
    const property = fc.asyncProperty(fc.array(step, { maxLength: 8 }), async (steps) => {
      const begun = await scene.ask({}, { proof: scene.prove({}, keys[0]) })
      const tickets = [begun.json.refresh_token]
      for (const each of steps) {
        scene.clock.advance(each.wait)
        const next = await refreshWith(each, tickets[Math.max(0, tickets.length - 1 - each.ticket)])
        seen[next === undefined ? 'refused' : 'good'] += 1
        if (next !== undefined) tickets.push(next)
      }
    })
    await fc.assert(property, { seed, numRuns: 30 })
    expect(Math.min(seen.good, seen.refused)).toBeGreaterThan(10)
  })
})

describe('what has nothing to do with proofs', () => {
  it('DP-02 does not look at the header: revocation, keys, metadata', async () => {
    const { server, client, ask } = await startDpop()
    const token = String((await ask()).json.access_token)
    const headers = { authorization: client.basic, dpop: 'garbage' }
    const revoked = await request(`${server.url}/revoke`, {
      method: 'POST',
      body: new URLSearchParams({ token }),
      headers,
    })
    expect(revoked.status).toBe(200)
    expect((await request(`${server.url}/.well-known/jwks.json`, { headers })).status).toBe(200)
  })

  it('AT-08 does not take a proof for a token, a secret or a refresh token', async () => {
    const { server, client, prove, refresh } = await startDpop()
    const proof = prove({ claims: { ath: athOf('x') } })
    expect(outcome(await refresh(proof))).toEqual([400, 'invalid_grant'])
    const verified = await request(`${server.url}/verify?audience=${api}`, {
      headers: { authorization: `Bearer ${proof}` },
    })
    expect(verified.status).toBe(401)
    expect((await getToken(server, client)).length).toBeGreaterThan(100)
  })

  it('HTTP-16 H12 lets no page of another origin read the token endpoint or a nonce', async () => {
    const { server, ask } = await startDpop({ env: { MAYFLY_DPOP_NONCE: 'required' } })
    const refused = await ask({}, { headers: { origin: 'https://evil.test' } })
    const preflight = await request(`${server.url}/token`, {
      method: 'OPTIONS',
      headers: { origin: 'https://evil.test' },
    })
    for (const { headers } of [refused, preflight])
      for (const name of headers.keys()) expect(name).not.toMatch(/^access-control-/)
  })
})
