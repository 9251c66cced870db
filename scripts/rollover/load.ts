/** Workloads that ask for tokens all the time, and hand each token to some of the verifiers. */

import type { Front } from './front.ts'
import { formatBasic } from './installation.ts'
import { audiences, type Plan } from './plan.ts'
import type { Random } from './random.ts'
import type { Delivery } from './verifier.ts'

/** Where a token can be taken to: verifier `verifier` of process `process`. */
export interface Place {
  readonly process: number
  readonly verifier: number
  readonly offsetMilliseconds: number
}

export interface LoadParts {
  readonly plan: Plan
  readonly front: Front
  readonly random: Random
  readonly secret: string
  readonly places: readonly Place[]
  /** Hears how long a request took, in milliseconds of the machine. */
  onLatency(milliseconds: number): void
  deliver(process: number, delivery: Delivery): void
}

/** What the workloads have got. */
export interface LoadFigures {
  /** The `kid` of each token that was received, by its `jti`. */
  readonly received: ReadonlyMap<string, string>
  /** Requests that were not answered with a token, by status. */
  readonly refused: Readonly<Record<number, number>>
  /** When the last token dies, milliseconds since the epoch. */
  readonly lastExpiry: number
}

const requesters = 4
const placesPerToken = 4

export class Load {
  readonly #parts: LoadParts
  readonly #received = new Map<string, string>()
  readonly #refused: Record<number, number> = {}
  #lastExpiry = 0
  #going = true
  #running: Promise<unknown> = Promise.resolve()

  constructor(parts: LoadParts) {
    this.#parts = parts
  }

  start(): void {
    const streams = Array.from({ length: requesters }, (_, i) => this.#parts.random.fork(`requester ${i}`))
    this.#running = Promise.all(streams.map((random) => this.#request(random)))
  }

  /** Stops asking; resolves when the last answer is there. */
  async stop(): Promise<LoadFigures> {
    this.#going = false
    await this.#running
    return { received: this.#received, refused: this.#refused, lastExpiry: this.#lastExpiry }
  }

  async #request(random: Random): Promise<void> {
    const meanMilliseconds = (1000 * requesters) / this.#parts.plan.tokensPerSecond
    while (this.#going) {
      const started = performance.now()
      await this.#requestOne(random)
      this.#parts.onLatency(performance.now() - started)
      const left = started + random.between(0, 2 * meanMilliseconds) - performance.now()
      await new Promise((resolve) => setTimeout(resolve, Math.max(0, left)))
    }
  }

  async #requestOne(random: Random): Promise<void> {
    const resource = random.pick(Object.values(audiences))
    const answer = await this.#parts.front.ask({
      method: 'POST',
      path: '/token',
      headers: {
        authorization: formatBasic(this.#parts.secret),
        'content-type': 'application/x-www-form-urlencoded',
      },
      body: new URLSearchParams({ grant_type: 'client_credentials', resource }).toString(),
    })
    if (answer?.status === 200) this.#handOut(JSON.parse(answer.body.toString()).access_token, random)
    else this.#refused[answer?.status ?? 0] = (this.#refused[answer?.status ?? 0] ?? 0) + 1
  }

  #handOut(token: string, random: Random): void {
    const [header, claims] = token.split('.').slice(0, 2).map(decode)
    const { kid } = header as { kid: string }
    const { jti, iat, exp } = claims as { jti: string; iat: number; exp: number }
    this.#received.set(jti, kid)
    this.#lastExpiry = Math.max(this.#lastExpiry, exp * 1000)
    const deliveries = new Map<number, { verifier: number; at: number }[]>()
    for (const [i, place] of random.shuffle(this.#parts.places).slice(0, placesPerToken).entries()) {
      const visits = moments(i, iat * 1000, exp * 1000 - place.offsetMilliseconds, random)
      const known = deliveries.get(place.process) ?? []
      deliveries.set(place.process, [...known, ...visits.map((at) => ({ verifier: place.verifier, at }))])
    }
    for (const [process, visits] of deliveries) {
      this.#parts.deliver(process, { token, kid, expiresAt: exp * 1000, visits })
    }
  }
}

/** Most tokens are looked at when they are fresh and just before they die: by the same verifier, or at any time by another. */
function moments(index: number, from: number, until: number, random: Random): readonly number[] {
  const lastMoment = until - random.between(3_000, 25_000)
  return index % 2 === 0 ? [from, lastMoment] : [random.between(from, until - 3_000)]
}

function decode(part: string): unknown {
  return JSON.parse(Buffer.from(part, 'base64url').toString())
}
