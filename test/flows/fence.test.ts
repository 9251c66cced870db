import { describe, expect, it } from 'vitest'
import type { Store } from '../../src/store/store.ts'
import { createGate, gatedSigners } from '../support/gate.ts'
import { mayflyJson, serve, temporaryFolder } from '../support/process.ts'
import { addClient, api, basic, claimsOf, getToken, requestToken, startWithClient } from '../support/server.ts'

const grant = { grant_type: 'client_credentials' }

describe('the commit fence', () => {
  it('I5 refuses a client that another process disabled at its next request, and takes it again when enabled', async () => {
    const { server, client } = await startWithClient()
    const other = await server.openOther()
    await getToken(server, client)
    for (let round = 0; round < 5; round += 1) {
      await other.setClientStatus('billing', 'disabled', 'cli:test')
      const refused = await requestToken(server, grant, { authorization: client.basic })
      expect([refused.status, refused.json.error]).toEqual([401, 'invalid_client'])
      await other.setClientStatus('billing', 'active', 'cli:test')
      await getToken(server, client)
    }
  })

  it('takes a client that another process registered at its next request', async () => {
    const { server } = await startWithClient()
    const authorization = basic('late', 'nonsense')
    expect((await requestToken(server, grant, { authorization })).status).toBe(401)
    await getToken(server, await addClient(await server.openOther(), 'late'))
  })

  const changes: [string, (store: Store, secretId: `sec_${string}`) => Promise<unknown>, number, string][] = [
    [
      'the client is disabled',
      (store) => store.setClientStatus('billing', 'disabled', 'cli:test'),
      401,
      'invalid_client',
    ],
    ['the client is deleted', (store) => store.deleteClient('billing', 'cli:test'), 401, 'invalid_client'],
    ['its secret is revoked', (store, id) => store.revokeSecret('billing', id, 'cli:test'), 401, 'invalid_client'],
    [
      'its grant is withdrawn',
      (store) => store.updateClient('billing', { grantTypes: [] }, 'cli:test'),
      400,
      'unauthorized_client',
    ],
    [
      'its audience is withdrawn',
      (store) => store.updateClient('billing', { audiences: [], scopes: [] }, 'cli:test'),
      400,
      'invalid_target',
    ],
    [
      'its scope is withdrawn',
      (store) => store.updateClient('billing', { scopes: [] }, 'cli:test'),
      400,
      'invalid_scope',
    ],
    [
      'its resource loses the scope',
      (store) => store.updateResource(api, { scopes: [] }, 'cli:test'),
      400,
      'invalid_scope',
    ],
  ]

  it.each(changes)('keeps back a token that was decided on and signed before %s', async (_, change, status, error) => {
    const signers = gatedSigners()
    const { server, client } = await startWithClient({ signerHook: signers.hook })
    const gate = createGate()
    signers.hold(gate)
    const pending = requestToken(server, { ...grant, scope: 'read' }, { authorization: client.basic })
    await gate.arrived
    await change(await server.openOther(), `sec_${client.secret.slice(4, 20)}`)
    gate.open()
    const reply = await pending
    expect(signers.signed()).toBe(1)
    expect([reply.status, reply.json.error]).toEqual([status, error])
    expect(await server.store.listAudit({ type: 'token.issued', limit: 10 })).toEqual([])
  })

  it('decides again when something else changed meanwhile, and issues by the new facts', async () => {
    const signers = gatedSigners()
    const { server, client } = await startWithClient({ signerHook: signers.hook })
    const gate = createGate()
    signers.hold(gate)
    const pending = getToken(server, client)
    await gate.arrived
    await (await server.openOther()).updateResource(api, { scopes: ['write'], accessTokenTtlSeconds: 60 }, 'cli:test')
    gate.open()
    const claims = claimsOf(await pending)
    expect(signers.signed()).toBe(2)
    expect(claims.scope).toBe('write')
    expect(Number(claims.exp) - Number(claims.iat)).toBe(60)
  })

  it('judges a refusal again when the registry moved under it', async () => {
    const { server, client } = await startWithClient()
    const other = await server.openOther()
    await other.setClientStatus('billing', 'disabled', 'cli:test')
    expect((await requestToken(server, grant, { authorization: client.basic })).status).toBe(401)
    await other.setClientStatus('billing', 'active', 'cli:test')
    await getToken(server, client)
  })

  it('answers 503 when the registry moves for more than a second', async () => {
    const signers = gatedSigners()
    const { server, client } = await startWithClient({ signerHook: signers.hook })
    const other = await server.openOther()
    let moving = true
    const moves = (async () => {
      for (let i = 0; moving; i += 1) await other.updateResource(api, { name: `n${i}` }, 'cli:test')
    })()
    // Each signature waits for the next move, so no decision can ever be recorded.
    let sequence = await other.readRegistrySequence()
    signers.hold({
      arrived: Promise.resolve(),
      open: () => {},
      pass: async () => {
        while ((await other.readRegistrySequence()) === sequence) await new Promise((resolve) => setImmediate(resolve))
        sequence = await other.readRegistrySequence()
      },
    })
    const reply = await requestToken(server, grant, { authorization: client.basic })
    moving = false
    await moves
    expect([reply.status, reply.json.error]).toEqual([503, 'temporarily_unavailable'])
    expect(reply.headers.get('retry-after')).toBe('1')
    expect(await server.store.listAudit({ type: 'token.issued', limit: 10 })).toEqual([])
  })

  it.each([
    ['disable', 'client_credentials'],
    ['offboard', 'client_credentials'],
    ['offboard', 'refresh_token'],
  ])(
    'I5 issues nothing in a request that starts after `client %s` has returned, by %s',
    {
      timeout: 60_000,
    },
    async (verb, grantType) => {
      const cwd = temporaryFolder()
      const server = await serve({ cwd })
      const run = { cwd }
      await mayflyJson(['resource', 'create', api, '--scope', 'read'], run)
      const { client_secret: secret } = await mayflyJson<{ client_secret: string }>(
        [
          'client',
          'create',
          'job',
          '--audience',
          api,
          '--grant-type',
          'client_credentials',
          '--grant-type',
          'refresh_token',
        ],
        run,
      )
      const authorization = basic('job', secret)
      const ask = async (ticket: string): Promise<{ status: number; ticket: string }> => {
        const form = grantType === 'refresh_token' ? { grant_type: grantType, refresh_token: ticket } : grant
        const { status, json } = await requestToken(server, form, { authorization })
        return { status, ticket: String(json.refresh_token ?? ticket) }
      }
      let disabledAt = Number.POSITIVE_INFINITY
      let going = true
      const started: { at: number; status: number }[] = []
      const load = Array.from({ length: 4 }, async () => {
        let ticket = String((await requestToken(server, grant, { authorization })).json.refresh_token)
        while (going) {
          const at = performance.now()
          const answer = await ask(ticket)
          ticket = answer.ticket
          started.push({ at, status: answer.status })
        }
      })
      await mayflyJson(['client', verb, 'job'], run)
      disabledAt = performance.now()
      while (started.filter(({ at }) => at > disabledAt).length < 50)
        await new Promise((resolve) => setImmediate(resolve))
      going = false
      await Promise.all(load)
      expect(started.some(({ status }) => status === 200)).toBe(true)
      expect(started.filter(({ at, status }) => at > disabledAt && status !== 401)).toEqual([])
    },
  )
})
