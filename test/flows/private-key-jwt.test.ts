import { createPublicKey } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { assertionType } from '../../src/client/private-key-jwt.ts'
import { type ForeignAlg, foreignAlgs } from '../../src/oauth/public-jwk.ts'
import {
  AssertionMaker,
  credentialsOf,
  encodePart,
  formOf,
  macParts,
  makeTestKey,
  signParts,
  signText,
  type TestKey,
} from '../support/assertion.ts'
import { json, keysUrl, leadTo, startOutside } from '../support/outside.ts'
import {
  addClient,
  addKeyClient,
  addResource,
  api,
  claimsOf,
  getToken,
  ManualClock,
  type Reply,
  request,
  requestToken,
  startTestServer,
  type TestServer,
  type TestServerOptions,
} from '../support/server.ts'
import { wrongClaims, wrongHeaders } from '../support/wrong-assertions.ts'

const grant = { grant_type: 'client_credentials' }
const jtiOf = (length: number): string => 'j'.repeat(length)

async function start(options: TestServerOptions = {}, key = makeTestKey('ES256', 'one')) {
  const clock = new ManualClock()
  const server = await startTestServer({ clock, ...options })
  await addResource(server.store)
  await addKeyClient(server.store, 'signer', [key], { introspects: [api] })
  const maker = new AssertionMaker('signer', server.issuer, key, clock)
  return { server, clock, key, maker }
}

async function lastReason(server: TestServer): Promise<unknown> {
  const [entry] = await server.store.listAudit({ type: 'token.refused', limit: 1 })
  return entry?.type === 'token.refused' ? entry.reason : undefined
}

/** A refusal is one and the same to its caller, and told apart in the trail. */
async function expectRefused(server: TestServer, form: Record<string, string>, reason: string): Promise<Reply> {
  const reply = await requestToken(server, form)
  expect([reply.status, reply.json]).toEqual([
    400,
    { error: 'invalid_client', error_description: 'client authentication failed' },
  ])
  expect(await lastReason(server)).toBe(reason)
  return reply
}

