/** The revocation endpoint, black box: RFC 7009. */
import Database from 'better-sqlite3'
import { describe, expect, it, onTestFinished } from 'vitest'
import { type AccessScene, actionsOn, startAccess } from '../support/access.ts'
import { claimsOf, request, startTestServer } from '../support/server.ts'

async function trail({ server }: AccessScene, type: 'token.revoked' | 'family.ended' | 'token.refused') {
  return server.store.listAudit({ type, limit: 50 })
}

function requestIdOf(reply: { headers: Headers }): string {
  return reply.headers.get('x-request-id') ?? ''
}

describe('POST /revoke with an access token', () => {
  it('RV-06 ends it at once, with a record, and nothing else of its client', async () => {
    const scene = await startAccess()
    const { begin, revoke, isActive, verify, refresh } = scene
    const [ended, kept] = [await begin(), await begin()]
    expect(await isActive(ended.accessToken)).toBe(true)
    const reply = await revoke(ended.accessToken)
    expect([reply.status, reply.text]).toEqual([200, ''])
    expect(reply.headers.get('cache-control')).toBe('no-store')
    expect(await isActive(ended.accessToken)).toBe(false)
    expect((await verify(ended.accessToken)).status).toBe(401)
    expect(await isActive(kept.accessToken)).toBe(true)
    expect((await refresh(ended.refreshToken)).status).toBe(200)
    expect(await trail(scene, 'token.revoked')).toMatchObject([
      {
        jti: claimsOf(ended.accessToken).jti,
        clientId: 'billing',
        requestId: requestIdOf(reply),
        address: '127.0.0.1',
      },
    ])
  })

  it('RV-06 I6 counts in another process at its next request, whichever of the two revoked', async () => {
    const scene = await startAccess()
    const second = await startTestServer({
      clock: scene.clock,
      folder: scene.server.folder,
      env: { MAYFLY_ISSUER: scene.server.issuer },
    })
    const there = actionsOn(second, scene.client, scene.service)
    for (let round = 0; round < 5; round += 1) {
      const [a, b] = [await scene.begin(), await there.begin()]
      for (const { accessToken } of [a, b]) {
        expect([await scene.isActive(accessToken), await there.isActive(accessToken)]).toEqual([true, true])
      }
      await scene.revoke(a.accessToken)
      expect([await there.isActive(a.accessToken), await there.isActive(b.accessToken)]).toEqual([false, true])
      await there.revoke(b.refreshToken)
      expect(await scene.isActive(b.accessToken)).toBe(false)
    }
  })

  it('RV-06 survives a restart', async () => {
    const { server, clock, begin, revoke, client, service } = await startAccess()
    const [jti, family] = [await begin(), await begin()]
    await revoke(jti.accessToken)
    await revoke(family.refreshToken)
    await server.stop()
    const again = await startTestServer({ clock, folder: server.folder, env: { MAYFLY_ISSUER: server.issuer } })
    const { isActive } = actionsOn(again, client, service)
    expect([await isActive(jti.accessToken), await isActive(family.accessToken)]).toEqual([false, false])
  })

  it('RV-06 holds while the clock steps back, and until the token has expired by itself', async () => {
    const { clock, begin, revoke, isActive } = await startAccess()
    const { accessToken } = await begin()
    await revoke(accessToken)
    for (const seconds of [-3600, 3600, 299, 1, 3600]) {
      clock.step(seconds)
      expect(await isActive(accessToken)).toBe(false)
    }
  })

  it('RV-02 is 200 again for what was revoked already, without a second record', async () => {
    const scene = await startAccess()
    const { accessToken } = await scene.begin()
    const replies = await Promise.all(Array.from({ length: 8 }, () => scene.revoke(accessToken)))
    replies.push(await scene.revoke(accessToken))
    expect(replies.map(({ status, text }) => [status, text])).toEqual(replies.map(() => [200, '']))
    expect(await trail(scene, 'token.revoked')).toHaveLength(1)
  })

  it('turns a thousand and one of a client into the end of all its tokens, not of those of others', {
    timeout: 120_000,
  }, async () => {
    const { server, clock, begin, revoke, isActive, other } = await startAccess()
    const { accessToken: mine } = await begin()
    const { accessToken: theirs } = await begin(other)
    const now = clock.nowMilliseconds()
    const store = await server.openOther()
    await Promise.all(
      Array.from({ length: 1_000 }, (_, i) =>
        store.revokeToken(
          { expiresAt: now + 300_000 },
          { type: 'token.revoked', jti: String(i), clientId: 'billing', actor: 'cli:test' },
        ),
      ),
    )
    expect(await isActive(mine)).toBe(true)
    const { accessToken: last } = await begin()
    await revoke(last)
    expect([await isActive(last), await isActive(mine), await isActive(theirs)]).toEqual([false, false, true])
    expect((await store.readMarks(0)).marks).toEqual([])
    clock.advance(3)
    expect(await isActive((await begin()).accessToken)).toBe(true)
  })
})

