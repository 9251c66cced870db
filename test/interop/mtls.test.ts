/** Clients that others wrote, with a certificate: native TLS, and the aliases of a host of its own. */
import * as oauth from 'oauth4webapi'
import * as openid from 'openid-client'
import { Agent, fetch as undiciFetch } from 'undici'
import { describe, expect, it, onTestFinished } from 'vitest'
import {
  type Identity,
  makeAuthority,
  makeIdentity,
  makeServerIdentity,
  writeTlsFiles,
} from '../support/certificates.ts'
import { addCertificateClient, billingName, makeBilling, registered, startTls } from '../support/mtls.ts'
import { startMtlsProxy } from '../support/mtls-proxy.ts'
import { freePort, temporaryFolder } from '../support/process.ts'
import { addResource, api, claimsOf, startTestServer, type TestServer } from '../support/server.ts'

type Fetch = (url: string, options: object) => Promise<Response>

/** `fetch` over connections with a certificate, as the documentation of both libraries has it. */
function fetchWith(ca: string, identity: Pick<Identity, 'cert' | 'key'> | undefined): Fetch {
  const dispatcher = new Agent({ connect: { ca, ...(identity && { cert: identity.cert, key: identity.key }) } })
  onTestFinished(() => dispatcher.close())
  // Its Response is that of another copy of the library that Node has built in.
  return async (url, options) => {
    const reply = await undiciFetch(url, { ...options, dispatcher } as Parameters<typeof undiciFetch>[1])
    return new Response(await reply.text(), { status: reply.status, headers: [...reply.headers] })
  }
}

interface Scene {
  readonly server: TestServer
  /** Who vouches for the server. */
  readonly ca: string
  readonly authority: Identity
  /** Whether what clients prove themselves at is another host. */
  readonly hasAliases: boolean
}

async function startNative(): Promise<Scene> {
  const { server, authority, serverAuthority } = await startTls()
  return { server, authority, ca: serverAuthority.cert, hasAliases: false }
}

/** The issuer asks for no certificates; a proxy on another port does. */
async function startWithAliases(): Promise<Scene> {
  const authority = await makeAuthority()
  const serverAuthority = await makeAuthority({ subject: 'CN=Servers' })
  const [port, mtlsPort] = [await freePort(), await freePort()]
  const { MAYFLY_TLS_CLIENT_CA_FILE = '' } = writeTlsFiles(temporaryFolder(), authority, [authority])
  const env = {
    MAYFLY_ISSUER: `https://127.0.0.1:${port}`,
    MAYFLY_MTLS_URL: `https://127.0.0.1:${mtlsPort}`,
    MAYFLY_TRUSTED_PROXIES: '127.0.0.1',
    MAYFLY_TLS_CLIENT_CA_FILE,
  }
  const server = await startTestServer({ env })
  await addResource(server.store)
  const identity = await makeServerIdentity(serverAuthority)
  await startMtlsProxy(server.url, identity, { port, asksClients: false })
  await startMtlsProxy(server.url, identity, { port: mtlsPort })
  return { server, authority, ca: serverAuthority.cert, hasAliases: true }
}

const scenes = { 'native TLS': startNative, 'aliases at a proxy': startWithAliases }

describe.each(Object.entries(scenes))('over %s', (_, start) => {
  it('oauth4webapi gets a bound token by an authority’s certificate, and is refused without one', async () => {
    const { server, ca, authority, hasAliases } = await start()
    await addCertificateClient(server.store, 'billing', { ...billingName, certificateBound: true })
    const identity = await makeBilling(authority)
    const issuer = new URL(server.issuer)
    const client: oauth.Client = { client_id: 'billing', use_mtls_endpoint_aliases: hasAliases }
    const ask = async (by: Identity | undefined) => {
      const custom = { [oauth.customFetch]: fetchWith(ca, by) }
      const discovered = await oauth.discoveryRequest(issuer, { algorithm: 'oauth2', ...custom })
      const as = await oauth.processDiscoveryResponse(issuer, discovered)
      expect(as.tls_client_certificate_bound_access_tokens).toBe(true)
      const reply = await oauth.clientCredentialsGrantRequest(
        as,
        client,
        oauth.TlsClientAuth(),
        { scope: 'read' },
        custom,
      )
      return oauth.processClientCredentialsResponse(as, client, reply)
    }
    const token = await ask(identity)
    expect(claimsOf(token.access_token).cnf).toEqual({ 'x5t#S256': identity.thumbprint })
    await expect(ask(undefined)).rejects.toMatchObject({ error: 'invalid_client' })
    await expect(ask(await makeIdentity())).rejects.toMatchObject({ error: 'invalid_client' })
  })

  it('openid-client gets a token by a certificate of its own making, and gives it back', async () => {
    const { server, ca, hasAliases } = await start()
    const identity = await makeIdentity()
    const settings = {
      authMethods: ['self_signed_tls_client_auth'],
      certificateBound: true,
      introspects: [api],
    } as const
    await addCertificateClient(server.store, 'own', { ...settings, ...registered(identity) })
    const discover = (by: Identity | undefined) =>
      openid.discovery(
        new URL(server.issuer),
        'own',
        { use_mtls_endpoint_aliases: hasAliases },
        openid.TlsClientAuth(),
        {
          algorithm: 'oauth2',
          [openid.customFetch]: fetchWith(ca, by),
        },
      )
    const configuration = await discover(identity)
    const token = await openid.clientCredentialsGrant(configuration, { resource: api })
    expect(claimsOf(token.access_token).cnf).toEqual({ 'x5t#S256': identity.thumbprint })
    const introspect = () => openid.tokenIntrospection(configuration, token.access_token)
    expect(await introspect()).toMatchObject({ active: true, cnf: { 'x5t#S256': identity.thumbprint } })
    await openid.tokenRevocation(configuration, token.access_token)
    expect(await introspect()).toEqual({ active: false })
    await expect(openid.clientCredentialsGrant(await discover(await makeIdentity()), {})).rejects.toMatchObject({
      error: 'invalid_client',
    })
  })
})
