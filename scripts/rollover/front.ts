/**
 * What stands in front of the servers, as a load balancer does: it listens at the issuer's address, hands each request to
 * a server, and goes to another one when the first cannot be reached, breaks off, or does not answer for a while. Every
 * answer of a server is counted, also one that comes when the caller has got another.
 */
import { once } from 'node:events'
import { Agent, createServer, type IncomingMessage, request, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Random } from './random.ts'

export interface Answer {
  readonly status: number
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
  readonly body: Buffer
}

export interface Question {
  readonly method: string
  readonly path: string
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
}

/** What the front has seen. */
export interface FrontFigures {
  /** Answers of servers, by status. */
  readonly answers: Readonly<Record<number, number>>
  /** Those among them that came after the caller had another. */
  readonly late: number
  /** Connections refused or broken off, after which another server was asked. */
  readonly broken: number
  /** Questions that no server answered. */
  readonly unanswered: number
}

const patienceMilliseconds = 250
// Who kept silent is asked last for a while.
const distrustMilliseconds = 500
const rounds = 40
const roundPauseMilliseconds = 50
const timeoutMilliseconds = 30_000

export class Front {
  readonly #random: Random
  readonly #agents = new Map<string, Agent>()
  readonly #distrustedUntil = new Map<string, number>()
  readonly #server: Server
  readonly #answers: Record<number, number> = {}
  #late = 0
  #broken = 0
  #unanswered = 0

  constructor(random: Random) {
    this.#random = random
    this.#server = createServer((incoming, reply) => void this.#serve(incoming, reply))
    this.#server.keepAliveTimeout = 65_000
  }

  /** @returns the address, which is the issuer's */
  async listen(): Promise<string> {
    this.#server.listen(0, '127.0.0.1')
    await once(this.#server, 'listening')
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`
  }

  close(): void {
    this.#server.close()
    this.#server.closeAllConnections()
    for (const url of [...this.#agents.keys()]) this.remove(url)
  }

  add(url: string): void {
    this.#agents.set(url, new Agent({ keepAlive: true, maxSockets: 8 }))
  }

  remove(url: string): void {
    this.#agents.get(url)?.destroy()
    this.#agents.delete(url)
  }

  get figures(): FrontFigures {
    return { answers: { ...this.#answers }, late: this.#late, broken: this.#broken, unanswered: this.#unanswered }
  }

  /** Asks the servers, as somebody outside would; `undefined` when none answered. */
  async ask(question: Question): Promise<Answer | undefined> {
    for (let round = 0; round < rounds; round += 1) {
      const answer = await this.#askAround(question)
      if (answer !== undefined) return answer
      await new Promise((resolve) => setTimeout(resolve, roundPauseMilliseconds))
    }
    this.#unanswered += 1
    return undefined
  }

  // Each server once, in a drawn order: the next one when the one before has failed or kept silent for too long.
  async #askAround(question: Question): Promise<Answer | undefined> {
    const { promise, resolve } = Promise.withResolvers<Answer>()
    let isAnswered = false
    const ask = async (url: string, agent: Agent): Promise<void> => {
      const answer = await this.#askOne(url, agent, question)
      if (answer === undefined) return
      this.#answers[answer.status] = (this.#answers[answer.status] ?? 0) + 1
      if (isAnswered) this.#late += 1
      isAnswered = true
      resolve(answer)
    }
    const started: Promise<void>[] = []
    for (const [url, agent] of this.#order()) {
      const own = ask(url, agent)
      started.push(own)
      const isSilent = await Promise.race([own.then(() => false), promise.then(() => false), silence()])
      if (isAnswered) return promise
      if (isSilent) this.#distrustedUntil.set(url, performance.now() + distrustMilliseconds)
    }
    return Promise.race([promise, Promise.all(started).then(() => undefined)])
  }

  #order(): readonly [string, Agent][] {
    const now = performance.now()
    const isDistrusted = ([url]: [string, Agent]): boolean => (this.#distrustedUntil.get(url) ?? 0) > now
    const drawn = this.#random.shuffle([...this.#agents])
    return [...drawn.filter((each) => !isDistrusted(each)), ...drawn.filter(isDistrusted)]
  }

  async #askOne(url: string, agent: Agent, { method, path, headers, body }: Question): Promise<Answer | undefined> {
    try {
      const sent = request(`${url}${path}`, { method, agent, headers, timeout: timeoutMilliseconds })
      sent.on('timeout', () => sent.destroy(new Error('no answer')))
      sent.end(body)
      const [reply] = (await once(sent, 'response')) as [IncomingMessage]
      return { status: reply.statusCode ?? 0, headers: reply.headers, body: Buffer.concat(await reply.toArray()) }
    } catch {
      this.#broken += 1
      return undefined
    }
  }

  async #serve(incoming: IncomingMessage, reply: ServerResponse): Promise<void> {
    const body = Buffer.concat(await incoming.toArray()).toString()
    const { method = 'GET', url: path = '/' } = incoming
    const answer = await this.ask({ method, path, headers: {}, body })
    const { 'cache-control': cache = 'no-store', 'content-type': type = 'text/plain' } = answer?.headers ?? {}
    reply.writeHead(answer?.status ?? 504, { 'cache-control': String(cache), 'content-type': String(type) })
    reply.end(answer?.body ?? 'no server answered')
  }
}

function silence(): Promise<true> {
  return new Promise((resolve) => setTimeout(() => resolve(true), patienceMilliseconds))
}