describe('private_key_jwt', () => {
  it('JA-01 gets a token, and the record names the key', async () => {
    const { server, maker, key } = await start()
    const reply = await requestToken(server, maker.form())
    expect([reply.status, reply.json.scope]).toEqual([200, 'read write'])
    expect(reply.headers.get('cache-control')).toContain('no-store')
    expect(claimsOf(String(reply.json.access_token))).toMatchObject({ sub: 'signer', client_id: 'signer', aud: api })
    const [entry] = await server.store.listAudit({ type: 'token.issued', limit: 1 })
    expect(entry).toMatchObject({ credentialId: `key_${key.publicKey.thumbprint}` })
    expect(entry).not.toHaveProperty('secretId')
  })

  it.each(foreignAlgs)('JA-01 takes %s of a key that it fits, registered or not', async (alg) => {
    const { server, maker, key } = await start({}, makeTestKey(alg))
    expect((await requestToken(server, maker.form())).status).toBe(200)
    await server.store.updateClient('signer', { assertionAlg: key.alg }, 'cli:test')
    expect((await requestToken(server, maker.form())).status).toBe(200)
  })

  it.each<[ForeignAlg, ForeignAlg]>([
    ['Ed25519', 'EdDSA'],
    ['EdDSA', 'Ed25519'],
  ])('JA-10 takes %s where %s is registered: it is one algorithm', async (alg, registered) => {
    const { server, maker } = await start({}, makeTestKey(alg))
    await server.store.updateClient('signer', { assertionAlg: registered }, 'cli:test')
    expect((await requestToken(server, maker.form())).status).toBe(200)
  })

  it('JA-02 may have its audience as a list of one', async () => {
    const { server, maker } = await start()
    expect((await requestToken(server, maker.form({ aud: [maker.issuer] }))).status).toBe(200)
  })

  it('JA-12 may leave client_id out, or name the same client', async () => {
    const { server, maker } = await start()
    expect((await requestToken(server, { ...maker.form(), client_id: 'signer' })).status).toBe(200)
    const reply = await requestToken(server, { ...maker.form(), client_id: 'other' })
    expect([reply.status, reply.json.error]).toEqual([400, 'invalid_request'])
    expect(await lastReason(server)).toBe('authentication_client_mismatch')
  })

  it('JA-11 may leave its type out, or write it as JWT does', async () => {
    const { server, maker } = await start()
    for (const typ of [undefined, 'JWT', 'jwt', 'client-authentication+jwt', 'application/client-authentication+jwt'])
      expect((await requestToken(server, maker.form({}, { typ }))).status, String(typ)).toBe(200)
  })

  it('JA-07 may leave iat out, have nbf, and be made by a clock that is a minute ahead or behind', async () => {
    const { server, maker } = await start()
    const { now } = maker
    for (const claims of [
      { iat: undefined },
      { nbf: now },
      { iat: now + 10, nbf: now + 10 },
      { iat: now + 60, nbf: now + 60, exp: now + 120 },
      { iat: now - 119, exp: now - 59 },
      { iat: now, exp: now + 300 },
      { iat: undefined, exp: now + 360 },
    ])
      expect((await requestToken(server, maker.form(claims))).status, JSON.stringify(claims)).toBe(200)
  })

  it('J20 may name the token endpoint where that is set, with the issuer or without, and nobody else', async () => {
    const env = { MAYFLY_ASSERTION_AUDIENCE: 'issuer-or-token-endpoint' }
    const { server, maker } = await start({ env })
    const { issuer } = maker
    for (const aud of [issuer, `${issuer}/token`, [`${issuer}/token`], [issuer, `${issuer}/token`]])
      expect((await requestToken(server, maker.form({ aud }))).status, JSON.stringify(aud)).toBe(200)
    for (const aud of [[`${issuer}/token`, 'https://evil.test'], `${issuer}/revoke`, [issuer, issuer], `${issuer}/`])
      await expectRefused(server, maker.form({ aud }), 'assertion_audience_wrong')
  })

  it('is named by its key in the record of a refusal, once it has proved its client, and not before', async () => {
    const { server, maker, key } = await start()
    await requestToken(server, { ...maker.form(), scope: 'admin' })
    await requestToken(server, maker.form({}, { kid: 'x' }))
    const [unproved, proved] = await server.store.listAudit({ type: 'token.refused', limit: 2 })
    expect(proved).toMatchObject({ reason: 'scope_not_allowed', credentialId: `key_${key.publicKey.thumbprint}` })
    expect(unproved).toMatchObject({ reason: 'assertion_key_unknown', clientId: 'signer' })
    expect(unproved).not.toHaveProperty('credentialId')
  })

  it('needs no secret beside it, and a client with keys takes none', async () => {
    const { server, maker } = await start()
    const { secret } = await addClient(server.store, 'other')
    await expectRefused(server, { ...grant, client_id: 'signer', client_secret: secret }, 'secret_unknown')
    await expectRefused(server, { ...grant, client_id: 'signer' }, 'authentication_missing')
    expect((await requestToken(server, maker.form())).status).toBe(200)
  })
})

