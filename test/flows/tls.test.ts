/** TLS that ends here. */

import { X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { chmodSync, renameSync, symlinkSync, writeFileSync } from 'node:fs'
import { Agent } from 'node:https'
import { connect } from 'node:net'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import {
  type Identity,
  makeAuthority,
  makeIdentity,
  makeServerIdentity,
  writeTlsFiles,
} from '../support/certificates.ts'
import { addCertificateClient, billingName, makeBilling, startTls, type TlsScene } from '../support/mtls.ts'
import { temporaryFolder } from '../support/process.ts'
import { exchange } from '../support/raw.ts'
import { addClient, addResource, request, startTestServer } from '../support/server.ts'
import { connectTls, requestOverTls } from '../support/tls.ts'

function fingerprintOf({ cert }: Identity): string {
  return new X509Certificate(cert).fingerprint256
}

/** Puts files in place as certificate managers do: written beside, then renamed. */
function replaceFiles({ folder }: TlsScene, identity: Pick<Identity, 'cert' | 'key'>, only?: 'cert' | 'key'): void {
  for (const [name, text, mode] of [
    ['tls.crt', identity.cert, 0o644],
    ['tls.key', identity.key, 0o600],
  ] as const) {
    if (only !== undefined && !name.endsWith(only === 'cert' ? 'crt' : 'key')) continue
    writeFileSync(join(folder, `${name}.new`), text, { mode })
    renameSync(join(folder, `${name}.new`), join(folder, name))
  }
}

async function peerOf({ server, serverAuthority }: TlsScene): Promise<string> {
  return (await requestOverTls({ url: `${server.url}/livez`, ca: serverAuthority.cert })).peer
}

describe('native TLS', () => {
  it('serves https, with the issuer of that scheme, and metrics in the clear', async () => {
    const { server, serverAuthority } = await startTls({ env: { MAYFLY_METRICS_LISTEN: '127.0.0.1:0' } })
    expect(server.url).toMatch(/^https:\/\/127\.0\.0\.1:\d+$/)
    expect(server.issuer).toBe(server.url)
    const path = '/.well-known/oauth-authorization-server'
    const reply = await requestOverTls({ url: `${server.url}${path}`, ca: serverAuthority.cert })
    expect(reply.json).toMatchObject({ issuer: server.url, token_endpoint: `${server.url}/token` })
    expect(server.metricsUrl).toMatch(/^http:/)
    expect((await request(`${server.metricsUrl}/livez`)).status).toBe(200)
  })

  it('lets a client with a secret in, and asks for no certificate without a setting', async () => {
    const serverAuthority = await makeAuthority()
    const files = writeTlsFiles(temporaryFolder(), await makeServerIdentity(serverAuthority))
    const server = await startTestServer({ env: files })
    await addResource(server.store)
    const { basic } = await addClient(server.store, 'plain', { certificateBound: true })
    await addCertificateClient(server.store, 'billing', billingName)
    const identity = await makeBilling(serverAuthority)
    const ask = (form: Readonly<Record<string, string>>, headers = {}) =>
      requestOverTls({
        url: `${server.url}/token`,
        ca: serverAuthority.cert,
        identity,
        form: { grant_type: 'client_credentials', ...form },
        headers,
      })
    expect((await ask({ client_id: 'billing' })).json.error).toBe('invalid_client')
    expect((await ask({}, { authorization: basic })).json.error).toBe('invalid_request')
    await server.store.updateClient('plain', { certificateBound: null }, 'cli:test')
    expect((await ask({}, { authorization: basic })).status).toBe(200)
    const path = '/.well-known/oauth-authorization-server'
    const metadata = await requestOverTls({ url: `${server.url}${path}`, ca: serverAuthority.cert })
    expect(metadata.json).not.toHaveProperty('tls_client_certificate_bound_access_tokens')
  })

  it('speaks TLS 1.2 and 1.3, nothing before, and closes on what is no TLS', async () => {
    const { server, serverAuthority } = await startTls()
    for (const version of ['TLSv1.2', 'TLSv1.3']) {
      const options = { ca: serverAuthority.cert, servername: 'localhost', maxVersion: version, minVersion: version }
      expect((await connectTls(server.url, options)).getProtocol()).toBe(version)
    }
    const old = {
      ca: serverAuthority.cert,
      servername: 'localhost',
      minVersion: 'TLSv1',
      maxVersion: 'TLSv1.1',
      ciphers: 'ALL:@SECLEVEL=0',
    }
    await expect(requestFailure(server.url, old)).resolves.toMatch(/protocol|alert/i)
    expect(await exchange(server.url, ['GET /livez HTTP/1.1\r\nHost: x\r\n\r\n'])).not.toContain('HTTP/1.1')
  })

  it('waits for a hello no longer than for headers', async () => {
    const limits = { headersTimeout: 100, requestTimeout: 200, connectionsCheckingInterval: 50 }
    const { server } = await startTls({ limits })
    const socket = connect(Number(new URL(server.url).port), '127.0.0.1')
    socket.on('error', () => {})
    socket.resume()
    await once(socket, 'close')
    expect(socket.bytesRead).toBe(0)
  })

  it('C21 lives on after server names and hellos of every kind', async () => {
    const scene = await startTls()
    const { server } = scene
    const names = ['', '.', '..', 'a\0b', 'x'.repeat(255), '\u0080\u00ff', '*', '127.0.0.1', '[::1]', ' ', 'a..b']
    const hellos = names.flatMap((name) => [
      clientHello(Buffer.from(name, 'latin1')),
      clientHello(Buffer.from(name, 'latin1'), 3),
    ])
    const others = [
      Buffer.alloc(0),
      Buffer.from([0x16]),
      Buffer.from([0x16, 3, 1, 0xff, 0xff]),
      Buffer.alloc(600, 0x16),
      Buffer.from([0x80, 0x2e, 1, 3, 1]),
    ]
    for (const bytes of [...hellos, ...others]) {
      const socket = connect(Number(new URL(server.url).port), '127.0.0.1')
      socket.on('error', () => {})
      await once(socket, 'connect')
      socket.end(bytes)
      socket.resume()
      await once(socket, 'close')
    }
    expect(await peerOf(scene)).not.toBe('')
  })
})

/** Why a handshake fails. */
function requestFailure(url: string, options: Readonly<Record<string, unknown>>): Promise<string> {
  return connectTls(url, options).then(
    () => 'it was accepted',
    (error: unknown) => String(error),
  )
}

/** A hello of TLS 1.2 with a server name as it is, of a kind that RFC 6066 has (0) or has not. */
function clientHello(name: Buffer, kind = 0): Buffer {
  const sized = (bytes: Buffer, width: number): Buffer => {
    const length = Buffer.alloc(width)
    length.writeUIntBE(bytes.length, 0, width)
    return Buffer.concat([length, bytes])
  }
  const entry = Buffer.concat([Buffer.from([kind]), sized(name, 2)])
  const extension = Buffer.concat([Buffer.from([0, 0]), sized(sized(entry, 2), 2)])
  const body = Buffer.concat([
    Buffer.from([3, 3]),
    Buffer.alloc(32, 7),
    Buffer.from([0]),
    sized(Buffer.from([0xc0, 0x2b, 0xc0, 0x2f]), 2),
    Buffer.from([1, 0]),
    sized(extension, 2),
  ])
  const handshake = Buffer.concat([Buffer.from([1]), sized(body, 3)])
  return Buffer.concat([Buffer.from([0x16, 3, 1]), sized(handshake, 2)])
}

describe('the files of TLS', () => {
  it('are read again when they change, and connections go on', async () => {
    const scene = await startTls()
    const { server, serverAuthority } = scene
    const before = await peerOf(scene)
    const agent = new Agent({ keepAlive: true, maxSockets: 1 })
    const kept = () => requestOverTls({ url: `${server.url}/livez`, ca: serverAuthority.cert, agent })
    expect((await kept()).peer).toBe(before)
    const next = await makeServerIdentity(serverAuthority)
    replaceFiles(scene, next)
    expect(server.prepared.tls?.refresh()).toBe(true)
    expect(server.prepared.tls?.refresh()).toBe(false)
    expect(await peerOf(scene)).toBe(fingerprintOf(next))
    expect(await kept()).toMatchObject({ status: 200, peer: before })
    agent.destroy()
  })

  it('are read again under load without one request that fails', async () => {
    const scene = await startTls()
    const { server, authority, serverAuthority } = scene
    await addCertificateClient(server.store, 'billing', billingName)
    const identity = await makeBilling(authority)
    const pairs = [await makeServerIdentity(serverAuthority), await makeServerIdentity(serverAuthority)]
    const statuses: number[] = []
    const peers = new Set<string>()
    let isOver = false
    const worker = async (keepAlive: boolean): Promise<void> => {
      const agent = new Agent({ keepAlive, maxSockets: 1 })
      while (!isOver) {
        const form = { grant_type: 'client_credentials', client_id: 'billing' }
        const { status, peer } = await requestOverTls({
          url: `${server.url}/token`,
          ca: serverAuthority.cert,
          identity,
          form,
          agent,
        })
        statuses.push(status)
        if (!keepAlive) peers.add(peer)
      }
      agent.destroy()
    }
    const workers = [true, true, false, false].map(worker)
    for (const pair of [...pairs, ...pairs]) {
      replaceFiles(scene, pair)
      server.prepared.tls?.refresh()
      // Until somebody has seen it.
      peers.delete(fingerprintOf(pair))
      while (!peers.has(fingerprintOf(pair))) await new Promise((resolve) => setImmediate(resolve))
    }
    isOver = true
    await Promise.all(workers)
    expect(new Set(statuses)).toEqual(new Set([200]))
  })

  it('stay in force when others cannot be used, until the new pair is whole', async () => {
    const scene = await startTls()
    const { server, serverAuthority, folder } = scene
    const before = await peerOf(scene)
    const next = await makeServerIdentity(serverAuthority)
    const refresh = () => server.prepared.tls?.refresh()
    replaceFiles(scene, next, 'cert')
    expect(refresh).toThrow(/cannot be used together/)
    expect(refresh()).toBe(false)
    expect(await peerOf(scene)).toBe(before)
    replaceFiles(scene, next, 'key')
    chmodSync(join(folder, 'tls.key'), 0o604)
    expect(refresh).toThrow(/open to every user/)
    chmodSync(join(folder, 'tls.key'), 0o640)
    expect(refresh()).toBe(true)
    expect(await peerOf(scene)).toBe(fingerprintOf(next))
  })

  it('are followed through links, as secrets are mounted', async () => {
    const scene = await startTls()
    const { server, serverAuthority, folder } = scene
    const next = await makeServerIdentity(serverAuthority)
    const other = temporaryFolder()
    writeTlsFiles(other, next)
    for (const name of ['tls.crt', 'tls.key']) {
      symlinkSync(join(other, name), join(folder, `${name}.link`))
      renameSync(join(folder, `${name}.link`), join(folder, name))
    }
    server.prepared.tls?.refresh()
    expect(await peerOf(scene)).toBe(fingerprintOf(next))
  })

  it('name authorities for clients that count from the next request on, on open connections too', async () => {
    const scene = await startTls()
    const { server, authority, serverAuthority, folder } = scene
    await addCertificateClient(server.store, 'billing', billingName)
    const other = await makeAuthority({ subject: 'CN=Others' })
    const agents = [new Agent({ keepAlive: true, maxSockets: 1 }), new Agent({ keepAlive: true, maxSockets: 1 })]
    const identities = [await makeBilling(authority), await makeBilling(other)]
    const form = { grant_type: 'client_credentials', client_id: 'billing' }
    const statuses = () =>
      Promise.all(
        identities.map(async (identity, i) => {
          const agent = agents[i] ?? new Agent()
          return (await requestOverTls({ url: `${server.url}/token`, ca: serverAuthority.cert, identity, form, agent }))
            .status
        }),
      )
    expect(await statuses()).toEqual([200, 400])
    writeFileSync(join(folder, 'clients.crt'), other.cert)
    server.prepared.tls?.refresh()
    expect(await statuses()).toEqual([400, 200])
    for (const agent of agents) agent.destroy()
  })

  it('are looked at by the server itself', { timeout: 60_000 }, async () => {
    const scene = await startTls()
    const next = await makeServerIdentity(scene.serverAuthority)
    replaceFiles(scene, next)
    while ((await peerOf(scene)) !== fingerprintOf(next)) await new Promise((resolve) => setTimeout(resolve, 200))
  })

  it.each<[string, (folder: string, files: Record<string, string>) => Promise<void> | void, RegExp]>([
    [
      'a key that others can read',
      (folder) => chmodSync(join(folder, 'tls.key'), 0o644),
      /tls\.key is open to every user.*chmod o=/,
    ],
    [
      'a certificate that is not there',
      (_, files) => void Object.assign(files, { MAYFLY_TLS_CERT_FILE: '/nowhere/tls.crt' }),
      /\/nowhere\/tls\.crt cannot be read: MAYFLY_TLS_CERT_FILE/,
    ],
    [
      'a key that is not there',
      (_, files) => void Object.assign(files, { MAYFLY_TLS_KEY_FILE: '/nowhere/tls.key' }),
      /\/nowhere\/tls\.key cannot be read: MAYFLY_TLS_KEY_FILE/,
    ],
    [
      'a key of another certificate',
      async (folder) => writeFileSync(join(folder, 'tls.key'), (await makeIdentity()).key),
      /cannot be used together/,
    ],
    ['a certificate that is none', (folder) => writeFileSync(join(folder, 'tls.crt'), 'x'), /cannot be used together/],
    [
      'authorities that are none',
      async (folder) => writeFileSync(join(folder, 'clients.crt'), (await makeIdentity()).cert),
      /block 1 of 1 is the certificate of no authority/,
    ],
    [
      'a key among the authorities',
      async (folder) => writeFileSync(join(folder, 'clients.crt'), (await makeIdentity()).key),
      /block 1 of 1 is no certificate/,
    ],
    ['authorities in another form', (folder) => writeFileSync(join(folder, 'clients.crt'), 'CN=x'), /is no PEM/],
    [
      'half an authority',
      async (folder) => writeFileSync(join(folder, 'clients.crt'), (await makeAuthority()).cert.slice(0, 200)),
      /is no PEM/,
    ],
    [
      'an authority that was cut',
      async (folder) =>
        writeFileSync(
          join(folder, 'clients.crt'),
          (await makeAuthority()).cert.replace(/\n[^-\n]+\n-----END/, '\n-----END'),
        ),
      /cannot be read/,
    ],
  ])('end the start with one sentence for %s', async (_, spoil, sentence) => {
    const folder = temporaryFolder()
    const authority = await makeAuthority()
    const files = { ...writeTlsFiles(folder, await makeServerIdentity(authority), [authority]) }
    await spoil(folder, files)
    const failure = await startTestServer({ env: files }).catch((error: unknown) => error)
    expect(failure).toMatchObject({ name: 'TlsFileError', message: expect.stringMatching(sentence) })
    expect(String(failure)).not.toContain('\n')
  })
})

describe('TLS-11 the metadata', () => {
  it('MD-06 says that certificates are taken only where they can arrive, and by which aliases', async () => {
    const read = async (env: Readonly<Record<string, string>>) => {
      const server = await startTestServer({ env })
      return (await request(`${server.url}/.well-known/oauth-authorization-server`)).json
    }
    const secrets = ['client_secret_basic', 'client_secret_post']
    const plain = await read({})
    expect(plain).toMatchObject({
      token_endpoint_auth_methods_supported: expect.not.arrayContaining(['tls_client_auth']),
    })
    expect(plain).not.toHaveProperty('tls_client_certificate_bound_access_tokens')
    expect(plain).not.toHaveProperty('mtls_endpoint_aliases')
    const proxied = await read({ MAYFLY_TRUSTED_PROXIES: '192.0.2.1', MAYFLY_MTLS_URL: 'https://mtls.example.test' })
    for (const endpoint of ['token', 'revocation', 'introspection']) {
      expect(proxied[`${endpoint}_endpoint_auth_methods_supported`]).toEqual(
        expect.arrayContaining([...secrets, 'tls_client_auth', 'self_signed_tls_client_auth']),
      )
    }
    expect(proxied).toMatchObject({
      tls_client_certificate_bound_access_tokens: true,
      mtls_endpoint_aliases: {
        token_endpoint: 'https://mtls.example.test/token',
        revocation_endpoint: 'https://mtls.example.test/revoke',
        introspection_endpoint: 'https://mtls.example.test/introspect',
      },
    })
  })
})
