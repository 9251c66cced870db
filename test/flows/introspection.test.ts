/** The introspection endpoint, black box: RFC 7662 and RFC 9701. */
import { createHmac } from 'node:crypto'
import { createRemoteJWKSet, decodeJwt, decodeProtectedHeader, jwtVerify } from 'jose'
import { describe, expect, it, onTestFinished } from 'vitest'
import { makeUlid } from '../../src/lib/id.ts'
import type { Log } from '../../src/lib/log.ts'
import { type AccessScene, actionsOn, forge, onlyAsks, signerOf, startAccess } from '../support/access.ts'
import { addClient, addResource, api, claimsOf, headerOf, request, startTestServer } from '../support/server.ts'

const signedType = 'application/token-introspection+jwt'
const inactive = '{"active":false}'

function ask({ server }: Pick<AccessScene, 'server'>, body: string, headers: Readonly<Record<string, string>> = {}) {
  return request(`${server.url}/introspect`, {
    method: 'POST',
    body,
    headers: { 'content-type': 'application/x-www-form-urlencoded', ...headers },
  })
}

async function forged(scene: AccessScene, claims: object, header: object = {}): Promise<string> {
  const signer = await signerOf(scene, 'ES256', 'active')
  return forge(signer, { typ: 'at+jwt', alg: 'ES256', kid: signer.kid, ...header }, claims)
}