describe('private_key_jwt refuses an assertion', () => {
  // One by one in test/client/private-key-jwt.test.ts.
  it('JA-03 JA-04 JA-05 JA-06 JA-07 JA-08 JA-10 JA-11 that is wrong in claims or header, with the same bytes', async () => {
    const { server, maker } = await start()
    const texts = new Set<string>()
    for (const [name, spoil, reason] of wrongClaims) {
      const reply = await requestToken(server, maker.form(spoil(maker)))
      expect([reply.status, await lastReason(server)], name).toEqual([400, `assertion_${reason}`])
      texts.add(reply.text)
    }
    for (const [name, header, reason] of wrongHeaders.slice(0, 10)) {
      const reply = await requestToken(server, maker.form({}, header))
      expect([reply.status, await lastReason(server)], name).toEqual([400, `assertion_${reason}`])
      texts.add(reply.text)
    }
    expect(texts.size).toBe(1)
    expect((await requestToken(server, maker.form())).status).toBe(200)
  })

  it('JA-06 of a client that does not exist, or is disabled, or deleted, with the same bytes', async () => {
    const { server, maker, key, clock } = await start()
    for (const id of ['disabled', 'deleted']) await addKeyClient(server.store, id, [key])
    await server.store.setClientStatus('disabled', 'disabled', 'cli:test')
    await server.store.deleteClient('deleted', 'cli:test')
    const wrong = await expectRefused(server, maker.form({}, { kid: 'x' }), 'assertion_key_unknown')
    for (const [id, reason] of [
      ['nobody', 'client_unknown'],
      ['deleted', 'client_unknown'],
      ['disabled', 'client_disabled'],
    ] as const) {
      const reply = await expectRefused(server, new AssertionMaker(id, maker.issuer, key, clock).form(), reason)
      expect(reply.text).toBe(wrong.text)
      const names = (headers: Headers) => [...headers.keys()].toSorted()
      expect(names(reply.headers)).toEqual(names(wrong.headers))
    }
  })

  it('JA-10 J11 by a key of another client', async () => {
    const { server, maker, clock } = await start()
    const foreign = makeTestKey('ES256', 'foreign')
    await addKeyClient(server.store, 'other', [foreign])
    const forged = new AssertionMaker('signer', maker.issuer, foreign, clock)
    await expectRefused(server, forged.form(), 'assertion_key_unknown')
    await expectRefused(server, forged.form({}, { kid: 'one' }), 'assertion_signature_wrong')
    await expectRefused(server, forged.form({}, { kid: undefined }), 'assertion_signature_wrong')
  })

  it('JA-10 of an algorithm that is not the registered one', async () => {
    const { server, maker } = await start({}, makeTestKey('RS256'))
    const pss = signParts({ ...maker.key, alg: 'PS256' }, maker.header({ alg: 'PS256' }), maker.claims())
    expect((await requestToken(server, formOf(pss))).status).toBe(200)
    await server.store.updateClient('signer', { assertionAlg: 'RS256' }, 'cli:test')
    const again = signParts({ ...maker.key, alg: 'PS256' }, maker.header({ alg: 'PS256' }), maker.claims())
    await expectRefused(server, formOf(again), 'assertion_alg_not_registered')
    expect((await requestToken(server, maker.form())).status).toBe(200)
  })

  it('J01 J02 J03 J09 under a MAC, whatever its secret is', async () => {
    const { server, maker, key } = await start()
    const { secret } = await addClient(server.store, 'other')
    const pem = createPublicKey(key.privateKey).export({ type: 'spki', format: 'pem' }).toString()
    const ours = (await request(`${server.url}/.well-known/jwks.json`)).json.keys as object[]
    for (const mac of [
      pem,
      pem.trim(),
      ` ${pem}`,
      createPublicKey(key.privateKey).export({ type: 'spki', format: 'der' }),
      JSON.stringify(key.publicKey.jwk),
      ...ours.map((jwk) => JSON.stringify(jwk)),
      secret,
      '',
    ]) {
      const forged = macParts(mac, maker.header({ alg: 'HS256' }), maker.claims())
      await expectRefused(server, formOf(forged), 'assertion_alg_unsupported')
    }
  })

  it('JA-15 J06 J07 J08 that brings a key along, or says where one is: nobody looks, and nothing is asked', async () => {
    const outside = await startOutside(json({ keys: [] }))
    const { server, maker, clock } = await start({ outside: leadTo(outside) })
    const attacker = makeTestKey('ES256')
    const forged = new AssertionMaker('signer', maker.issuer, attacker, clock)
    for (const header of [
      { jwk: attacker.publicKey.jwk },
      { jku: keysUrl },
      { x5u: keysUrl },
      { x5c: ['MIIB'] },
      { x5t: 'x', 'x5t#S256': 'x' },
    ]) {
      await expectRefused(server, forged.form({}, header), 'assertion_signature_wrong')
      expect((await requestToken(server, maker.form({}, header))).status).toBe(200)
    }
    expect(outside.connections()).toBe(0)
  })

  it('J26 with a signature of another form', async () => {
    const { server, maker, key } = await start()
    const [header = '', claims = '', signature = ''] = maker.make().split('.')
    const input = `${header}.${claims}`
    const raw = signText(key, 'ES256', input)
    const other = (bytes: Buffer) => formOf(`${input}.${bytes.toString('base64url')}`)
    for (const bytes of [Buffer.alloc(64), raw.subarray(0, 63), Buffer.concat([raw, Buffer.alloc(1)]), raw.reverse()])
      await expectRefused(server, other(Buffer.from(bytes)), 'assertion_signature_wrong')
    const wrongLetter = signature.startsWith('A') ? `B${signature.slice(1)}` : `A${signature.slice(1)}`
    await expectRefused(server, formOf(`${input}.${wrongLetter}`), 'assertion_signature_wrong')
  })

  it('JA-17 J04 J28 J29 that is no plain JWT', async () => {
    const { server, maker } = await start()
    const [header = '', claims = '', signature = ''] = maker.make().split('.')
    const flattened = JSON.stringify({ protected: header, payload: claims, signature })
    const general = JSON.stringify({ payload: claims, signatures: [{ protected: header, signature }] })
    const jwe = `${encodePart({ alg: 'PBES2-HS256+A128KW', enc: 'A128GCM', p2c: 2 ** 31, p2s: 'x' })}.a.b.c.d`
    for (const text of [
      'x',
      'a.b.c',
      '..',
      `${header}.${claims}`,
      `${header}.${claims}.`,
      `${header}.${claims}.${signature}=`,
      `${header}.${claims}.${signature}.`,
      ` ${header}.${claims}.${signature}`,
      flattened,
      general,
      jwe,
      '.'.repeat(20_000),
      `${header}.${encodePart({ ...maker.claims(), note: 'x'.repeat(16_384) })}.${signature}`,
      `${header}.${encodePart(`{"deep":${'['.repeat(5_000)}${']'.repeat(5_000)}}`)}.${signature}`,
    ])
      await expectRefused(server, formOf(text), 'assertion_malformed')
  })

  it('JA-17 J32 that two could read differently', async () => {
    const { server, maker, key } = await start()
    const text = JSON.stringify(maker.claims())
    for (const claims of [
      text.replace('{', '{"sub":"other",'),
      text.replace('{', '{"\\u0073ub":"other",'),
      `\ufeff${text}`,
      Buffer.concat([Buffer.from(text.slice(0, -1)), Buffer.from([0x2c, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d])]),
      text.replace(/"exp":\d+/, '"exp":1e999'),
      '[]',
      'null',
    ])
      await expectRefused(server, formOf(signParts(key, maker.header(), claims)), 'assertion_malformed')
    const twice = '{"alg":"ES256","alg":"none"}'
    await expectRefused(server, formOf(signParts(key, twice, maker.claims())), 'assertion_malformed')
  })

  it('JA-13 HTTP-04 in halves, twice, or of a type that there is not', async () => {
    const { server, maker } = await start()
    const assertion = maker.make()
    for (const half of [{ client_assertion: assertion }, { client_assertion_type: assertionType }]) {
      const reply = await requestToken(server, { ...grant, ...half, client_id: 'signer' })
      expect([reply.status, reply.json.error]).toEqual([400, 'invalid_request'])
      expect(await lastReason(server)).toBe('assertion_incomplete')
    }
    const twice = `${new URLSearchParams(formOf(assertion))}&client_assertion=${assertion}`
    expect((await requestToken(server, twice)).json.error).toBe('invalid_request')
    for (const type of ['urn:ietf:params:oauth:client-assertion-type:saml2-bearer', `${assertionType} `, 'jwt-bearer'])
      await expectRefused(
        server,
        { ...formOf(assertion), client_assertion_type: type },
        'authentication_method_unsupported',
      )
    expect((await requestToken(server, formOf(assertion))).status).toBe(200)
  })

  it('CA-07 C01 beside another method', async () => {
    const { server, maker } = await start()
    const { secret, basic } = await addClient(server.store, 'other')
    const withSecret = { ...maker.form(), client_id: 'signer', client_secret: secret }
    for (const [form, headers] of [
      [withSecret, {}],
      [maker.form(), { authorization: basic }],
      [maker.form(), { authorization: 'Bearer x' }],
    ] as const) {
      const reply = await requestToken(server, form, headers)
      expect([reply.status, reply.json.error]).toEqual([400, 'invalid_request'])
    }
  })

  it('CA-09 C10 where the client is not registered for it, and a secret where it is', async () => {
    const { server, key, clock, maker } = await start()
    const { secret } = await addClient(server.store, 'secret', { keys: { kind: 'inline', jwks: [key.publicKey.jwk] } })
    const assertion = new AssertionMaker('secret', maker.issuer, key, clock)
    await expectRefused(server, assertion.form(), 'assertion_key_unknown')
    await server.store.updateClient('secret', { authMethods: ['private_key_jwt'] }, 'cli:test')
    expect((await requestToken(server, assertion.form())).status).toBe(200)
    const form = { ...grant, client_id: 'secret', client_secret: secret }
    await expectRefused(server, form, 'authentication_method_not_registered')
  })

  it('AT-08 G01 that is an access token of ours', async () => {
    const { server } = await start()
    const token = await getToken(server, await addClient(server.store, 'other'))
    await expectRefused(server, formOf(token), 'assertion_type_wrong')
  })
})

