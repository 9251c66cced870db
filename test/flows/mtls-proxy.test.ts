/** Clients with certificates, over TLS that ends at a proxy: RFC 9440. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  clientCert,
  type Identity,
  makeAuthority,
  makeIdentity,
  makeServerIdentity,
  writeTlsFiles,
} from '../support/certificates.ts'
import { addCertificateClient, billingName, makeBilling, registered } from '../support/mtls.ts'
import { startMtlsProxy } from '../support/mtls-proxy.ts'
import { freePort, temporaryFolder } from '../support/process.ts'
import { sendRaw } from '../support/raw.ts'
import {
  addClient,
  addResource,
  api,
  claimsOf,
  type Reply,
  request,
  requestToken,
  startTestServer,
  type TestServer,
} from '../support/server.ts'
import { requestOverTls } from '../support/tls.ts'

const failed = { error: 'invalid_client', error_description: 'client authentication failed' }
const form = { grant_type: 'client_credentials', client_id: 'billing' }

interface ProxyScene {
  readonly server: TestServer
  readonly authority: Identity
  /** What a trusted proxy sends for a client. */
  forward(headers: Readonly<Record<string, string>>, fields?: Readonly<Record<string, string>>): Promise<Reply>
}

/** A server whose trusted proxy is on loopback, where tests are. */
async function startBehindProxy({ verifies = true, trusted = '127.0.0.1' } = {}): Promise<ProxyScene> {
  const authority = await makeAuthority()
  const files = writeTlsFiles(temporaryFolder(), authority, [authority])
  const { MAYFLY_TLS_CLIENT_CA_FILE = '' } = files
  const server = await startTestServer({
    env: { MAYFLY_TRUSTED_PROXIES: trusted, ...(verifies ? { MAYFLY_TLS_CLIENT_CA_FILE } : {}) },
  })
  await addResource(server.store)
  await addCertificateClient(server.store, 'billing', { ...billingName, certificateBound: true })
  return { server, authority, forward: (headers, fields = {}) => requestToken(server, { ...form, ...fields }, headers) }
}

