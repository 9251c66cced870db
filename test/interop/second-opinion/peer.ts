/** oidc-provider, set up as equally to Mayfly as its options allow. */
import { generateKeyPairSync } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { errors, Provider } from 'oidc-provider'
import { onTestFinished } from 'vitest'
import { type RegisteredClient, resources } from './registry.ts'

/** Starts it on a free port, and stops it with the test. */
export async function startPeer(clients: readonly RegisteredClient[]): Promise<string> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => {
    server.closeAllConnections()
    server.close()
  })
  const issuer = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  server.on('request', new Provider(issuer, configure(clients)).callback())
  return issuer
}

/** Where it keeps what it issues; nobody asks for that again. */
class Forgetful {
  async upsert(): Promise<void> {}
  async find(): Promise<undefined> {}
}

const off = { enabled: false }

function configure(clients: readonly RegisteredClient[]): object {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  return {
    adapter: Forgetful,
    clients: clients.map(describeClient),
    clientDefaults: { id_token_signed_response_alg: 'ES256' },
    clientAuthMethods: ['client_secret_basic', 'client_secret_post', 'none'],
    // One audience, when there is only one to choose from; and none that the client may not have.
    features: {
      clientCredentials: { enabled: true },
      resourceIndicators: {
        enabled: true,
        defaultResource: (_: unknown, { clientId }: { clientId: string }) => defaultAudience(clients, clientId),
        getResourceServerInfo: (_: unknown, uri: string, { clientId }: { clientId: string }) =>
          describeResource(clients, uri, clientId),
      },
      devInteractions: off,
      introspection: { enabled: true },
      pushedAuthorizationRequests: off,
      revocation: { enabled: true },
      rpInitiatedLogout: off,
      dPoP: off,
      userinfo: off,
    },
    jwks: { keys: [{ ...privateKey.export({ format: 'jwk' }), alg: 'ES256', use: 'sig' }] },
    cookies: { keys: ['not used: nobody logs in here'] },
    clientBasedCORS: () => false,
    // A page for people otherwise, which has no code that could be compared.
    renderError: (context: { body: unknown }, reply: object) => {
      context.body = reply
    },
    responseTypes: ['none'],
    routes: {
      token: '/token',
      revocation: '/revoke',
      introspection: '/introspect',
      jwks: '/.well-known/jwks.json',
      authorization: '/authorize',
    },
    scopes: [...new Set(Object.values(resources).flat())],
    ttl: { ClientCredentials: 300 },
  }
}

function describeClient({ clientId, secret, method, scopes, hasGrant, isExpired }: RegisteredClient): object {
  return {
    client_id: clientId,
    ...(method === 'none' ? {} : { client_secret: secret }),
    client_secret_expires_at: isExpired ? 1 : 0,
    token_endpoint_auth_method: method,
    grant_types: hasGrant ? ['client_credentials'] : [],
    redirect_uris: [],
    response_types: [],
    scope: scopes.join(' '),
  }
}

function defaultAudience(clients: readonly RegisteredClient[], clientId: string): string | undefined {
  const audiences = clients.find((client) => client.clientId === clientId)?.audiences ?? []
  return audiences.length === 1 ? audiences[0] : undefined
}

function describeResource(clients: readonly RegisteredClient[], uri: string, clientId: string): object {
  const scopes = resources[uri]
  const mayHave = clients.some((client) => client.clientId === clientId && client.audiences.includes(uri))
  if (scopes === undefined || !mayHave) throw new errors.InvalidTarget()
  const jwt = { sign: { alg: 'ES256' } }
  return { scope: scopes.join(' '), audience: uri, accessTokenFormat: 'jwt', accessTokenTTL: 300, jwt }
}