describe('POST /introspect', () => {
  it('IN-02 says everything of an active token to a service of its audience', async () => {
    const { begin, introspect, service, server } = await startAccess()
    const { accessToken } = await begin()
    const reply = await introspect(accessToken)
    expect([reply.status, reply.headers.get('content-type')]).toEqual([200, 'application/json'])
    expect(reply.headers.get('cache-control')).toBe('no-store')
    expect(reply.json).toEqual({ active: true, token_type: 'Bearer', ...claimsOf(accessToken) })
    const plain = await addClient(server.store, 'plain', { scopes: [] })
    const other = (await introspect((await begin(plain)).accessToken, service)).json
    expect(other).not.toHaveProperty('scope')
    expect(other).not.toHaveProperty('sid')
    expect(other).toMatchObject({ active: true, sub: 'plain', client_id: 'plain', aud: api })
  })

  it('IN-01 answers 401 with a challenge to whoever does not prove himself, whatever he sends', async () => {
    const scene = await startAccess()
    const { accessToken } = await scene.begin()
    const headers = [
      {},
      { authorization: 'Basic x' },
      { authorization: `Basic ${Buffer.from('service:x').toString('base64')}` },
      { authorization: `Basic ${Buffer.from('nobody:x').toString('base64')}` },
      { authorization: `Bearer ${accessToken}` },
    ]
    const inBody = `token=${accessToken}&client_id=service&client_secret=x`
    for (const [body, each] of [
      ...headers.flatMap((header) => [`token=${accessToken}`, 'token=x', ''].map((text) => [text, header] as const)),
      [inBody, {}] as const,
    ]) {
      const reply = await ask(scene, body, each)
      expect([reply.status, reply.json.error], JSON.stringify(each)).toEqual([401, 'invalid_client'])
      expect(reply.headers.get('www-authenticate')).toBe('Basic realm="mayfly", charset="UTF-8"')
      expect(reply.headers.get('cache-control')).toBe('no-store')
    }
  })

  it('IN-01 refuses with its record, under its endpoint, sampled as at the token endpoint', async () => {
    const scene = await startAccess()
    for (let i = 0; i < 100; i += 1) await ask(scene, 'token=x')
    const refusals = await scene.server.store.listAudit({ type: 'token.refused', limit: 200 })
    expect(refusals).toHaveLength(60)
    for (const entry of refusals) {
      expect(entry).toMatchObject({ endpoint: 'introspect', reason: 'authentication_missing', address: '127.0.0.1' })
    }
  })

  it('IN-04 needs a token and POST, and ignores the hint', async () => {
    const scene = await startAccess()
    const { accessToken } = await scene.begin()
    const authorization = scene.service.basic
    for (const body of ['', 'token=', 'token_type_hint=x']) {
      expect((await ask(scene, body, { authorization })).json.error).toBe('invalid_request')
    }
    expect((await ask(scene, `token=${accessToken}&token=x`, { authorization })).status).toBe(400)
    for (const hint of ['access_token', 'refresh_token', 'urn:x']) {
      const reply = await ask(scene, `token=${accessToken}&token_type_hint=${hint}`, { authorization })
      expect(reply.json.active).toBe(true)
    }
    const get = await request(`${scene.server.url}/introspect?token=${accessToken}`, { headers: { authorization } })
    expect([get.status, get.headers.get('allow')]).toEqual([405, 'POST'])
  })

  it('IN-05 G27 says nothing to a service of another audience, nor to one that may ask of none', async () => {
    const { server, begin, introspect, client } = await startAccess()
    await addResource(server.store, 'https://second.example.test')
    const second = await addClient(server.store, 'second', onlyAsks(['https://second.example.test']))
    const nothing = await addClient(server.store, 'nothing', onlyAsks([]))
    const { accessToken } = await begin()
    for (const caller of [second, nothing, client]) {
      const reply = await introspect(accessToken, caller)
      expect([reply.status, reply.text]).toEqual([200, inactive])
    }
    await server.store.updateClient('second', { introspects: ['https://second.example.test', api] }, 'cli:test')
    expect((await introspect(accessToken, second)).json.active).toBe(true)
    await (await server.openOther()).updateClient('second', { introspects: [] }, 'cli:test')
    expect((await introspect(accessToken, second)).text).toBe(inactive)
  })

  it('IN-03 G01 G02 answers the same bytes for whatever is not active', async () => {
    const scene = await startAccess()
    const { server, clock, begin, introspect, revoke, other, service } = scene
    const { accessToken: expired } = await begin()
    clock.advance(300)
    const { accessToken: good, refreshToken } = await begin()
    const { accessToken: revoked } = await begin()
    await revoke(revoked)
    const family = await begin()
    await revoke(family.refreshToken)
    const { accessToken: disabled } = await begin(other)
    await server.store.setClientStatus('other', 'disabled', 'cli:test')
    const [header = '', payload = '', signature = ''] = good.split('.')
    const changed = Buffer.from(JSON.stringify({ ...claimsOf(good), sub: 'admin' })).toString('base64url')
    const rsa = await signerOf(scene, 'RS256', 'active')
    const tokens: readonly (readonly [string, string])[] = [
      ['garbage', 'x'],
      ['a space', ' '],
      ['a refresh token', refreshToken],
      ['a client secret', service.secret],
      ['expired', expired],
      ['revoked', revoked],
      ['of a revoked family', family.accessToken],
      ['of a disabled client', disabled],
      ['tampered with', `${header}.${changed}.${signature}`],
      ['cut short', good.slice(0, -3)],
      ['without a signature', `${header}.${payload}.`],
      ['alg none', `${Buffer.from('{"alg":"none","typ":"at+jwt"}').toString('base64url')}.${payload}.`],
      ['too long', 'x'.repeat(20_000)],
      ['of no record', await forged(scene, { ...claimsOf(good), jti: makeUlid(clock.nowMilliseconds()) })],
      ['of another type', await forged(scene, claimsOf(good), { typ: 'token-introspection+jwt' })],
      ['with the kid of another algorithm', await forged(scene, claimsOf(good), { kid: rsa.kid })],
      ['a signed answer', (await introspect(good, service, { accept: signedType })).text],
    ]
    const seen = new Set<string>()
    for (const [what, token] of tokens) {
      const reply = await introspect(token)
      expect(reply.text, what).toBe(inactive)
      const headers = [...reply.headers].filter(([name]) => name !== 'x-request-id' && name !== 'date')
      seen.add(JSON.stringify([reply.status, headers, reply.text]))
    }
    expect([...seen]).toHaveLength(1)
    expect((await introspect(good)).json.active).toBe(true)
  })

  it('AT-09 J01 refuses HS256 with our public keys, in every spelling', async () => {
    const { server, begin, introspect } = await startAccess()
    const { accessToken } = await begin()
    const { keys } = (await request(`${server.url}/.well-known/jwks.json`)).json as { keys: Record<string, string>[] }
    const { createPublicKey } = await import('node:crypto')
    for (const jwk of keys) {
      const pem = createPublicKey({ key: jwk, format: 'jwk' }).export({ type: 'spki', format: 'pem' }).toString()
      for (const secret of [pem, pem.trimEnd(), ` ${pem}`, JSON.stringify(jwk)]) {
        const sign = async (input: Uint8Array) => createHmac('sha256', secret).update(input).digest()
        const header = { typ: 'at+jwt', alg: 'HS256', kid: jwk.kid }
        expect((await introspect(await forge({ sign }, header, claimsOf(accessToken)))).text).toBe(inactive)
      }
    }
  })

  it('J13 J15 J18 J33 refuses what is not exactly an access token, though our own key signed it', async () => {
    const scene = await startAccess()
    const { accessToken } = await scene.begin()
    const claims = claimsOf(accessToken)
    expect((await scene.introspect(await forged(scene, claims))).json.active).toBe(true)
    const variants: readonly (readonly [object, object])[] = [
      [{ ...claims, exp: undefined }, {}],
      [{ ...claims, exp: Number(claims.exp) + 0.5 }, {}],
      [{ ...claims, exp: String(claims.exp) }, {}],
      [{ ...claims, exp: Number(claims.exp) + 1 }, {}],
      [{ ...claims, sub: 7 }, {}],
      [{ ...claims, aud: [api] }, {}],
      [{ ...claims, aud: [api, 'https://evil.test'] }, {}],
      [{ ...claims, sid: undefined }, {}],
      [{ ...claims, scope: 'read write admin' }, {}],
      [{ ...claims, client_id: 'other' }, {}],
      [{ ...claims, iss: 'https://other.example.test' }, {}],
      [{ ...claims, cnf: { jkt: 'x' } }, {}],
      [{ ...claims, admin: true }, {}],
      [claims, { typ: 'application/at+jwt' }],
      [claims, { typ: 'AT+JWT' }],
      [claims, { typ: undefined }],
      [claims, { crit: ['exp'] }],
      [claims, { b64: false }],
      [claims, { jwk: {} }],
      [claims, { kid: undefined }],
      [claims, { alg: 'RS256' }],
    ]
    for (const [body, header] of variants) {
      const reply = await scene.introspect(await forged(scene, body, header))
      expect(reply.text, JSON.stringify([body, header])).toBe(inactive)
    }
  })

  it('I6 is of this moment when another process has disabled the client, and stays so when it is enabled again', async () => {
    const { server, clock, begin, isActive } = await startAccess()
    const { accessToken } = await begin()
    const store = await server.openOther()
    expect(await isActive(accessToken)).toBe(true)
    await store.setClientStatus('billing', 'disabled', 'cli:test')
    expect(await isActive(accessToken)).toBe(false)
    await store.setClientStatus('billing', 'active', 'cli:test')
    expect(await isActive(accessToken)).toBe(false)
    clock.advance(3)
    expect(await isActive(accessToken)).toBe(false)
    expect(await isActive((await begin()).accessToken)).toBe(true)
    await store.deleteClient('billing', 'cli:test')
    expect(await isActive(accessToken)).toBe(false)
  })

  it.each(['client', 'store'])(
    'G28 lets the stricter of two moments win, also when that of the %s is',
    async (stricter) => {
      const { server, clock, begin, isActive } = await startAccess()
      const { default: Database } = await import('better-sqlite3')
      const sqlite = new Database(server.settings.databasePath)
      onTestFinished(() => void sqlite.close())
      const { accessToken: old } = await begin()
      clock.advance(10)
      const between = clock.nowMilliseconds()
      clock.advance(10)
      const { accessToken: young } = await begin()
      const [early, late] = [between, clock.nowMilliseconds() + 2_000]
      const [ofClient, ofStore] = stricter === 'client' ? [late, early] : [early, late]
      const set = (client: number | null, store: number | null) => {
        sqlite.prepare(`UPDATE client SET tokens_after = ? WHERE client_id = 'billing'`).run(client)
        sqlite.prepare('UPDATE installation SET tokens_after = ?').run(store)
        sqlite.exec(`UPDATE sequence SET value = value + 1 WHERE name = 'registry'`)
      }
      set(early, null)
      expect([await isActive(old), await isActive(young)]).toEqual([false, true])
      set(null, early)
      expect([await isActive(old), await isActive(young)]).toEqual([false, true])
      set(ofClient, ofStore)
      expect([await isActive(old), await isActive(young)]).toEqual([false, false])
    },
  )

  it('JK-05 knows nothing of the tokens of a key that was revoked, from the next request on', async () => {
    const { server, begin, isActive, clock } = await startAccess()
    const { accessToken } = await begin()
    expect(await isActive(accessToken)).toBe(true)
    const kid = String(headerOf(accessToken).kid)
    const now = clock.nowMilliseconds()
    const changed = await (await server.openOther()).changeRing(
      {
        moves: [{ kid, from: 'active', to: 'compromised' }],
        adds: [],
        at: { now, running: 0, wall: now, resets: 0 },
        timing: { accessTokenMaxTtlSeconds: 3600, jwksMaxAgeSeconds: 300 },
        reason: 'emergency',
      },
      'cli:test',
    )
    expect(changed).toBe(true)
    expect(await isActive(accessToken)).toBe(false)
  })

  it('I18 goes on for one client while everything of another ends', async () => {
    const { server, begin, revoke, introspect, isActive, client, other, service } = await startAccess()
    const theirs = await begin(other)
    const before = (await introspect(theirs.accessToken)).text
    const mine = await begin(client)
    await revoke(mine.accessToken, client)
    await revoke(mine.refreshToken, client)
    await revoke(theirs.accessToken, client)
    await revoke(theirs.refreshToken, client)
    await server.store.setClientStatus('billing', 'disabled', 'cli:test')
    await server.store.deleteClient('billing', 'cli:test')
    expect((await introspect(theirs.accessToken, service)).text).toBe(before)
    expect(await isActive(mine.accessToken)).toBe(false)
  })

  it('I26 does not revive an expired token when the clock steps back', async () => {
    const { clock, begin, isActive } = await startAccess()
    const { accessToken } = await begin()
    clock.advance(299)
    expect(await isActive(accessToken)).toBe(true)
    clock.advance(1)
    expect(await isActive(accessToken)).toBe(false)
    clock.step(-200)
    expect(await isActive(accessToken)).toBe(false)
  })

  it('answers 503 once another process has accepted another issuer', async () => {
    const { server, begin, introspect, revoke, verify } = await startAccess()
    const { accessToken } = await begin()
    await (await server.openOther()).setIssuer('https://new.example.test', 'cli:test', { replace: true })
    for (const reply of [await introspect(accessToken), await revoke(accessToken), await verify(accessToken)]) {
      expect(reply.status).toBe(503)
    }
  })

  it('leaves no record, and counts its answers', async () => {
    const { server, begin, introspect, verify } = await startAccess()
    const { accessToken } = await begin()
    const before = await server.store.listAudit({ limit: 100 })
    await introspect(accessToken)
    await introspect('x')
    await verify(accessToken)
    await verify('x')
    expect(await server.store.listAudit({ limit: 100 })).toEqual(before)
    const { text } = await request(`${server.url}/metrics`)
    expect(text).toContain('mayfly_token_checks_total{endpoint="introspect",outcome="active"} 1')
    expect(text).toContain('mayfly_token_checks_total{endpoint="introspect",outcome="inactive"} 1')
    expect(text).toContain('mayfly_token_checks_total{endpoint="verify",outcome="active"} 1')
    expect(text).toContain('mayfly_refusals_total{reason="token_inactive"} 1')
  })

  it('IN-08 may not be kept by anybody, nor read by pages of other origins', async () => {
    const { begin, introspect } = await startAccess()
    const { accessToken } = await begin()
    for (const token of [accessToken, 'x']) {
      const reply = await introspect(token, undefined, { origin: 'https://page.test' })
      expect(reply.headers.get('cache-control')).toBe('no-store')
      expect(reply.headers.get('access-control-allow-origin')).toBeNull()
    }
  })
})

