/** A server that asks clients for certificates, an authority that it believes, and clients of it. */
import type { ClientSettings } from '../../src/client/client.ts'
import type { Store } from '../../src/store/store.ts'
import { type Identity, makeAuthority, makeIdentity, makeServerIdentity, writeTlsFiles } from './certificates.ts'
import { temporaryFolder } from './process.ts'
import { api } from './registry.ts'
import { addResource, startTestServer, type TestServer, type TestServerOptions } from './server.ts'
import { requestOverTls, type TlsReply } from './tls.ts'

/** Registers a client without a secret; by default one of `api` with both its scopes. */
export async function addCertificateClient(
  store: Store,
  clientId: string,
  settings: Partial<ClientSettings> = {},
): Promise<void> {
  await store.createClient(
    clientId,
    {
      name: clientId,
      grantTypes: ['client_credentials'],
      authMethods: ['tls_client_auth'],
      scopes: ['read', 'write'],
      audiences: [api],
      ...settings,
    },
    undefined,
    'cli:test',
  )
}

/** A certificate as a client registers it. */
export function registered({ der }: Identity): Pick<ClientSettings, 'keys'> {
  // What is compared is the certificate; any key does beside it.
  const jwk = { kty: 'OKP', crv: 'Ed25519', x: '11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo' } as const
  return { keys: { kind: 'inline', jwks: [{ ...jwk, x5c: [der] }] } }
}

export interface TlsScene {
  readonly server: TestServer
  readonly authority: Identity
  /** The authority of the server's own certificate. */
  readonly serverAuthority: Identity
  /** The folder with the files of TLS. */
  readonly folder: string
  /** Asks for a token, or another endpoint. */
  ask(
    identity: Pick<Identity, 'cert' | 'key'> | undefined,
    form: Readonly<Record<string, string>>,
    options?: AskOptions,
  ): Promise<TlsReply>
}

export interface AskOptions {
  readonly path?: string
  readonly headers?: Readonly<Record<string, string | readonly string[]>>
}

/** Native TLS. `authorities`: what clients are believed by; one of its own unless given. */
export async function startTls(
  { env, ...options }: TestServerOptions = {},
  authorities?: readonly Identity[],
): Promise<TlsScene> {
  const authority = await makeAuthority()
  const serverAuthority = await makeAuthority({ subject: 'CN=Servers' })
  const folder = temporaryFolder()
  const files = writeTlsFiles(folder, await makeServerIdentity(serverAuthority), authorities ?? [authority])
  const server = await startTestServer({ ...options, env: { ...files, ...env } })
  await addResource(server.store)
  return {
    server,
    authority,
    serverAuthority,
    folder,
    ask: (identity, form, { path = '/token', headers = {} } = {}) =>
      requestOverTls({
        url: `${server.url}${path}`,
        ca: serverAuthority.cert,
        identity,
        form: { ...(path === '/token' ? { grant_type: 'client_credentials' } : {}), ...form },
        headers,
      }),
  }
}

/** A certificate by an authority for the client `billing`, by its host name. */
export function makeBilling(by: Identity): Promise<Identity> {
  return makeIdentity({ by, dns: ['billing.example.test'] })
}

export const billingName = { tlsSubject: { kind: 'san_dns', value: 'billing.example.test' } } as const