describe('POST /revoke with a refresh token', () => {
  it('RV-01 ends its family and every access token of it, with one record', async () => {
    const scene = await startAccess()
    const { begin, refresh, revoke, isActive } = scene
    const first = await begin()
    const second = await refresh(first.refreshToken)
    const apart = await begin()
    const reply = await revoke(String(second.json.refresh_token))
    expect([reply.status, reply.text]).toEqual([200, ''])
    expect((await refresh(String(second.json.refresh_token))).json.error).toBe('invalid_grant')
    expect(await isActive(first.accessToken)).toBe(false)
    expect(await isActive(String(second.json.access_token))).toBe(false)
    expect(await isActive(apart.accessToken)).toBe(true)
    expect(await trail(scene, 'family.ended')).toMatchObject([
      {
        familyId: claimsOf(first.accessToken).sid,
        clientId: 'billing',
        reason: 'revoked',
        requestId: requestIdOf(reply),
      },
    ])
  })

  it('RV-01 does so with a ticket that was used, or has expired, as well', async () => {
    const { clock, begin, refresh, revoke, isActive } = await startAccess({
      env: { MAYFLY_REFRESH_TOKEN_IDLE_TTL: '1m' },
    })
    const used = await begin()
    const next = await refresh(used.refreshToken)
    expect((await revoke(used.refreshToken)).status).toBe(200)
    expect((await refresh(String(next.json.refresh_token))).json.error).toBe('invalid_grant')
    const expired = await begin()
    clock.advance(120)
    expect(await isActive(expired.accessToken)).toBe(true)
    expect((await revoke(expired.refreshToken)).status).toBe(200)
    expect(await isActive(expired.accessToken)).toBe(false)
  })

  it('RV-01 counts at once against a refresh that is under way', async () => {
    const { begin, refresh, revoke, isActive } = await startAccess()
    for (let round = 0; round < 10; round += 1) {
      const { refreshToken } = await begin()
      const [raced, revoked] = await Promise.all([refresh(refreshToken), revoke(refreshToken)])
      expect(revoked.status).toBe(200)
      if (raced.status === 200) {
        expect(await isActive(String(raced.json.access_token))).toBe(false)
        expect((await refresh(String(raced.json.refresh_token))).json.error).toBe('invalid_grant')
      }
    }
  })

  it('RV-02 is 200 again when the family has ended, whatever ended it, and its reason stays', async () => {
    const scene = await startAccess()
    const { refreshToken } = await scene.begin()
    const second = await scene.refresh(refreshToken)
    await scene.refresh(String(second.json.refresh_token))
    await scene.refresh(refreshToken)
    for (let i = 0; i < 3; i += 1) expect((await scene.revoke(refreshToken)).status).toBe(200)
    expect(await trail(scene, 'family.ended')).toMatchObject([{ reason: 'reused' }])
  })
})

