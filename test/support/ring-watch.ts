/**
 * A key ring as those see it who live by it: clients that ask for tokens, a verifier that reads the JWKS again and again,
 * and somebody who looks into the database. All is dated by the monotonic clock of this process, which no step of the
 * machine's clock moves. What happened lies between the beginning and the end of the call that shows it, so each rule
 * is held against the one of both that favours the server.
 */
import { Agent } from 'node:http'
import { setTimeout as pause } from 'node:timers/promises'
import { createLocalJWKSet, type JSONWebKeySet, type JWTVerifyGetKey, jwtVerify } from 'jose'
import { onTestFinished } from 'vitest'
import { type KeyState, keyStates } from '../../src/key/signing-key.ts'
import { openStore } from '../../src/store/open-store.ts'
import type { Store } from '../../src/store/store.ts'
import { claimsOf, headerOf } from './jwt.ts'
import { ask } from './load.ts'
import { request } from './server.ts'

const clients = 2
const breathMilliseconds = 15
const patienceMilliseconds = 20_000

/** What is promised. Seconds. */
export interface RingRules {
  readonly leadSeconds: number
  readonly ttlSeconds: number
  /** How long a key is published after it has stopped signing. */
  readonly keepSeconds: number
}

/** One look: a JWKS, then the keys in the database. */
interface Look {
  readonly start: number
  readonly end: number
  readonly kids: ReadonlySet<string>
  readonly verifier: JWTVerifyGetKey
  readonly states: ReadonlyMap<string, KeyState>
  readonly algs: ReadonlyMap<string, string>
}

interface Received {
  readonly token: string
  readonly kid: string
  readonly start: number
  readonly end: number
}

export class RingWatch {
  readonly looks: Look[] = []
  readonly tokens: Received[] = []
  /** How often each status was answered, or a connection broke. */
  readonly answers = new Map<string, number>()
  readonly #url: string
  readonly #authorization: string
  readonly #store: Store
  readonly #begun: number
  readonly #agent = new Agent({ keepAlive: true, maxSockets: clients })
  #going = true
  #running: Promise<unknown> = Promise.resolve()

  /** @param begun before the server was started: nobody can have had its JWKS then */
  constructor(url: string, { place, authorization }: { place: string; authorization: string }, begun: number) {
    this.#url = url
    this.#authorization = authorization
    this.#begun = begun
    this.#store = openStore(place, { create: false, examine: false })
    onTestFinished(async () => {
      await this.stop()
      await this.#store.close()
    })
  }

