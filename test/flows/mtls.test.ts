/** Clients with certificates, over TLS that ends here: RFC 8705. */
import type { RequestListener } from 'node:http'
import { connect } from 'node:tls'
import { describe, expect, it } from 'vitest'
import type { TlsSubject } from '../../src/client/client.ts'
import {
  type Identity,
  type IdentityOptions,
  makeAuthority,
  makeIdentity,
  makeJwk,
  makeKeys,
  serverAuth,
} from '../support/certificates.ts'
import { ManualClock } from '../support/clock.ts'
import { addCertificateClient, billingName, makeBilling, registered, startTls } from '../support/mtls.ts'
import { json, keysUrl, leadTo, startOutside } from '../support/outside.ts'
import { addClient, api, claimsOf } from '../support/server.ts'
import { connectTls } from '../support/tls.ts'

const failed = { error: 'invalid_client', error_description: 'client authentication failed' }
const billing = { client_id: 'billing' }

describe('tls_client_auth', () => {
  it('TLS-01 gets a token by a certificate with the registered name, bound to it when that is registered', async () => {
    const { server, authority, ask } = await startTls()
    await addCertificateClient(server.store, 'billing', { ...billingName, certificateBound: true })
    await addCertificateClient(server.store, 'bearer', billingName)
    const identity = await makeBilling(authority)
    const reply = await ask(identity, billing)
    expect(reply).toMatchObject({ status: 200, json: { token_type: 'Bearer', scope: 'read write' } })
    const { sub, aud, cnf } = claimsOf(String(reply.json.access_token))
    expect({ sub, aud, cnf }).toEqual({ sub: 'billing', aud: api, cnf: { 'x5t#S256': identity.thumbprint } })
    const plain = await ask(identity, { client_id: 'bearer' })
    expect(plain.status).toBe(200)
    expect(claimsOf(String(plain.json.access_token))).not.toHaveProperty('cnf')
  })

  it('is written down by the thumbprint of its certificate', async () => {
    const { server, authority, ask } = await startTls()
    await addCertificateClient(server.store, 'billing', billingName)
    const identity = await makeBilling(authority)
    const { jti } = claimsOf(String((await ask(identity, billing)).json.access_token))
    const record = await (await server.openOther()).findIssuance(String(jti))
    expect(record).toMatchObject({ credentialId: `crt_${identity.thumbprint}` })
    expect(record).not.toHaveProperty('secretId')
  })

  it('is written down with the certificate that was refused, and why', async () => {
    const { server, authority, ask } = await startTls()
    await addCertificateClient(server.store, 'billing', billingName)
    const identities = [await makeIdentity({ by: authority, dns: ['x.test'] }), await makeIdentity()]
    for (const identity of identities) await ask(identity, billing)
    const entries = await server.store.listAudit({ limit: 10, type: 'token.refused' })
    expect(entries).toMatchObject([
      { reason: 'certificate_untrusted', clientId: 'billing', credentialId: `crt_${identities[1]?.thumbprint}` },
      { reason: 'certificate_wrong', clientId: 'billing', credentialId: `crt_${identities[0]?.thumbprint}` },
    ])
  })

  it.each<{ subject: TlsSubject; names: IdentityOptions }>([
    {
      subject: { kind: 'subject_dn', value: 'cn=Job 7, o=EXAMPLE' },
      names: { subject: [{ O: ['Example'] }, { CN: ['job  7'] }] },
    },
    { subject: { kind: 'san_dns', value: 'JOB.test' }, names: { dns: ['x.test', 'job.test'] } },
    { subject: { kind: 'san_uri', value: 'spiffe://x.test/job' }, names: { uris: ['spiffe://x.test/job'] } },
    { subject: { kind: 'san_ip', value: '2001:DB8:0::7' }, names: { ips: ['192.0.2.1', '2001:db8::7'] } },
    { subject: { kind: 'san_email', value: 'job@X.test' }, names: { emails: ['job@x.test'] } },
  ])('TLS-05 compares $subject.kind by its own rule, and refuses every other name', async ({ subject, names }) => {
    const { server, authority, ask } = await startTls()
    await addCertificateClient(server.store, 'billing', { tlsSubject: subject })
    expect(await ask(await makeIdentity({ by: authority, ...names }), billing)).toMatchObject({ status: 200 })
    expect((await ask(await makeIdentity({ by: authority, dns: ['other.test'] }), billing)).json).toEqual(failed)
    expect((await ask(await makeIdentity(names), billing)).json).toEqual(failed)
  })

  it('TLS-02 never takes a client from its certificate alone', async () => {
    const { server, authority, ask } = await startTls()
    await addCertificateClient(server.store, 'billing', billingName)
    const identity = await makeBilling(authority)
    expect(await ask(identity, {})).toMatchObject({ status: 400, json: failed })
    expect(await ask(identity, { client_id: '' })).toMatchObject({ status: 400, json: failed })
  })

  it('TLS-03 C13 answers every bad certificate with the same bytes, and as if there were none', async () => {
    const { server, authority, ask } = await startTls()
    await addCertificateClient(server.store, 'billing', billingName)
    await addCertificateClient(server.store, 'other', { tlsSubject: { kind: 'san_dns', value: 'other.test' } })
    await addCertificateClient(server.store, 'off', billingName)
    await server.store.setClientStatus('off', 'disabled', 'cli:test')
    const names = { dns: ['billing.example.test'] }
    const impostor = await makeAuthority()
    const expired = { notBefore: Date.now() - 2_000_000, notAfter: Date.now() - 1_000_000 }
    const good = await makeIdentity({ by: authority, ...names })
    const cases: readonly [string, Identity | undefined, string][] = [
      ['none', undefined, 'billing'],
      ['another name', await makeIdentity({ by: authority, dns: ['x.test'] }), 'billing'],
      [
        'a common name alone',
        await makeIdentity({ by: authority, subject: [{ CN: ['billing.example.test'] }] }),
        'billing',
      ],
      ['of another client', await makeIdentity({ by: authority, dns: ['other.test'] }), 'billing'],
      ['by an authority of the same name', await makeIdentity({ by: impostor, ...names }), 'billing'],
      ['signed by itself', await makeIdentity(names), 'billing'],
      ['expired', await makeIdentity({ by: authority, ...names, ...expired }), 'billing'],
      ['for servers', await makeIdentity({ by: authority, ...names, usages: [serverAuth] }), 'billing'],
      ['for a client that there is not', good, 'nobody'],
      ['for a disabled client', good, 'off'],
    ]
    const replies = await Promise.all(cases.map(([, identity, client_id]) => ask(identity, { client_id })))
    replies.forEach(({ status, text }, i) => {
      expect([status, text], cases[i]?.[0]).toEqual([400, JSON.stringify(failed)])
    })
    expect(await ask(good, billing)).toMatchObject({ status: 200 })
  })

  it('takes what leads from a certificate to the authority from the connection', async () => {
    const root = await makeAuthority({ subject: 'CN=Root' })
    const between = await makeAuthority({ by: root, subject: 'CN=Between' })
    const { server, ask } = await startTls({}, [root])
    await addCertificateClient(server.store, 'billing', billingName)
    const identity = await makeBilling(between)
    expect((await ask(identity, billing)).status).toBe(400)
    expect((await ask({ ...identity, cert: identity.cert + between.cert }, billing)).status).toBe(200)
  })

  it('TLS-03 believes a certificate no longer than it lasts, on a connection that was open before', async () => {
    const clock = new ManualClock(Date.now())
    const { server, authority, serverAuthority } = await startTls({ clock })
    await addCertificateClient(server.store, 'billing', billingName)
    const { cert, key } = await makeIdentity({
      by: authority,
      dns: ['billing.example.test'],
      notAfter: Date.now() + 60_000,
    })
    const socket = await connectTls(server.url, { cert, key, ca: serverAuthority.cert, servername: 'localhost' })
    const ask = async (): Promise<string> => {
      const body = 'grant_type=client_credentials&client_id=billing'
      socket.write(
        `POST /token HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
      )
      return new Promise((resolve) => socket.once('data', (data) => resolve(String(data).slice(0, 12))))
    }
    expect(await ask()).toBe('HTTP/1.1 200')
    clock.advance(120_000)
    expect(await ask()).toBe('HTTP/1.1 400')
  })

  it('revokes and introspects by a certificate too', async () => {
    const { server, authority, ask } = await startTls()
    const bound = { ...billingName, certificateBound: true, introspects: [api] }
    await addCertificateClient(server.store, 'billing', bound)
    const identity = await makeBilling(authority)
    const token = String((await ask(identity, billing)).json.access_token)
    const introspect = () => ask(identity, { ...billing, token }, { path: '/introspect' })
    expect((await introspect()).json).toMatchObject({ active: true, cnf: { 'x5t#S256': identity.thumbprint } })
    expect(await ask(identity, { ...billing, token }, { path: '/revoke' })).toMatchObject({ status: 200, text: '' })
    expect((await introspect()).json).toEqual({ active: false })
    for (const path of ['/introspect', '/revoke']) {
      expect((await ask(undefined, { ...billing, token }, { path })).json).toEqual(failed)
    }
  })
})

describe('self_signed_tls_client_auth', () => {
  it('TLS-04 takes a certificate that is registered, whoever signed it, and no other', async () => {
    const { server, authority, ask } = await startTls()
    const keys = await makeKeys()
    const identity = await makeIdentity({ keys, usages: [serverAuth] })
    await addCertificateClient(server.store, 'billing', {
      authMethods: ['self_signed_tls_client_auth'],
      ...registered(identity),
    })
    expect((await ask(identity, billing)).status).toBe(200)
    const others = [
      await makeIdentity({ keys, usages: [serverAuth] }),
      await makeIdentity(),
      await makeBilling(authority),
      undefined,
    ]
    for (const other of others) expect(await ask(other, billing)).toMatchObject({ status: 400, json: failed })
  })

  it('works where no authority is named at all, and tls_client_auth does not', async () => {
    const { server, authority, ask } = await startTls({}, [])
    const identity = await makeBilling(authority)
    await addCertificateClient(server.store, 'billing', {
      authMethods: ['self_signed_tls_client_auth'],
      ...registered(identity),
    })
    await addCertificateClient(server.store, 'named', billingName)
    expect((await ask(identity, billing)).status).toBe(200)
    expect((await ask(identity, { client_id: 'named' })).json).toEqual(failed)
  })

  it('TLS-04 takes a certificate that the client publishes, and none while its keys cannot be had', async () => {
    const identity = await makeIdentity()
    let isUp = true
    const publish: RequestListener = async (incoming, reply) => {
      if (isUp) json({ keys: [await makeJwk(identity)] })(incoming, reply)
      else reply.writeHead(503).end()
    }
    const outside = await startOutside(publish)
    const { server, authority, ask } = await startTls({ outside: leadTo(outside) })
    const method = { authMethods: ['self_signed_tls_client_auth'] } as const
    await addCertificateClient(server.store, 'billing', { ...method, keys: { kind: 'uri', uri: keysUrl } })
    expect((await ask(identity, billing)).status).toBe(200)
    expect((await ask(await makeBilling(authority), billing)).json).toEqual(failed)
    isUp = false
    await addCertificateClient(server.store, 'other', {
      ...method,
      keys: { kind: 'uri', uri: keysUrl.replace('.json', '-2.json') },
    })
    expect((await ask(identity, { client_id: 'other' })).json).toEqual(failed)
    const [entry] = await server.store.listAudit({ limit: 1, type: 'token.refused' })
    expect(entry).toMatchObject({ reason: 'certificate_keys_unavailable', clientId: 'other' })
  })
})

describe('a certificate beside other credentials', () => {
  const several = { error: 'invalid_request', error_description: 'more than one client authentication method was used' }

  it('CA-07 is a second method for a client that proves itself by it, and only its owner hears so', async () => {
    const { server, authority, ask } = await startTls()
    await addCertificateClient(server.store, 'billing', billingName)
    const good = await makeBilling(authority)
    const bad = await makeIdentity({ by: authority, dns: ['x.test'] })
    const form = { ...billing, client_secret: 'x' }
    const authorization = `Basic ${Buffer.from('billing:x').toString('base64')}`
    expect((await ask(good, form)).json).toEqual(several)
    expect(await ask(good, {}, { headers: { authorization } })).toMatchObject({ json: several })
    for (const identity of [bad, undefined]) {
      expect((await ask(identity, form)).json).toEqual(failed)
      expect((await ask(identity, {}, { headers: { authorization } })).json).toEqual(failed)
    }
    expect((await ask(good, { client_id: 'nobody', client_secret: 'x' })).json).toEqual(failed)
  })

  it('CA-07 is none for a client with a secret, nor while a client moves from its secret to its certificate', async () => {
    const { server, authority, ask } = await startTls()
    const identity = await makeBilling(authority)
    const plain = await addClient(server.store, 'plain')
    const moving = await addClient(server.store, 'moving', {
      ...billingName,
      authMethods: ['client_secret_basic', 'tls_client_auth'],
    })
    for (const { basic } of [plain, moving]) {
      expect((await ask(identity, {}, { headers: { authorization: basic } })).status).toBe(200)
      expect((await ask(undefined, {}, { headers: { authorization: basic } })).status).toBe(200)
    }
    expect((await ask(identity, { client_id: 'moving' })).status).toBe(200)
    expect((await ask(identity, { client_id: 'plain' })).json).toEqual(failed)
    const wrong = `Basic ${Buffer.from('moving:wrong').toString('base64')}`
    expect((await ask(identity, {}, { headers: { authorization: wrong } })).json).toEqual(failed)
  })

  it('C08 I19 does not tell, over a limit either, of a client that takes none', async () => {
    const { server, ask } = await startTls({ env: { MAYFLY_RATE_LIMIT_FAILURES: '2' } })
    await addClient(server.store, 'plain')
    const anybodys = await makeIdentity()
    for (const client_id of ['plain', 'nobody']) {
      expect((await ask(anybodys, { client_id })).json, client_id).toEqual(failed)
    }
    for (const client_id of ['plain', 'nobody'])
      expect((await ask(anybodys, { client_id })).status, client_id).toBe(429)
  })

  it('CA-12 leaves two authorizations what they are, and one of another scheme', async () => {
    const { server, authority, ask } = await startTls()
    await addCertificateClient(server.store, 'billing', billingName)
    const identity = await makeBilling(authority)
    expect(await ask(identity, billing, { headers: { authorization: ['Bearer x', 'Bearer y'] } })).toMatchObject({
      status: 400,
      json: { error: 'invalid_request' },
    })
    for (const authorization of ['Bearer x', 'DPoP x']) {
      const reply = await ask(identity, billing, { headers: { authorization } })
      expect([reply.status, reply.json.error]).toEqual([401, 'invalid_client'])
    }
  })
})

describe('tokens that are bound to a certificate', () => {
  it('TLS-07 are all that a client registered for them gets, by whatever it proves itself', async () => {
    const { server, authority, ask } = await startTls()
    const { basic } = await addClient(server.store, 'plain', { certificateBound: true })
    const headers = { authorization: basic }
    expect(await ask(undefined, {}, { headers })).toMatchObject({
      status: 400,
      json: { error: 'invalid_request', error_description: 'a client certificate is needed' },
    })
    for (const identity of [await makeBilling(authority), await makeIdentity()]) {
      const reply = await ask(identity, {}, { headers })
      expect(claimsOf(String(reply.json.access_token)).cnf).toEqual({ 'x5t#S256': identity.thumbprint })
    }
  })

  it('TLS-10 follow the certificate when it is renewed, and never lose it', async () => {
    const { server, authority, ask } = await startTls()
    const grantTypes = ['client_credentials', 'refresh_token'] as const
    await addCertificateClient(server.store, 'billing', { ...billingName, certificateBound: true, grantTypes })
    const { basic } = await addClient(server.store, 'plain', { certificateBound: true, grantTypes })
    const [first, renewed] = [await makeBilling(authority), await makeBilling(authority)]
    const begun = await ask(first, billing)
    const refresh = (identity: Identity | undefined, refresh_token: unknown, headers = {}) =>
      ask(identity, { grant_type: 'refresh_token', refresh_token: String(refresh_token), ...(headers ? billing : {}) })
    const next = await refresh(renewed, begun.json.refresh_token)
    expect(claimsOf(String(next.json.access_token)).cnf).toEqual({ 'x5t#S256': renewed.thumbprint })
    // The lost answer was bound to the certificate of then.
    expect(await refresh(renewed, begun.json.refresh_token)).toMatchObject({
      status: 200,
      json: { refresh_token: next.json.refresh_token },
    })
    expect((await refresh(first, begun.json.refresh_token)).json.error).toBe('invalid_grant')

    const authorization = { authorization: basic }
    const plain = await ask(first, {}, { headers: authorization })
    await (await server.openOther()).updateClient('plain', { certificateBound: null }, 'cli:test')
    const form = { grant_type: 'refresh_token', refresh_token: String(plain.json.refresh_token) }
    expect((await ask(undefined, form, { headers: authorization })).json.error).toBe('invalid_request')
    const kept = await ask(renewed, form, { headers: authorization })
    expect(claimsOf(String(kept.json.access_token)).cnf).toEqual({ 'x5t#S256': renewed.thumbprint })
  })
})

describe('the certificate of a connection', () => {
  it('C12 is not replaced by any header', async () => {
    const { server, authority, ask } = await startTls()
    await addCertificateClient(server.store, 'billing', billingName)
    const { der } = await makeBilling(authority)
    const other = await makeIdentity({ by: authority, dns: ['x.test'] })
    for (const name of [
      'Client-Cert',
      'X-Client-Cert',
      'X-SSL-Client-Cert',
      'X-Forwarded-Client-Cert',
      'Client_Cert',
    ]) {
      for (const identity of [undefined, other]) {
        expect((await ask(identity, billing, { headers: { [name]: `:${der}:` } })).json, name).toEqual(failed)
      }
    }
  })

  it('is proved in a handshake of its own: no session is resumed, and none renegotiated', async () => {
    const { server, authority, serverAuthority } = await startTls()
    const { cert, key } = await makeBilling(authority)
    for (const maxVersion of ['TLSv1.2', 'TLSv1.3']) {
      const options = { cert, key, ca: serverAuthority.cert, servername: 'localhost', maxVersion }
      const first = await connectTls(server.url, options)
      const sessions: Buffer[] = []
      first.on('session', (session: Buffer) => sessions.push(session))
      first.end('GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n').resume()
      await new Promise((resolve) => first.once('close', resolve))
      for (const session of [...sessions, first.getSession()]) {
        const again = await connectTls(server.url, { ...options, session })
        expect(again.isSessionReused(), maxVersion).toBe(false)
      }
    }
    const { port } = new URL(server.url)
    const socket = connect({
      port: Number(port),
      ca: serverAuthority.cert,
      servername: 'localhost',
      maxVersion: 'TLSv1.2',
    })
    await new Promise((resolve) => socket.once('secureConnect', resolve))
    const refused = await new Promise((resolve) => {
      socket.on('error', resolve)
      socket.renegotiate({}, resolve)
    })
    expect(String(refused)).toMatch(/renegotiation/i)
    socket.destroy()
  })
})
