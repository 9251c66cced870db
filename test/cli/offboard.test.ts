import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { beforeEach, describe, expect, it, onTestFinished } from 'vitest'
import type { SecretId } from '../../src/client/client-secret.ts'
import { cleanEnvironment, type Finished, launcher, mayfly, mayflyJson } from '../support/process.ts'
import {
  addClient,
  addResource,
  claimsOf,
  getToken,
  request,
  requestToken,
  startTestServer,
  type TestClient,
  type TestServer,
} from '../support/server.ts'

type Json = Record<string, unknown>

const refreshing = { grantTypes: ['client_credentials', 'refresh_token'] } as const
const hour = 3_600_000
let server: TestServer
let client: TestClient

const run = (...args: string[]): Promise<Finished> => mayfly(args, { cwd: server.folder })
const ok = (...args: string[]): Promise<Json> => mayflyJson(args, { cwd: server.folder })
const secretIdOf = ({ secret }: TestClient): SecretId => `sec_${secret.slice(4, 20)}`

/** When a token dies by itself, as the command writes it. */
const deathOf = (token: string): string => new Date(Number(claimsOf(token).exp) * 1000).toISOString()

beforeEach(async () => {
  server = await startTestServer()
  await addResource(server.store)
  client = await addClient(server.store, 'billing', refreshing)
})

describe('client offboard', () => {
  it('ends secrets, families and tokens in one act, and says exactly what ended and when the last token dies', async () => {
    const other = await ok('secret', 'create', 'billing')
    const tokens = [await getToken(server, client), await getToken(server, client)]
    await server.store.updateClient('billing', { accessTokenTtlSeconds: 900 }, 'cli:test')
    tokens.push(await getToken(server, client))
    await server.store.updateClient('billing', { accessTokenTtlSeconds: 60 }, 'cli:test')
    tokens.push(await getToken(server, client))
    const done = await ok('client', 'offboard', 'billing')
    expect(done).toEqual({
      client_id: 'billing',
      status: 'disabled',
      secrets_ended: expect.arrayContaining([secretIdOf(client), other.secret_id]),
      keys_ended: [],
      refresh_families_ended: 4,
      tokens_ended: 4,
      last_token_expires_at: deathOf(tokens[2] ?? ''),
      ended_at: expect.stringMatching(/Z$/),
      planned: false,
      local_verifiers: expect.stringContaining(`until ${deathOf(tokens[2] ?? '')}`),
    })
    expect(done.secrets_ended).toHaveLength(2)
    const refused = await requestToken(server, { grant_type: 'client_credentials' }, { authorization: client.basic })
    expect(refused.status).toBe(401)
  })

  it('with --plan shows the same, changes nothing, and does not say that it did', async () => {
    const token = await getToken(server, client)
    const sequence = await server.store.readRegistrySequence()
    const planned = await run('client', 'offboard', 'billing', '--plan', '--json')
    expect([planned.code, planned.stderr]).toEqual([0, ''])
    expect(await server.store.readRegistrySequence()).toBe(sequence)
    await getToken(server, client)
    const plan = JSON.parse(planned.stdout) as Json
    expect(plan).toMatchObject({ status: 'active', planned: true, ended_at: null, tokens_ended: 1 })
    expect(plan).toMatchObject({ refresh_families_ended: 1, last_token_expires_at: deathOf(token) })
    const done = await ok('client', 'offboard', 'billing')
    expect(Object.keys(done)).toEqual(Object.keys(plan))
    expect(done.secrets_ended).toEqual(plan.secrets_ended)
    const text = await run('client', 'offboard', 'billing', '--plan')
    expect(text.stdout).toContain('Nothing is left to end.')
  })

  it('once more has nothing left to end, says when it was, and ends with 0', async () => {
    const token = await getToken(server, client)
    const first = await ok('client', 'offboard', 'billing')
    const again = await ok('client', 'offboard', 'billing')
    expect(again).toMatchObject({ status: 'disabled', secrets_ended: [], refresh_families_ended: 0, tokens_ended: 0 })
    expect([again.ended_at, again.last_token_expires_at]).toEqual([first.ended_at, deathOf(token)])
    const text = await run('client', 'offboard', 'billing')
    expect([text.code, text.stdout]).toEqual([0, expect.stringContaining('Nothing is left to end.')])
    expect(await server.store.listAudit({ type: 'client.offboarded', limit: 5 })).toHaveLength(1)
  })

  it('has no last token where none is alive', async () => {
    expect(await ok('client', 'offboard', 'billing')).toMatchObject({
      tokens_ended: 0,
      last_token_expires_at: null,
      local_verifiers: 'No token of it is alive anywhere.',
    })
  })

  it.each([
    ['a client that there is not', 'nobody'],
    ['a client that was deleted', 'gone'],
  ])('refuses %s, also as a plan', async (_, clientId) => {
    await addClient(server.store, 'gone')
    await server.store.deleteClient('gone', 'cli:test')
    for (const more of [[], ['--plan']]) {
      const { code, stdout, stderr } = await run('client', 'offboard', clientId, ...more)
      expect([code, stdout]).toEqual([1, ''])
      expect(stderr).toMatch(/^error: there is no client .*client list/)
    }
  })

  it('harms no other client', async () => {
    const other = await addClient(server.store, 'other', refreshing)
    const { json } = await requestToken(server, { grant_type: 'client_credentials' }, { authorization: other.basic })
    await ok('client', 'offboard', 'billing')
    const refreshed = await requestToken(
      server,
      { grant_type: 'refresh_token', refresh_token: String(json.refresh_token) },
      { authorization: other.basic },
    )
    expect(refreshed.status).toBe(200)
    await getToken(server, other)
  })
})

