/**
 * The least that a request can cost here. A form POST: Hono reads and parses a form and answers a built JSON reply. A GET: it
 * answers a text that it has. Over TLS, with clients asked for certificates, when BENCH_TLS has the files (PEM, as JSON).
 */
import { createServer } from 'node:https'
import { serve } from '@hono/node-server'
import { Hono } from 'hono'

// As long as an ES256 token of Mayfly.
const token = 'x'.repeat(560)

const documentHeaders = { 'content-type': 'application/json', 'cache-control': 'public, max-age=300' }

const app = new Hono()
app.post('/token', async (context) => {
  const form = new URLSearchParams(await context.req.text())
  const body = { access_token: token, token_type: 'Bearer', expires_in: 300, scope: form.get('scope') }
  return new Response(JSON.stringify(body), {
    headers: { 'content-type': 'application/json', 'cache-control': 'no-store' },
  })
})
// As long as the documents of Mayfly.
const document = JSON.stringify({ document: 'x'.repeat(1200) })
app.get('/document', () => new Response(document, { headers: documentHeaders }))
const { BENCH_TLS: files } = process.env
const asked = { requestCert: true, rejectUnauthorized: false }
const secure = files === undefined ? {} : { createServer, serverOptions: { ...JSON.parse(files), ...asked } }
serve({ fetch: app.fetch, hostname: '127.0.0.1', port: 0, ...secure }, ({ port }) => {
  process.stdout.write(`bare HTTP listening on ${files === undefined ? 'http' : 'https'}://127.0.0.1:${port}\n`)
})
