/**
 * oidc-provider as its users run it. `memory ALG`: its own in-memory adapter and JWT access tokens, which it signs and
 * does not store. `sqlite FILE`: opaque tokens, each a row that is durable before the reply. `opaque`: opaque tokens in memory, as
 * many as there are.
 *
 * BENCH_CLIENT (JSON) is how the client is registered, when it has no secret or more than that. With BENCH_TLS (PEM, as JSON)
 * it serves TLS and asks for certificates. With one of them everything is kept, so that no assertion or proof counts twice.
 *
 * It gives refresh tokens to people alone; `POST /bench/refresh-token` makes one as if somebody had logged in.
 */
import { randomUUID, type X509Certificate } from 'node:crypto'
import { createServer } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import type { TLSSocket } from 'node:tls'
import { exportJWK, generateKeyPair } from 'jose'
import { Provider } from 'oidc-provider'
import { sqliteAdapter } from './sqlite-adapter.ts'

const api = 'https://api.example.com'
const scopes = 'invoices:read invoices:write'
const [kind = '', argument = ''] = process.argv.slice(2)

/** Its own adapter in memory keeps a thousand things; this one keeps all, for as long as it runs. */
class MapAdapter {
  readonly #kept = new Map<string, object>()

  async upsert(id: string, payload: object): Promise<void> {
    this.#kept.set(id, payload)
  }

  async find(id: string): Promise<object | undefined> {
    return this.#kept.get(id)
  }
}

async function makeKey(alg: 'ES256' | 'RS256'): Promise<object> {
  const { privateKey } = await generateKeyPair(alg, { extractable: true })
  return { ...(await exportJWK(privateKey)), alg, use: 'sig', kid: randomUUID() }
}

function resourceServer(): object {
  const token = { scope: scopes, audience: api, accessTokenTTL: 300 }
  if (kind !== 'memory') return { ...token, accessTokenFormat: 'opaque' }
  return { ...token, accessTokenFormat: 'jwt', jwt: { sign: { alg: argument } } }
}

async function freePort(): Promise<number> {
  const probe = createServer()
  await new Promise<void>((resolve) => probe.listen(0, '127.0.0.1', () => resolve()))
  const { port } = probe.address() as AddressInfo
  await new Promise((resolve) => probe.close(resolve))
  return port
}

interface WithSocket {
  readonly socket: TLSSocket
}

const certificateOf = ({ socket }: WithSocket): X509Certificate | undefined => socket.getPeerX509Certificate()

/** As its documentation asks for, on connections that end here. */
const mTLS = {
  enabled: true,
  certificateBoundAccessTokens: true,
  tlsClientAuth: true,
  getCertificate: certificateOf,
  certificateAuthorized: ({ socket }: WithSocket) => socket.authorized,
  certificateSubjectMatches: (context: WithSocket, property: string, expected: string) =>
    property === 'tls_client_auth_san_dns' && certificateOf(context)?.subjectAltName === `DNS:${expected}`,
}

const { BENCH_CLIENT: registration, BENCH_SECRET: secret, BENCH_TLS: tlsFiles } = process.env
const port = await freePort()
const url = `${tlsFiles === undefined ? 'http' : 'https'}://127.0.0.1:${port}`
const provider = new Provider(url, {
  ...(kind === 'sqlite' ? { adapter: sqliteAdapter(argument) } : {}),
  ...(kind === 'opaque' || registration !== undefined ? { adapter: MapAdapter } : {}),
  jwks: { keys: [await makeKey('ES256'), await makeKey('RS256')] },
  clients: [
    {
      client_id: 'billing',
      ...(registration === undefined ? { client_secret: secret } : JSON.parse(registration)),
      grant_types: ['client_credentials', 'refresh_token', 'authorization_code'],
      redirect_uris: ['https://billing.example.com/callback'],
      response_types: ['code'],
    },
  ],
  // Without that scope it has no refresh tokens at all.
  scopes: [...scopes.split(' '), 'offline_access'],
  ttl: { ClientCredentials: 300, AccessToken: 300, RefreshToken: 86_400, Grant: 86_400 },
  rotateRefreshToken: true,
  findAccount: (_context: unknown, accountId: string) => ({ accountId, claims: () => ({ sub: accountId }) }),
  ...(tlsFiles === undefined ? {} : { clientAuthMethods: ['tls_client_auth'] }),
  features: {
    dPoP: { enabled: true },
    ...(tlsFiles === undefined ? {} : { mTLS }),
    devInteractions: { enabled: false },
    clientCredentials: { enabled: true },
    introspection: { enabled: true },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => api,
      getResourceServerInfo: resourceServer,
    },
  },
})
provider.use(async (context, next) => {
  if (context.path === '/bench/refresh-token') context.body = { refresh_token: await makeRefreshToken() }
  else await next()
})

async function makeRefreshToken(): Promise<string> {
  const client = await provider.Client.find('billing')
  const accountId = randomUUID()
  const grant = new provider.Grant({ accountId, clientId: 'billing' })
  grant.addResourceScope(api, scopes)
  const grantId = await grant.save()
  const token = { accountId, client, grantId, gty: 'authorization_code', scope: scopes, resource: api }
  return new provider.RefreshToken({
    ...token,
    expiresWithSession: false,
    authTime: Math.floor(Date.now() / 1000),
  }).save()
}

provider.on('server_error', (_context, error) => process.stderr.write(`oidc-provider: ${error.message}\n`))
const tell = (): void => void process.stdout.write(`oidc-provider listening on ${url}\n`)
if (tlsFiles === undefined) provider.listen(port, '127.0.0.1', tell)
else {
  const files = { ...JSON.parse(tlsFiles), requestCert: true, rejectUnauthorized: false }
  createTlsServer(files, provider.callback()).listen(port, '127.0.0.1', tell)
}
