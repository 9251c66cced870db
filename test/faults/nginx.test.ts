/** The configuration for nginx that is in examples/, run by nginx. */
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createServer, type IncomingHttpHeaders } from 'node:http'
import { join } from 'node:path'
import { beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { startNginx } from '../support/nginx.ts'
import { freePort, root } from '../support/process.ts'
import { athOf, makeProof, makeProofKey } from '../support/proof.ts'
import { sendRaw } from '../support/raw.ts'
import {
  addClient,
  addResource,
  claimsOf,
  getToken,
  request,
  requestToken,
  startTestServer,
} from '../support/server.ts'
import { requireTools } from '../support/tools.ts'

const api = 'https://api.example.com'

beforeAll(() => requireTools('nginx'))

/** A service that says with which headers it was called. */
async function startService(): Promise<number> {
  const service = createServer((incoming, reply) => reply.end(JSON.stringify(incoming.headers)))
  service.listen(0, '127.0.0.1')
  await once(service, 'listening')
  onTestFinished(() => void service.close())
  const address = service.address()
  if (address === null || typeof address === 'string') throw new Error('no port')
  return address.port
}

/** nginx with the example, on other ports and in a folder of its own. */
async function startExample(mayfly: string, servicePort: number): Promise<string> {
  const port = await freePort()
  const example = readFileSync(join(root, 'examples/nginx.conf'), 'utf8')
    .replace('127.0.0.1:8081', `127.0.0.1:${port}`)
    .replace('127.0.0.1:3000', `127.0.0.1:${servicePort}`)
    .replace('http://127.0.0.1:8080', mayfly)
  const url = `http://127.0.0.1:${port}`
  await startNginx(example, port)
  return url
}

async function startScene() {
  const server = await startTestServer({ env: { MAYFLY_TRUSTED_PROXIES: '127.0.0.1/32' } })
  await addResource(server.store, api, ['invoices:read', 'other'])
  await addResource(server.store, 'https://second.example.com', ['invoices:read'])
  const reader = await addClient(server.store, 'reader', { audiences: [api], scopes: ['invoices:read'] })
  const url = await startExample(server.url, await startService())
  const ask = async (authorization?: string, more: Readonly<Record<string, string>> = {}, init: RequestInit = {}) => {
    const headers = { ...more, ...(authorization === undefined ? {} : { authorization }) }
    const reply = await request(url, { ...init, headers })
    return { ...reply, seen: reply.json as IncomingHttpHeaders }
  }
  return { server, reader, url, ask }
}

describe('nginx with the example', () => {
  it('lets a token with the scope pass, and the service sees who it is and no token', async () => {
    const { server, reader, ask } = await startScene()
    const token = await getToken(server, reader)
    const spoofed = { 'x-mayfly-subject': 'admin', 'x-mayfly-scope': 'everything', 'x-mayfly-token-id': 'x' }
    for (const init of [{}, { method: 'POST', body: 'x'.repeat(100_000) }, { method: 'DELETE' }]) {
      const { status, seen } = await ask(`Bearer ${token}`, spoofed, init)
      expect(status).toBe(200)
      const { sub, client_id, scope, jti, exp } = claimsOf(token)
      expect(seen).toMatchObject({
        'x-mayfly-subject': sub,
        'x-mayfly-client-id': client_id,
        'x-mayfly-scope': scope,
        'x-mayfly-token-id': jti,
        'x-mayfly-expires-at': String(exp),
      })
      expect(seen).not.toHaveProperty('authorization')
    }
  })

  it('turns everybody else away, with the challenge, and the service never hears of it', async () => {
    const { server, reader, url, ask } = await startScene()
    const other = await addClient(server.store, 'other', { audiences: [api], scopes: ['other'] })
    const foreign = { audiences: ['https://second.example.com'], scopes: ['invoices:read'] }
    const second = await addClient(server.store, 'second', foreign)
    const none = await ask()
    expect([none.status, none.headers.get('www-authenticate')]).toEqual([401, 'Bearer realm="mayfly"'])
    expect((await ask(`Bearer ${await getToken(server, other)}`)).status).toBe(403)
    for (const credentials of ['Bearer x', reader.basic, `Bearer ${await getToken(server, second)}`]) {
      expect((await ask(credentials)).status, credentials.slice(0, 10)).toBe(401)
    }
    const token = await getToken(server, reader)
    for (const path of ['/_mayfly', '/_mayfly?audience=x', '/%5fmayfly']) {
      const reply = await request(`${url}${path}`, { headers: { authorization: `Bearer ${token}` } })
      expect([reply.status, reply.headers.get('x-mayfly-subject')], path).toEqual([404, null])
    }
    const lines = ['GET / HTTP/1.1', 'Host: x', `Authorization: Bearer ${token}`, 'Authorization: Bearer x']
    const two = await sendRaw(url, [...lines, 'Connection: close', '', ''].join('\r\n'))
    expect(two.status).not.toBe(200)
  })

  it('DP-22 DP-24 lets a bound token pass with a proof for the request that nginx was sent, once', async () => {
    const { server, reader, url, ask } = await startScene()
    const key = makeProofKey()
    const grant = { grant_type: 'client_credentials' }
    const proof = makeProof(key, `${server.issuer}/token`, Date.now())
    const { json } = await requestToken(server, grant, { authorization: reader.basic, dpop: proof })
    const token = String(json.access_token)
    const prove = (htm: string, htu: string): string =>
      makeProof(key, htu, Date.now(), { claims: { htm, ath: athOf(token) } })
    const good = prove('POST', `${url}/`)
    const { status, seen } = await ask(`DPoP ${token}`, { dpop: good }, { method: 'POST', body: 'x' })
    expect([status, seen['x-mayfly-confirmation']]).toEqual([200, JSON.stringify({ jkt: key.jkt })])
    for (const dpop of [
      good,
      prove('GET', `${url}/`),
      prove('POST', `${url}/other`),
      prove('POST', `${server.url}/`),
      'x',
      '',
    ]) {
      // What the caller says of the request in nginx's place is not handed on.
      const spoofed = {
        'x-forwarded-uri': '/other',
        'x-forwarded-method': 'GET',
        'x-forwarded-host': new URL(server.url).host,
      }
      expect((await ask(`DPoP ${token}`, { dpop, ...spoofed }, { method: 'POST' })).status).toBe(401)
    }
    const bare = await ask(`Bearer ${token}`)
    expect([bare.status, bare.headers.get('www-authenticate')]).toEqual([
      401,
      expect.stringMatching(/^DPoP .*invalid_token/),
    ])
  })

  it('hears at the next request that a token was revoked, and lets nobody pass while Mayfly is down', async () => {
    const { server, reader, ask } = await startScene()
    const token = await getToken(server, reader)
    expect((await ask(`Bearer ${token}`)).status).toBe(200)
    const { jti, exp } = claimsOf(token)
    const event = { type: 'token.revoked', jti: String(jti), clientId: 'reader', actor: 'cli:test' } as const
    await (await server.openOther()).revokeToken({ expiresAt: Number(exp) * 1000 }, event)
    expect((await ask(`Bearer ${token}`)).status).toBe(401)
    const fresh = await getToken(server, reader)
    expect((await ask(`Bearer ${fresh}`)).status).toBe(200)
    await server.stop()
    expect((await ask(`Bearer ${fresh}`)).status).toBe(500)
  })
})
