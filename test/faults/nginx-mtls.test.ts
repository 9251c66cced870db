/** The configuration for nginx in front of clients with certificates that is in examples/, run by nginx; and curl. */
import { spawn } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'
import {
  clientCert,
  type Identity,
  makeAuthority,
  makeIdentity,
  makeServerIdentity,
  writeTlsFiles,
  x509,
} from '../support/certificates.ts'
import { addCertificateClient, billingName, makeBilling, registered, startTls } from '../support/mtls.ts'
import { startNginx } from '../support/nginx.ts'
import { finish, freePort, mayfly, mayflyJson, root, temporaryFolder } from '../support/process.ts'
import { addResource, api, claimsOf, startTestServer } from '../support/server.ts'
import { requestOverTls } from '../support/tls.ts'
import { requireTools } from '../support/tools.ts'

const failed = { error: 'invalid_client', error_description: 'client authentication failed' }
const form = { grant_type: 'client_credentials', client_id: 'billing' }

beforeAll(() => requireTools('nginx', 'curl'))

/** nginx with the example on other ports, in front of a server that verifies too. */
async function startScene(change: (example: string) => string = (example) => example) {
  const authority = await makeAuthority()
  const folder = temporaryFolder()
  const files = writeTlsFiles(folder, await makeServerIdentity(authority), [authority])
  const { MAYFLY_TLS_CLIENT_CA_FILE = '' } = files
  const server = await startTestServer({ env: { MAYFLY_TRUSTED_PROXIES: '127.0.0.1', MAYFLY_TLS_CLIENT_CA_FILE } })
  await addResource(server.store)
  await addCertificateClient(server.store, 'billing', { ...billingName, certificateBound: true })
  const port = await freePort()
  const example = readFileSync(join(root, 'examples/nginx-mtls.conf'), 'utf8')
    .replace('127.0.0.1:8443', `127.0.0.1:${port}`)
    .replace('http://127.0.0.1:8080', server.url)
    .replaceAll('/etc/mayfly/', `${folder}/`)
  await startNginx(change(example), port)
  const ask = (
    identity: Pick<Identity, 'cert' | 'key'> | undefined,
    fields: Readonly<Record<string, string>> = {},
    headers: Readonly<Record<string, string | readonly string[]>> = {},
  ) =>
    requestOverTls({
      url: `https://127.0.0.1:${port}/token`,
      ca: authority.cert,
      identity,
      form: { ...form, ...fields },
      headers,
    })
  return { server, authority, ask }
}

describe('nginx with the example for certificates', () => {
  it('hands a certificate on, whatever its size, and the token is bound to it', async () => {
    const { authority, ask } = await startScene()
    for (const padding of [0, 1, 2, 16, 48, 700, 2_000]) {
      const extensions = [new x509.Extension('1.2.3.4', false, new Uint8Array(padding))]
      const identity = await makeIdentity({ by: authority, dns: ['billing.example.test'], extensions })
      const reply = await ask(identity)
      expect(reply.status, `${padding} bytes`).toBe(200)
      expect(claimsOf(String(reply.json.access_token)).cnf).toEqual({ 'x5t#S256': identity.thumbprint })
    }
  })

  it('leaves out one that is too long, and refuses one of another authority by itself', async () => {
    const { authority, ask } = await startScene()
    const extensions = [new x509.Extension('1.2.3.4', false, new Uint8Array(4_000))]
    const long = await makeIdentity({ by: authority, dns: ['billing.example.test'], extensions })
    expect((await ask(long)).json).toEqual(failed)
    const other = await ask(await makeBilling(await makeAuthority()))
    expect([other.status, other.text.includes('SSL certificate error')]).toEqual([400, true])
  })

  it('C12 TLS-08 lets nothing through that a client says of a certificate', async () => {
    const { authority, ask } = await startScene()
    const header = clientCert(await makeBilling(authority))
    const other = await makeIdentity({ by: authority, dns: ['x.test'] })
    const names = [
      'Client-Cert',
      'client-cert',
      'Client_Cert',
      'X-Client-Cert',
      'X-SSL-Client-Cert',
      'X-Forwarded-Client-Cert',
    ]
    for (const name of names) {
      for (const identity of [undefined, other]) {
        expect((await ask(identity, {}, { [name]: header })).json, name).toEqual(failed)
        expect((await ask(identity, {}, { [name]: [header, header] })).json, name).toEqual(failed)
      }
    }
    expect((await ask(undefined, {}, { 'Client-Cert-Chain': header })).json).toEqual(failed)
    expect((await ask(await makeBilling(authority), {}, { 'Client-Cert': 'x', 'Client-Cert-Chain': 'x' })).status).toBe(
      200,
    )
  })

  it('TLS-04 hands on certificates of clients’ own making with optional_no_ca, and Mayfly verifies the others', async () => {
    const { server, authority, ask } = await startScene((example) =>
      example.replace('ssl_verify_client optional;', 'ssl_verify_client optional_no_ca;'),
    )
    const own = await makeIdentity()
    await addCertificateClient(server.store, 'own', {
      authMethods: ['self_signed_tls_client_auth'],
      ...registered(own),
    })
    expect((await ask(own, { client_id: 'own' })).status).toBe(200)
    expect((await ask(await makeIdentity(), { client_id: 'own' })).json).toEqual(failed)
    expect((await ask(await makeIdentity({ dns: ['billing.example.test'] }))).json).toEqual(failed)
    expect((await ask(await makeBilling(authority))).status).toBe(200)
  })
})

describe('curl with --cert', () => {
  it('gets a token with the command that `client create` prints', async () => {
    const { server, authority, serverAuthority } = await startTls()
    const { folder: cwd } = server
    const created = ['client', 'create', 'job', '--audience', api, '--auth-method', 'tls_client_auth']
    const { stdout } = await mayfly([...created, '--tls-client-auth-san-dns', 'billing.example.test'], { cwd })
    const command = /^ {2}curl -s (?<rest>.*)$/m.exec(stdout)?.groups?.rest ?? ''
    const identity = await makeBilling(authority)
    writeFileSync(join(cwd, 'job.crt'), identity.cert)
    writeFileSync(join(cwd, 'job.key'), identity.key)
    writeFileSync(join(cwd, 'server.crt'), serverAuthority.cert)
    const line = command.replace('CERTIFICATE.pem', 'job.crt').replace('KEY.pem', 'job.key')
    const ended = await finish(spawn('sh', ['-c', `curl -s --max-time 60 --cacert server.crt ${line}`], { cwd }))
    const reply = JSON.parse(ended.stdout) as Readonly<Record<string, unknown>>
    expect(claimsOf(String(reply.access_token)).cnf).toEqual({ 'x5t#S256': identity.thumbprint })
    expect(await mayflyJson(['client', 'show', 'job'], { cwd })).toMatchObject({
      token_endpoint_auth_method: 'tls_client_auth',
      tls_client_certificate_bound_access_tokens: true,
    })
  })
})
