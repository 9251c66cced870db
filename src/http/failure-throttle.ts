/**
 * Failed authentications, counted by address and by the client id that was presented, whether or not there is such a
 * client. Above a limit in a minute a failure is answered 429 instead of 401, and argon2id is not run for a guess.
 *
 * What must not follow from it is that strangers lock a client out by failing in its name, or a client its neighbours
 * behind one address. So a limit that is passed refuses guesses, and lets pass whatever can be told from a guess:
 *
 *   a generated secret, an     checked in any case: that costs no more than reading the request, and nobody guesses it.
 *   assertion, a certificate   The right one passes; the wrong one is told 429
 *   an imported secret that    checked: it is told from a guess by its MAC under a key of this process
 *   was right before
 *   another imported secret    refused without a check, when its address has passed the limit, or its client has (at all
 *                              addresses together) and this address has failed for that client before. So the first try
 *                              from an address that has not failed is always checked
 *
 * None of this depends on whether the client exists: only the holder of a right secret sees a difference.
 */
import { createHmac, createSecretKey, hash, type KeyObject, randomBytes } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import type { Claim, SecretClaim } from '../client/authenticate.ts'
import { isDearToCheck } from '../client/authenticate.ts'
import type { Clock } from '../lib/clock.ts'
import type { LimitState } from '../oauth/rate-limit.ts'
import { type Count, WindowCounters } from './window-counters.ts'

const windowSeconds = 60
/** Some libraries try one way of authenticating and then another: so soon a success takes its failure back. */
const probeMilliseconds = 5_000
const maxKeys = 20_000
const maxRemembered = 10_000

/** Who tries: an address group, and the client that it says to be; none when its credentials could not be read. */
export interface Attempt {
  readonly address: string
  readonly claim?: Claim | undefined
}

/** A limit that is passed, and whose. */
export interface PassedLimit {
  readonly by: 'address' | 'client'
  readonly state: LimitState
}

/** What stands under the keys of an attempt before it counts. */
interface Standing {
  readonly address: Count
  readonly client: Count | undefined
  /** Failures of this address for this client. */
  readonly pair: Count | undefined
}

interface Keys {
  readonly address: string
  readonly client?: string
  readonly pair?: string
}

export class FailureThrottle {
  readonly #clock: Clock
  readonly #addresses: WindowCounters
  readonly #clients: WindowCounters
  readonly #pairs: WindowCounters
  /** Failures of an address for a client that were taken back. */
  readonly #takenBack: WindowCounters
  /** When an address last failed for a client. */
  readonly #lastFailures: LRUCache<string, number>
  readonly #rightBefore = new LRUCache<string, true>({ max: maxRemembered })
  readonly #macKey: KeyObject = createSecretKey(randomBytes(32))

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
    return [...counters, this.#lastFailures, this.#rightBefore].reduce((sum, { size }) => sum + size, 0)
  }

  /** Before a check: the limit for which it shall not be made. Nothing is counted by it. */
  async admit(attempt: Attempt): Promise<PassedLimit | undefined> {
    const { claim } = attempt
    if (claim === undefined || !isDearToCheck(claim)) return undefined
    claim.wasRight = this.#rightBefore.get(this.#macOf(claim)) === true
    if (claim.wasRight) return undefined
    return this.#judge(await this.#look(keysOf(attempt)))
  }

  /** After a failure, or in its place, which counts: the limit that was passed before it. */
  async noteFailure(attempt: Attempt): Promise<PassedLimit | undefined> {
    const { claim } = attempt
    const keys = keysOf(attempt)
    // What was right may have been revoked since: then it is a guess like others.
    if (claim !== undefined && isDearToCheck(claim)) this.#rightBefore.delete(this.#macOf(claim))
    // Both at this moment, with nothing in between: of many at a time, exactly so many are within the limit.
    const [standing] = await Promise.all([this.#look(keys), this.#count(keys)])
    return this.#judge(standing)
  }

  /**
   * After a check that was not made because too many wait: it counts for the address, or a flood that keeps the line full
   * would never pass a limit; not for the client, whose own first try may be the one that found the line full.
   */
  async noteBusy({ address, claim }: Attempt): Promise<PassedLimit | undefined> {
    return claim?.wasRight === true ? undefined : this.noteFailure({ address })
  }

  /** After a success: takes back a failure of the same client from the same address just before. */
  async noteSuccess(attempt: Attempt): Promise<void> {
    const { address, client, pair } = keysOf(attempt)
    const { claim } = attempt
    if (claim !== undefined && isDearToCheck(claim)) this.#rightBefore.set(this.#macOf(claim), true)
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

  async #look({ address, client, pair }: Keys): Promise<Standing> {
    const [atAddress, ofClient, ofPair] = await Promise.all([
      this.#addresses.look(address),
      client === undefined ? undefined : this.#clients.look(client),
      pair === undefined ? undefined : this.#pairs.look(pair),
    ])
    return { address: atAddress, client: ofClient, pair: ofPair }
  }

  // Whoever is over the limit makes no new keys: with invented clients one address would push all others out.
  async #count({ address, client, pair }: Keys): Promise<void> {
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

  #macOf({ clientId, secret }: SecretClaim): string {
    return createHmac('sha256', this.#macKey).update(`${clientId}\0${secret.reveal()}`).digest('base64url')
  }
}

// What was presented as an id may be a secret in the wrong field, and as long as a request: it is not kept as it came.
function keysOf({ address, claim }: Attempt): Keys {
  if (claim === undefined) return { address }
  const client = hash('sha256', claim.clientId, 'base64url')
  return { address, client, pair: `${address} ${client}` }
}
