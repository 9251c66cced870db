import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { commands } from '../../src/cli/commands.ts'
import { refusalHelp } from '../../src/cli/refusal-help.ts'
import { makeUlid } from '../../src/lib/id.ts'
import { reasons } from '../../src/oauth/errors.ts'
import { startAccess } from '../support/access.ts'
import { claimsOf, headerOf } from '../support/jwt.ts'
import { mayfly, root, temporaryFolder } from '../support/process.ts'
import { addClient } from '../support/registry.ts'
import { requestToken } from '../support/server.ts'

type Json = Record<string, unknown>

const realTime = { nowMilliseconds: () => Date.now(), monotonicMilliseconds: () => performance.now() }

/** A server by the clock that the command line has, and the command line in its folder. */
async function start() {
  const scene = await startAccess({ clock: realTime })
  const { server, client } = scene
  const run = (...args: readonly string[]) => mayfly(args, { cwd: server.folder })
  return {
    ...scene,
    run,
    /** Asks for a token, and says which request that was. */
    ask: async (form: Readonly<Record<string, string>> = {}, basic = client.basic): Promise<string> => {
      const grant = { grant_type: 'client_credentials', ...form }
      const { headers } = await requestToken(server, grant, { authorization: basic })
      return String(headers.get('x-request-id'))
    },
    explain: async (id: string): Promise<Json> => {
      const ended = await run('audit', 'explain', id, '--json')
      expect([ended.code, ended.stderr]).toEqual([0, ''])
      return JSON.parse(ended.stdout) as Json
    },
  }
}

