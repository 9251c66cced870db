/**
 * The same service on Hono, with its own `jwk` middleware. It refuses access tokens unless it is told their `typ`, and
 * fetches the JWKS for every request; where that is too much, verify with jose as in `service-node.ts`.
 */
import { serve } from '@hono/node-server'
import { Hono } from 'hono'
import { jwk } from 'hono/jwk'

const issuer = process.env.ISSUER ?? 'http://127.0.0.1:8080'
const audience = process.env.AUDIENCE ?? 'https://api.example.com'

const app = new Hono<{ Variables: { jwtPayload: { scope?: string; cnf?: object } } }>()
app.use(
  jwk({
    jwks_uri: `${issuer}/.well-known/jwks.json`,
    alg: ['ES256', 'RS256'],
    verification: { iss: issuer, aud: audience, typ: 'at+jwt' },
  }),
)
app.get('/', (context) => {
  const { scope, cnf } = context.get('jwtPayload')
  // Bound to a key or a certificate, which nobody here asks for: a copy must not pass without it.
  if (cnf !== undefined) return context.body(null, 401)
  return (scope ?? '').split(' ').includes('invoices:read') ? context.json({ invoices: [] }) : context.body(null, 403)
})

serve({ fetch: app.fetch, port: Number(process.env.PORT ?? 3000), hostname: '127.0.0.1' }, ({ port }) => {
  console.log('listening on', JSON.stringify({ port }))
})
