import { PrivateKeyJwtProvider } from '@modelcontextprotocol/sdk/client/auth-extensions.js'
import { Client } from '@modelcontextprotocol/sdk/client/index.js'
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js'
import { InvalidClientError } from '@modelcontextprotocol/sdk/server/auth/errors.js'
import { generateKeyPair } from 'jose'
import * as oauth from 'oauth4webapi'
import * as openid from 'openid-client'
import { describe, expect, it, onTestFinished } from 'vitest'
import { type ForeignAlg, parsePublicJwk } from '../../src/oauth/public-jwk.ts'
import { makeTestKey, type TestKey } from '../support/assertion.ts'
import { addKeyClient, addResource, api, claimsOf, startTestServer, type TestServer } from '../support/server.ts'
import { startMcpServer } from './mcp-server.ts'

const insecure = { [oauth.allowInsecureRequests]: true }
// `EdDSA` is what these libraries call it no more.
const algs = ['ES256', 'RS256', 'PS256', 'Ed25519'] as const

/** A server with a client whose key the library has made by itself. */
async function start(alg: ForeignAlg, kid?: string) {
  const server = await startTestServer()
  await addResource(server.store)
  const { privateKey, publicKey } = await generateKeyPair(alg, { extractable: true })
  const jwk = {
    ...(await crypto.subtle.exportKey('jwk', publicKey)),
    use: 'sig',
    ...(kid === undefined ? {} : { kid }),
  }
  const { key_ops: _, ext: __, ...rest } = jwk
  await addKeyClient(server.store, 'signer', [], {
    keys: { kind: 'inline', jwks: [parsePublicJwk(rest).jwk] },
    assertionAlg: alg,
  })
  const stranger = await generateKeyPair(alg)
  return { server, privateKey, stranger: stranger.privateKey }
}

async function discover({ issuer }: TestServer): Promise<oauth.AuthorizationServer> {
  const url = new URL(issuer)
  return oauth.processDiscoveryResponse(url, await oauth.discoveryRequest(url, { algorithm: 'oauth2', ...insecure }))
}

describe.each(algs)('oauth4webapi with private_key_jwt and %s', (alg) => {
  it('gets a token, and none with a key that is not registered', async () => {
    const { server, privateKey, stranger } = await start(alg, 'one')
    const as = await discover(server)
    expect(as.token_endpoint_auth_signing_alg_values_supported).toContain(alg)
    const client: oauth.Client = { client_id: 'signer' }
    const ask = async (key: oauth.CryptoKey) => {
      const auth = oauth.PrivateKeyJwt({ key, kid: 'one' })
      const reply = await oauth.clientCredentialsGrantRequest(as, client, auth, { scope: 'read' }, insecure)
      return oauth.processClientCredentialsResponse(as, client, reply)
    }
    expect(await ask(privateKey)).toMatchObject({ token_type: 'bearer', scope: 'read' })
    await expect(ask(stranger)).rejects.toMatchObject({ error: 'invalid_client', status: 400 })
  })
})

describe.each(algs)('openid-client with private_key_jwt and %s', (alg) => {
  it('gets a token, asks about it and gives it back', async () => {
    const { server, privateKey, stranger } = await start(alg)
    await server.store.updateClient('signer', { introspects: [api] }, 'cli:test')
    const configure = (key: oauth.CryptoKey) =>
      openid.discovery(new URL(server.issuer), 'signer', undefined, openid.PrivateKeyJwt(key), {
        execute: [openid.allowInsecureRequests],
        algorithm: 'oauth2',
      })
    const configuration = await configure(privateKey)
    const { access_token: token } = await openid.clientCredentialsGrant(configuration, { scope: 'write' })
    expect(claimsOf(token)).toMatchObject({ sub: 'signer', scope: 'write' })
    expect(await openid.tokenIntrospection(configuration, token)).toMatchObject({ active: true, sub: 'signer' })
    await openid.tokenRevocation(configuration, token)
    expect(await openid.tokenIntrospection(configuration, token)).toEqual({ active: false })
    await expect(openid.clientCredentialsGrant(await configure(stranger))).rejects.toMatchObject({
      error: 'invalid_client',
    })
  })
})

describe('the MCP client with PrivateKeyJwtProvider', () => {
  async function startMcp(key: TestKey) {
    const server = await startTestServer()
    const tools = await startMcpServer(server.issuer)
    await addResource(server.store, tools.resource, ['tools:call'])
    await addKeyClient(server.store, 'agent', [key], { audiences: [tools.resource], scopes: ['tools:call'] })
    const connect = async ({ privateKey }: TestKey) => {
      const authProvider = new PrivateKeyJwtProvider({
        clientId: 'agent',
        privateKey: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
        algorithm: key.alg,
        expectedIssuer: server.issuer,
      })
      const client = new Client({ name: 'agent', version: '1.0.0' })
      onTestFinished(() => client.close())
      await client.connect(new StreamableHTTPClientTransport(new URL(tools.resource), { authProvider }))
      return client
    }
    return { server, tools, connect }
  }

  it.each(['ES256', 'RS256'] as const)('MC-02 fetches a token by itself with %s, and calls a tool', async (alg) => {
    const key = makeTestKey(alg)
    const { server, tools, connect } = await startMcp(key)
    const client = await connect(key)
    const { content } = await client.callTool({ name: 'whoami' })
    expect(content).toEqual([{ type: 'text', text: 'agent' }])
    expect(tools.seen[0]).toMatchObject({ iss: server.issuer, aud: tools.resource, client_id: 'agent' })
    const [entry] = await server.store.listAudit({ type: 'token.issued', limit: 1 })
    expect(entry).toMatchObject({ credentialId: `key_${key.publicKey.thumbprint}` })
  })

  it('fails as a client that could not prove itself when its key is another', async () => {
    const key = makeTestKey('ES256')
    const { tools, connect } = await startMcp(key)
    await expect(connect(makeTestKey('ES256'))).rejects.toThrow(InvalidClientError)
    expect(tools.seen).toEqual([])
  })
})
