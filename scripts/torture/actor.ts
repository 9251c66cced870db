/** A workload: it begins families, refreshes, asks again, and now and then does what a thief does. */
import { setTimeout as pause } from 'node:timers/promises'
import type { Random } from '../rollover/random.ts'
import { type Call, digestOf, type Outcome } from './history.ts'

/** What actors share. */
export interface Stage {
  readonly clients: readonly TortureClient[]
  readonly introspector: TortureClient
  /** Where servers answer at this moment. */
  urls(): readonly string[]
  /** Milliseconds on the clock of the history. */
  now(): number
  record(call: Call): void
  isOver(): boolean
  /** How old an answer about a token may be when it is given. */
  readonly answerAgeMilliseconds: number
  /** Whether a 503 may be of something that was done: where the database is elsewhere, and its answer can be lost. */
  readonly isUnsureOf503: boolean
}

export interface TortureClient {
  readonly clientId: string
  /** The value of an `Authorization` header. Another one when the client has got a new secret. */
  authorization: string
}

interface Held {
  readonly client: TortureClient
  readonly family: string
  /** The tokens of the family as they were handed out, the newest last. */
  readonly tokens: string[]
  readonly access: { readonly token: string; readonly jti: string }[]
}

interface Answer {
  readonly outcome: Outcome
  readonly error?: string
  readonly json: Readonly<Record<string, unknown>>
  readonly start: number
  readonly end: number
}

const longestFamily = 40

export class Actor {
  readonly #stage: Stage
  readonly #random: Random
  #held: Held | undefined

  constructor(stage: Stage, random: Random) {
    this.#stage = stage
    this.#random = random
  }

