/**
 * Hostile input against a real server: how many cases, who answers, and what every answer must be.
 *
 * Cases come from fast-check. `FC_SEED=n` replays a run (a failure prints its seed), `FC_RUNS=n` makes n times as many.
 */

import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import type { Parameters } from 'fast-check'
import { createLocalJWKSet, type JSONWebKeySet, jwtVerify } from 'jose'
import { afterAll, afterEach, beforeAll, expect } from 'vitest'
import type { AppOptions } from '../../src/app/parts.ts'
import { parseSettings } from '../../src/config/settings.ts'
import type { Log } from '../../src/lib/log.ts'
import { type RunningServer, startServer } from '../../src/main.ts'
import { addClient, addResource, api, requestToken, type TestClient } from './server.ts'

export const seed = Number(process.env.FC_SEED ?? 20_261_125)
const factor = Number(process.env.FC_RUNS ?? 1)
if (!Number.isSafeInteger(seed) || !(factor > 0)) throw new Error('FC_SEED and FC_RUNS take numbers')

/** The parameters of one property. The test's name carries the seed. */
export function runs(usually: number): Parameters<unknown> {
  return { seed, numRuns: Math.ceil(usually * factor), interruptAfterTimeLimit: 600_000, markInterruptAsFailure: true }
}

/** How long a test may take that makes `runs` of its cases. */
export const patience = { timeout: 60_000 * Math.max(1, factor) }

/** Stands in hostile requests where a secret may stand, and must not come back or be written. */
export const canary = 'canary-5Zb7qLw2'

/** So short that a request which never ends is over within a second; long enough for one that came whole. */
export const shortLimits = {
  headersTimeout: 400,
  requestTimeout: 500,
  connectionsCheckingInterval: 100,
  keepAliveTimeout: 100,
  // A reply that is under way on a busy machine must not be cut off.
  socketTimeout: 5_000,
} as const

/** Collects what nobody caught, and fails the test in which it happened. */
export function watchForCrashes(): void {
  const caught: unknown[] = []
  const note = (error: unknown): void => void caught.push(error)
  beforeAll(() => {
    process.on('unhandledRejection', note)
    process.on('uncaughtExceptionMonitor', note)
  })
  afterEach(() => expect(caught.splice(0)).toEqual([]))
  afterAll(() => {
    process.off('unhandledRejection', note)
    process.off('uncaughtExceptionMonitor', note)
  })
}

/** A server for all tests of a file, that notices what it must not do. */
export interface HostileServer {
  readonly url: string
  readonly issuer: string
  /** May use `client_secret_basic`. */
  readonly basic: TestClient
  /** May use `client_secret_post`. */
  readonly poster: TestClient
  /** Everything that was logged since it was last asked for. */
  takeLog(): string
  /** How many tokens the audit trail has, and the registry sequence. */
  state(): { readonly issued: number; readonly sequence: number }
  /** Asks for a token as a good client does, and verifies it. */
  askHonestly(): Promise<void>
  /** Verifies a token; resolves with its claims. */
  verify(token: string): Promise<Record<string, unknown>>
  readonly running: RunningServer
}

/** Starts one server before the tests of a file, with two clients, and stops it after them. */
export function serverOfFile(options: Partial<AppOptions> = {}): () => HostileServer {
  let server: HostileServer | undefined
  let close = async (): Promise<void> => {}
  watchForCrashes()
  beforeAll(async () => {
    const folder = mkdtempSync(join(tmpdir(), 'mayfly-hostile-'))
    const lines: string[] = []
    // All that is hostile comes from one address here, and each attempt shall meet the check that it is made for.
    const env = { MAYFLY_PORT: '0', MAYFLY_RATE_LIMIT_FAILURES: '1000000' }
    const running = await startServer(parseSettings(env, folder), {
      log: collectingLog(lines),
      drainIdleMilliseconds: 1,
      ...options,
    })
    const database = new Database(join(folder, 'data/mayfly.db'), { readonly: true })
    close = async () => {
      database.close()
      await running.stop()
      rmSync(folder, { recursive: true, force: true })
    }
    server = await describeServer(running, database, lines)
  })
  afterEach(expectPromptness)
  // A bug of ours would be answered 500 and logged as a fault, whatever the test looked at.
  afterEach(() => expect(server?.takeLog() ?? '').not.toMatch(/"fault"|"commit failed"/))
  afterAll(() => close())
  return () => {
    if (server === undefined) throw new Error('the server has not started')
    return server
  }
}

function collectingLog(lines: string[]): Log {
  const note = (fields: object, message: string): void => void lines.push(JSON.stringify([message, fields]))
  return { debug: note, info: note, warn: note, error: note }
}