describe('a signed answer', () => {
  it('IN-06 is a JWT of its own type for the caller alone, which the JWKS verifies', async () => {
    const { server, begin, introspect } = await startAccess()
    const { accessToken } = await begin()
    const reply = await introspect(accessToken, undefined, { accept: signedType })
    expect([reply.status, reply.headers.get('content-type')]).toEqual([200, signedType])
    expect(reply.headers.get('cache-control')).toBe('no-store')
    const keys = createRemoteJWKSet(new URL(`${server.url}/.well-known/jwks.json`))
    const { payload, protectedHeader } = await jwtVerify(reply.text, keys, {
      typ: 'token-introspection+jwt',
      issuer: server.issuer,
      audience: 'service',
    })
    expect(protectedHeader).toEqual({ typ: 'token-introspection+jwt', alg: 'ES256', kid: expect.any(String) })
    expect(Object.keys(payload).toSorted()).toEqual(['aud', 'iat', 'iss', 'token_introspection'])
    expect(payload.token_introspection).toEqual({ active: true, token_type: 'Bearer', ...claimsOf(accessToken) })
  })

  it('IN-06 is signed with the algorithm that is advertised', async () => {
    const { server, begin, introspect } = await startAccess({ env: { MAYFLY_SIGNING_ALG: 'RS256' } })
    const { accessToken } = await begin()
    const metadata = await request(`${server.url}/.well-known/oauth-authorization-server`)
    expect(metadata.json.introspection_signing_alg_values_supported).toEqual(['RS256'])
    const reply = await introspect(accessToken, undefined, { accept: signedType })
    expect(decodeProtectedHeader(reply.text).alg).toBe('RS256')
  })

  it('IN-07 holds nothing but active:false where a plain one would, and none for whoever is not known', async () => {
    const scene = await startAccess()
    const { accessToken } = await scene.begin()
    for (const [token, caller] of [
      ['x', scene.service],
      [accessToken, scene.other],
    ] as const) {
      const reply = await scene.introspect(token, caller, { accept: signedType })
      const claims = decodeJwt(reply.text)
      expect(claims.token_introspection).toEqual({ active: false })
      expect(claims.aud).toBe(caller.clientId)
      expect(Object.keys(claims).toSorted()).toEqual(['aud', 'iat', 'iss', 'token_introspection'])
    }
    const refused = await ask(scene, `token=${accessToken}`, { accept: signedType })
    expect([refused.status, refused.headers.get('content-type')]).toEqual([401, 'application/json'])
  })

  it.each([
    [signedType, true],
    ['Application/Token-Introspection+JWT', true],
    [`${signedType};q=0.5, application/json;q=0.4`, true],
    [`${signedType}, */*`, true],
    [`text/html, ${signedType};q=0.1`, true],
    ['*/*', false],
    ['application/*', false],
    ['application/json', false],
    [`application/json, ${signedType}`, false],
    [`${signedType};q=0`, false],
    [`${signedType};q=0, */*`, false],
    [`${signedType};q=0.5, application/*`, false],
    ['text/html', false],
    ['', false],
    ['nonsense', false],
  ])('IN-06 is given for Accept: %s only if that wants it (%s)', async (accept, isSigned) => {
    const { introspect } = await startAccess()
    const reply = await introspect('x', undefined, { accept })
    expect(reply.headers.get('content-type')).toBe(isSigned ? signedType : 'application/json')
  })
})

