/** The story of what exists, over real HTTP, in one terminal and under a minute. Everything it makes is thrown away. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { styleText } from 'node:util'
import { createRemoteJWKSet, jwtVerify } from 'jose'

const launcher = join(import.meta.dirname, '../bin/mayfly.js')
const api = 'https://api.example.com'
const folder = mkdtempSync(join(tmpdir(), 'mayfly-demo-'))
const env = { ...process.env, MAYFLY_PORT: '0', MAYFLY_LOG_LEVEL: 'error' }

function say(text: string): void {
  console.log(`\n${styleText('bold', text)}`)
}

/** Runs a command as a person would, shows it and what it printed. */
function mayfly(...args: string[]): Record<string, unknown> {
  console.log(styleText('gray', `$ mayfly ${args.join(' ')}`))
  const output = execFileSync(process.execPath, [launcher, ...args, '--json'], {
    cwd: folder,
    env,
    stdio: ['ignore', 'pipe', 'ignore'],
  })
  return JSON.parse(output.toString()) as Record<string, unknown>
}

async function start(): Promise<{ child: ChildProcess; issuer: string }> {
  const child = spawn(process.execPath, [launcher, 'serve'], { cwd: folder, env, stdio: ['ignore', 'pipe', 'inherit'] })
  for await (const line of createInterface(child.stdout)) {
    const issuer = /^mayfly listening on (\S+)/.exec(line)?.[1]
    if (issuer !== undefined) return { child, issuer }
  }
  throw new Error('the server did not start')
}

async function askForToken(
  issuer: string,
  secret: string,
): Promise<{ status: number; body: Record<string, unknown>; milliseconds: number }> {
  const started = performance.now()
  const reply = await fetch(`${issuer}/token`, {
    method: 'POST',
    headers: { authorization: `Basic ${Buffer.from(`billing:${secret}`).toString('base64')}` },
    body: new URLSearchParams({ grant_type: 'client_credentials' }),
  })
  const body = (await reply.json()) as Record<string, unknown>
  return { status: reply.status, body, milliseconds: performance.now() - started }
}

async function tell(): Promise<void> {
  say('1. A server: it makes its own database, master key and signing keys.')
  const { child, issuer } = await start()
  console.log(`listening on ${issuer}`)

  say('2. An API that tokens are for, and a workload that may have them.')
  mayfly('resource', 'create', api, '--scope', 'invoices:read invoices:write')
  const client = mayfly('client', 'create', 'billing', '--audience', api, '--scope', 'invoices:read')
  console.log(`client_id ${client.client_id}, secret ${String(client.client_secret).slice(0, 8)}… (shown once)`)

  say('3. The workload trades its secret for a token that lives five minutes.')
  const first = await askForToken(issuer, String(client.client_secret))
  console.log(
    `HTTP ${first.status} in ${first.milliseconds.toFixed(1)} ms, expires_in ${first.body.expires_in}, scope ${first.body.scope}`,
  )

  say('4. A service verifies it with jose and the public keys.')
  const keys = createRemoteJWKSet(new URL(`${issuer}/.well-known/jwks.json`))
  const { payload } = await jwtVerify(String(first.body.access_token), keys, {
    issuer,
    audience: api,
    typ: 'at+jwt',
    algorithms: ['ES256', 'RS256'],
  })
  console.log(JSON.stringify(payload))

  say('5. A second secret, then the first is revoked: a rotation without a gap.')
  const second = mayfly('secret', 'create', 'billing', '--expires-in', '30d')
  console.log(
    `with both: HTTP ${(await askForToken(issuer, String(client.client_secret))).status} and ${(await askForToken(issuer, String(second.client_secret))).status}`,
  )
  mayfly('secret', 'revoke', 'billing', String(client.secret_id))
  console.log(
    `old: HTTP ${(await askForToken(issuer, String(client.client_secret))).status}, new: HTTP ${(await askForToken(issuer, String(second.client_secret))).status}`,
  )

  say('6. The client is disabled from another process: its next request is refused.')
  mayfly('client', 'disable', 'billing')
  const refused = await askForToken(issuer, String(second.client_secret))
  console.log(`HTTP ${refused.status} ${refused.body.error}`)

  say('7. Who did what.')
  const trail = mayfly('audit', 'list', '--limit', '8') as unknown as Record<string, unknown>[]
  for (const entry of trail)
    console.log(
      `${entry.at}  ${String(entry.type).padEnd(16)} ${entry.client_id ?? ''} ${entry.reason ?? entry.actor ?? entry.audience ?? ''}`,
    )

  child.kill('SIGTERM')
  const [code] = (await once(child, 'exit')) as [number]
  say(`8. SIGTERM: drained and ended with ${code}.`)
}

try {
  await tell()
} finally {
  rmSync(folder, { recursive: true, force: true })
}