describe('Client-Cert from a trusted proxy', () => {
  it('TLS-01 proves its client, and binds its tokens', async () => {
    const { authority, forward } = await startBehindProxy()
    const identity = await makeBilling(authority)
    const reply = await forward({ 'client-cert': clientCert(identity) })
    expect(reply.status).toBe(200)
    expect(claimsOf(String(reply.json.access_token)).cnf).toEqual({ 'x5t#S256': identity.thumbprint })
  })

  it('TLS-03 is verified here where authorities are named, with what Client-Cert-Chain leads to them by', async () => {
    const { authority, forward } = await startBehindProxy()
    const between = await makeAuthority({ by: authority, subject: 'CN=Between' })
    const further = await makeAuthority({ by: between, subject: 'CN=Further' })
    const leaf = clientCert(await makeBilling(further))
    const chain = [clientCert(further), clientCert(between)]
    expect((await forward({ 'client-cert': leaf })).json).toEqual(failed)
    expect((await forward({ 'client-cert': leaf, 'client-cert-chain': chain.join(', ') })).status).toBe(200)
    const impostor = await makeAuthority()
    for (const identity of [await makeBilling(impostor), await makeIdentity({ dns: ['billing.example.test'] })]) {
      expect((await forward({ 'client-cert': clientCert(identity) })).json).toEqual(failed)
    }
    const expired = { dns: ['billing.example.test'], notAfter: Date.now() - 1_000 }
    expect(
      (await forward({ 'client-cert': clientCert(await makeIdentity({ by: authority, ...expired })) })).json,
    ).toEqual(failed)
  })

  it('is believed to be verified where none are, as long as it lasts', async () => {
    const { forward } = await startBehindProxy({ verifies: false })
    const any = await makeIdentity({ dns: ['billing.example.test'] })
    expect((await forward({ 'client-cert': clientCert(any) })).status).toBe(200)
    const expired = await makeIdentity({ dns: ['billing.example.test'], notAfter: Date.now() - 1_000 })
    expect((await forward({ 'client-cert': clientCert(expired) })).json).toEqual(failed)
    const other = await makeIdentity({ dns: ['other.test'] })
    expect((await forward({ 'client-cert': clientCert(other) })).json).toEqual(failed)
  })

  it('TLS-04 is enough for a client that has registered it', async () => {
    const { server, forward } = await startBehindProxy()
    const identity = await makeIdentity()
    await addCertificateClient(server.store, 'own', {
      authMethods: ['self_signed_tls_client_auth'],
      ...registered(identity),
    })
    expect((await forward({ 'client-cert': clientCert(identity) }, { client_id: 'own' })).status).toBe(200)
    expect((await forward({ 'client-cert': clientCert(await makeIdentity()) }, { client_id: 'own' })).json).toEqual(
      failed,
    )
  })

  it('TLS-08 is refused when it is malformed or repeated, whatever else proves the client', async () => {
    const { server, authority, forward } = await startBehindProxy()
    const { basic } = await addClient(server.store, 'plain')
    const { der } = await makeBilling(authority)
    const cut = Buffer.from(der, 'base64').subarray(0, -1).toString('base64')
    const long = Buffer.concat([Buffer.from(der, 'base64'), Buffer.alloc(3)]).toString('base64')
    const loose = der.replace(/=+$/, '')
    const values = [
      '',
      ':',
      '::',
      der,
      `:${der}`,
      `:${der}:;a=1`,
      `:${der}:, :${der}:`,
      `:${der} :`,
      `"${der}"`,
      `:${cut}:`,
      `:${long}:`,
      `:${der}AAAA:`,
      `:-${der}:`,
      `:${Buffer.from('x').toString('base64')}:`,
      encodeURIComponent('-----BEGIN CERTIFICATE-----'),
      ...(loose === der ? [] : [`:${loose}:`]),
    ]
    for (const value of values) {
      const reply = await requestToken(
        server,
        { grant_type: 'client_credentials' },
        { authorization: basic, 'client-cert': value },
      )
      expect([reply.status, reply.json.error], value.slice(0, 60)).toEqual([400, 'invalid_request'])
    }
    const good = clientCert({ der })
    for (const chain of ['x', `${good},`, ',', Array.from({ length: 9 }, () => good).join(',')]) {
      const reply = await forward({ 'client-cert': good, 'client-cert-chain': chain })
      expect([reply.status, reply.json.error], chain.slice(0, 20)).toEqual([400, 'invalid_request'])
    }
    expect((await forward({ 'client-cert-chain': good })).json.error).toBe('invalid_request')
    const body = new URLSearchParams(form).toString()
    const raw = (lines: readonly string[]) =>
      sendRaw(
        server.url,
        [
          'POST /token HTTP/1.1',
          'Host: x',
          'Content-Type: application/x-www-form-urlencoded',
          `Content-Length: ${body.length}`,
          ...lines,
          'Connection: close',
          '',
          body,
        ].join('\r\n'),
      )
    expect((await raw([`Client-Cert: ${good}`])).status).toBe(200)
    const two = await raw([`Client-Cert: ${good}`, `client-cert: ${good}`])
    expect([two.status, JSON.parse(two.body).error]).toEqual([400, 'invalid_request'])
  })

  it('is looked at where it matters, and nowhere else', async () => {
    const { server } = await startBehindProxy()
    for (const path of ['/livez', '/.well-known/jwks.json']) {
      expect((await request(`${server.url}${path}`, { headers: { 'client-cert': 'x' } })).status).toBe(200)
    }
  })

  it('C12 TLS-08 is ignored from everybody else, and every name that is like it from the proxy too', async () => {
    const outside = await startBehindProxy({ trusted: '192.0.2.1' })
    const inside = await startBehindProxy()
    for (const { authority, forward } of [outside, inside]) {
      const identity = await makeBilling(authority)
      const pem = encodeURIComponent(identity.cert)
      const names = {
        'x-client-cert': clientCert(identity),
        'x-ssl-client-cert': pem,
        'ssl-client-cert': pem,
        'x-ssl-cert': pem,
        'x-forwarded-client-cert': `Hash=x;Cert="${pem}";URI=spiffe://x`,
        'x-forwarded-tls-client-cert': pem,
        'x-amzn-mtls-clientcert': pem,
        'x-arr-clientcert': identity.der,
        client_cert: clientCert(identity),
        'client-cert-': clientCert(identity),
      }
      for (const [name, value] of Object.entries(names))
        expect((await forward({ [name]: value })).json, name).toEqual(failed)
    }
    const header = clientCert(await makeBilling(outside.authority))
    expect((await outside.forward({ 'client-cert': header })).json).toEqual(failed)
    expect((await outside.forward({ 'client-cert': header, 'x-forwarded-for': '192.0.2.1' })).json).toEqual(failed)
    expect((await outside.forward({ 'client-cert': 'x' })).json).toEqual(failed)
  })

  it('is not replaced by the certificate of the proxy itself', async () => {
    const authority = await makeAuthority()
    const serverAuthority = await makeAuthority({ subject: 'CN=Servers' })
    const files = writeTlsFiles(temporaryFolder(), await makeServerIdentity(serverAuthority), [authority])
    const server = await startTestServer({ env: { ...files, MAYFLY_TRUSTED_PROXIES: '127.0.0.1' } })
    await addResource(server.store)
    await addCertificateClient(server.store, 'proxy', { tlsSubject: { kind: 'san_dns', value: 'proxy.test' } })
    await addCertificateClient(server.store, 'billing', billingName)
    const proxy = await makeIdentity({ by: authority, dns: ['proxy.test'] })
    const ask = (client_id: string, headers: Readonly<Record<string, string>>) =>
      requestOverTls({
        url: `${server.url}/token`,
        ca: serverAuthority.cert,
        identity: proxy,
        form: { ...form, client_id },
        headers,
      })
    expect((await ask('proxy', {})).json).toEqual(failed)
    const header = { 'client-cert': clientCert(await makeBilling(authority)) }
    expect((await ask('proxy', header)).json).toEqual(failed)
    expect((await ask('billing', header)).status).toBe(200)
  })
})

