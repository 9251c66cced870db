/** One refresh token, presented by many at once to two processes. `REFRESH_ROUNDS=1000` for the long run. */
import { once } from 'node:events'
import { connect } from 'node:net'
import Database from 'better-sqlite3'
import { describe, expect, it } from 'vitest'
import { parseSettings } from '../../src/config/settings.ts'
import { openStore } from '../../src/store/open-store.ts'
import { makeInstallation } from '../support/installation.ts'
import { serve } from '../support/process.ts'
import { repetitions } from '../support/seed.ts'
import { addClient, addResource, claimsOf, requestToken, startTestServer } from '../support/server.ts'

const rounds = repetitions('REFRESH_ROUNDS', 10)
const many = 32

describe('a refresh token that 32 present at once to two processes', () => {
  it(`G05 RT-03 I1 has one successor, for all of them, in each of ${rounds} rounds`, {
    timeout: 60_000 + rounds * 2_000,
  }, async () => {
    const { cwd, env } = await makeInstallation()
    const store = openStore(parseSettings(env, cwd).databasePath, { create: false, examine: false })
    const client = await addClient(store, 'fleet', { grantTypes: ['client_credentials', 'refresh_token'] })
    const issuer = { MAYFLY_ISSUER: 'http://127.0.0.1:9' }
    const servers = [await serve({ cwd, env: { ...env, ...issuer } }), await serve({ cwd, env: { ...env, ...issuer } })]
    const headers = { authorization: client.basic }
    const ask = (at: number, form: Record<string, string>) =>
      requestToken(servers[at % 2] ?? { url: '' }, form, headers)
    const begun = await ask(0, { grant_type: 'client_credentials' })
    const familyId = String(claimsOf(String(begun.json.access_token)).sid)
    let current = String(begun.json.refresh_token)
    for (let round = 1; round <= rounds; round += 1) {
      const form = { grant_type: 'refresh_token', refresh_token: current }
      const replies = await Promise.all(Array.from({ length: many }, (_, i) => ask(i, form)))
      expect(new Set(replies.map(({ status }) => status)), `round ${round}`).toEqual(new Set([200]))
      const successors = new Set(replies.map(({ json }) => String(json.refresh_token)))
      expect(successors.size, `round ${round}`).toBe(1)
      current = [...successors][0] ?? ''
      expect((await store.findFamily(familyId))?.generation).toBe(round)
    }
    expect(await store.listAudit({ type: 'family.ended', limit: 1 })).toEqual([])
    await store.close()
  })
})

