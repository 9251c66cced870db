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
import type { FailureCounter, FailureKeys, PassedLimit } from './failure-counts.ts'

const maxRemembered = 10_000

/** Who tries: an address group, and the client that it says to be; none when its credentials could not be read. */
export interface Attempt {
  readonly address: string
  readonly claim?: Claim | undefined
}

export class FailureThrottle {
  readonly #counter: FailureCounter
  readonly #rightBefore = new LRUCache<string, true>({ max: maxRemembered })
  readonly #macKey: KeyObject = createSecretKey(randomBytes(32))

  constructor(counter: FailureCounter) {
    this.#counter = counter
  }

  /** How many secrets are known to have been right. */
  get size(): number {
    return this.#rightBefore.size
  }

  /** Before a check: the limit for which it shall not be made. Nothing is counted by it. */
  async admit(attempt: Attempt): Promise<PassedLimit | undefined> {
    const { claim } = attempt
    if (claim === undefined || !isDearToCheck(claim)) return undefined
    claim.wasRight = this.#rightBefore.get(this.#macOf(claim)) === true
    if (claim.wasRight) return undefined
    return this.#counter.judge(keysOf(attempt))
  }

  /** After a failure, or in its place, which counts: the limit that was passed before it. */
  async noteFailure(attempt: Attempt): Promise<PassedLimit | undefined> {
    const { claim } = attempt
    // What was right may have been revoked since: then it is a guess like others.
    if (claim !== undefined && isDearToCheck(claim)) this.#rightBefore.delete(this.#macOf(claim))
    return this.#counter.count(keysOf(attempt))
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
    const { claim } = attempt
    if (claim !== undefined && isDearToCheck(claim)) this.#rightBefore.set(this.#macOf(claim), true)
    await this.#counter.takeBack(keysOf(attempt))
  }

  #macOf({ clientId, secret }: SecretClaim): string {
    return createHmac('sha256', this.#macKey).update(`${clientId}\0${secret.reveal()}`).digest('base64url')
  }
}

// What was presented as an id may be a secret in the wrong field, and as long as a request: it is not kept as it came.
function keysOf({ address, claim }: Attempt): FailureKeys {
  return claim === undefined ? { address } : { address, client: hash('sha256', claim.clientId, 'base64url') }
}
