/** The refresh token grant, black box: RFC 6749 section 6, RFC 9700 section 4.14. */
import { createSecretKey } from 'node:crypto'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import type { ClientSettings } from '../../src/client/client.ts'
import { mayfly } from '../support/process.ts'
import {
  addClient,
  addResource,
  api,
  basic,
  claimsOf,
  ManualClock,
  type Reply,
  requestToken,
  startTestServer,
  type TestClient,
  type TestServer,
  type TestServerOptions,
} from '../support/server.ts'

const refreshing: Partial<ClientSettings> = { grantTypes: ['client_credentials', 'refresh_token'] }
const minute = 60

interface Setting {
  readonly server: TestServer
  readonly client: TestClient
  readonly clock: ManualClock
  begin(form?: Readonly<Record<string, string>>): Promise<Reply>
  refresh(token: unknown, form?: Readonly<Record<string, string>>, as?: TestClient): Promise<Reply>
}

async function start(options: TestServerOptions = {}): Promise<Setting> {
  const clock = new ManualClock()
  const server = await startTestServer({ clock, ...options })
  await addResource(server.store)
  const client = await addClient(server.store, 'billing', refreshing)
  return {
    server,
    client,
    clock,
    begin: (form = {}) =>
      requestToken(server, { grant_type: 'client_credentials', ...form }, { authorization: client.basic }),
    refresh: (token, form = {}, as = client) =>
      requestToken(
        server,
        { grant_type: 'refresh_token', refresh_token: String(token), ...form },
        { authorization: as.basic },
      ),
  }
}

const invalidGrant = { error: 'invalid_grant', error_description: 'the refresh token is not valid' }

async function endings(server: TestServer) {
  return server.store.listAudit({ type: 'family.ended', limit: 10 })
}

async function lastReason(server: TestServer): Promise<unknown> {
  const [refusal] = await server.store.listAudit({ type: 'token.refused', limit: 1 })
  return refusal !== undefined && 'reason' in refusal ? refusal.reason : undefined
}

