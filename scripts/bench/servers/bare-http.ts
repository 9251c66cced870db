/** The least that a form POST can cost here: Hono reads and parses a form and answers a built JSON reply. */
import { serve } from '@hono/node-server'
import { Hono } from 'hono'

// As long as an ES256 token of Mayfly.
const token = 'x'.repeat(560)

const app = new Hono()
app.post('/token', async (context) => {
  const form = new URLSearchParams(await context.req.text())
  const body = { access_token: token, token_type: 'Bearer', expires_in: 300, scope: form.get('scope') }
  return new Response(JSON.stringify(body), {
    headers: { 'content-type': 'application/json', 'cache-control': 'no-store' },
  })
})
serve({ fetch: app.fetch, hostname: '127.0.0.1', port: 0 }, ({ port }) => {
  process.stdout.write(`bare HTTP listening on http://127.0.0.1:${port}\n`)
})