describe('a proxy that ends TLS', () => {
  it('hands on the certificate of its client, and nothing that the client says of one', async () => {
    const { server, authority } = await startBehindProxy()
    const serverAuthority = await makeAuthority({ subject: 'CN=Servers' })
    const url = await startMtlsProxy(server.url, await makeServerIdentity(serverAuthority))
    const ask = (identity: Identity | undefined, headers: Readonly<Record<string, string>> = {}) =>
      requestOverTls({ url: `${url}/token`, ca: serverAuthority.cert, identity, form, headers })
    const good = await makeBilling(authority)
    const reply = await ask(good)
    expect(claimsOf(String(reply.json.access_token)).cnf).toEqual({ 'x5t#S256': good.thumbprint })
    const spoofed = { 'client-cert': clientCert(good), Client_Cert: clientCert(good) }
    expect((await ask(undefined, spoofed)).json).toEqual(failed)
    expect((await ask(await makeIdentity({ by: authority, dns: ['x.test'] }), spoofed)).json).toEqual(failed)
    expect((await ask(await makeIdentity(), spoofed)).json).toEqual(failed)
  })
})

describe('a host of its own for clients with certificates', () => {
  it('TLS-11 MD-05 I25 is named in the metadata by aliases that answer, and the issuer stays what it is', async () => {
    const port = await freePort()
    const authority = await makeAuthority()
    const serverAuthority = await makeAuthority({ subject: 'CN=Servers' })
    const issuer = 'https://tokens.example.test/tenant'
    const { MAYFLY_TLS_CLIENT_CA_FILE = '' } = writeTlsFiles(temporaryFolder(), authority, [authority])
    const server = await startTestServer({
      env: {
        MAYFLY_ISSUER: issuer,
        MAYFLY_TRUSTED_PROXIES: '127.0.0.1',
        MAYFLY_TLS_CLIENT_CA_FILE,
        MAYFLY_MTLS_URL: `https://127.0.0.1:${port}/tenant`,
      },
    })
    await addResource(server.store)
    await addCertificateClient(server.store, 'billing', { ...billingName, certificateBound: true, introspects: [api] })
    await startMtlsProxy(server.url, await makeServerIdentity(serverAuthority), { port })
    const metadata = await request(`${server.url}/.well-known/oauth-authorization-server/tenant`)
    const aliases = metadata.json.mtls_endpoint_aliases as Readonly<Record<string, string>>
    expect(Object.keys(aliases)).toEqual(['token_endpoint', 'revocation_endpoint', 'introspection_endpoint'])
    const identity = await makeBilling(authority)
    const ask = (endpoint: string, fields: Readonly<Record<string, string>>) =>
      requestOverTls({ url: aliases[endpoint] ?? '', ca: serverAuthority.cert, identity, form: { ...form, ...fields } })
    const token = String((await ask('token_endpoint', {})).json.access_token)
    expect(claimsOf(token)).toMatchObject({ iss: issuer, sub: 'billing', cnf: { 'x5t#S256': identity.thumbprint } })
    expect((await ask('introspection_endpoint', { token })).json).toMatchObject({ active: true, iss: issuer })
    expect((await ask('revocation_endpoint', { token })).status).toBe(200)
    expect((await ask('introspection_endpoint', { token })).json).toEqual({ active: false })
  })
})

