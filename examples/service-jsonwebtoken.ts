/** The same service with jsonwebtoken and jwks-rsa. They do not look at `typ`, so the service does. */
import { createServer } from 'node:http'
import jwt from 'jsonwebtoken'
import { JwksClient } from 'jwks-rsa'

const issuer = process.env.ISSUER ?? 'http://127.0.0.1:8080'
const audience = process.env.AUDIENCE ?? 'https://api.example.com'
// The limit: whoever sends tokens with made-up key ids must not have the key set fetched for each.
const keys = new JwksClient({ jwksUri: `${issuer}/.well-known/jwks.json`, rateLimit: true, timeout: 5_000 })

async function scopesOf(authorization: string | undefined): Promise<readonly string[] | undefined> {
  const token = /^Bearer +(?<token>[\w.-]+)$/i.exec(authorization ?? '')?.groups?.token
  if (token === undefined) return undefined
  try {
    const key = await keys.getSigningKey(jwt.decode(token, { complete: true })?.header.kid)
    const { header, payload } = jwt.verify(token, key.getPublicKey(), {
      issuer,
      audience,
      algorithms: ['ES256', 'RS256'],
      complete: true,
    })
    if (header.typ !== 'at+jwt' || typeof payload === 'string') return undefined
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