describe('an assertion counts once', () => {
  it('JA-09 J21 and not a second time', async () => {
    const { server, maker } = await start()
    const form = maker.form()
    expect((await requestToken(server, form)).status).toBe(200)
    await expectRefused(server, form, 'assertion_replayed')
  })

  it('J21 whatever else of it is different: who made it and its id are what counts', async () => {
    const { server, maker } = await start()
    const jti = jtiOf(256)
    expect((await requestToken(server, maker.form({ jti }))).status).toBe(200)
    await expectRefused(server, maker.form({ jti, exp: maker.now + 120 }), 'assertion_replayed')
  })

  it('and another client may use the same id', async () => {
    const { server, maker, clock } = await start()
    const key = makeTestKey('ES256')
    await addKeyClient(server.store, 'other', [key])
    const other = new AssertionMaker('other', maker.issuer, key, clock)
    expect((await requestToken(server, maker.form({ jti: 'same' }))).status).toBe(200)
    expect((await requestToken(server, other.form({ jti: 'same' }))).status).toBe(200)
  })

  it('JA-09 not with a request that was refused for another reason', async () => {
    const { server, maker } = await start()
    const form = maker.form()
    expect((await requestToken(server, { ...form, scope: 'admin' })).json.error).toBe('invalid_scope')
    expect((await requestToken(server, form)).status).toBe(200)
  })

  it.each(['revoke', 'introspect'])('JA-14 J21 at /%s, with the issuer as audience', async (path) => {
    const { server, maker } = await start()
    const post = (form: Record<string, string>) =>
      request(`${server.url}/${path}`, { method: 'POST', body: new URLSearchParams({ token: 'x', ...form }) })
    const once = credentialsOf(maker.make())
    expect((await post(once)).status).toBe(200)
    const again = await post(once)
    expect([again.json.error, await lastReason(server)]).toEqual(['invalid_client', 'assertion_replayed'])
    await expectRefused(server, { ...grant, ...once }, 'assertion_replayed')
    const wrong = await post(credentialsOf(maker.make({ aud: `${server.issuer}/${path}` })))
    expect([wrong.json.error, await lastReason(server)]).toEqual(['invalid_client', 'assertion_audience_wrong'])
    const spent = maker.make()
    expect((await requestToken(server, formOf(spent))).status).toBe(200)
    expect((await post(credentialsOf(spent))).json.error).toBe('invalid_client')
  })

  it('JA-14 J21 before a token is revoked on its word', async () => {
    const { server, maker } = await start()
    const token = String((await requestToken(server, maker.form())).json.access_token)
    const spent = maker.make()
    expect((await requestToken(server, formOf(spent))).status).toBe(200)
    const post = (path: string, assertion: string) =>
      request(`${server.url}/${path}`, {
        method: 'POST',
        body: new URLSearchParams({ token, ...credentialsOf(assertion) }),
      })
    expect((await post('revoke', spent)).status).toBe(400)
    expect((await post('introspect', maker.make())).json.active).toBe(true)
    expect((await post('revoke', maker.make())).status).toBe(200)
    expect((await post('introspect', maker.make())).json.active).toBe(false)
  })

  it('J22 I17 of a hundred at a time, at two processes on one database', async () => {
    // A replay is a failed authentication, and there are more of them here than a minute takes of one address.
    const unlimited = { MAYFLY_RATE_LIMIT_FAILURES: '1000000' }
    const { server, maker, clock } = await start({ env: unlimited })
    const env = { MAYFLY_ISSUER: server.issuer, ...unlimited }
    const other = await startTestServer({ folder: server.folder, clock, env })
    for (let round = 0; round < 3; round += 1) {
      const form = maker.form()
      const replies = await Promise.all(
        Array.from({ length: 100 }, (_, i) => requestToken(i % 2 === 0 ? server : other, form)),
      )
      expect(replies.filter(({ status }) => status === 200)).toHaveLength(1)
      expect(replies.filter(({ json }) => json.error === 'invalid_client')).toHaveLength(99)
    }
    expect(await server.store.listAudit({ type: 'token.issued', limit: 10 })).toHaveLength(3)
  })

  it('J24 after a restart too, until nobody would take it any more', async () => {
    const { server, maker, clock } = await start()
    const form = maker.form({ iat: maker.now, exp: maker.now + 300 })
    expect((await requestToken(server, form)).status).toBe(200)
    await server.stop()
    const restarted = await startTestServer({ folder: server.folder, clock, env: { MAYFLY_ISSUER: server.issuer } })
    await expectRefused(restarted, form, 'assertion_replayed')
    clock.advance(359)
    await restarted.store.pruneReplays(clock.nowMilliseconds(), 100)
    await expectRefused(restarted, form, 'assertion_replayed')
    clock.advance(1)
    expect(await restarted.store.pruneReplays(clock.nowMilliseconds() + 1, 100)).toBe(1)
    await expectRefused(restarted, form, 'assertion_expired')
  })

  it('J24 F13 also where the store has gone back and does not know of it', async () => {
    const { server, maker, clock } = await start()
    const ahead = maker.form({ iat: maker.now + 59, exp: maker.now + 359 })
    const form = maker.form({ iat: maker.now, exp: maker.now + 300 })
    for (const each of [ahead, form]) expect((await requestToken(server, each)).status).toBe(200)
    expect(await server.store.pruneReplays(Number.MAX_SAFE_INTEGER, 100)).toBe(2)
    await server.store.acceptAsPresent({ registry: 0, mark: 0, issuedUpTo: 0 }, 'cli:test')
    const replayed = await requestToken(server, form)
    expect([replayed.status, replayed.json.error]).toEqual([503, 'temporarily_unavailable'])
    clock.advance(3)
    // One was made by a clock that is ahead.
    for (const each of [ahead, form]) expect((await requestToken(server, each)).status).toBe(503)
    clock.advance(60)
    for (const each of [ahead, form]) expect((await requestToken(server, each)).status).toBe(503)
    expect((await requestToken(server, maker.form())).status).toBe(200)
  })

  it('J21 I3 and a request that is sent again as a whole ends no refresh family', async () => {
    const { server, maker, clock } = await start()
    await server.store.updateClient('signer', { grantTypes: ['client_credentials', 'refresh_token'] }, 'cli:test')
    const refresh = (ticket: unknown) => ({
      ...credentialsOf(maker.make({ iat: maker.now, exp: maker.now + 300 })),
      grant_type: 'refresh_token',
      refresh_token: String(ticket),
    })
    const first = await requestToken(server, maker.form())
    const overheard = refresh(first.json.refresh_token)
    const second = await requestToken(server, overheard)
    expect(second.status).toBe(200)
    await expectRefused(server, overheard, 'assertion_replayed')
    // From here on a used ticket is one in two hands, and whoever shows it ends the family.
    clock.advance(120)
    await expectRefused(server, overheard, 'assertion_replayed')
    const third = await requestToken(server, refresh(second.json.refresh_token))
    expect(third.status).toBe(200)
    const reuse = refresh(first.json.refresh_token)
    expect((await requestToken(server, reuse)).json.error).toBe('invalid_grant')
    expect(await lastReason(server)).toBe('refresh_reused')
    expect((await requestToken(server, refresh(third.json.refresh_token))).json.error).toBe('invalid_grant')
    await expectRefused(server, { ...reuse, ...grant }, 'assertion_replayed')
  })

  it('and its replays fill no trail: they are sampled as those of strangers', async () => {
    const { server, maker } = await start()
    const form = maker.form()
    for (let i = 0; i < 80; i += 1) await requestToken(server, form)
    const refused = await server.store.listAudit({ type: 'token.refused', limit: 100 })
    expect(refused).toHaveLength(60)
    expect(refused[0]).toMatchObject({ clientId: 'signer' })
  })
})