describe('client disable, delete and enable', () => {
  it('say what ended in the same words, beside what they always said', async () => {
    const token = await getToken(server, client)
    const ended = { refresh_families_ended: 1, tokens_ended: 1, last_token_expires_at: deathOf(token) }
    expect(await ok('client', 'disable', 'billing')).toMatchObject({
      client_id: 'billing',
      status: 'disabled',
      secret_count: 1,
      ...ended,
    })
    const nothing = { refresh_families_ended: 0, tokens_ended: 0 }
    expect(await ok('client', 'disable', 'billing')).toMatchObject(nothing)
    expect(await ok('client', 'delete', 'billing')).toEqual({
      client_id: 'billing',
      deleted: true,
      ...nothing,
      last_token_expires_at: deathOf(token),
    })
  })

  it('G14 revive nothing when the client is enabled again, and say so', { timeout: 60_000 }, async () => {
    const { json } = await requestToken(server, { grant_type: 'client_credentials' }, { authorization: client.basic })
    await ok('client', 'offboard', 'billing')
    const enabled = await run('client', 'enable', 'billing')
    expect(enabled.stdout).toContain('Nothing is revived')
    expect(enabled.stdout).toContain('It has no secret: `npx --no mayfly secret create billing` makes one.')
    expect(
      (await requestToken(server, { grant_type: 'client_credentials' }, { authorization: client.basic })).status,
    ).toBe(401)
    const fresh = await ok('secret', 'create', 'billing')
    const authorization = `Basic ${Buffer.from(`billing:${fresh.client_secret}`).toString('base64')}`
    const refused = await requestToken(
      server,
      { grant_type: 'refresh_token', refresh_token: String(json.refresh_token) },
      { authorization },
    )
    expect([refused.status, refused.json.error]).toEqual([400, 'invalid_grant'])
    const { tokensAfter = 0 } = (await server.store.findClient('billing')).value ?? {}
    expect(Number(claimsOf(String(json.access_token)).iat) * 1000).toBeLessThanOrEqual(tokensAfter)
    const issued = await requestToken(server, { grant_type: 'client_credentials' }, { authorization })
    expect(issued.status).toBe(200)
    expect(Number(claimsOf(String(issued.json.access_token)).iat) * 1000).toBeGreaterThan(tokensAfter)
  })
})

