/**
 * The numbers of failed authentications: by address group, by the client that was presented, and by both together. They may lie
 * in another process (`shared-counts.ts`); who knows secrets and clients is the throttle (`failure-throttle.ts`), not this.
 */
import { LRUCache } from 'lru-cache'
import type { Clock } from '../lib/clock.ts'
import type { LimitState } from '../oauth/rate-limit.ts'
import { type Count, WindowCounters } from './window-counters.ts'

const windowSeconds = 60
/** Some libraries try one way of authenticating and then another: so soon a success takes its failure back. */
const probeMilliseconds = 5_000
const maxKeys = 20_000

/** Under what an attempt counts: its address group, and the SHA-256 of the client id; none when no id could be read. */
export interface FailureKeys {
  readonly address: string
  readonly client?: string
}

/** A limit that is passed, and whose. */
export interface PassedLimit {
  readonly by: 'address' | 'client'
  readonly state: LimitState
}

/** Where failures are counted. */
export interface FailureCounter {
  /** The limit that is passed already; nothing is counted. */
  judge(keys: FailureKeys): Promise<PassedLimit | undefined>
  /** Counts one: the limit that was passed before it. */
  count(keys: FailureKeys): Promise<PassedLimit | undefined>
  /** A success: takes back a failure of the same client from the same address just before. */
  takeBack(keys: FailureKeys): Promise<void>
}

/** What stands under the keys of an attempt before it counts. */
interface Standing {
  readonly address: Count
  readonly client: Count | undefined
  /** Failures of this address for this client. */
  readonly pair: Count | undefined
}

export class FailureCounts implements FailureCounter {
  readonly #clock: Clock
  readonly #addresses: WindowCounters
  readonly #clients: WindowCounters
  readonly #pairs: WindowCounters
  /** Failures of an address for a client that were taken back. */
  readonly #takenBack: WindowCounters
  /** When an address last failed for a client. */
  readonly #lastFailures: LRUCache<string, number>

  /** `limit`: failures in a minute that are answered as such. */
  constructor(clock: Clock, limit: number, keys = maxKeys) {
    const limits = { limit, windowSeconds, maxKeys: keys }
    this.#clock = clock
    this.#addresses = new WindowCounters(clock, limits)
    this.#clients = new WindowCounters(clock, limits)
    this.#pairs = new WindowCounters(clock, limits)
    this.#takenBack = new WindowCounters(clock, limits)
    this.#lastFailures = new LRUCache({ max: keys })
  }

  /** How many keys are held in all. */
  get size(): number {
    const counters = [this.#addresses, this.#clients, this.#pairs, this.#takenBack]
    return [...counters, this.#lastFailures].reduce((sum, { size }) => sum + size, 0)
  }

  async judge(keys: FailureKeys): Promise<PassedLimit | undefined> {
    return this.#judge(await this.#look(keys))
  }

  async count(keys: FailureKeys): Promise<PassedLimit | undefined> {
    // Both at this moment, with nothing in between: of many at a time, exactly so many are within the limit.
    const [standing] = await Promise.all([this.#look(keys), this.#add(keys)])
    return this.#judge(standing)
  }

  async takeBack(keys: FailureKeys): Promise<void> {
    const { address, client } = keys
    const pair = pairOf(keys)
    if (client === undefined || pair === undefined || !(await this.#wasProbe(pair))) return
    await Promise.all([this.#addresses.takeBack(address), this.#clients.takeBack(client), this.#pairs.takeBack(pair)])
  }

  // Whoever has one right secret must not have any number of checks for nothing, a wrong one after each right one.
  async #wasProbe(pair: string): Promise<boolean> {
    const failedAt = this.#lastFailures.get(pair)
    if (failedAt === undefined) return false
    this.#lastFailures.delete(pair)
    if (this.#clock.monotonicMilliseconds() - failedAt > probeMilliseconds) return false
    return (await this.#takenBack.add(pair)).used <= this.#takenBack.limit
  }

  async #look(keys: FailureKeys): Promise<Standing> {
    const pair = pairOf(keys)
    const [atAddress, ofClient, ofPair] = await Promise.all([
      this.#addresses.look(keys.address),
      keys.client === undefined ? undefined : this.#clients.look(keys.client),
      pair === undefined ? undefined : this.#pairs.look(pair),
    ])
    return { address: atAddress, client: ofClient, pair: ofPair }
  }

  // Whoever is over the limit makes no new keys: with invented clients one address would push all others out.
  async #add(keys: FailureKeys): Promise<void> {
    const { address, client } = keys
    const pair = pairOf(keys)
    const countsAlone = this.#addresses.wasFull(address)
    if (pair !== undefined && !countsAlone) this.#lastFailures.set(pair, this.#clock.monotonicMilliseconds())
    await Promise.all([
      this.#addresses.add(address),
      client === undefined || countsAlone ? undefined : this.#clients.add(client),
      pair === undefined || countsAlone ? undefined : this.#pairs.add(pair),
    ])
  }

  #judge({ address, client, pair }: Standing): PassedLimit | undefined {
    if (address.isFull) return { by: 'address', state: this.#toState(address) }
    const hasFailedHere = pair !== undefined && pair.used > 0
    if (client?.isFull && hasFailedHere) return { by: 'client', state: this.#toState(client) }
    return undefined
  }

  #toState({ resetSeconds }: Count): LimitState {
    return { name: 'failures', quota: this.#addresses.limit, windowSeconds, remaining: 0, resetSeconds }
  }
}

function pairOf({ address, client }: FailureKeys): string | undefined {
  return client === undefined ? undefined : `${address} ${client}`
}
