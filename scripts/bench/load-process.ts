/** The load generator: a process of its own, so that its work is not booked on a server. Does one job a message. */
import { Agent, request } from 'node:http'
import autocannon, { type Client } from 'autocannon'
import { JwtPool, withJwt } from './fresh-jwt.ts'
import type {
  ChainedJob,
  ClosedJob,
  LoadJob,
  LoadRequest,
  LoadResult,
  PacedJob,
  PrepareJob,
  SequentialJob,
} from './load.ts'
import { quantile, sort } from './statistics.ts'

const replyMilliseconds = 30_000
const maxSeconds = 60

/** Collects what came back. */
class Tally {
  #started = performance.now()
  readonly #statuses: Record<string, number> = {}
  readonly #latencies: number[] = []
  readonly #tenths: number[] = []
  #errors = 0

  /** Forgets the time until now, in which nothing was asked. */
  begin(): void {
    if (this.isEmpty) this.#started = performance.now()
  }

  note(status: number, milliseconds: number): void {
    this.#statuses[status] = (this.#statuses[status] ?? 0) + 1
    this.#latencies.push(Math.min(milliseconds, performance.now() - this.#started))
    if (status >= 300) return
    const tenth = Math.floor((performance.now() - this.#started) / 100)
    this.#tenths[tenth] = (this.#tenths[tenth] ?? 0) + 1
  }

  noteError(): void {
    this.#errors += 1
  }

  get isEmpty(): boolean {
    return this.#latencies.length === 0 && this.#errors === 0
  }

  result(): LoadResult {
    const sorted = sort(this.#latencies)
    return {
      seconds: (performance.now() - this.#started) / 1000,
      statuses: this.#statuses,
      errors: this.#errors,
      p50Ms: quantile(sorted, 0.5),
      p99Ms: quantile(sorted, 0.99),
      tenths: Array.from(this.#tenths, (count) => count ?? 0),
    }
  }
}

interface Prepared {
  readonly pool: JwtPool
  readonly seconds: number
}

/** By URL. */
const prepared = new Map<string, Prepared>()
/** Of a server that has not been asked yet. */
const firstPerSecond = 2_000

// As many as the last measurement of this server took, and a third more: none need be signed while it runs.
function prepare({ url, fresh, seconds }: PrepareJob): void {
  const last = prepared.get(url)
  const perSecond = last === undefined ? firstPerSecond : last.pool.drawn / last.seconds
  prepared.set(url, { pool: new JwtPool(fresh, Math.ceil((perSecond * seconds * 4) / 3)), seconds })
}

// autocannon keeps its latencies in whole milliseconds and its duration in whole samples, so both are taken here.
async function runClosed(job: ClosedJob): Promise<LoadResult> {
  const tally = new Tally()
  // On a machine that has no time for it, a short run may end before the first reply; that one is no figure.
  for (let { seconds } = job; tally.isEmpty && seconds <= maxSeconds; seconds *= 2) await runPart(job, seconds, tally)
  return tally.result()
}

async function runPart({ requests, fresh, ...job }: ClosedJob, seconds: number, tally: Tally): Promise<void> {
  const pool = prepared.get(job.url)?.pool
  const toCannon = (each: LoadRequest): object => {
    if (fresh === undefined || pool === undefined) return { ...each }
    // What autocannon hands over has more than what it was given: the name of the host.
    return { ...each, setupRequest: (built: LoadRequest) => withJwt(built, fresh.place, pool.draw()) }
  }
  let next = 0
  const setupClient = (client: Client): void => {
    const own = requests.filter((_, i) => i % job.connections === next % job.connections)
    next += 1
    client.setRequests((own.length > 0 ? own : requests).map(toCannon))
  }
  await runCannon({ ...job, seconds }, setupClient, tally)
}

async function runCannon(
  { url, tls, connections, seconds }: Pick<ClosedJob, 'url' | 'tls' | 'connections' | 'seconds'>,
  setupClient: (client: Client) => void,
  tally: Tally,
): Promise<void> {
  const timeout = replyMilliseconds / 1000
  const secure = tls === undefined ? {} : { tlsOptions: { cert: tls.cert, key: tls.key } }
  const options = { url, connections, duration: seconds, sampleInt: 10, timeout, setupClient, ...secure }
  await new Promise<void>((resolve, reject) => {
    const instance = autocannon(options, (error) => (error ? reject(error) : resolve()))
    // Before that it builds its requests, which takes long when they are many, and counts that as the latency of the first.
    instance.on('start', () => tally.begin())
    instance.on('response', (_client, status, _bytes, milliseconds) => tally.note(status, milliseconds))
    instance.on('reqError', () => tally.noteError())
  })
}

interface Reply {
  readonly status: number
  readonly text: string
}

function send(agent: Agent, url: string, { method, path, headers, body }: LoadRequest, keep: boolean): Promise<Reply> {
  return new Promise((resolve, reject) => {
    const length = body === undefined ? {} : { 'content-length': Buffer.byteLength(body) }
    const outgoing = request(`${url}${path}`, { agent, method, headers: { ...headers, ...length } }, (incoming) => {
      const chunks: Buffer[] = []
      incoming.on('data', (chunk: Buffer) => keep && chunks.push(chunk))
      incoming.on('error', reject)
      incoming.on('end', () => {
        const status = incoming.statusCode ?? 0
        if (!keep) return resolve({ status, text: '' })
        const head = Object.entries(incoming.headers).filter(([name]) => name !== 'date' && name !== 'x-request-id')
        resolve({ status, text: JSON.stringify([status, head, Buffer.concat(chunks).toString()]) })
      })
    })
    outgoing.setTimeout(replyMilliseconds, () => outgoing.destroy(new Error('no reply')))
    outgoing.on('error', reject)
    outgoing.end(body)
  })
}

// A server that stops answers for all that is asked meanwhile: requests leave whether or not others were answered (there is no
// coordinated omission). A latency counts from when its request left: that it left late, for want of a core, is not the
// server's doing, and told apart.
async function runPaced({ url, requests, perSecond, seconds, sources }: PacedJob): Promise<LoadResult> {
  const from = sources?.map((localAddress) => ({ localAddress })) ?? [{}]
  const agents = from.map((source) => new Agent({ keepAlive: true, maxSockets: 1024, ...source }))
  const tally = new Tally()
  const late: number[] = []
  const sinceDue: number[] = []
  const open = new Set<Promise<void>>()
  const started = performance.now()
  for (let i = 0; i < perSecond * seconds; i += 1) {
    const due = started + (i * 1000) / perSecond
    const wait = due - performance.now()
    if (wait > 0) await new Promise((resolve) => setTimeout(resolve, wait))
    const left = performance.now()
    late.push(left - due)
    const one = send(agents[i % agents.length] as Agent, url, requests[i % requests.length] as LoadRequest, false)
      .then(({ status }) => {
        const now = performance.now()
        tally.note(status, now - left)
        sinceDue.push(now - due)
      })
      .catch(() => tally.noteError())
      .finally(() => open.delete(one))
    open.add(one)
  }
  await Promise.all(open)
  for (const agent of agents) agent.destroy()
  return { ...tally.result(), lateP99Ms: quantile(sort(late), 0.99), dueP99Ms: quantile(sort(sinceDue), 0.99) }
}

async function runSequential({ url, requests }: SequentialJob): Promise<LoadResult> {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 })
  const tally = new Tally()
  const replies: { milliseconds: number; reply: string }[] = []
  for (const each of requests) {
    const started = performance.now()
    const { status, text } = await send(agent, url, each, true)
    const milliseconds = performance.now() - started
    tally.note(status, milliseconds)
    replies.push({ milliseconds, reply: text })
  }
  agent.destroy()
  return { ...tally.result(), replies }
}

// By the same generator as a closed job, so that the two can be compared: what it takes from the machine, the server lacks. A
// request may be on its way when the time is over, so each job begins chains of its own.
async function runChained(job: ChainedJob): Promise<LoadResult> {
  const { refresh } = job
  const chains = await beginChains(job)
  const tally = new Tally()
  let next = 0
  const setupClient = (client: Client): void => {
    let token = chains[next]
    next += 1
    const withToken = () => ({ ...refresh, body: `${refresh.body}&refresh_token=${token}` })
    const onResponse = (status: number, body: string): void => {
      if (status === 200) token = tokenOf(body)
    }
    client.setRequests([{ ...withToken(), setupRequest: withToken, onResponse }])
  }
  await runCannon(job, setupClient, tally)
  return tally.result()
}

async function beginChains({ url, begin, connections }: ChainedJob): Promise<string[]> {
  const agent = new Agent({ keepAlive: true })
  const tokens: string[] = []
  while (tokens.length < connections) {
    const [, , body] = JSON.parse((await send(agent, url, begin, true)).text) as [number, unknown, string]
    tokens.push(tokenOf(body))
  }
  agent.destroy()
  return tokens
}

function tokenOf(body: string): string {
  const { refresh_token: token } = JSON.parse(body) as { refresh_token?: string }
  if (token === undefined) throw new Error(`no refresh token in ${body}`)
  return token
}

function run(job: LoadJob): Promise<LoadResult> {
  if (job.kind === 'closed') return runClosed(job)
  if (job.kind === 'chained') return runChained(job)
  return job.kind === 'paced' ? runPaced(job) : runSequential(job)
}

process.on('message', (job: LoadJob | PrepareJob) => {
  if (job.kind === 'prepare') {
    prepare(job)
    process.send?.({})
    return
  }
  run(job).then((result) => process.send?.(result))
})
process.on('disconnect', () => process.exit())
