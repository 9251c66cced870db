/** A whole server in this process, on a free port and a real database, with what a test wants to hold still. */
import { cpSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, onTestFinished } from 'vitest'
import type { AppOptions } from '../../src/app/parts.ts'
import { prepareApp } from '../../src/app/prepare.ts'
import { parseSettings, type Settings } from '../../src/config/settings.ts'
import type { Clock } from '../../src/lib/clock.ts'
import { silentLog } from '../../src/lib/log.ts'
import { type RunningServer, startServer } from '../../src/main.ts'
import { openStore } from '../../src/store/open-store.ts'
import type { Store } from '../../src/store/store.ts'
import { ManualClock } from './clock.ts'
import { temporaryFolder } from './process.ts'
import { addClient, addResource, type TestClient } from './registry.ts'

export { ManualClock } from './clock.ts'
export { basic } from './credentials.ts'
export { claimsOf, headerOf } from './jwt.ts'
export { addClient, addKeyClient, addResource, api, type TestClient } from './registry.ts'

export interface TestServer extends RunningServer {
  readonly folder: string
  readonly settings: Settings
  /** The store of the server itself. */
  readonly store: Store
  /** A second store on the same file, as another process would have it. */
  openOther(): Store
}

export interface TestServerOptions extends Partial<AppOptions> {
  readonly env?: Readonly<Record<string, string>>
  /** An existing folder with database and keys; a fresh one otherwise. */
  readonly folder?: string
}

/** By the moment that their keys were made at; `undefined` is that of the machine. */
const templates = new Map<number | undefined, Promise<string>>()

afterAll(async () => {
  for (const template of templates.values()) rmSync(await template, { recursive: true, force: true })
  templates.clear()
})

// Making RSA keys takes longer than most tests, so each file makes one installation and copies it: one for each moment that
// its servers start at, for a ring remembers the latest date that it has seen.
async function freshFolder(clock: Clock | undefined): Promise<string> {
  const now = clock?.nowMilliseconds()
  const template = templates.get(now) ?? makeTemplate(now)
  templates.set(now, template)
  const folder = temporaryFolder()
  cpSync(await template, folder, { recursive: true })
  return folder
}

async function makeTemplate(now: number | undefined): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), 'mayfly-template-'))
  const clock = now === undefined ? {} : { clock: new ManualClock(now) }
  const prepared = await prepareApp(parseSettings({}, folder), { log: silentLog, ...clock })
  await prepared.close()
  return folder
}

/** Starts a server; it is stopped with the test. */
export async function startTestServer({ env, folder: given, ...options }: TestServerOptions = {}): Promise<TestServer> {
  const folder = given ?? (await freshFolder(options.clock))
  const settings = parseSettings({ MAYFLY_PORT: '0', MAYFLY_LOG_LEVEL: 'silent', ...env }, folder)
  const server = await startServer(settings, { log: silentLog, drainIdleMilliseconds: 1, ...options })
  const { store } = server.prepared
  let stopped: Promise<void> | undefined
  const stop = (): Promise<void> => (stopped ??= server.stop())
  onTestFinished(stop)
  const openOther = (): Store => {
    const clock = options.clock === undefined ? {} : { clock: options.clock }
    const other = openStore(join(folder, 'data/mayfly.db'), { create: false, examine: false, ...clock })
    onTestFinished(() => other.close())
    return other
  }
  return { ...server, stop, folder, settings, store, openOther }
}

/** A server with the resource `api` and one client of it. */
export async function startWithClient(
  options: TestServerOptions = {},
): Promise<{ server: TestServer; client: TestClient }> {
  const server = await startTestServer(options)
  await addResource(server.store)
  return { server, client: await addClient(server.store, 'billing') }
}

export interface Reply {
  readonly status: number
  readonly headers: Headers
  readonly text: string
  readonly json: Record<string, unknown>
}

/** `POST /token` with a form. */
export async function requestToken(
  server: { readonly url: string },
  form: Readonly<Record<string, string>> | string,
  headers: Readonly<Record<string, string>> = {},
): Promise<Reply> {
  const body = typeof form === 'string' ? form : new URLSearchParams(form).toString()
  return request(`${server.url}/token`, {
    method: 'POST',
    body,
    headers: { 'content-type': 'application/x-www-form-urlencoded', ...headers },
  })
}

/** Any request, its body read. */
export async function request(url: string, init: RequestInit = {}): Promise<Reply> {
  const response = await fetch(url, { redirect: 'manual', ...init })
  const text = await response.text()
  let json: Record<string, unknown> = {}
  try {
    json = JSON.parse(text) as Record<string, unknown>
  } catch {
    // Not every reply has JSON; a test that wants it looks at its members.
  }
  return { status: response.status, headers: response.headers, text, json }
}

/** Asks for a token with nothing but the grant type, and returns it. Fails when there is none. */
export async function getToken(
  server: { readonly url: string },
  client: TestClient,
  form: Readonly<Record<string, string>> = {},
): Promise<string> {
  const reply = await requestToken(
    server,
    { grant_type: 'client_credentials', ...form },
    { authorization: client.basic },
  )
  if (typeof reply.json.access_token !== 'string') throw new Error(`no token: ${reply.status} ${reply.text}`)
  return reply.json.access_token
}