describe('the keys of a client', () => {
  const add = (server: TestServer, keys: readonly TestKey[]) =>
    server.store.updateClient(
      'signer',
      { keys: { kind: 'inline', jwks: keys.map(({ publicKey }) => publicKey.jwk) } },
      'cli:test',
    )

  it('may be several at once: its own rollover', async () => {
    const { server, maker, key, clock } = await start()
    const next = makeTestKey('ES256', 'two')
    const nextMaker = new AssertionMaker('signer', maker.issuer, next, clock)
    await expectRefused(server, nextMaker.form(), 'assertion_key_unknown')
    await add(server, [key, next])
    for (const form of [maker.form(), nextMaker.form()]) expect((await requestToken(server, form)).status).toBe(200)
    await add(server, [next])
    await expectRefused(server, maker.form(), 'assertion_key_unknown')
    expect((await requestToken(server, nextMaker.form())).status).toBe(200)
  })

  it('J12 are told apart without a kid only where one alone fits', async () => {
    const { server, maker, key, clock } = await start()
    const rsa = makeTestKey('RS256', 'rsa')
    await add(server, [key, rsa])
    expect((await requestToken(server, maker.form({}, { kid: undefined }))).status).toBe(200)
    const rsaMaker = new AssertionMaker('signer', maker.issuer, rsa, clock)
    expect((await requestToken(server, rsaMaker.form({}, { kid: undefined }))).status).toBe(200)
    await add(server, [key, rsa, makeTestKey('ES256', 'two')])
    await expectRefused(server, maker.form({}, { kid: undefined }), 'assertion_key_ambiguous')
    expect((await requestToken(server, maker.form())).status).toBe(200)
  })

  it('are called by their thumbprints where they have no kid', async () => {
    const { server, maker, key } = await start({}, makeTestKey('ES256'))
    expect((await requestToken(server, maker.form({}, { kid: key.publicKey.thumbprint }))).status).toBe(200)
    await expectRefused(server, maker.form({}, { kid: 'one' }), 'assertion_key_unknown')
  })

  it('are forgotten at the next request', async () => {
    const { server, maker } = await start()
    await server.store.offboardClient('signer', 'cli:test')
    await expectRefused(server, maker.form(), 'client_disabled')
    await server.store.setClientStatus('signer', 'active', 'cli:test')
    await expectRefused(server, maker.form(), 'assertion_key_unknown')
  })
})
