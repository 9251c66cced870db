import { describe, expect, it } from 'vitest'
import { addressGroup } from '../../src/http/address.ts'
import { addClient, ManualClock, request, requestToken, startWithClient } from '../support/server.ts'

const grant = { grant_type: 'client_credentials' }

describe('the record of a refusal', () => {
  it('I10 is one for each refusal at the token endpoint, with its reason and the id of the reply', async () => {
    const { server, client } = await startWithClient()
    const headers = { authorization: client.basic }
    const asked: [string, Promise<{ headers: Headers; status: number }>][] = [
      ['method_not_allowed', request(`${server.url}/token`)],
      [
        'content_type_unsupported',
        request(`${server.url}/token`, { method: 'POST', body: 'x', headers: { 'content-type': 'text/plain' } }),
      ],
      ['form_malformed', requestToken(server, '%')],
      ['parameter_repeated', requestToken(server, 'a=1&a=2')],
      ['grant_type_missing', requestToken(server, {})],
      ['grant_type_unknown', requestToken(server, { grant_type: 'x' })],
      ['authentication_missing', requestToken(server, grant)],
      ['client_unknown', requestToken(server, { ...grant }, { authorization: 'Basic bm9ib2R5Ong=' })],
      ['scope_not_allowed', requestToken(server, { ...grant, scope: 'admin' }, headers)],
      ['resource_not_allowed', requestToken(server, { ...grant, resource: 'https://no.test' }, headers)],
      ['resource_malformed', requestToken(server, { ...grant, resource: 'no' }, headers)],
    ]
    for (const [reason, pending] of asked) {
      const requestId = (await pending).headers.get('x-request-id') ?? ''
      const entries = await server.store.listAudit({ requestId, limit: 10 })
      expect(entries.map((entry) => ('reason' in entry ? entry.reason : entry.type))).toEqual([reason])
    }
  })

  it('is sampled for strangers above a rate, with the count kept, whether the client exists or not', async () => {
    const clock = new ManualClock()
    const { server, client } = await startWithClient({ clock })
    const flood = 150
    for (let i = 0; i < flood; i += 1) {
      const id = i % 2 === 0 ? 'billing' : 'nobody'
      await requestToken(
        server,
        { ...grant },
        { authorization: `Basic ${Buffer.from(`${id}:guess-${i}`).toString('base64')}` },
      )
    }
    const singles = await server.store.listAudit({ type: 'token.refused', limit: 1000 })
    expect(singles.length).toBe(60)
    expect(singles.filter((entry) => 'clientId' in entry && entry.clientId === 'billing')).toHaveLength(30)
    const known = await requestToken(server, { ...grant, scope: 'admin' }, { authorization: client.basic })
    expect(await server.store.listAudit({ requestId: known.headers.get('x-request-id') ?? '', limit: 1 })).toHaveLength(
      1,
    )
    const { text } = await request(`${server.url}/metrics`)
    expect(text).toContain('mayfly_refusals_total{reason="secret_wrong"} 50')
    expect(text).toContain('mayfly_refusals_total{reason="too_many_failures"} 50')
    await server.stop()
    const [sampled] = await (await server.openOther()).listAudit({ type: 'token.refusals_sampled', limit: 10 })
    expect(sampled).toMatchObject({
      address: '127.0.0.1',
      counts: { secret_wrong: 20, client_unknown: 20, too_many_failures: 50 },
    })
  })

  it('groups the addresses of one stranger', () => {
    expect(addressGroup('2001:db8:1:2:3:4:5:6')).toBe('2001:db8:1:2::/64')
    expect(addressGroup('2001:db8:1:2::9')).toBe('2001:db8:1:2::/64')
    expect(addressGroup('::1')).toBe('0:0:0:0::/64')
    expect(addressGroup('192.0.2.7')).toBe('192.0.2.7')
  })

  it('is made even when the client is refused after it proved itself', async () => {
    const { server } = await startWithClient()
    const client = await addClient(server.store, 'grantless', { grantTypes: [] })
    const reply = await requestToken(server, grant, { authorization: client.basic })
    const [entry] = await server.store.listAudit({ requestId: reply.headers.get('x-request-id') ?? '', limit: 1 })
    expect(entry).toMatchObject({
      reason: 'grant_not_registered',
      clientId: 'grantless',
      grantType: 'client_credentials',
    })
  })
})