async function describeServer(
  running: RunningServer,
  database: Database.Database,
  lines: string[],
): Promise<HostileServer> {
  const { store } = running.prepared
  await addResource(store)
  const basic = await addClient(store, 'billing')
  const poster = await addClient(store, 'poster', { authMethods: ['client_secret_post'] })
  const reply = await fetch(`${running.url}/.well-known/jwks.json`)
  const keys = createLocalJWKSet((await reply.json()) as JSONWebKeySet)
  const issued = database.prepare('SELECT count(*) FROM issuance').pluck()
  const sequence = database.prepare(`SELECT value FROM sequence WHERE name = 'registry'`).pluck()
  const verify = async (token: string): Promise<Record<string, unknown>> => {
    const checks = { issuer: running.issuer, audience: api, typ: 'at+jwt', algorithms: ['ES256'] }
    return (await jwtVerify(token, keys, checks)).payload
  }
  return {
    url: running.url,
    issuer: running.issuer,
    basic,
    poster,
    running,
    verify,
    takeLog: () => lines.splice(0).join('\n'),
    state: () => ({ issued: Number(issued.get()), sequence: Number(sequence.get()) }),
    askHonestly: async () => {
      const form = { grant_type: 'client_credentials' }
      const { status, json, text } = await requestToken(running, form, { authorization: basic.basic })
      expect(status, text).toBe(200)
      expect(await verify(String(json.access_token))).toMatchObject({ sub: 'billing', scope: 'read write' })
    },
  }
}

/** A connection whose errors are nobody's business. */
export async function openSocket(url: string): Promise<Socket> {
  const { hostname, port } = new URL(url)
  const socket = connect({ port: Number(port), host: hostname, allowHalfOpen: true })
  socket.on('error', () => {})
  await once(socket, 'connect')
  return socket
}

/** Whatever a socket gets until both sides are closed; ours is when the server's is. */
export async function readAll(socket: Socket): Promise<string> {
  let text = ''
  socket.setEncoding('latin1').on('data', (chunk: string) => {
    text += chunk
  })
  await closed(socket)
  return text
}

/** Resolves when both sides are closed, by an end or a reset; ours is when the server's is. */
export async function closed(socket: Socket): Promise<void> {
  if (socket.closed) return
  socket.resume()
  socket.once('end', () => socket.end())
  await new Promise<void>((resolve) => void socket.once('close', () => resolve()))
}

export interface HostileReply {
  readonly status: number
  /** Names in lower case. */
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
}

export interface Exchange {
  readonly replies: readonly HostileReply[]
  /** What came behind the last whole reply; empty when the server keeps to HTTP. */
  readonly rest: string
  readonly text: string
  /** Until the last byte came, or until the end where none did: an idle connection may stay open. */
  readonly milliseconds: number
}

export interface ExchangeOptions {
  /** Replies to wait for before our side is closed; without end when absent: then the server closes. */
  readonly replies?: number
  /** Whether these are replies to HEAD, which have no body. */
  readonly bodiless?: boolean
  /** Whether to close our side at once, behind the last byte. */
  readonly halfClose?: boolean
  /** Longest wait for the end. */
  readonly patienceMilliseconds?: number
}

/** Within so long there is a reply, or an end without one, whatever was sent; where a request does not end, by `shortLimits`. */
const secondMilliseconds = 1_000

// What took longer, to be sent once more when its test is over: a machine that does other things is late now and then, a
// server that hangs always is.
const late: (() => Promise<Exchange>)[] = []

/** Fails for each request that took more than a second and does so three times again, alone. */
async function expectPromptness(): Promise<void> {
  for (const again of late.splice(0)) {
    const times: number[] = []
    while (times.length < 3 && times.every((milliseconds) => milliseconds > secondMilliseconds)) {
      times.push((await again()).milliseconds)
    }
    late.splice(0)
    expect(Math.min(...times), 'milliseconds until the last byte, or the end').toBeLessThanOrEqual(secondMilliseconds)
  }
}

/**
 * Sends bytes on a connection of its own and reads until it is over. A reply must be there within a second, unless another
 * bound is given.
 */
export async function exchange(url: string, bytes: string | Buffer, options: ExchangeOptions = {}): Promise<Exchange> {
  const exchanged = await exchangeOnce(url, bytes, options)
  if (options.patienceMilliseconds === undefined && exchanged.milliseconds > secondMilliseconds) {
    late.push(() => exchangeOnce(url, bytes, options))
  }
  return exchanged
}