describe('a refresh token', () => {
  it('comes with client_credentials to a client that is registered for it, and to no other', async () => {
    const { server, begin } = await start()
    const { json } = await begin()
    expect(json.refresh_token).toMatch(/^mfr_[0-9A-Za-z]{87}$/)
    const plain = await addClient(server.store, 'plain')
    const other = await requestToken(server, { grant_type: 'client_credentials' }, { authorization: plain.basic })
    expect(other.json).not.toHaveProperty('refresh_token')
    expect(claimsOf(String(other.json.access_token))).not.toHaveProperty('sid')
  })

  it('RT-01 gives a new access token of the same family and a successor, and is then used up', async () => {
    const { begin, refresh, clock } = await start()
    const first = await begin()
    clock.advance(minute)
    const second = await refresh(first.json.refresh_token)
    expect(second.status).toBe(200)
    expect(second.headers.get('cache-control')).toBe('no-store')
    expect(second.json).toMatchObject({ token_type: 'Bearer', expires_in: 300, scope: 'read write' })
    const [a, b] = [first, second].map((reply) => claimsOf(String(reply.json.access_token)))
    expect(b).toMatchObject({ sub: 'billing', aud: api, client_id: 'billing', sid: a?.sid })
    expect(b?.jti).not.toBe(a?.jti)
    expect(second.json.refresh_token).not.toBe(first.json.refresh_token)
    const third = await refresh(second.json.refresh_token)
    expect(third.status).toBe(200)
  })

  it('I10 has one record for each token, with its family and the generation that was redeemed', async () => {
    const { server, begin, refresh } = await start()
    const first = await begin()
    const second = await refresh(first.json.refresh_token)
    await refresh(second.json.refresh_token)
    const records = await server.store.listAudit({ type: 'token.issued', limit: 10 })
    const { sid } = claimsOf(String(first.json.access_token))
    expect(records.map((record) => ('refreshGeneration' in record ? record.refreshGeneration : undefined))).toEqual(
      expect.arrayContaining([undefined, 0, 1]),
    )
    for (const record of records) expect(record).toMatchObject({ familyId: sid })
  })

  it('RT-03 presented again inside the window, brings the very same successor and no alarm', async () => {
    const { server, begin, refresh, clock } = await start()
    const { json } = await begin()
    const used = await refresh(json.refresh_token)
    const retries: Reply[] = []
    for (const wait of [0, 30, 29]) {
      clock.advance(wait)
      retries.push(await refresh(json.refresh_token))
    }
    for (const retry of retries) {
      expect(retry.status).toBe(200)
      expect(retry.json.refresh_token).toBe(used.json.refresh_token)
    }
    expect(await endings(server)).toEqual([])
    expect((await refresh(used.json.refresh_token)).status).toBe(200)
  })

  it('RT-02 G04 presented when its successor was used, ends the family: both uses are on record', async () => {
    const { server, begin, refresh, clock } = await start()
    const first = await begin()
    const second = await refresh(first.json.refresh_token)
    const third = await refresh(second.json.refresh_token)
    clock.advance(2 * minute)
    const reuse = await refresh(first.json.refresh_token)
    expect(reuse.status).toBe(400)
    expect(reuse.json).toEqual(invalidGrant)
    expect(await lastReason(server)).toBe('refresh_reused')
    const [ending] = await endings(server)
    expect(ending).toMatchObject({
      reason: 'reused',
      clientId: 'billing',
      familyId: claimsOf(String(first.json.access_token)).sid,
      presentedGeneration: 0,
      currentGeneration: 2,
      requestId: reuse.headers.get('x-request-id'),
      firstUse: { requestId: second.headers.get('x-request-id'), address: '127.0.0.1' },
    })
    expect((await refresh(third.json.refresh_token)).json).toEqual(invalidGrant)
    expect(await lastReason(server)).toBe('refresh_ended')
    expect(await server.store.readMarks(0)).toMatchObject({ marks: [{ kind: 'family' }] })
    expect(await endings(server)).toHaveLength(1)
  })

  it('G11 presented as the grandparent inside the window, ends the family', async () => {
    const { server, begin, refresh } = await start()
    const first = await begin()
    const second = await refresh(first.json.refresh_token)
    await refresh(second.json.refresh_token)
    expect((await refresh(first.json.refresh_token)).json).toEqual(invalidGrant)
    expect(await endings(server)).toMatchObject([{ reason: 'reused' }])
  })

  it('presented after the window while its successor is unused, ends the family as retry_too_late', async () => {
    const { server, begin, refresh, clock } = await start()
    const first = await begin()
    const second = await refresh(first.json.refresh_token)
    clock.advance(minute)
    expect((await refresh(first.json.refresh_token)).json).toEqual(invalidGrant)
    expect(await endings(server)).toMatchObject([{ reason: 'retry_too_late' }])
    expect((await refresh(second.json.refresh_token)).json).toEqual(invalidGrant)
  })

  it('F13 of a generation that the store has not reached, ends the family: the store has gone back in time', async () => {
    const { server, begin, refresh } = await start()
    const first = await begin()
    const second = await refresh(first.json.refresh_token)
    const other = await server.openOther()
    const { sid } = claimsOf(String(first.json.access_token))
    await rewind(server, String(sid))
    expect((await other.findFamily(String(sid)))?.generation).toBe(0)
    expect((await refresh(second.json.refresh_token)).json).toEqual(invalidGrant)
    expect(await endings(server)).toMatchObject([{ reason: 'generation_ahead' }])
    expect((await refresh(first.json.refresh_token)).json).toEqual(invalidGrant)
  })

  it('RT-08 dies when it is not used, and whatever its use, with its family', async () => {
    const { server, begin, refresh, clock } = await start({
      env: { MAYFLY_REFRESH_TOKEN_IDLE_TTL: '10m', MAYFLY_REFRESH_TOKEN_MAX_TTL: '25m' },
    })
    const idle = await begin()
    let { json } = await begin()
    for (const reply of [1, 2, 3]) {
      clock.advance(8 * minute)
      const next = await refresh(json.refresh_token)
      expect(next.status, String(reply)).toBe(200)
      json = next.json
    }
    expect((await refresh(idle.json.refresh_token)).json).toEqual(invalidGrant)
    expect(await lastReason(server)).toBe('refresh_expired')
    clock.advance(minute)
    expect((await refresh(json.refresh_token)).json).toEqual(invalidGrant)
    expect(await endings(server)).toEqual([])
  })

  it('RT-04 G03 of another client is refused, and stays as good as it was', async () => {
    const { server, begin, refresh } = await start()
    const other = await addClient(server.store, 'other', refreshing)
    const { json } = await begin()
    expect((await refresh(json.refresh_token, {}, other)).json).toEqual(invalidGrant)
    expect(await lastReason(server)).toBe('refresh_of_another_client')
    expect((await refresh(json.refresh_token)).status).toBe(200)
    expect((await refresh(json.refresh_token, {}, other)).json).toEqual(invalidGrant)
    expect(await endings(server)).toEqual([])
  })

  it('RT-05 is not used up by a wrong secret, a wrong scope or a wrong resource', async () => {
    const { server, begin, refresh, client } = await start()
    const { json } = await begin({ scope: 'read' })
    const token = json.refresh_token
    const wrong: TestClient = { ...client, basic: basic('billing', `${client.secret.slice(0, -1)}!`) }
    expect((await refresh(token, {}, wrong)).json.error).toBe('invalid_client')
    expect((await refresh(token, { scope: 'read write' })).json.error).toBe('invalid_scope')
    expect((await refresh(token, { scope: 'read\t' })).json.error).toBe('invalid_scope')
    expect((await refresh(token, { resource: 'https://other.example.test' })).json.error).toBe('invalid_target')
    const used = await refresh(token)
    expect(used.status).toBe(200)
    expect(claimsOf(String(used.json.access_token))).toMatchObject({ scope: 'read' })
    expect(await endings(server)).toEqual([])
  })

  it('RT-06 narrows the scope of one access token, and keeps the grant', async () => {
    const { begin, refresh } = await start()
    const { json } = await begin()
    const narrow = await refresh(json.refresh_token, { scope: 'read' })
    expect(narrow.json.scope).toBe('read')
    const wide = await refresh(narrow.json.refresh_token)
    expect(wide.json.scope).toBe('read write')
  })

  it('RT-09 G12 gives what the registration still allows, and never what was added later', async () => {
    const { server, begin, refresh } = await start()
    const { json } = await begin({ scope: 'read' })
    await server.store.updateClient('billing', { scopes: ['write'] }, 'cli:test')
    const none = await refresh(json.refresh_token)
    expect(none.status).toBe(200)
    expect(none.json).not.toHaveProperty('scope')
    await server.store.updateClient('billing', { scopes: ['read', 'write'] }, 'cli:test')
    expect((await refresh(none.json.refresh_token)).json.scope).toBe('read')
  })

  it('RI-04 G13 is for the resource that it was granted for, as long as the client may have that', async () => {
    const { server, begin, refresh } = await start()
    const second = 'https://second.example.test'
    await addResource(server.store, second)
    const { json } = await begin()
    await server.store.updateClient('billing', { audiences: [second, api] }, 'cli:test')
    expect((await refresh(json.refresh_token, { resource: second })).json.error).toBe('invalid_target')
    const same = await refresh(json.refresh_token, { resource: api })
    expect(claimsOf(String(same.json.access_token)).aud).toBe(api)
    await server.store.updateClient('billing', { audiences: [second] }, 'cli:test')
    expect((await refresh(same.json.refresh_token)).json.error).toBe('invalid_target')
    await server.store.updateClient('billing', { audiences: [api] }, 'cli:test')
    expect((await refresh(same.json.refresh_token)).status).toBe(200)
  })

  it('G14 is refused when the client is disabled, deleted or no longer registered for it', async () => {
    const { server, begin, refresh } = await start()
    const { json } = await begin()
    await server.store.updateClient('billing', { grantTypes: ['client_credentials'] }, 'cli:test')
    expect((await refresh(json.refresh_token)).json.error).toBe('unauthorized_client')
    await server.store.updateClient('billing', { grantTypes: ['client_credentials', 'refresh_token'] }, 'cli:test')
    await server.store.setClientStatus('billing', 'disabled', 'cli:test')
    expect((await refresh(json.refresh_token)).json.error).toBe('invalid_client')
    await server.store.deleteClient('billing', 'cli:test')
    expect((await refresh(json.refresh_token)).json.error).toBe('invalid_client')
  })

  it('is not revived when its client is enabled again; new ones are, after the clocks that may differ', async () => {
    const { server, begin, refresh, clock } = await start()
    const { json } = await begin()
    await server.store.setClientStatus('billing', 'disabled', 'cli:test')
    await server.store.setClientStatus('billing', 'active', 'cli:test')
    expect((await refresh(json.refresh_token)).json).toEqual(invalidGrant)
    expect(await lastReason(server)).toBe('refresh_ended')
    clock.advance(3)
    const fresh = await begin()
    expect(fresh.status).toBe(200)
    expect((await refresh(fresh.json.refresh_token)).status).toBe(200)
    expect((await refresh(json.refresh_token)).json).toEqual(invalidGrant)
  })

  it.each([
    ['nothing', '', 'invalid_request'],
    ['an access token', 'eyJhbGciOiJFUzI1NiJ9.e30.c2ln', 'invalid_grant'],
    ['a client secret', `mfs_${'A'.repeat(65)}`, 'invalid_grant'],
    ['a text', 'x', 'invalid_grant'],
  ])('RT-07 is refused when it is %s', async (_, token, error) => {
    const { refresh } = await start()
    expect(await refresh(token)).toMatchObject({ status: 400, json: { error } })
  })

  it('RT-07 is refused when it was made up, though it names a family that there is', async () => {
    const { server, begin, refresh } = await start()
    const { json } = await begin()
    const { makeTicket, parseTicket } = await import('../../src/token/ticket.ts')
    const { familyId = '' } = parseTicket(String(json.refresh_token)) ?? {}
    const forged = makeTicket(
      { rootVersion: 1, familyId, generation: 0 },
      Buffer.alloc(16),
      createSecretKey(Buffer.alloc(32)),
    )
    expect((await refresh(forged)).json).toEqual(invalidGrant)
    expect(await lastReason(server)).toBe('refresh_forged')
    expect((await refresh(json.refresh_token)).status).toBe(200)
  })

  it('G06 survives a restart of the server, and so does the end of its family', async () => {
    const first = await start()
    const begun = await first.begin()
    const used = await first.refresh(begun.json.refresh_token)
    await first.server.stop()
    const again = await startTestServer({ clock: first.clock, folder: first.server.folder })
    const refresh = (token: unknown) =>
      requestToken(
        again,
        { grant_type: 'refresh_token', refresh_token: String(token) },
        { authorization: first.client.basic },
      )
    const retried = await refresh(begun.json.refresh_token)
    expect(retried.json.refresh_token).toBe(used.json.refresh_token)
    const next = await refresh(used.json.refresh_token)
    expect(next.status).toBe(200)
    expect((await refresh(begun.json.refresh_token)).json).toEqual(invalidGrant)
    expect((await refresh(next.json.refresh_token)).json).toEqual(invalidGrant)
  })

  it('RT-03 redeemed by 32 at once, has one successor and ends nothing', async () => {
    const { server, begin, refresh } = await start()
    const { json } = await begin()
    const replies = await Promise.all(Array.from({ length: 32 }, () => refresh(json.refresh_token)))
    expect(new Set(replies.map((reply) => reply.status))).toEqual(new Set([200]))
    expect(new Set(replies.map((reply) => reply.json.refresh_token)).size).toBe(1)
    expect(await endings(server)).toEqual([])
  })
})

