/** Installations of Mayfly: made by its own commands, filled with many clients by hand, served by its own launcher. */
import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { isDeepStrictEqual, promisify } from 'node:util'
import Database from 'better-sqlite3'
import { createLocalJWKSet, type JSONWebKeySet, jwtVerify } from 'jose'
import { generateSecret } from '../../src/client/client-secret.ts'
import { makeUlid } from '../../src/lib/id.ts'
import type { ClientTls, LoadRequest } from './load.ts'
import { sendOverTls } from './over-tls.ts'
import type { Server, Stage } from './stage.ts'

const commandMilliseconds = 120_000

export const launcher = join(import.meta.dirname, '../../bin/mayfly.js')

/** The resource that tokens are for, by the algorithm that signs them. */
export const apis = { ES256: 'https://api.example.com', RS256: 'https://legacy.example.com' } as const

export type Alg = keyof typeof apis

const scope = 'invoices:read'
export const tokenForm = new URLSearchParams({ grant_type: 'client_credentials', scope }).toString()

/** Goes on with a refresh token, which is added to it. */
export const refreshForm = new URLSearchParams({ grant_type: 'refresh_token', scope }).toString()

/** A request for a token, with the credentials in the header. */
export function tokenRequest(clientId: string, secret: string): LoadRequest {
  return {
    method: 'POST',
    path: '/token',
    headers: {
      authorization: `Basic ${Buffer.from(`${clientId}:${secret}`).toString('base64')}`,
      'content-type': 'application/x-www-form-urlencoded',
    },
    body: tokenForm,
  }
}

/** A request for a token without credentials; what else its form has is given. */
export function openRequest(more: Readonly<Record<string, string>>): LoadRequest {
  const body = `${tokenForm}&${new URLSearchParams(more)}`
  return { method: 'POST', path: '/token', headers: { 'content-type': 'application/x-www-form-urlencoded' }, body }
}

export class Installation {
  readonly #stage: Stage
  readonly #env: Readonly<Record<string, string>>
  readonly folder: string

  private constructor(stage: Stage, env: Readonly<Record<string, string>>) {
    this.#stage = stage
    this.#env = env
    this.folder = stage.folder()
  }

  /** A database with keys and two resources. `env`: settings of all its commands and servers. */
  static async make(stage: Stage, env: Readonly<Record<string, string>> = {}): Promise<Installation> {
    const made = new Installation(stage, env)
    await made.run('db', 'migrate')
    for (const [alg, uri] of Object.entries(apis)) {
      await made.run('resource', 'create', uri, '--scope', `${scope} invoices:write`, '--alg', alg)
    }
    return made
  }

  /** Runs one command to its end. @throws Error when it fails */
  async run(...args: string[]): Promise<Record<string, unknown>> {
    const { stdout } = await promisify(execFile)(process.execPath, [launcher, ...args, '--json'], {
      cwd: this.folder,
      env: { ...process.env, ...this.#env, MAYFLY_PORT: '0' },
      timeout: commandMilliseconds,
    })
    return JSON.parse(stdout) as Record<string, unknown>
  }

  /** Registers a client; returns its request for a token. */
  async addClient(name: string, alg: Alg = 'ES256', more: readonly string[] = []): Promise<LoadRequest> {
    const made = await this.run('client', 'create', name, '--audience', apis[alg], '--scope', scope, ...more)
    return tokenRequest(name, String(made.client_secret))
  }

  /** Registers a service that may ask about tokens of a resource; returns a request with its credentials. */
  async addIntrospector(name: string, uri: string): Promise<LoadRequest> {
    const made = await this.run('client', 'create', name, '--introspects', uri)
    return tokenRequest(name, String(made.client_secret))
  }

  /** Gives a client many refresh families, in one transaction. The server must not run. */
  fillFamilies(clientId: string, count: number, grant: { readonly audience: string; readonly scope: string }): void {
    const sqlite = new Database(join(this.folder, 'data/mayfly.db'))
    try {
      sqlite.transaction(() => insertFamilies(sqlite, clientId, count, grant))()
      sqlite.pragma('wal_checkpoint(TRUNCATE)')
    } finally {
      sqlite.close()
    }
  }

  /**
   * Registers many clients in one transaction, past the commands, which would take hours. The server must not run.
   *
   * @returns requests of some of them, chosen at random
   */
  fill(count: number, sample: number, random: () => number): LoadRequest[] {
    const chosen = new Set<number>()
    while (chosen.size < Math.min(count, sample)) chosen.add(Math.floor(random() * count))
    const sqlite = new Database(join(this.folder, 'data/mayfly.db'))
    try {
      return sqlite.transaction(() => insertClients(sqlite, count, chosen))()
    } finally {
      sqlite.close()
    }
  }

  /** Serves it, with default settings but for those given, on a free port. */
  serve(core: string | undefined, env: Readonly<Record<string, string>> = {}): Promise<Server> {
    return this.#stage.serve({
      args: [launcher, 'serve'],
      core,
      cwd: this.folder,
      env: { MAYFLY_PORT: '0', ...this.#env, ...env },
    })
  }
}