describe('what a request says of itself', () => {
  it('HTTP-14 I25 changes neither the issuer nor who asks, from a proxy or not', async () => {
    const scenes = [await startBehindProxy({ trusted: '192.0.2.1' }), await startBehindProxy()]
    const good = clientCert(await makeBilling((scenes[0] as ProxyScene).authority))
    const names = [
      'x-forwarded-host',
      'x-forwarded-proto',
      'forwarded',
      'x-original-url',
      'x-client-cert',
      'x-forwarded-client-cert',
      'x-ssl-client-verify',
      'x-ssl-client-s-dn',
      'ssl-client-cert',
      'client_cert',
      'x-forwarded-for',
    ]
    const values = ['evil.test', 'https', 'SUCCESS', 'CN=billing', 'host=evil.test;proto=https', '127.0.0.1', good]
    const headers = fc.dictionary(fc.constantFrom(...names), fc.constantFrom(...values), { maxKeys: 6 })
    await fc.assert(
      fc.asyncProperty(headers, fc.nat(1), async (given, which) => {
        const { server, authority, forward } = scenes[which] as ProxyScene
        const reply = await forward(given)
        expect(reply.json).toEqual(failed)
        const metadata = await request(`${server.url}/.well-known/oauth-authorization-server`, { headers: given })
        expect(metadata.json.issuer).toBe(server.issuer)
        if (which === 0) return
        const own = await forward({ ...given, 'client-cert': clientCert(await makeBilling(authority)) })
        expect(claimsOf(String(own.json.access_token))).toMatchObject({ iss: server.issuer, sub: 'billing' })
      }),
      { seed: 20_261_203, numRuns: 40 },
    )
  })
})

