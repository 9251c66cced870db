/** The side of the load generator that asks for load: what a job is, what it found, and the process that does it. */
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import type { FreshJwt } from './fresh-jwt.ts'
import { demandMicroseconds } from './kernel.ts'
import type { Stage } from './stage.ts'

export interface LoadRequest {
  readonly method: 'GET' | 'POST'
  readonly path: string
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string
}

/** The certificate of a client with its key, PEM. */
export interface ClientTls {
  readonly cert: string
  readonly key: string
  /** Who the server must be vouched for by. */
  readonly ca: string
}

/** How a client asks for a token: its request, and what proves it besides. */
export interface Asking {
  readonly request: LoadRequest
  /** Each request has one of its own. */
  readonly fresh?: FreshJwt
  /** What its connections are opened with. */
  readonly tls?: ClientTls
}

/** Makes what a closed job with this URL will need, before it is timed. */
export interface PrepareJob {
  readonly kind: 'prepare'
  readonly url: string
  readonly fresh: FreshJwt
  readonly seconds: number
}

/** Each connection asks again as soon as it has its reply: what a server can do at most. */
export interface ClosedJob {
  readonly kind: 'closed'
  readonly url: string
  /** Dealt out among the connections, which go through theirs in turn. */
  readonly requests: readonly LoadRequest[]
  /** Added to each of them; the generator makes most of them before it is timed. */
  readonly fresh?: FreshJwt | undefined
  /** Keep-alive connections, each with its own handshake. */
  readonly tls?: ClientTls | undefined
  readonly connections: number
  readonly seconds: number
}

/** Requests leave at fixed times, whether or not earlier ones were answered: what a caller waits. */
export interface PacedJob {
  readonly kind: 'paced'
  readonly url: string
  readonly requests: readonly LoadRequest[]
  readonly perSecond: number
  readonly seconds: number
  /** Addresses of this machine that they come from, in turn; any when absent. */
  readonly sources?: readonly string[]
}

/**
 * Each connection follows a chain of refresh tokens of its own, and asks again as soon as it has the next one.
 */
export interface ChainedJob {
  readonly kind: 'chained'
  readonly url: string
  /** Begins a chain: its reply has the first `refresh_token`. */
  readonly begin: LoadRequest
  /** Goes on with it; the token is added to the form. */
  readonly refresh: LoadRequest
  readonly connections: number
  readonly seconds: number
}

/** One request at a time, in this order; each reply is kept. */
export interface SequentialJob {
  readonly kind: 'sequential'
  readonly url: string
  readonly requests: readonly LoadRequest[]
}

export type LoadJob = ClosedJob | ChainedJob | PacedJob | SequentialJob

export interface LoadResult {
  readonly seconds: number
  /** Replies by status. */
  readonly statuses: Readonly<Record<string, number>>
  /** Requests that got no reply. */
  readonly errors: number
  readonly p50Ms: number
  readonly p99Ms: number
  /** Successful replies by tenth of a second since the start. */
  readonly tenths: readonly number[]
  /** Paced jobs, at the 99th percentile: how late requests left, which is no part of their latency; and both together. */
  readonly lateP99Ms?: number
  readonly dueP99Ms?: number
  /** Sequential jobs: one a request. */
  readonly replies?: readonly { readonly milliseconds: number; readonly reply: string }[]
}

/** What a generator found, and how busy it was: near 1 it was the bottleneck itself. */
export type Load = LoadResult & { readonly busy: number }

export class LoadGenerator {
  readonly #stage: Stage
  readonly #child: ChildProcess

  constructor(stage: Stage, core: string | undefined) {
    this.#stage = stage
    this.#child = stage.fork({ args: [join(import.meta.dirname, 'load-process.ts')], core })
  }

  /** @throws Error when the generator fails */
  async run(job: LoadJob): Promise<Load> {
    const pid = this.#child.pid ?? 0
    if (job.kind === 'closed' && job.fresh !== undefined) await this.#prepare(job, job.fresh)
    const before = demandMicroseconds(pid)
    const started = performance.now()
    const result = await ask<LoadResult>(this.#child, job)
    const busy = (demandMicroseconds(pid) - before) / ((performance.now() - started) * 1000)
    return { ...result, busy: Math.min(1, busy) }
  }

  async #prepare({ url, seconds }: ClosedJob, fresh: FreshJwt): Promise<void> {
    await ask(this.#child, { kind: 'prepare', url, fresh, seconds } satisfies PrepareJob)
  }

  end(): Promise<void> {
    return this.#stage.end(this.#child)
  }
}

/** Sends a message to a child and waits for its answer. @throws Error when it ends instead */
export async function ask<T>(child: ChildProcess, message: object): Promise<T> {
  const gone = new AbortController()
  const onExit = (): void => gone.abort(new Error(`${child.spawnargs.join(' ')} ended`))
  child.once('exit', onExit)
  try {
    child.send(message)
    const [answer] = (await once(child, 'message', { signal: gone.signal })) as [T]
    return answer
  } catch (error) {
    throw gone.signal.aborted ? gone.signal.reason : error
  } finally {
    child.off('exit', onExit)
  }
}

/** How many were answered with success. @throws Error when anything else came back: error pages are not a figure */
export function requireSuccess(load: LoadResult, what: string): number {
  const good = Object.entries(load.statuses).filter(([status]) => status.startsWith('2'))
  const count = good.reduce((sum, [, replies]) => sum + replies, 0)
  if (load.errors > 0 || good.length !== Object.keys(load.statuses).length || count === 0) {
    throw new Error(`${what} did not answer well: ${JSON.stringify(load.statuses)}, ${load.errors} without a reply`)
  }
  return count
}