describe('POST /revoke', () => {
  it('RV-02 is 200 for what is no token of ours, and changes nothing', async () => {
    const scene = await startAccess()
    const { server, clock, begin, revoke, client } = scene
    const { accessToken, refreshToken } = await begin()
    const [header, payload] = accessToken.split('.')
    clock.advance(1)
    const before = [await server.store.readMarkSequence(), await server.store.readRegistrySequence()]
    const texts = [
      'x',
      ' ',
      '\u0001',
      '..',
      `${header}.${payload}.`,
      `${header}.${payload}.AAAA`,
      `${refreshToken.slice(0, -1)}${refreshToken.endsWith('0') ? '1' : '0'}`,
      client.secret,
      'x'.repeat(20_000),
      `${accessToken} `,
    ]
    for (const text of texts) {
      const reply = await revoke(text)
      expect([reply.status, reply.text], text.slice(0, 40)).toEqual([200, ''])
    }
    expect([await server.store.readMarkSequence(), await server.store.readRegistrySequence()]).toEqual(before)
    expect(await trail(scene, 'token.refused')).toEqual([])
    expect(await scene.isActive(accessToken)).toBe(true)
    clock.advance(300)
    expect((await revoke(accessToken)).status).toBe(200)
    expect(await server.store.readMarkSequence()).toBe(before[0])
  })

  it('RV-03 G26 I18 is 200 without effect for another client’s token, which the trail knows of', async () => {
    const scene = await startAccess()
    const { begin, revoke, refresh, isActive, other } = scene
    const { accessToken, refreshToken } = await begin()
    const replies = [await revoke(accessToken, other), await revoke(refreshToken, other)]
    for (const { status, text } of replies) expect([status, text]).toEqual([200, ''])
    expect(await isActive(accessToken)).toBe(true)
    expect((await refresh(refreshToken)).status).toBe(200)
    const refusals = await trail(scene, 'token.refused')
    expect(refusals.map((entry) => ('reason' in entry ? entry.reason : ''))).toEqual([
      'refresh_of_another_client',
      'token_of_another_client',
    ])
    for (const entry of refusals) expect(entry).toMatchObject({ endpoint: 'revoke', clientId: 'other' })
  })

  it('RV-04 needs a token, a client that proves itself, and POST', async () => {
    const { server, begin, revoke, client, isActive } = await startAccess()
    const { accessToken } = await begin()
    const post = (body: string, headers: Readonly<Record<string, string>>) =>
      request(`${server.url}/revoke`, {
        method: 'POST',
        body,
        headers: { 'content-type': 'application/x-www-form-urlencoded', ...headers },
      })
    for (const body of ['', 'token=', 'token_type_hint=access_token']) {
      const missing = await post(body, { authorization: client.basic })
      expect([missing.status, missing.json.error]).toEqual([400, 'invalid_request'])
    }
    const wrong = { ...client, basic: `${client.basic.slice(0, -8)}AAAAAAA=` }
    const failed = await revoke(accessToken, wrong)
    expect([failed.status, failed.json.error]).toEqual([401, 'invalid_client'])
    expect(failed.headers.get('www-authenticate')).toMatch(/^Basic /)
    const nobody = await post(`token=${accessToken}`, {})
    expect([nobody.status, nobody.json.error]).toEqual([400, 'invalid_client'])
    expect((await post(`token=${accessToken}&token=x`, { authorization: client.basic })).json.error).toBe(
      'invalid_request',
    )
    const get = await request(`${server.url}/revoke?token=${accessToken}`, { headers: { authorization: client.basic } })
    expect([get.status, get.headers.get('allow')]).toEqual([405, 'POST'])
    expect(await isActive(accessToken)).toBe(true)
  })

  it('RV-04 CA-04 I19 fails to authenticate with the bytes of the token endpoint', async () => {
    const { server, client, revoke } = await startAccess()
    await server.store.setClientStatus('other', 'disabled', 'cli:test')
    const basics = ['nobody:x', 'other:x', `billing:${client.secret.slice(0, -1)}!`, 'billing', ':'].map(
      (text) => `Basic ${Buffer.from(text).toString('base64')}`,
    )
    const seen = new Set<string>()
    for (const basic of basics) {
      const here = await revoke('x', { ...client, basic })
      const there = await request(`${server.url}/token`, {
        method: 'POST',
        body: 'grant_type=client_credentials',
        headers: { authorization: basic, 'content-type': 'application/x-www-form-urlencoded' },
      })
      for (const { status, text, headers } of [here, there]) {
        seen.add(JSON.stringify([status, text, headers.get('www-authenticate'), headers.get('cache-control')]))
      }
    }
    expect([...seen]).toHaveLength(1)
  })

  it('RV-05 finds the token whatever the hint says', async () => {
    const { begin, revoke, isActive, refresh } = await startAccess()
    for (const hint of ['refresh_token', 'access_token', 'urn:x', 'ACCESS_TOKEN']) {
      const [access, family] = [await begin(), await begin()]
      expect((await revoke(access.accessToken, undefined, { token_type_hint: hint })).status).toBe(200)
      expect((await revoke(family.refreshToken, undefined, { token_type_hint: hint })).status).toBe(200)
      expect(await isActive(access.accessToken)).toBe(false)
      expect((await refresh(family.refreshToken)).json.error).toBe('invalid_grant')
    }
  })

  it('takes the credentials in the body, and a client without a grant', async () => {
    const { server, begin, isActive, client } = await startAccess()
    const { accessToken } = await begin()
    await server.store.updateClient('billing', { alsoAccept: ['client_secret_post'], grantTypes: [] }, 'cli:test')
    const form = { token: accessToken, client_id: 'billing', client_secret: client.secret }
    const reply = await request(`${server.url}/revoke`, { method: 'POST', body: new URLSearchParams(form) })
    expect(reply.status).toBe(200)
    expect(await isActive(accessToken)).toBe(false)
  })

  it('notes the use of the secret, and counts what it ended', async () => {
    const { server, begin, revoke } = await startAccess()
    const { accessToken, refreshToken } = await begin()
    await revoke(accessToken)
    await revoke(refreshToken)
    await revoke('x')
    const { text } = await request(`${server.url}/metrics`)
    for (const kind of ['access_token', 'refresh_token', 'none']) {
      expect(text).toContain(`mayfly_revocations_total{kind="${kind}"} 1`)
    }
  })
})

