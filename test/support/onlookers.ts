/** Clients that ask a server all the time while its database moves, and what they have been told. */
import { setTimeout as pause } from 'node:timers/promises'
import { createLocalJWKSet, type JSONWebKeySet, jwtVerify } from 'jose'
import { expect } from 'vitest'
import { assertionType } from '../../src/client/private-key-jwt.ts'
import { systemClock } from '../../src/lib/clock.ts'
import { AcknowledgedLog } from './acknowledged.ts'
import { AssertionMaker, type TestKey } from './assertion.ts'
import { AcknowledgedChains } from './chains.ts'
import type { Random } from './seed.ts'
import { api, type Reply, request, requestToken, type TestServer } from './server.ts'

/** They are there to see, and not to be in the way: servers and command share a machine. */
const pace = (): Promise<void> => pause(20)

const byItself = { grant_type: 'client_credentials' }

/** Who asks: the `Authorization` headers of a client and of one that refreshes, and the key of the client `keyed`. */
export interface Askers {
  readonly issuer: string
  readonly job: string
  readonly agent: string
  readonly key: TestKey
}

export class Onlookers {
  readonly tokens: string[] = []
  readonly chains: AcknowledgedChains
  readonly #askers: Askers
  readonly #used: string
  readonly #followed: Promise<unknown>
  #isOver = false

  static async start(server: TestServer, askers: Askers, random: Random): Promise<Onlookers> {
    const { json } = await requestToken(server, byItself, { authorization: askers.agent })
    const used = String(json.refresh_token)
    const next = await refresh(server, askers, used)
    await refresh(server, askers, String(next.json.refresh_token))
    return new Onlookers(server, askers, { used, random })
  }

  private constructor(server: TestServer, askers: Askers, own: { readonly used: string; readonly random: Random }) {
    this.#askers = askers
    this.#used = own.used
    this.chains = new AcknowledgedChains(askers.agent, own.random)
    this.#followed = Promise.all([this.chains.follow(server.url, () => this.#isOver, pace), this.#ask(server)])
    // Whoever waits for it hears of it.
    this.#followed.catch(() => undefined)
  }

  async stop(): Promise<void> {
    this.#isOver = true
    await this.#followed
  }

  async #ask(server: TestServer): Promise<void> {
    while (!this.#isOver) {
      const { json } = await requestToken(server, byItself, { authorization: this.#askers.job })
      if (typeof json.access_token === 'string') this.tokens.push(json.access_token)
      await pace()
    }
  }

  /** Nothing of what they were told is lost, and all of it goes on at a server in the new place. */
  async expectServed(server: TestServer): Promise<void> {
    await this.#expectTokens(server)
    const before = this.chains.uses
    expect(await this.chains.findLost(server.store)).toEqual([])
    await this.chains.follow(server.url, () => this.chains.uses >= before + 6)
    expect(this.chains.uses).toBeGreaterThanOrEqual(before + 6)
    expect(await this.chains.findLost(server.store)).toEqual([])
    expect((await refresh(server, this.#askers, this.#used)).json.error).toBe('invalid_grant')
    await this.#expectProofs(server)
  }

  async #expectTokens(server: TestServer): Promise<void> {
    const log = new AcknowledgedLog()
    log.tokens.push(...this.tokens)
    // Clients that were drawn have no trail.
    expect((await log.findLost(server.store)).filter((lost) => lost.startsWith('token'))).toEqual([])
    const { keys } = (await request(`${server.url}/.well-known/jwks.json`)).json
    const verifier = createLocalJWKSet({ keys } as JSONWebKeySet)
    const expected = { issuer: this.#askers.issuer, audience: api, typ: 'at+jwt' }
    for (const token of [this.tokens[0], this.tokens.at(-1)]) await jwtVerify(String(token), verifier, expected)
  }

  async #expectProofs(server: TestServer): Promise<void> {
    const { issuer, job, key } = this.#askers
    expect((await requestToken(server, byItself, { authorization: job })).status).toBe(200)
    const client_assertion = new AssertionMaker('keyed', issuer, key, systemClock).make()
    const byKey = { ...byItself, client_assertion_type: assertionType, client_assertion }
    expect((await requestToken(server, byKey)).status).toBe(200)
    expect((await requestToken(server, byKey)).json.error).toBe('invalid_client')
  }
}

function refresh(server: TestServer, { agent }: Askers, refreshToken: string): Promise<Reply> {
  const form = { grant_type: 'refresh_token', refresh_token: refreshToken }
  return requestToken(server, form, { authorization: agent })
}
