import {
  ClientCredentialsProvider,
  type ClientCredentialsProviderOptions,
} from '@modelcontextprotocol/sdk/client/auth-extensions.js'
import { Client } from '@modelcontextprotocol/sdk/client/index.js'
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js'
import {
  InvalidClientError,
  InvalidScopeError,
  InvalidTargetError,
} from '@modelcontextprotocol/sdk/server/auth/errors.js'
import { describe, expect, it, onTestFinished } from 'vitest'
import { addClient, addResource, api, getToken, startWithClient } from '../support/server.ts'
import { type McpStandIn, startMcpServer } from './mcp-server.ts'

/** A server of tools whose URL is a resource of a running Mayfly, and an agent registered for it and for another API. */
async function start(options: { path?: string; scope?: string; isRegistered?: boolean } = {}) {
  const { server } = await startWithClient()
  const tools = await startMcpServer(server.issuer, options)
  const isRegistered = options.isRegistered ?? true
  if (isRegistered) await addResource(server.store, tools.resource, ['tools:call', 'tools:admin'])
  const agent = await addClient(server.store, 'agent', {
    audiences: isRegistered ? [api, tools.resource] : [api],
    scopes: isRegistered ? ['read', 'tools:call'] : ['read'],
  })
  const connect = (changes: Partial<ClientCredentialsProviderOptions> = {}) =>
    connectClient(tools, {
      clientId: agent.clientId,
      clientSecret: agent.secret,
      expectedIssuer: server.issuer,
      ...changes,
    })
  const issued = async (): Promise<number> => {
    const metrics = await (await fetch(`${server.url}/metrics`)).text()
    return Number(/^mayfly_tokens_issued_total\{[^}]*\} (\d+)$/m.exec(metrics)?.[1] ?? 0)
  }
  return { server, tools, agent, connect, issued }
}

async function connectClient({ resource }: McpStandIn, options: ClientCredentialsProviderOptions): Promise<Client> {
  const authProvider = new ClientCredentialsProvider(options)
  const client = new Client({ name: 'agent', version: '1.0.0' })
  onTestFinished(() => client.close())
  await client.connect(new StreamableHTTPClientTransport(new URL(resource), { authProvider }))
  return client
}

describe('the MCP client with ClientCredentialsProvider', () => {
  it.each([{ path: '/mcp' }, { path: '' }])(
    'fetches a token for $path by itself, and calls a tool',
    async ({ path }) => {
      const { server, tools, connect, issued } = await start({ path })
      const client = await connect()
      expect((await client.listTools()).tools.map(({ name }) => name)).toEqual(['whoami'])
      const { content } = await client.callTool({ name: 'whoami' })
      expect(content).toEqual([{ type: 'text', text: 'agent' }])
      expect(tools.seen[0]).toMatchObject({
        iss: server.issuer,
        aud: tools.resource,
        scope: 'tools:call',
        client_id: 'agent',
      })
      // One token for the whole conversation.
      expect(new Set(tools.seen.map(({ jti }) => jti)).size).toBe(1)
      expect(await issued()).toBe(1)
    },
  )

  it('fails as a client that could not prove itself when the secret is wrong', async () => {
    const { tools, connect, issued } = await start()
    await expect(connect({ clientSecret: 'wrong' })).rejects.toThrow(InvalidClientError)
    expect(tools.seen).toEqual([])
    expect(await issued()).toBe(0)
  })

  it('fails as a client that does not exist in the same way', async () => {
    const { connect } = await start()
    await expect(connect({ clientId: 'nobody' })).rejects.toThrow(InvalidClientError)
  })

  it('gets no token for a server whose URL is not registered as a resource', async () => {
    const { tools, connect, issued } = await start({ isRegistered: false })
    await expect(connect()).rejects.toThrow(InvalidTargetError)
    expect(tools.seen).toEqual([])
    expect(await issued()).toBe(0)
  })

  it('asks for the scope that it is configured with, and gets no token when the client may not have it', async () => {
    const { connect, issued } = await start()
    await expect(connect({ scope: 'tools:admin' })).rejects.toThrow(InvalidScopeError)
    expect(await issued()).toBe(0)
    expect(await (await connect({ scope: 'tools:call' })).listTools()).toHaveProperty('tools')
  })

  // The library does not pass on the scope of the challenge, so a token has what is registered and no more.
  it('is turned away by a server that wants a scope which the client may not have', async () => {
    const { tools, connect } = await start({ scope: 'tools:admin' })
    await expect(connect()).rejects.toMatchObject({ code: 403 })
    expect(tools.seen).toEqual([])
  })

  it('sends its secret to no issuer but the one that it was told', async () => {
    const { connect, issued } = await start()
    await expect(connect({ expectedIssuer: 'https://issuer.example.test' })).rejects.toThrow(/bound to authorization/)
    expect(await issued()).toBe(0)
  })
})

describe('the MCP server', () => {
  it('turns away a token for another audience, and a caller without one', async () => {
    const { server, agent, tools } = await start()
    const token = await getToken(server, agent, { resource: api })
    const transport = new StreamableHTTPClientTransport(new URL(tools.resource), {
      requestInit: { headers: { authorization: `Bearer ${token}` } },
    })
    const client = new Client({ name: 'agent', version: '1.0.0' })
    await expect(client.connect(transport)).rejects.toMatchObject({ code: 401 })
    expect((await fetch(tools.resource, { method: 'POST' })).status).toBe(401)
    expect(tools.seen).toEqual([])
  })

  it('turns away a provider that hands out a token of its own making', async () => {
    const { tools, server, agent } = await start()
    const token = await getToken(server, agent, { resource: tools.resource })
    const [header, , signature] = token.split('.')
    const forged = `${header}.${Buffer.from(JSON.stringify({ aud: tools.resource })).toString('base64url')}.${signature}`
    const authProvider = new ClientCredentialsProvider({
      clientId: 'agent',
      clientSecret: 'wrong',
      expectedIssuer: server.issuer,
    })
    authProvider.saveTokens({ access_token: forged, token_type: 'Bearer' })
    const client = new Client({ name: 'agent', version: '1.0.0' })
    const transport = new StreamableHTTPClientTransport(new URL(tools.resource), { authProvider })
    // It is told to fetch a new one, and cannot.
    await expect(client.connect(transport)).rejects.toThrow(InvalidClientError)
    expect(tools.seen).toEqual([])
  })
})