describe('a client whose tokens were ended', () => {
  it('waits for the next second that counts instead of getting a token that is dead at birth', async () => {
    const server = await startTestServer()
    await addResource(server.store)
    const client = await addClient(server.store, 'billing', refreshing)
    await server.store.setClientStatus('billing', 'disabled', 'cli:test')
    await server.store.setClientStatus('billing', 'active', 'cli:test')
    const { tokensAfter = 0 } = (await server.store.findClient('billing')).value ?? {}
    const started = performance.now()
    const reply = await requestToken(server, { grant_type: 'client_credentials' }, { authorization: client.basic })
    expect(reply.status).toBe(200)
    expect(performance.now() - started).toBeLessThan(3_500)
    expect(Number(claimsOf(String(reply.json.access_token)).iat) * 1000).toBeGreaterThan(tokensAfter)
  })

  it('is told to come again when the clock is too far behind that second', async () => {
    const { server, begin, clock } = await start()
    clock.advance(3_600)
    await begin()
    clock.step(-3_600)
    await server.store.setClientStatus('billing', 'disabled', 'cli:test')
    await server.store.setClientStatus('billing', 'active', 'cli:test')
    const early = await begin()
    expect(early).toMatchObject({ status: 503, json: { error: 'temporarily_unavailable' } })
    expect(early.headers.get('retry-after')).toBe('1')
    clock.step(3_603)
    expect((await begin()).status).toBe(200)
  })
})

