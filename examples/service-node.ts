/** A service on Node's own HTTP server that lets in who brings an access token with the scope `invoices:read`. */
import { createServer } from 'node:http'
import { createRemoteJWKSet, jwtVerify } from 'jose'

const issuer = process.env.ISSUER ?? 'http://127.0.0.1:8080'
const audience = process.env.AUDIENCE ?? 'https://api.example.com'
const keys = createRemoteJWKSet(new URL(`${issuer}/.well-known/jwks.json`))

async function scopesOf(authorization: string | undefined): Promise<readonly string[] | undefined> {
  const token = /^Bearer +(?<token>[\w.-]+)$/i.exec(authorization ?? '')?.groups?.token
  if (token === undefined) return undefined
  try {
    const { payload } = await jwtVerify(token, keys, {
      issuer,
      audience,
      typ: 'at+jwt',
      algorithms: ['ES256', 'RS256'],
      requiredClaims: ['sub', 'client_id', 'iat', 'exp', 'jti'],
    })
    // Bound to a key or a certificate, which nobody here asks for: a copy must not pass without it.
    if ('cnf' in payload) return undefined
    return String(payload.scope ?? '').split(' ')
  } catch {
    return undefined
  }
}

const server = createServer(async (request, reply) => {
  const scopes = await scopesOf(request.headers.authorization)
  if (scopes === undefined) {
    reply.writeHead(401, { 'www-authenticate': 'Bearer' }).end()
  } else if (!scopes.includes('invoices:read')) {
    reply.writeHead(403, { 'www-authenticate': 'Bearer error="insufficient_scope", scope="invoices:read"' }).end()
  } else {
    reply.writeHead(200, { 'content-type': 'application/json' }).end('{"invoices":[]}')
  }
})

server.listen(Number(process.env.PORT ?? 3000), '127.0.0.1', () => {
  console.log('listening on', JSON.stringify(server.address()))
})