describe('secret revoke', () => {
  it('warns of a secret that got a token in the last hour, before anybody has noted its use', async () => {
    const token = await getToken(server, client)
    const { code, stdout, stderr } = await run('secret', 'revoke', 'billing', secretIdOf(client), '--json')
    expect(code).toBe(0)
    expect(stderr).toMatch(/^Warning: sec_\w{16} was used \d+s ago: .*\nChanged /)
    const done = JSON.parse(stdout) as Json
    expect(done).toMatchObject({ revoked: true, used_in_last_hour: true })
    const issued = Number(claimsOf(token).iat) * 1000
    expect(Math.abs(Date.parse(String(done.last_used_at)) - issued)).toBeLessThan(2_000)
  })

  it('does not warn of one that was used before, or never', async () => {
    const unused = await ok('secret', 'create', 'billing')
    const used = Date.now() - 2 * hour
    await server.store.noteSecretUse(new Map([[secretIdOf(client), used]]))
    const never = await run('secret', 'revoke', 'billing', String(unused.secret_id), '--json')
    expect(JSON.parse(never.stdout)).toMatchObject({ last_used_at: null, used_in_last_hour: false })
    const long = await run('secret', 'revoke', 'billing', secretIdOf(client), '--json')
    expect(JSON.parse(long.stdout)).toMatchObject({
      last_used_at: new Date(used).toISOString(),
      used_in_last_hour: false,
    })
    for (const { stderr } of [never, long]) expect(stderr).not.toContain('Warning')
  })

  it('tells nothing of a secret of another client', async () => {
    const other = await addClient(server.store, 'other')
    await getToken(server, other)
    const { code, stderr } = await run('secret', 'revoke', 'billing', secretIdOf(other))
    expect(code).toBe(1)
    expect(stderr).not.toContain('was used')
    await getToken(server, other)
  })
})

/** Types an answer into a command that has a terminal. */
async function onTerminal(answer: string, ...args: string[]): Promise<Finished> {
  const line = [process.execPath, launcher, ...args].map((word) => `'${word}'`).join(' ')
  const folder = mkdtempSync(join(tmpdir(), 'mayfly-terminal-'))
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
  const child = spawn('script', ['-qec', line, join(folder, 'typescript')], {
    cwd: server.folder,
    env: cleanEnvironment(),
    stdio: 'pipe',
  })
  let seen = ''
  let answered = false
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    seen += text
    if (answered || !seen.includes('[y/N]')) return
    answered = true
    child.stdin.write(`${answer}\n`)
  })
  const ended = new Promise<number | null>((resolve) => child.on('close', (code) => resolve(code)))
  return { code: await ended, signal: null, stdout: seen, stderr: '' }
}

describe('on a terminal', () => {
  it('both ask first, and change nothing without a yes', async () => {
    await getToken(server, client)
    const sequence = await server.store.readRegistrySequence()
    const offboard = await onTerminal('n', 'client', 'offboard', 'billing')
    expect(offboard.stdout).toContain('End every access of billing')
    expect(offboard.stdout).toContain('nothing was changed')
    const revoke = await onTerminal('', 'secret', 'revoke', 'billing', secretIdOf(client))
    expect(revoke.stdout).toMatch(/Revoke the secret sec_\w{16} of billing, used \d+s ago\? \[y\/N\]/)
    expect([offboard.code, revoke.code]).toEqual([1, 1])
    expect(await server.store.readRegistrySequence()).toBe(sequence)
    const plan = await onTerminal('n', 'client', 'offboard', 'billing', '--plan')
    expect([plan.code, plan.stdout.includes('[y/N]')]).toEqual([0, false])
    expect((await onTerminal('y', 'client', 'offboard', 'billing')).code).toBe(0)
    expect((await request(`${server.url}/readyz`)).status).toBe(200)
    expect((await server.store.findClient('billing')).value?.secrets).toEqual([])
  })
})