  /** Begins; resolves when there is something to see. */
  async start(): Promise<void> {
    await this.#look()
    const repeat = async (job: () => Promise<void>): Promise<void> => {
      while (this.#going) {
        await job()
        await pause(breathMilliseconds)
      }
    }
    const jobs = Array.from({ length: clients }, () => repeat(() => this.#ask()))
    this.#running = Promise.all([repeat(() => this.#look()), ...jobs])
    this.#running.catch(() => {})
  }

  /** Looks once more when no client asks any more. */
  async stop(): Promise<void> {
    if (!this.#going) return
    this.#going = false
    await this.#running
    await this.#look()
    this.#agent.destroy()
  }

  /** The kid of the one ES256 key in a state; the youngest of those that are retiring. */
  kidOf(state: KeyState): string | undefined {
    const { states, algs } = this.#last
    return [...states].findLast(([kid, each]) => each === state && algs.get(kid) === 'ES256')?.[0]
  }

  stateOf(kid: string): KeyState | undefined {
    return this.#last.states.get(kid)
  }

  /** The ES256 keys with their states, to see whether anything has moved. */
  ring(): string {
    const { states, algs } = this.#last
    return [...states].flatMap(([kid, state]) => (algs.get(kid) === 'ES256' ? [`${kid} ${state}`] : [])).join()
  }

  /** Resolves when a key has been seen in a state, or in one that follows. @returns when that was first seen */
  async until(kid: string, state: KeyState): Promise<number> {
    const isThere = ({ states }: Look): boolean => rankOf(states.get(kid)) >= rankOf(state)
    const end = performance.now() + patienceMilliseconds
    while (!isThere(this.#last)) {
      if (performance.now() > end) throw new Error(`${kid} did not become ${state}: ${this.ring()}`)
      await Promise.race([pause(breathMilliseconds), this.#running])
    }
    return this.looks.find(isThere)?.end ?? 0
  }

  get #last(): Look {
    const last = this.looks.at(-1)
    if (last === undefined) throw new Error('nobody has looked yet')
    return last
  }

  async #ask(): Promise<void> {
    const start = performance.now()
    const { status, token, error } = await ask(this.#url, this.#authorization, this.#agent)
    this.#count(`token ${error ?? status}`)
    if (token !== undefined)
      this.tokens.push({ token, kid: String(headerOf(token).kid), start, end: performance.now() })
  }

  async #look(): Promise<void> {
    const start = performance.now()
    const { status, json } = await request(`${this.#url}/.well-known/jwks.json`)
    this.#count(`jwks ${status}`)
    const jwks = json as unknown as JSONWebKeySet
    const keys = await this.#store.listKeys()
    this.looks.push({
      start,
      end: performance.now(),
      kids: new Set(jwks.keys.map(({ kid }) => String(kid))),
      verifier: createLocalJWKSet(jwks),
      states: new Map(keys.map(({ kid, state }) => [kid, state])),
      algs: new Map(keys.map(({ kid, alg }) => [kid, alg])),
    })
  }

  #count(what: string): void {
    this.answers.set(what, (this.answers.get(what) ?? 0) + 1)
  }

  /** What was seen that must not be, a sentence each. */
  async findFaults(rules: RingRules): Promise<readonly string[]> {
    const kids = [...this.#last.states.keys()]
    return [
      ...[...this.answers.keys()].filter((answer) => !answer.endsWith(' 200')),
      ...kids.flatMap((kid) => [...this.#publication(kid, rules), ...this.#states(kid)]),
      ...(await this.#tokenFaults(rules)),
      ...(await this.#trailFaults(kids)),
    ]
  }

  #publication(kid: string, { leadSeconds, keepSeconds }: RingRules): string[] {
    const appears = this.looks.findIndex(({ kids }) => kids.has(kid))
    if (appears === -1) return [`${kid} was never published`]
    const since = appears === 0 ? this.#begun : (this.looks[appears - 1]?.start ?? 0)
    const tokens = this.tokens.filter((token) => token.kid === kid)
    const used = this.looks.find(({ states }) => states.get(kid) === 'active')
    const isFirst = used === this.looks[0]
    const uses = isFirst ? [] : [...tokens.map(({ end }) => end), ...(used === undefined ? [] : [used.end])]
    const early = uses.find((end) => end - since < leadSeconds * 1000)
    const leaves = this.looks.findIndex(({ kids }, i) => i > appears && !kids.has(kid))
    const left = this.looks[leaves]?.end ?? Number.POSITIVE_INFINITY
    // Tokens of a key that somebody else may have are not to verify.
    const isDistrusted = this.stateOf(kid) === 'compromised'
    const orphan = tokens.find(({ start }) => !isDistrusted && left - start < keepSeconds * 1000)
    return [
      ...(early === undefined ? [] : [`${kid} signed ${early - since} ms after nobody had it`]),
      ...(orphan === undefined ? [] : [`${kid} left ${left - orphan.start} ms after it had signed`]),
      ...(leaves !== -1 && this.looks.some(({ kids }, i) => i > leaves && kids.has(kid)) ? [`${kid} came back`] : []),
    ]
  }

  #states(kid: string): string[] {
    const ranks = this.looks.flatMap(({ states }) => {
      const state = states.get(kid)
      return state === undefined ? [] : [keyStates.indexOf(state)]
    })
    const back = ranks.find((rank, i) => rank < (ranks[i - 1] ?? 0))
    return back === undefined ? [] : [`${kid} went back to ${keyStates[back]}`]
  }

  async #tokenFaults({ ttlSeconds }: RingRules): Promise<string[]> {
    const faults: string[] = []
    for (const received of this.tokens) {
      const { token, start, end } = received
      const { iat, exp } = claimsOf(token) as { iat: number; exp: number }
      if (exp - iat !== ttlSeconds) faults.push(`a token has the life ${exp - iat} s`)
      const alive = this.looks.filter((look) => look.start >= end && look.end <= start + ttlSeconds * 1000)
      // At its birth by a clock that goes with its dates, and in the last moment of its life.
      for (const [look, at] of [[alive[0], iat] as const, [alive.at(-1), exp - 1] as const]) {
        const fault = look && (await this.#verify(received, look, at))
        if (fault !== undefined) faults.push(fault)
      }
    }
    return faults
  }

  async #verify({ token, kid }: Received, look: Look, at: number): Promise<string | undefined> {
    if (look.states.get(kid) === 'compromised') return undefined
    try {
      await jwtVerify(token, look.verifier, { typ: 'at+jwt', currentDate: new Date(at * 1000) })
      return undefined
    } catch (error) {
      return `a token of ${kid} does not verify: ${String(error)}`
    }
  }

  // The order of the trail is that of the changes, whatever the clock showed.
  async #trailFaults(kids: readonly string[]): Promise<string[]> {
    const trail = (await this.#store.listAudit({ limit: 10_000 })).toReversed()
    const steps = trail.flatMap((entry) => ('kid' in entry && entry.type.startsWith('key.') ? [entry] : []))
    const order = ['key.staged', 'key.activated', 'key.retiring', 'key.retired', 'key.compromised']
    const disordered = kids.filter((kid) => {
      const ranks = steps.filter((step) => step.kid === kid).map(({ type }) => order.indexOf(type))
      return ranks.some((rank, i) => rank < (ranks[i - 1] ?? 0))
    })
    const activated = steps.filter(({ type }) => type === 'key.activated').map(({ kid }) => kid)
    const algOf = (kid: string): string | undefined => this.#last.algs.get(kid)
    const swapped = ['ES256', 'RS256'].filter((alg) => {
      const seen = new Set(
        this.looks.flatMap(({ states }) => [...states].flatMap(([kid, state]) => (state === 'active' ? [kid] : []))),
      )
      const mine = (kid: string): boolean => algOf(kid) === alg && seen.has(kid)
      return activated.filter(mine).join() !== [...seen].filter(mine).join()
    })
    return [
      ...disordered.map((kid) => `the trail has the steps of ${kid} in another order`),
      ...swapped.map((alg) => `the trail has the ${alg} keys in another order`),
    ]
  }
}

function rankOf(state: KeyState | undefined): number {
  return state === undefined ? -1 : keyStates.indexOf(state)
}