describe('a refresh token whose answer was lost', () => {
  it('F03 brings the same successor after the server was killed as soon as it had committed', {
    timeout: 120_000,
  }, async () => {
    const { cwd, env } = await makeInstallation()
    const store = openStore(parseSettings(env, cwd).databasePath, { create: false, examine: false })
    const client = await addClient(store, 'job-7', { grantTypes: ['client_credentials', 'refresh_token'] })
    const headers = { authorization: client.basic }
    let server = await serve({ cwd, env })
    const begun = await requestToken(server, { grant_type: 'client_credentials' }, headers)
    const familyId = String(claimsOf(String(begun.json.access_token)).sid)
    let current = String(begun.json.refresh_token)
    for (let generation = 1; generation <= 4; generation += 1) {
      const form = { grant_type: 'refresh_token', refresh_token: current }
      const lost = requestToken(server, form, headers).catch(() => undefined)
      await expect.poll(async () => (await store.findFamily(familyId))?.generation, { interval: 1 }).toBe(generation)
      await server.end('SIGKILL')
      const answered = await lost
      server = await serve({ cwd, env })
      const again = await requestToken(server, form, headers)
      expect(again.status).toBe(200)
      if (answered !== undefined) expect(again.json.refresh_token).toBe(answered.json.refresh_token)
      expect((await store.findFamily(familyId))?.generation).toBe(generation)
      current = String(again.json.refresh_token)
    }
    expect(await store.listAudit({ type: 'family.ended', limit: 1 })).toEqual([])
    await store.close()
  })

  it('F04 brings the same successor to a client that hung up', async () => {
    const server = await startTestServer()
    await addResource(server.store)
    const client = await addClient(server.store, 'job-7', { grantTypes: ['client_credentials', 'refresh_token'] })
    const headers = { authorization: client.basic }
    const begun = await requestToken(server, { grant_type: 'client_credentials' }, headers)
    const form = { grant_type: 'refresh_token', refresh_token: String(begun.json.refresh_token) }
    const familyId = String(claimsOf(String(begun.json.access_token)).sid)
    const { port } = new URL(server.url)
    const body = new URLSearchParams(form).toString()
    const socket = connect(Number(port), '127.0.0.1')
    await once(socket, 'connect')
    socket.write(
      `POST /token HTTP/1.1\r\nHost: x\r\nAuthorization: ${client.basic}\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
    )
    await expect.poll(async () => (await server.store.findFamily(familyId))?.generation, { interval: 1 }).toBe(1)
    socket.destroy()
    const again = await requestToken(server, form, headers)
    expect(again.status).toBe(200)
    expect((await server.store.findFamily(familyId))?.generation).toBe(1)
    const next = await requestToken(server, { ...form, refresh_token: String(again.json.refresh_token) }, headers)
    expect(next.status).toBe(200)
  })

  it('G09 G10 F42 is not used up, and is nobody’s theft, when any of the statements fails', async () => {
    const server = await startTestServer()
    await addResource(server.store)
    const client = await addClient(server.store, 'job-7', { grantTypes: ['client_credentials', 'refresh_token'] })
    const headers = { authorization: client.basic }
    const begun = await requestToken(server, { grant_type: 'client_credentials' }, headers)
    let form = { grant_type: 'refresh_token', refresh_token: String(begun.json.refresh_token) }
    for (const broken of ['INSERT ON issuance', 'UPDATE ON refresh_family']) {
      const sqlite = new Database(server.settings.databasePath)
      sqlite.exec(`CREATE TRIGGER broken BEFORE ${broken} BEGIN SELECT RAISE(ABORT, 'broken'); END`)
      const failed = await requestToken(server, form, headers)
      expect(failed.status, broken).toBe(503)
      expect(failed.headers.get('retry-after'), broken).toBe('1')
      sqlite.exec('DROP TRIGGER broken')
      sqlite.close()
      const again = await requestToken(server, form, headers)
      expect(again.status, broken).toBe(200)
      form = { ...form, refresh_token: String(again.json.refresh_token) }
    }
    expect(await server.store.listAudit({ type: 'family.ended', limit: 1 })).toEqual([])
  })

  it('I23 ends no family that it could not put on record, and answers 503 then', async () => {
    const server = await startTestServer()
    await addResource(server.store)
    const client = await addClient(server.store, 'job-7', { grantTypes: ['client_credentials', 'refresh_token'] })
    const headers = { authorization: client.basic }
    const refresh = (token: unknown) =>
      requestToken(server, { grant_type: 'refresh_token', refresh_token: String(token) }, headers)
    const first = await requestToken(server, { grant_type: 'client_credentials' }, headers)
    const second = await refresh(first.json.refresh_token)
    const third = await refresh(second.json.refresh_token)
    for (const broken of ['INSERT ON mark', 'INSERT ON audit_event', 'UPDATE ON sequence']) {
      const sqlite = new Database(server.settings.databasePath)
      sqlite.exec(`CREATE TRIGGER broken BEFORE ${broken} BEGIN SELECT RAISE(ABORT, 'broken'); END`)
      expect((await refresh(first.json.refresh_token)).status, broken).toBe(503)
      sqlite.exec('DROP TRIGGER broken')
      sqlite.close()
    }
    expect(await server.store.listAudit({ type: 'family.ended', limit: 1 })).toEqual([])
    expect((await refresh(first.json.refresh_token)).json.error).toBe('invalid_grant')
    expect((await refresh(third.json.refresh_token)).json.error).toBe('invalid_grant')
  })
})
