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

interface Answer {
  readonly status: number
  readonly body: Readonly<Record<string, unknown>>
  readonly milliseconds: number
}

async function post(
  url: string,
  [id, secret]: readonly [string, unknown],
  form: Record<string, string>,
): Promise<Answer> {
  const started = performance.now()
  const reply = await fetch(url, {
    method: 'POST',
    headers: { authorization: `Basic ${Buffer.from(`${id}:${secret}`).toString('base64')}` },
    body: new URLSearchParams(form),
  })
  const text = await reply.text()
  const body = text === '' ? {} : (JSON.parse(text) as Record<string, unknown>)
  return { status: reply.status, body, milliseconds: performance.now() - started }
}

function askForToken(issuer: string, secret: string): Promise<Answer> {
  return post(`${issuer}/token`, ['billing', secret], { grant_type: 'client_credentials' })
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

  await tellOfRefresh(issuer)

  say(
    '8. Everything that the agent has is ended at once, and it is told when its last token would have died by itself.',
  )
  const ended = mayfly('client', 'offboard', 'agent')
  console.log(
    `families ended ${ended.refresh_families_ended}, last token would have lived until ${ended.last_token_expires_at}`,
  )

  say('9. The first client is disabled from another process: its next request is refused.')
  mayfly('client', 'disable', 'billing')
  const refused = await askForToken(issuer, String(second.client_secret))
  console.log(`HTTP ${refused.status} ${refused.body.error}`)

  say('10. Who did what.')
  const trail = mayfly('audit', 'list', '--limit', '12') as unknown as Record<string, unknown>[]
  for (const entry of trail)
    console.log(
      `${entry.at}  ${String(entry.type).padEnd(18)} ${String(entry.client_id ?? '').padEnd(8)} ${entry.reason ?? entry.actor ?? entry.audience ?? ''}`,
    )

  child.kill('SIGTERM')
  const [code] = (await once(child, 'exit')) as [number]
  say(`11. SIGTERM: drained and ended with ${code}.`)
}

async function tellOfRefresh(issuer: string): Promise<void> {
  say('6. An agent gets a refresh token too. Its answer is lost, so it asks again: the very same successor.')
  const grants = ['--grant-type', 'client_credentials', '--grant-type', 'refresh_token']
  const made = mayfly('client', 'create', 'agent', '--audience', api, '--scope', 'invoices:read', ...grants)
  const agent = ['agent', made.client_secret] as const
  const refresh = (token: unknown): Promise<Answer> =>
    post(`${issuer}/token`, agent, { grant_type: 'refresh_token', refresh_token: String(token) })
  const first = await post(`${issuer}/token`, agent, { grant_type: 'client_credentials' })
  const [lost, again] = [await refresh(first.body.refresh_token), await refresh(first.body.refresh_token)]
  console.log(`HTTP ${again.status}, the same: ${lost.body.refresh_token === again.body.refresh_token}`)

  say(
    '7. Somebody comes with a token whose successor was used: the family ends, and a service that asks knows at once.',
  )
  const service = mayfly('client', 'create', 'service', '--introspects', api)
  const isActive = async (token: unknown): Promise<unknown> =>
    (await post(`${issuer}/introspect`, ['service', service.client_secret], { token: String(token) })).body.active
  const next = await refresh(again.body.refresh_token)
  console.log(`active before: ${await isActive(next.body.access_token)}`)
  const reuse = await refresh(first.body.refresh_token)
  console.log(`HTTP ${reuse.status} ${reuse.body.error}; active after: ${await isActive(next.body.access_token)}`)
}

try {
  await tell()
} finally {
  rmSync(folder, { recursive: true, force: true })
}
