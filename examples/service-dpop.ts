/**
 * A service that lets in who brings an access token with the scope `invoices:read` and proves the key that it is bound to
 * (RFC 9449). It does not remember proofs: one that was overheard can be sent again within a minute or so, for the same
 * request. A proxy that asks Mayfly's `/verify` does remember them.
 */
import { createServer, type IncomingMessage } from 'node:http'
import * as oauth from 'oauth4webapi'

const issuer = process.env.ISSUER ?? 'http://127.0.0.1:8080'
const audience = process.env.AUDIENCE ?? 'https://api.example.com'
const server: oauth.AuthorizationServer = { issuer, jwks_uri: `${issuer}/.well-known/jwks.json` }

/** How the outside knows this service. Never what a request says of itself: whoever sends it could name another one. */
let origin = process.env.ORIGIN

async function scopesOf({ url, method, headers }: IncomingMessage): Promise<readonly string[] | undefined> {
  try {
    const request = new Request(new URL(url ?? '', origin), {
      method: method ?? '',
      headers: { authorization: headers.authorization ?? '', dpop: String(headers.dpop ?? '') },
    })
    const claims = await oauth.validateJwtAccessToken(server, request, audience, {
      requireDPoP: true,
      signingAlgorithms: ['ES256', 'RS256', 'PS256', 'Ed25519'],
      [oauth.allowInsecureRequests]: issuer.startsWith('http://127.0.0.1:'),
    })
    return (claims.scope ?? '').split(' ')
  } catch {
    return undefined
  }
}

const service = createServer(async (request, reply) => {
  const scopes = await scopesOf(request)
  const challenge = 'DPoP algs="ES256 RS256 PS256 Ed25519"'
  if (scopes === undefined) {
    reply.writeHead(401, { 'www-authenticate': `${challenge}, error="invalid_token"` }).end()
  } else if (!scopes.includes('invoices:read')) {
    const error = 'error="insufficient_scope", scope="invoices:read"'
    reply.writeHead(403, { 'www-authenticate': `${challenge}, ${error}` }).end()
  } else {
    reply.writeHead(200, { 'content-type': 'application/json' }).end('{"invoices":[]}')
  }
})

service.listen(Number(process.env.PORT ?? 3000), '127.0.0.1', () => {
  const address = service.address()
  origin ??= `http://127.0.0.1:${typeof address === 'object' ? address?.port : ''}`
  console.log('listening on', JSON.stringify(address))
})