describe('I18 two clients', () => {
  /** What one client sees of its tokens, with or without another that has got hold of them. */
  async function live(isRobbed: boolean): Promise<unknown[]> {
    const { server, begin, refresh, revoke, introspect, verify, clock, other } = await startAccess()
    const seen: unknown[] = []
    const rob = async (...tokens: string[]): Promise<void> => {
      if (!isRobbed) return
      for (const token of tokens) {
        await revoke(token, other)
        await refresh(token, other)
        await introspect(token, other)
        await verify(token, '?audience=https://evil.test')
      }
    }
    const look = async (token: string): Promise<void> => {
      const { status, json } = await introspect(token)
      seen.push([status, json.active, json.client_id, json.scope, (await verify(token)).status])
    }
    const first = await begin()
    await rob(first.accessToken, first.refreshToken)
    await look(first.accessToken)
    clock.advance(30)
    const second = await refresh(first.refreshToken)
    const [accessToken, refreshToken] = [String(second.json.access_token), String(second.json.refresh_token)]
    seen.push(second.status)
    await rob(first.refreshToken, accessToken, refreshToken)
    await look(accessToken)
    seen.push((await refresh(first.refreshToken)).json.refresh_token === refreshToken)
    await rob(refreshToken)
    seen.push((await refresh(refreshToken)).status)
    seen.push(await server.store.readMarkSequence())
    await revoke(accessToken)
    await rob(accessToken, first.accessToken)
    await look(accessToken)
    await look(first.accessToken)
    const mine = await server.store.listAudit({ clientId: 'billing', limit: 100 })
    // Records of one millisecond are in no order.
    return [...seen, mine.map(({ type }) => type).toSorted()]
  }

  it('have nothing to do with each other: one with the tokens of the other changes nothing for it', async () => {
    expect(await live(true)).toEqual(await live(false))
  })
})

describe('RV-06 G26 I23 a storage failure', () => {
  const statements = [
    'BEFORE INSERT ON mark',
    'BEFORE INSERT ON audit_event',
    `BEFORE UPDATE ON sequence WHEN new.name = 'mark'`,
    'BEFORE UPDATE ON refresh_family',
  ]
  const ways = {
    'fails alone': `ABORT, 'broken'`,
    'takes the transaction along': `ROLLBACK, 'broken'`,
    'is swallowed': 'IGNORE',
  }

  it.each(
    statements.flatMap((statement) => Object.entries(ways).map(([name, raise]) => [statement, name, raise] as const)),
  )('%s that %s never gives 200, and the token can be revoked when it is over', async (statement, name, raise) => {
    const { server, begin, revoke, isActive } = await startAccess()
    const { accessToken, refreshToken } = await begin()
    const sqlite = new Database(server.settings.databasePath)
    onTestFinished(() => void sqlite.close())
    sqlite.exec(`CREATE TRIGGER broken ${statement} BEGIN SELECT RAISE(${raise}); END`)
    const isOfFamilyAlone = statement.endsWith('refresh_family')
    for (const token of isOfFamilyAlone ? [refreshToken] : [accessToken, refreshToken]) {
      const reply = await revoke(token)
      expect([reply.status, reply.json.error], name).toEqual([503, 'temporarily_unavailable'])
      expect(reply.headers.get('retry-after')).toBe('1')
      expect(await isActive(accessToken)).toBe(true)
    }
    sqlite.exec('DROP TRIGGER broken')
    expect((await revoke(refreshToken)).status).toBe(200)
    expect(await isActive(accessToken)).toBe(false)
  })

  it('that lets nobody read or write gives 503 everywhere, also for what is no token', async () => {
    const { server, begin, revoke, introspect, verify } = await startAccess()
    const { accessToken } = await begin()
    await introspect(accessToken)
    await server.store.close()
    for (const reply of [
      await revoke(accessToken),
      await revoke('x'),
      await introspect(accessToken),
      await introspect('x'),
      await verify(accessToken),
    ]) {
      expect([reply.status, reply.headers.get('retry-after')]).toEqual([503, '1'])
    }
  })
})
