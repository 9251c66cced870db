/** A stand-in MCP server that lets in who brings an access token of an issuer, for its own URL. */
import { once } from 'node:events'
import { createAdaptorServer } from '@hono/node-server'
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js'
import { WebStandardStreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/webStandardStreamableHttp.js'
import { type Context, Hono } from 'hono'
import { createRemoteJWKSet, type JWTPayload, jwtVerify } from 'jose'
import { onTestFinished } from 'vitest'
import { freePort } from '../support/process.ts'

export interface McpStandIn {
  /** Its URL, which is the audience of its tokens. */
  readonly resource: string
  /** Claims of each token that it let in. */
  readonly seen: JWTPayload[]
}

/**
 * Starts one; it is stopped with the test. It publishes the metadata of RFC 9728 and challenges by RFC 6750.
 *
 * @param path of the resource, `''` for none
 */
export async function startMcpServer(
  issuer: string,
  { path = '/mcp', scope = 'tools:call' }: { path?: string; scope?: string } = {},
): Promise<McpStandIn> {
  const port = await freePort()
  const origin = `http://127.0.0.1:${port}`
  const resource = `${origin}${path}`
  const metadataUrl = `${origin}/.well-known/oauth-protected-resource${path}`
  const seen: JWTPayload[] = []
  const app = new Hono()
  app.get(`/.well-known/oauth-protected-resource${path}`, (context) =>
    context.json({ resource, authorization_servers: [issuer], scopes_supported: [scope] }),
  )
  const admit = createGate({ issuer, resource, scope, metadataUrl })
  app.all(path === '' ? '/' : path, async (context) => {
    const admitted = await admit(context)
    if (admitted instanceof Response) return admitted
    seen.push(admitted)
    return answer(context.req.raw, admitted)
  })
  const server = createAdaptorServer({ fetch: app.fetch }).listen(port, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => void server.close())
  return { resource, seen }
}

interface GateSettings {
  readonly issuer: string
  readonly resource: string
  readonly scope: string
  readonly metadataUrl: string
}

/** The claims of a good token, or the reply to a bad one. */
function createGate({ issuer, resource, scope, metadataUrl }: GateSettings) {
  const keys = createRemoteJWKSet(new URL(`${issuer}/.well-known/jwks.json`))
  const challenge = (status: 401 | 403, error: string): Response => {
    const parameters = `error="${error}", scope="${scope}", resource_metadata="${metadataUrl}"`
    return new Response(null, { status, headers: { 'www-authenticate': `Bearer ${parameters}` } })
  }
  return async (context: Context): Promise<JWTPayload | Response> => {
    const token = context.req.header('authorization')?.replace(/^Bearer /i, '') ?? ''
    try {
      const { payload } = await jwtVerify(token, keys, {
        issuer,
        audience: resource,
        typ: 'at+jwt',
        algorithms: ['ES256', 'RS256'],
        requiredClaims: ['sub', 'client_id', 'iat', 'exp', 'jti'],
      })
      return String(payload.scope).split(' ').includes(scope) ? payload : challenge(403, 'insufficient_scope')
    } catch {
      return challenge(401, 'invalid_token')
    }
  }
}

// One server and one transport a request: nothing of a caller is kept.
async function answer(request: Request, { client_id: caller }: JWTPayload): Promise<Response> {
  const server = new McpServer({ name: 'stand-in', version: '1.0.0' })
  server.registerTool('whoami', { description: 'Says who calls' }, () => ({
    content: [{ type: 'text', text: String(caller) }],
  }))
  const transport = new WebStandardStreamableHTTPServerTransport({ enableJsonResponse: true })
  await server.connect(transport)
  return transport.handleRequest(request)
}