describe('a token that is bound to a certificate', () => {
  const path = `/verify?audience=${encodeURIComponent(api)}`

  async function startVerify() {
    const scene = await startBehindProxy()
    const identity = await makeBilling(scene.authority)
    const token = String((await scene.forward({ 'client-cert': clientCert(identity) })).json.access_token)
    const verify = (headers: Readonly<Record<string, string>>, url = scene.server.url) =>
      request(`${url}${path}`, { headers: { authorization: `Bearer ${token}`, ...headers } })
    return { ...scene, identity, token, verify }
  }

  it('TLS-09 C14 passes at /verify with that certificate alone, and says so to the service', async () => {
    const { authority, identity, verify } = await startVerify()
    const passed = await verify({ 'client-cert': clientCert(identity) })
    expect(passed.status).toBe(200)
    expect(JSON.parse(passed.headers.get('x-mayfly-confirmation') ?? '')).toEqual({ 'x5t#S256': identity.thumbprint })
    const others = [
      {},
      { 'client-cert': clientCert(await makeBilling(authority)) },
      { 'x-client-cert': clientCert(identity) },
    ]
    for (const headers of others) {
      const refused = await verify(headers)
      expect([refused.status, refused.headers.get('www-authenticate')]).toEqual([
        401,
        'Bearer realm="mayfly", error="invalid_token"',
      ])
      expect(refused.headers.get('x-mayfly-confirmation')).toBeNull()
    }
    expect((await verify({ 'client-cert': 'x' })).status).toBe(400)
  })

  it('C14 does not pass by a certificate that somebody sends who is no trusted proxy, or has of its own', async () => {
    const { server, authority, identity, token } = await startVerify()
    const files = writeTlsFiles(temporaryFolder(), await makeServerIdentity(authority), [authority])
    const outside = await startTestServer({ folder: server.folder, env: { ...files, MAYFLY_ISSUER: server.issuer } })
    for (const headers of [{}, { 'client-cert': clientCert(identity) }]) {
      const reply = await requestOverTls({
        url: `${outside.url}${path}`,
        ca: authority.cert,
        identity,
        headers: { authorization: `Bearer ${token}`, ...headers },
      })
      expect(reply.status).toBe(401)
    }
  })

  it('TLS-09 is shown with its binding to a service that asks', async () => {
    const { server, identity, token } = await startVerify()
    const { basic } = await addClient(server.store, 'service', { grantTypes: [], introspects: [api] })
    const reply = await request(`${server.url}/introspect`, {
      method: 'POST',
      body: new URLSearchParams({ token }),
      headers: { authorization: basic },
    })
    expect(reply.json).toMatchObject({ active: true, token_type: 'Bearer', cnf: { 'x5t#S256': identity.thumbprint } })
  })

  it('I16 stays bound, in whatever order certificates come and the registration changes', async () => {
    const { server, authority } = await startBehindProxy()
    const grantTypes = ['client_credentials', 'refresh_token'] as const
    const { basic, clientId } = await addClient(server.store, 'plain', { grantTypes, certificateBound: true })
    const identities = [await makeBilling(authority), await makeIdentity()]
    const step = fc.record({ certificate: fc.constantFrom(0, 1, undefined), isBound: fc.boolean() })
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 5 }), async (steps) => {
        await server.store.updateClient(clientId, { certificateBound: true }, 'cli:test')
        const send = (certificate: number | undefined, fields: Readonly<Record<string, string>>) => {
          const identity = certificate === undefined ? undefined : identities[certificate]
          return requestToken(server, fields, {
            authorization: basic,
            ...(identity === undefined ? {} : { 'client-cert': clientCert(identity) }),
          })
        }
        let ticket = String((await send(0, { grant_type: 'client_credentials' })).json.refresh_token)
        for (const { certificate, isBound } of steps) {
          await server.store.updateClient(clientId, { certificateBound: isBound }, 'cli:test')
          const reply = await send(certificate, { grant_type: 'refresh_token', refresh_token: ticket })
          const identity = certificate === undefined ? undefined : identities[certificate]
          if (identity === undefined) {
            expect([reply.status, reply.json.error]).toEqual([400, 'invalid_request'])
          } else {
            expect(claimsOf(String(reply.json.access_token)).cnf).toEqual({ 'x5t#S256': identity.thumbprint })
            ticket = String(reply.json.refresh_token)
          }
        }
      }),
      { seed: 20_261_204, numRuns: 15 },
    )
  })
})