describe('mayfly audit explain', { timeout: 60_000 }, () => {
  it('says of a refusal what the caller heard, why it was, what led to it, and what to do', async () => {
    const { run, ask, explain } = await start()
    await run('client', 'disable', 'other')
    await run('client', 'disable', 'billing')
    const id = await ask()
    await run('client', 'enable', 'billing')
    expect(await explain(id)).toEqual({
      request_id: id,
      received_at: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/),
      outcome: 'refused',
      endpoint: 'token',
      client_id: 'billing',
      reason: 'client_disabled',
      meaning: 'the client is disabled',
      error: 'invalid_client',
      error_description: 'client authentication failed',
      advice: '`mayfly client enable billing` lets it in again, and revives no token',
      records: [expect.objectContaining({ type: 'token.refused', request_id: id, reason: 'client_disabled' })],
      related: [
        expect.objectContaining({ type: 'client.disabled', client_id: 'billing' }),
        expect.objectContaining({ type: 'client.enabled', client_id: 'billing' }),
      ],
    })
    const { stdout } = await run('audit', 'explain', id)
    for (const text of ['client_disabled', 'the client is disabled', 'records of this request', 'client.enabled'])
      expect(stdout).toContain(text)
  })

  it('says of a token whether it is alive, and what ended it, also when only its jti is known', async () => {
    const { run, explain, begin, client } = await start()
    const jtis = [(await begin()).accessToken, (await begin()).accessToken].map((token) => String(claimsOf(token).jti))
    const [ended = '', kept = ''] = jtis
    const alive = await explain(ended)
    expect(alive).toMatchObject({ outcome: 'issued', client_id: 'billing', jti: ended, active: true, related: [] })
    expect(alive).toMatchObject({ advice: `\`mayfly token revoke ${ended}\` ends it` })
    expect(JSON.stringify(alive)).not.toContain(client.secret)
    for (const jti of [kept, ended]) await run('token', 'revoke', jti)
    expect(await explain(String(alive.request_id))).toMatchObject({
      active: false,
      inactive_because: 'it was revoked',
      related: [{ type: 'token.revoked', jti: ended }],
    })
  })

  it('names the key of a token that died with it', async () => {
    const { run, ask, explain, begin } = await start()
    const { accessToken } = await begin()
    const { kid } = headerOf(accessToken)
    await run('key', 'revoke', String(kid))
    expect(await explain(String(claimsOf(accessToken).jti))).toMatchObject({
      active: false,
      inactive_because: 'its key was revoked as compromised',
      related: [{ type: 'key.compromised', kid }],
    })
    expect(await explain(await ask())).toMatchObject({ active: true, related: [] })
  })

  it('shows of a reused refresh token the refusal and the end of its family', async () => {
    const { begin, refresh, explain } = await start()
    const { refreshToken } = await begin()
    const next = await refresh(refreshToken)
    await refresh(String(next.json.refresh_token))
    const { headers } = await refresh(refreshToken)
    const { reason, error, records } = await explain(String(headers.get('x-request-id')))
    expect([reason, error]).toEqual(['refresh_reused', 'invalid_grant'])
    expect((records as Json[]).map(({ type }) => type).toSorted()).toEqual(['family.ended', 'token.refused'])
  })

  it('finds that a client that nobody has is one that was deleted', async () => {
    const { run, ask, explain, server } = await start()
    const { basic } = await addClient(server.store, 'gone')
    await run('client', 'delete', 'gone')
    const id = await ask({}, basic)
    expect(await explain(id)).toMatchObject({
      reason: 'client_unknown',
      client_id: 'gone',
      meaning: expect.stringMatching(/: this one was deleted$/),
      related: [{ type: 'client.deleted', client_id: 'gone' }],
    })
    const unknown = await explain(await ask({}, `Basic ${Buffer.from('nobody:x').toString('base64')}`))
    expect(unknown).toMatchObject({ reason: 'client_unknown', related: [] })
    expect(unknown.client_id).toBeUndefined()
  })

  it('shows of a secret that was refused what happened to that one, and to none other', async () => {
    const { run, ask, explain, client, server } = await start()
    const { secrets = [] } = (await server.store.findClient('billing')).value ?? {}
    const first = String(secrets[0]?.secretId)
    await run('secret', 'create', 'billing')
    await run('secret', 'revoke', 'billing', first)
    expect(await explain(await ask({}, client.basic))).toMatchObject({
      reason: 'secret_unknown',
      related: [
        { type: 'secret.created', secret_id: first },
        { type: 'secret.revoked', secret_id: first },
      ],
    })
  })

  it('says with exit code 1 that nothing is on record, from when it is, and why that may be', async () => {
    const { run } = await start()
    const ended = await run('audit', 'explain', `req_${makeUlid(Date.UTC(2026, 0, 2))}`)
    expect([ended.code, ended.stdout]).toEqual([1, ''])
    expect(ended.stderr).toMatch(/nothing is on record of req_\S+, which came in at 2026-01-02T00:00:00\.000Z; /)
    expect(ended.stderr).toMatch(/kept for 7d, others for 90d/)
  })

  it.each(['', 'req_', 'req_01M894BFW56ZZ0VM234ZMN5PC', 'req_81M894BFW56ZZ0VM234ZMN5PCW', 'token', "req_' OR 1=1"])(
    'refuses %j as request id with exit code 2',
    async (id) => {
      const ended = await mayfly(['audit', 'explain', id], { cwd: temporaryFolder() })
      expect([ended.code, ended.stdout]).toEqual([2, ''])
      expect(ended.stderr).toMatch(/is no request id/)
    },
  )
})

describe('what is said of refusals', () => {
  const texts = reasons.flatMap((reason) => [refusalHelp[reason].meaning, refusalHelp[reason].advice ?? ''])

  it('names commands, settings and pages that exist', () => {
    const named = texts.flatMap((text) => [...text.matchAll(/`mayfly ([a-z]+(?: [a-z]+)?)/g)].map(([, name]) => name))
    expect(named.length).toBeGreaterThan(10)
    const known = commands.map(({ name }) => name)
    expect(named.filter((name) => !known.includes(String(name)))).toEqual([])
    const pages = texts.flatMap((text) => [...text.matchAll(/docs\/[a-z-]+\.md/g)].map(([page]) => page))
    expect(pages.length).toBeGreaterThan(5)
    expect(pages.filter((page) => !existsSync(join(root, page)))).toEqual([])
  })

  it('is one sentence for each, and none for two', () => {
    const meanings = reasons.map((reason) => refusalHelp[reason].meaning)
    expect(meanings.filter((text) => !/^[A-Za-z].*[^.]$/s.test(text))).toEqual([])
    expect(meanings.filter((text, i) => meanings.indexOf(text) !== i)).toEqual([])
  })
})