describe('a refresh token and the root key', () => {
  const setUp = async () => {
    const { server, client, clock, begin } = await start()
    const begun = await begin()
    await server.stop()
    const cwd = server.folder
    const again = async (env: Readonly<Record<string, string>> = {}): Promise<(token: unknown) => Promise<Reply>> => {
      const next = await startTestServer({ clock, folder: cwd, env })
      return (token) =>
        requestToken(
          next,
          { grant_type: 'refresh_token', refresh_token: String(token) },
          { authorization: client.basic },
        )
    }
    return { cwd, token: begun.json.refresh_token, again }
  }

  it('goes on when the root is wrapped under another master key', async () => {
    const { cwd, token, again } = await setUp()
    const file = join(cwd, 'keys/new.key')
    expect((await mayfly(['key', 'rewrap', '--new-master-key', file], { cwd })).code).toBe(0)
    const refresh = await again({ MAYFLY_MASTER_KEY_FILE: file })
    expect((await refresh(token)).status).toBe(200)
  })

  it('is dead when the root is replaced, and its family is left to expire', async () => {
    const { cwd, token, again } = await setUp()
    expect((await mayfly(['key', 'rotate-root'], { cwd })).code).toBe(0)
    const refresh = await again()
    expect((await refresh(token)).json).toEqual(invalidGrant)
  })
})

// What a store does that was put back to an earlier state without anybody knowing.
async function rewind(server: TestServer, familyId: string): Promise<void> {
  const { default: Database } = await import('better-sqlite3')
  const raw = new Database(server.settings.databasePath)
  raw.prepare('UPDATE refresh_family SET generation = generation - 1 WHERE family_id = ?').run(familyId)
  raw.close()
}
