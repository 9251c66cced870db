/** A server of several workers, as its user runs it, and ways to tell which of them answered. */
import { existsSync, readFileSync } from 'node:fs'
import { Agent, request as httpRequest } from 'node:http'
import { mayflyJson, type RunOptions, type ServerProcess, serve, temporaryFolder } from './process.ts'

export interface WorkersServer extends ServerProcess {
  readonly cwd: string
  readonly env: Readonly<Record<string, string>>
  /** Waits for a line of the log, those of before included. */
  lineOf(isIt: (line: LogLine) => boolean): Promise<LogLine>
}

export type LogLine = Readonly<Record<string, unknown>>

export interface Answer {
  readonly status: number
  readonly requestId: string
  readonly text: string
  readonly json: Record<string, unknown>
}

/** Starts them. Debug lines tell which worker answered a request. */
export async function serveWorkers(
  count: number,
  env: Readonly<Record<string, string>> = {},
  { cwd = temporaryFolder(), command }: Partial<RunOptions> & { command?: readonly string[] } = {},
): Promise<WorkersServer> {
  const all = { MAYFLY_WORKERS: String(count), MAYFLY_LOG_LEVEL: 'debug', ...env }
  const server = await serve({ cwd, env: all, ...(command === undefined ? {} : { command }) })
  const lineOf = async (isIt: (line: LogLine) => boolean): Promise<LogLine> => {
    for (;;) {
      const found = logLines(server).find(isIt)
      if (found !== undefined) return found
      await new Promise((resolve) => setImmediate(resolve))
    }
  }
  return { ...server, cwd, env: all, lineOf }
}

/** The lines of the log so far. @throws SyntaxError when one of them is no JSON */
export function logLines(server: Pick<ServerProcess, 'errors'>): readonly LogLine[] {
  const text = server.errors()
  return text
    .slice(0, text.lastIndexOf('\n') + 1)
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as LogLine)
}

/** The process of each worker, by its number. */
export function pidsOf(server: ServerProcess): ReadonlyMap<number, number> {
  const lines = logLines(server).filter(({ message }) => message === 'worker serves')
  return new Map(lines.map(({ worker, pid }) => [Number(worker), Number(pid)]))
}

/** Which worker answered. */
export async function workerOf(server: WorkersServer, { requestId }: Answer): Promise<number> {
  const { worker } = await server.lineOf((line) => line.message === 'answered' && line.request_id === requestId)
  return Number(worker)
}

/** One request on a connection of its own. */
export function askOnce(
  url: string,
  options: {
    readonly headers?: Readonly<Record<string, string>>
    readonly form?: Readonly<Record<string, string>>
  } = {},
): Promise<Answer> {
  const body = options.form === undefined ? undefined : new URLSearchParams(options.form).toString()
  const headers = {
    ...options.headers,
    ...(body === undefined
      ? {}
      : { 'content-type': 'application/x-www-form-urlencoded', 'content-length': body.length }),
  }
  return new Promise((resolve, reject) => {
    const agent = new Agent({ keepAlive: false })
    const call = httpRequest(url, { method: body === undefined ? 'GET' : 'POST', agent, headers }, (reply) => {
      let text = ''
      reply.setEncoding('utf8').on('data', (chunk: string) => {
        text += chunk
      })
      reply.on('error', reject).on('end', () => {
        let json = {}
        try {
          json = JSON.parse(text) as Record<string, unknown>
        } catch {
          // Not every reply has JSON.
        }
        resolve({ status: reply.statusCode ?? 0, requestId: String(reply.headers['x-request-id']), text, json })
      })
    })
    call.on('error', reject)
    call.end(body)
  })
}

/** Asks until each of so many workers has answered, and some more often. */
export async function askAll(
  server: WorkersServer,
  count: number,
  ask: () => Promise<Answer>,
): Promise<ReadonlyMap<number, readonly Answer[]>> {
  const byWorker = new Map<number, Answer[]>()
  while (byWorker.size < count) {
    const answers = await Promise.all(Array.from({ length: 8 }, ask))
    for (const answer of answers) {
      const worker = await workerOf(server, answer)
      byWorker.set(worker, [...(byWorker.get(worker) ?? []), answer])
    }
  }
  return byWorker
}

/** A resource and a client of it, by the command line. @returns its credentials for Basic */
export async function addBilling({ cwd, env }: Pick<WorkersServer, 'cwd' | 'env'>): Promise<string> {
  const options = { cwd, env: { ...env, MAYFLY_LOG_LEVEL: 'info' } }
  await mayflyJson(['resource', 'create', 'https://api.example.test', '--scope', 'read'], options)
  const created = await mayflyJson<{ client_id: string; client_secret: string }>(
    ['client', 'create', 'billing', '--audience', 'https://api.example.test', '--scope', 'read'],
    options,
  )
  return `Basic ${Buffer.from(`${created.client_id}:${created.client_secret}`).toString('base64')}`
}

/** The numbers of `/metrics`, by name and labels. */
export async function readMetrics(url: string): Promise<ReadonlyMap<string, number>> {
  const { status, text } = await askOnce(`${url}/metrics`)
  if (status !== 200) throw new Error(`/metrics answered ${status}`)
  const lines = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'))
  return new Map(
    lines.map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.slice(line.lastIndexOf(' ') + 1))]),
  )
}

/** Tokens issued, over all workers. */
export async function readIssued(url: string): Promise<number> {
  const metrics = await readMetrics(url)
  return [...metrics]
    .filter(([name]) => name.startsWith('mayfly_tokens_issued_total'))
    .reduce((sum, [, value]) => sum + value, 0)
}

/** Whether a process runs. One that has ended may wait for ever for a parent that takes note of it. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return !existsSync('/proc/self/stat') || !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'))
  } catch {
    return false
  }
}

/** Resolves when none of them runs any more: what a process had open is closed a moment before it has ended. */
export async function allGone(pids: readonly number[]): Promise<void> {
  while (pids.some(isAlive)) await new Promise((resolve) => setImmediate(resolve))
}