function insertClients(sqlite: Database.Database, count: number, chosen: ReadonlySet<number>): LoadRequest[] {
  const client = sqlite.prepare(
    `INSERT INTO client (client_id, name, status, grant_types, auth_methods, scopes, created_at, updated_at)
     VALUES (?, ?, 'active', '["client_credentials"]', '["client_secret_basic"]', '["${scope}"]', ?, ?)`,
  )
  const audience = sqlite.prepare('INSERT INTO client_audience (client_id, position, uri) VALUES (?, 0, ?)')
  const secret = sqlite.prepare(
    'INSERT INTO client_secret (secret_id, client_id, sha256, created_at) VALUES (?, ?, ?, ?)',
  )
  const now = Date.now()
  const requests: LoadRequest[] = []
  for (let i = 0; i < count; i += 1) {
    const clientId = `workload-${i}`
    // Only of those that will ask, the secret must be known; the others have the hash of one that nobody has.
    const known = chosen.has(i) ? generateSecret() : undefined
    client.run(clientId, clientId, now, now)
    audience.run(clientId, apis.ES256)
    secret.run(
      known?.secretId ?? `sec_${randomBytes(8).toString('hex')}`,
      clientId,
      known?.sha256 ?? randomBytes(32),
      now,
    )
    if (known !== undefined) requests.push(tokenRequest(clientId, known.secret.reveal()))
  }
  return requests
}

function insertFamilies(
  sqlite: Database.Database,
  clientId: string,
  count: number,
  { audience, scope: granted }: { readonly audience: string; readonly scope: string },
): void {
  const insert = sqlite.prepare(
    `INSERT INTO refresh_family (family_id, client_id, audience, scope, seed, generation, generation_at, root_version,
       expires_at, family_expires_at, last_jti)
     VALUES (?, ?, ?, ?, ?, ?, ?, 1, ?, ?, ?)`,
  )
  // As if they had been begun one after the other in the last hour, and refreshed some times each.
  const hour = 3_600_000
  const now = Date.now()
  for (let i = 0; i < count; i += 1) {
    const at = now - hour + Math.floor((i * hour) / count)
    const ends = [at + 2 * hour, at + 24 * hour]
    insert.run(makeUlid(at), clientId, audience, granted, randomBytes(16), i % 40, at, ...ends, makeUlid(at))
  }
}

/** Sends one request. @throws Error unless it is answered with success */
export async function sendOnce(url: string, request: LoadRequest, tls?: ClientTls): Promise<Response> {
  const { method, path, headers, body } = request
  const reply =
    tls === undefined
      ? await fetch(`${url}${path}`, { method, ...(headers ? { headers } : {}), ...(body ? { body } : {}) })
      : await sendOverTls(`${url}${path}`, request, tls)
  if (!reply.ok) throw new Error(`${url}${path} answered ${reply.status}: ${await reply.text()}`)
  return reply
}

/** What a token must be. */
export interface ExpectedToken {
  readonly alg: Alg
  readonly audience: string
  readonly jwksPath: string
  /** What it is bound to (`cnf`); nothing when absent. */
  readonly confirmation?: Readonly<Record<string, string>> | undefined
}

/** Asks for a token and verifies it as a service would. @throws Error when it is not what was asked for */
export async function verifyToken(
  url: string,
  request: LoadRequest,
  { tls, ...expected }: ExpectedToken & { readonly tls?: ClientTls | undefined },
): Promise<void> {
  const { access_token: token } = (await (await sendOnce(url, request, tls)).json()) as { access_token: string }
  const set = await (await sendOnce(url, { method: 'GET', path: expected.jwksPath }, tls)).json()
  const { payload } = await jwtVerify(token, createLocalJWKSet(set as JSONWebKeySet), {
    issuer: url,
    audience: expected.audience,
    algorithms: [expected.alg],
    typ: 'at+jwt',
    requiredClaims: ['exp', 'iat', 'jti', 'client_id'],
  })
  if (payload.scope !== scope) throw new Error(`a token with scope ${String(payload.scope)}`)
  if (!isDeepStrictEqual(payload.cnf, expected.confirmation))
    throw new Error(`a token bound to ${JSON.stringify(payload.cnf)}`)
}