describe('a token that our key signed and that we have not made', () => {
  interface Line {
    readonly fields: Readonly<Record<string, unknown>>
    readonly message: string
  }

  function recorder(): { log: Log; errors: Line[] } {
    const errors: Line[] = []
    const quiet = () => {}
    const error = (fields: object, message: string) => void errors.push({ fields: { ...fields }, message })
    return { errors, log: { debug: quiet, info: quiet, warn: quiet, error } }
  }

  it('raises an alarm once for each key, with a record and a line, and is counted each time', async () => {
    const { log, errors } = recorder()
    const scene = await startAccess({ log })
    const { server, begin, introspect, verify, revoke } = scene
    const { accessToken } = await begin()
    const jti = makeUlid(scene.clock.nowMilliseconds())
    const token = await forged(scene, { ...claimsOf(accessToken), jti })
    const first = await introspect(token)
    expect(first.text).toBe(inactive)
    expect((await verify(token)).status).toBe(401)
    expect((await revoke(token)).status).toBe(200)
    await introspect(await forged(scene, { ...claimsOf(accessToken), sub: 'admin' }))
    const kid = String(headerOf(accessToken).kid)
    const events = await server.store.listAudit({ type: 'token.forged', limit: 10 })
    expect(events).toMatchObject([
      { kid, requestId: first.headers.get('x-request-id'), address: '127.0.0.1', detail: { fault: 'unrecorded' } },
    ])
    expect(errors).toMatchObject([
      { fields: { kid, fault: 'unrecorded' }, message: expect.stringContaining('docs/forged-token.md') },
    ])
    for (const text of [JSON.stringify(events), JSON.stringify(errors)]) expect(text).not.toContain(token.slice(-40))
    expect((await request(`${server.url}/metrics`)).text).toContain('mayfly_forged_tokens_total 4')
    const staged = await signerOf(scene, 'ES256', 'staged')
    await introspect(await forge(staged, { typ: 'at+jwt', alg: 'ES256', kid: staged.kid }, claimsOf(accessToken)))
    const [newest] = await server.store.listAudit({ type: 'token.forged', limit: 10 })
    expect(newest).toMatchObject({ kid: staged.kid, detail: { fault: 'key_staged' } })
  })

  it('is none that anybody can make without the key', async () => {
    const { log, errors } = recorder()
    const scene = await startAccess({ log })
    const { accessToken } = await scene.begin()
    const staged = await signerOf(scene, 'ES256', 'staged')
    const [header, , signature] = accessToken.split('.')
    const claims = { ...claimsOf(accessToken), jti: makeUlid(scene.clock.nowMilliseconds()) }
    const body = Buffer.from(JSON.stringify(claims)).toString('base64url')
    const named = Buffer.from(JSON.stringify({ typ: 'at+jwt', alg: 'ES256', kid: staged.kid })).toString('base64url')
    for (const token of [`${header}.${body}.${signature}`, `${named}.${body}.${signature}`])
      await scene.introspect(token)
    await scene.introspect((await scene.introspect(accessToken, undefined, { accept: signedType })).text)
    scene.clock.advance(301)
    await scene.introspect(accessToken)
    expect(errors).toEqual([])
    expect(await scene.server.store.listAudit({ type: 'token.forged', limit: 10 })).toEqual([])
  })

  it('is told of again until it could be recorded', async () => {
    const { default: Database } = await import('better-sqlite3')
    const scene = await startAccess()
    const { accessToken } = await scene.begin()
    const token = await forged(scene, { ...claimsOf(accessToken), jti: makeUlid(scene.clock.nowMilliseconds()) })
    const sqlite = new Database(scene.server.settings.databasePath)
    onTestFinished(() => void sqlite.close())
    sqlite.exec(`CREATE TRIGGER broken BEFORE INSERT ON audit_event BEGIN SELECT RAISE(ABORT, 'broken'); END`)
    expect((await scene.introspect(token)).text).toBe(inactive)
    sqlite.exec('DROP TRIGGER broken')
    expect((await scene.introspect(token)).text).toBe(inactive)
    expect(await scene.server.store.listAudit({ type: 'token.forged', limit: 10 })).toHaveLength(1)
  })
})

describe('the memory of verified tokens', () => {
  it('answers again without the record or the signature, until something moves', async () => {
    const scene = await startAccess()
    const { begin, isActive, revoke, server } = scene
    const { accessToken } = await begin()
    expect(await isActive(accessToken)).toBe(true)
    const { default: Database } = await import('better-sqlite3')
    const sqlite = new Database(server.settings.databasePath)
    onTestFinished(() => void sqlite.close())
    sqlite.exec('DELETE FROM issuance')
    expect(await isActive(accessToken)).toBe(true)
    await revoke((await begin()).accessToken)
    expect(await isActive(accessToken)).toBe(false)
  })

  it('is of one process: another that was started later knows what has ended', async () => {
    const { server, clock, begin, revoke, client, service } = await startAccess()
    const { accessToken } = await begin()
    await revoke(accessToken)
    const late = await startTestServer({ clock, folder: server.folder, env: { MAYFLY_ISSUER: server.issuer } })
    expect(await actionsOn(late, client, service).isActive(accessToken)).toBe(false)
  })
})