async function exchangeOnce(
  url: string,
  bytes: string | Buffer,
  { replies: wanted = Number.POSITIVE_INFINITY, bodiless = false, halfClose = false, ...options }: ExchangeOptions = {},
): Promise<Exchange> {
  const { hostname, port } = new URL(url)
  const started = performance.now()
  const socket = connect({ port: Number(port), host: hostname, allowHalfOpen: true })
  let text = ''
  let lastByteAt: number | undefined
  let parsed: Pick<Exchange, 'replies' | 'rest'> = { replies: [], rest: '' }
  const patienceMilliseconds = options.patienceMilliseconds ?? 5_000
  await new Promise<void>((resolve, reject) => {
    const late = setTimeout(() => {
      socket.destroy()
      reject(new Error(`neither a reply nor an end after ${patienceMilliseconds} ms: ${JSON.stringify(text)}`))
    }, patienceMilliseconds)
    socket.setEncoding('latin1').on('data', (chunk: string) => {
      text += chunk
      lastByteAt = performance.now()
      parsed = parseReplies(text, bodiless)
      if (parsed.replies.length >= wanted) socket.end()
    })
    // A reset is an end too: whoever is cut off in the middle of a body that nobody wants may see one.
    socket.on('error', () => {})
    socket.on('end', () => socket.end())
    socket.on('close', () => {
      clearTimeout(late)
      resolve()
    })
    socket.write(typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : bytes)
    if (halfClose) socket.end()
  })
  return { ...parsed, text, milliseconds: (lastByteAt ?? performance.now()) - started }
}

/** Reads replies one behind the other, strictly: each has a length. Interim replies are left out. */
export function parseReplies(text: string, bodiless = false): Pick<Exchange, 'replies' | 'rest'> {
  const replies: HostileReply[] = []
  let rest = text
  for (;;) {
    const end = rest.indexOf('\r\n\r\n')
    if (end === -1) return { replies, rest }
    const [statusLine = '', ...lines] = rest.slice(0, end).split('\r\n')
    const status = Number(/^HTTP\/1\.1 ([0-9]{3}) [ -~]*$/.exec(statusLine)?.[1])
    if (!(status >= 100)) throw new Error(`not a status line: ${JSON.stringify(statusLine)}`)
    const headers = parseHeaders(lines)
    const hasBody = !bodiless && status >= 200 && status !== 204 && status !== 304
    const length = hasBody ? Number(headers['content-length']) : 0
    if (!Number.isInteger(length)) throw new Error(`a reply without a length: ${JSON.stringify(rest)}`)
    if (rest.length < end + 4 + length) return { replies, rest }
    if (status >= 200) replies.push({ status, headers, body: rest.slice(end + 4, end + 4 + length) })
    rest = rest.slice(end + 4 + length)
  }
}

function parseHeaders(lines: readonly string[]): Record<string, string> {
  const headers: Record<string, string> = {}
  for (const line of lines) {
    const { name, value } = /^(?<name>[A-Za-z0-9-]+): (?<value>[!-~](?:[ -~]*[!-~])?)$/.exec(line)?.groups ?? {}
    if (name === undefined || value === undefined) throw new Error(`not a header: ${JSON.stringify(line)}`)
    if (name.toLowerCase() in headers) throw new Error(`a header twice: ${line}`)
    headers[name.toLowerCase()] = value
  }
  return headers
}

const codes = [
  'invalid_request',
  'invalid_client',
  'invalid_scope',
  'invalid_target',
  'unauthorized_client',
  'unsupported_grant_type',
  'unsupported_response_type',
  'invalid_dpop_proof',
  'use_dpop_nonce',
  'not_found',
]

/**
 * What every reply must be, whatever was asked: no fault of ours (nor 503: these tests come one at a time, which is no
 * overload), an error in the form of RFC 6749 section 5.2 that no cache keeps, and nothing in it that was in the request.
 */
export function expectOrderly(reply: HostileReply, bodiless = false): void {
  const { status, headers, body } = reply
  const shown = JSON.stringify(reply)
  expect(status, shown).toBeLessThan(500)
  expect(shown).not.toContain(canary)
  expect(headers['set-cookie'] ?? headers.location, shown).toBeUndefined()
  if (status < 400) return
  expect(headers['cache-control'], shown).toBe('no-store')
  expect(headers['content-type'], shown).toBe('application/json')
  if (bodiless) return
  const json = JSON.parse(body) as Record<string, unknown>
  expect(Object.keys(json), shown).toEqual(['error', 'error_description'])
  expect(codes).toContain(json.error)
  expect(json.error_description).toMatch(/^[\x20-\x21\x23-\x5B\x5D-\x7E]+$/)
  expect(headers['www-authenticate'] !== undefined, shown).toBe(status === 401)
}