  async run(): Promise<void> {
    while (!this.#stage.isOver()) {
      if (this.#stage.urls().length === 0) await pause(20)
      else await this.#step()
      await pause(this.#random.between(0, 12))
    }
  }

  async #step(): Promise<void> {
    const held = this.#held
    if (held === undefined || held.tokens.length > longestFamily) return this.#begin()
    const dice = this.#random.unit()
    if (dice < 0.5) return this.#refresh(held)
    if (dice < 0.62) return this.#race(held)
    if (dice < 0.72) return this.#retry(held)
    if (dice < 0.76) return this.#reuse(held)
    if (dice < 0.8) return this.#revoke(held, 'refresh_token')
    if (dice < 0.84) return this.#revoke(held, 'access_token')
    if (dice < 0.92) return this.#introspect(held)
    if (dice < 0.95) return this.#askForMore(held)
    if (dice < 0.98) return this.#presentAsAnother(held)
    return this.#begin()
  }

  async #begin(): Promise<void> {
    const client = this.#random.pick(this.#stage.clients)
    const { json, ...call } = await this.#ask('/token', client, { grant_type: 'client_credentials' })
    const received = text(json.refresh_token)
    const access = accessOf(json)
    this.#stage.record({
      kind: 'begin',
      client: client.clientId,
      ...call,
      ...(received === undefined ? {} : { received: digestOf(received) }),
      ...(access === undefined ? {} : { family: access.family, jti: access.jti }),
    })
    this.#held =
      received === undefined || access === undefined
        ? undefined
        : { client, family: access.family, tokens: [received], access: [access] }
  }

  // Until the outcome is known: whoever lost an answer asks again.
  async #refresh(held: Held): Promise<void> {
    const presented = held.tokens.at(-1) ?? ''
    for (;;) {
      const { answer } = await this.#present(held, presented)
      if (answer.outcome !== 'unknown' || this.#stage.isOver()) return
      do await pause(20)
      while (this.#stage.urls().length === 0 && !this.#stage.isOver())
    }
  }

  // Several of a fleet that share a token, on all servers.
  async #race(held: Held): Promise<void> {
    const presented = held.tokens.at(-1) ?? ''
    const many = 2 + this.#random.below(4)
    await Promise.all(Array.from({ length: many }, () => this.#present(held, presented)))
  }

  async #retry(held: Held): Promise<void> {
    await this.#present(held, held.tokens.at(-2) ?? held.tokens.at(-1) ?? '')
  }

  async #reuse(held: Held): Promise<void> {
    if (held.tokens.length < 3) return
    await this.#present(held, held.tokens[this.#random.below(held.tokens.length - 2)] ?? '')
  }

  async #askForMore(held: Held): Promise<void> {
    await this.#present(held, held.tokens.at(-1) ?? '', { scope: 'read admin' })
  }

  async #presentAsAnother(held: Held): Promise<void> {
    const other = this.#stage.clients.find((client) => client !== held.client)
    if (other !== undefined) await this.#present(held, this.#random.pick(held.tokens), {}, other)
  }

  async #present(
    held: Held,
    presented: string,
    form: Readonly<Record<string, string>> = {},
    as: TortureClient = held.client,
  ): Promise<{ answer: Answer }> {
    const answer = await this.#ask('/token', as, { grant_type: 'refresh_token', refresh_token: presented, ...form })
    const { json, ...call } = answer
    const received = text(json.refresh_token)
    const access = accessOf(json)
    this.#stage.record({
      kind: 'refresh',
      client: held.client.clientId,
      as: as.clientId,
      family: held.family,
      presented: digestOf(presented),
      ...call,
      ...form,
      ...(received === undefined ? {} : { received: digestOf(received) }),
      ...(access === undefined ? {} : { jti: access.jti }),
    })
    if (received !== undefined && !held.tokens.includes(received)) held.tokens.push(received)
    if (access !== undefined) held.access.push(access)
    // A family that is refused is tried once more now and then: it must stay dead.
    if (call.outcome === 'fail' && as === held.client && form.scope === undefined && this.#random.unit() < 0.7) {
      this.#held = undefined
    }
    return { answer }
  }

  async #revoke(held: Held, what: 'refresh_token' | 'access_token'): Promise<void> {
    const access = held.access.at(-1)
    const token = what === 'refresh_token' ? this.#random.pick(held.tokens) : access?.token
    if (token === undefined) return
    // A hint that is wrong half of the time.
    const hint = this.#random.unit() < 0.5 ? what : 'refresh_token'
    const { json: _, ...call } = await this.#ask('/revoke', held.client, { token, token_type_hint: hint })
    this.#stage.record({
      kind: 'revoke',
      client: held.client.clientId,
      what,
      family: held.family,
      ...call,
      ...(what === 'access_token' && access !== undefined ? { jti: access.jti } : {}),
    })
  }

  async #introspect(held: Held): Promise<void> {
    const access = held.access.at(-1)
    if (access === undefined) return
    const { json, ...call } = await this.#ask('/introspect', this.#stage.introspector, { token: access.token })
    this.#stage.record({
      kind: 'introspect',
      client: held.client.clientId,
      family: held.family,
      jti: access.jti,
      ...call,
      // As of any moment from then on.
      start: call.start - this.#stage.answerAgeMilliseconds,
      ...(typeof json.active === 'boolean' ? { active: json.active } : {}),
    })
  }

  async #ask(path: string, client: TortureClient, form: Readonly<Record<string, string>>): Promise<Answer> {
    const start = this.#stage.now()
    const url = `${this.#random.pick(this.#stage.urls())}${path}`
    try {
      const reply = await fetch(url, {
        method: 'POST',
        body: new URLSearchParams(form),
        headers: { authorization: client.authorization },
        signal: AbortSignal.timeout(30_000),
      })
      const body = await reply.text()
      const json = (body === '' ? {} : JSON.parse(body)) as Record<string, unknown>
      const times = { json, start, end: this.#stage.now() }
      if (reply.status === 200) return { outcome: 'ok', ...times }
      if (reply.status === 503 && this.#stage.isUnsureOf503) return { outcome: 'unknown', ...times }
      return { outcome: 'fail', error: `${reply.status} ${text(json.error) ?? ''}`, ...times }
    } catch {
      return { outcome: 'unknown', json: {}, start, end: this.#stage.now() }
    }
  }
}

function text(value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined
}

function accessOf(json: Readonly<Record<string, unknown>>): { token: string; jti: string; family: string } | undefined {
  const token = text(json.access_token)
  if (token === undefined) return undefined
  const claims = JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString()) as Record<string, unknown>
  return { token, jti: text(claims.jti) ?? '', family: text(claims.sid) ?? '' }
}
