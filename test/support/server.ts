/** A whole server in this process, on a free port and a real database, with what a test wants to hold still. */
import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, onTestFinished } from 'vitest'
import type { AppOptions } from '../../src/app/parts.ts'
import { prepareApp } from '../../src/app/prepare.ts'
import { parseSettings, type Settings } from '../../src/config/settings.ts'
import type { Clock } from '../../src/lib/clock.ts'
import { silentLog } from '../../src/lib/log.ts'
import { type RunningServer, startServer } from '../../src/main.ts'
import { openStoreAt } from '../../src/store/open-store.ts'
import type { Store } from '../../src/store/store.ts'
import { ManualClock } from './clock.ts'
import { usePostgres } from './postgres.ts'
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
  /** A second store on the same database, as another process would have it. */
  openOther(): Promise<Store>
}

export interface TestServerOptions extends Partial<AppOptions> {
  readonly env?: Readonly<Record<string, string>>
  /** An existing folder with database and keys; a fresh one otherwise. */
  readonly folder?: string
}

// The flows are those of both stores: `TEST_STORE=postgres` has them run on that one (`npm run test:postgres`).
const postgres = process.env.TEST_STORE === 'postgres' ? usePostgres() : undefined

/** An installation that others are copied from: a folder, and the URL of a database that is not in it. */
interface Template {
  readonly folder: string
  readonly url?: string
}

/** Where the databases of folders are that are not in them: for those that are started again. */
const urls = new Map<string, string>()

/** By the moment that their keys were made at; `undefined` is that of the machine. */
const templates = new Map<number | undefined, Promise<Template>>()

afterAll(async () => {
  for (const template of templates.values()) rmSync((await template).folder, { recursive: true, force: true })
  templates.clear()
})

// Making RSA keys takes longer than most tests, so each file makes one installation and copies it: one for each moment that
// its servers start at, for a ring remembers the latest date that it has seen.
async function makeInstallation(clock: Clock | undefined): Promise<Template> {
  const now = clock?.nowMilliseconds()
  const made = templates.get(now) ?? makeTemplate(now)
  templates.set(now, made)
  const template = await made
  const folder = temporaryFolder()
  cpSync(template.folder, folder, { recursive: true })
  if (postgres === undefined || template.url === undefined) return { folder }
  const url = await postgres().cloneDatabase(template.url)
  urls.set(folder, url)
  // For commands that are run there.
  writeFileSync(join(folder, '.env'), `MAYFLY_DATABASE_URL=${url}\n`)
  return { folder, url }
}

async function makeTemplate(now: number | undefined): Promise<Template> {
  const folder = mkdtempSync(join(tmpdir(), 'mayfly-template-'))
  const server = postgres?.()
  // One that is not used again when the test is over that happens to come first.
  const url = await server?.cloneDatabase(server.urlOf('migrated'))
  const clock = now === undefined ? {} : { clock: new ManualClock(now), comparesClocks: false }
  const prepared = await prepareApp(parseSettings(databaseAt(url), folder), { log: silentLog, ...clock })
  await prepared.close()
  return url === undefined ? { folder } : { folder, url }
}

function databaseAt(url: string | undefined): Readonly<Record<string, string>> {
  return url === undefined ? {} : { MAYFLY_DATABASE_URL: url }
}

/** Starts a server; it is stopped with the test. */
export async function startTestServer({ env, folder: given, ...options }: TestServerOptions = {}): Promise<TestServer> {
  const { folder, url } =
    given === undefined ? await makeInstallation(options.clock) : { folder: given, url: urls.get(given) }
  const settings = parseSettings({ MAYFLY_PORT: '0', MAYFLY_LOG_LEVEL: 'silent', ...databaseAt(url), ...env }, folder)
  // A flow that is moved to PostgreSQL keeps its own clock, whatever that one's shows.
  const comparesClocks = url === undefined || options.clock === undefined
  const server = await startServer(settings, { log: silentLog, drainIdleMilliseconds: 1, comparesClocks, ...options })
  const { store } = server.prepared
  let stopped: Promise<void> | undefined
  const stop = (): Promise<void> => (stopped ??= server.stop())
  onTestFinished(stop)
  const openOther = async (): Promise<Store> => {
    const clock = options.clock === undefined ? {} : { clock: options.clock }
    const other = await openStoreAt(settings, { create: false, examine: false, ...clock })
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
