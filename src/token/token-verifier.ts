/**
 * Answers for tokens, without a commit behind the answer. What a decision is based on is looked at in the request itself:
 * first the marks, then the registry. In this order, because a client that has too many marks gets one moment with the
 * registry in their place: who saw neither the marks nor the moment would take what they ended for alive.
 *
 * An answer may go by the counters as the store remembers them, within the bound that it keeps (`recentSequences`), and costs
 * no look then. Only when both are exactly what is in memory, for then the two belong to one moment; and only when it is yes.
 * A no is looked at again: what memory lacks may have begun elsewhere just now, a token of a key that was staged here a
 * moment ago is no forgery, and whoever holds a good token shall not be turned away for what this process has not heard.
 *
 * A token that was verified once is kept with the two sequences that it was judged at. While neither has moved, it costs a
 * hash and a look at the clock; when one has, everything is asked again but the signature, which does not change.
 */
import { hash } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import type { Origin } from '../audit/event.ts'
import type { Clock } from '../lib/clock.ts'
import { StoreUnavailable } from '../lib/store-error.ts'
import type { AccessTokenClaims } from '../oauth/claims.ts'
import { OAuthError } from '../oauth/errors.ts'
import { maxJwtLength } from '../oauth/jwt.ts'
import type { Registry, RegistryView } from '../registry/registry.ts'
import type { RegistryStore, Sequences } from '../registry/registry-store.ts'
import type { ForgeryAlarm } from './forgery-alarm.ts'
import type { MarkSet } from './marks.ts'
import type { TokenStore } from './token-store.ts'
import {
  findOutside,
  type Grounds,
  isForgery,
  judgeToken,
  readSignedToken,
  type SignedToken,
  type TokenFault,
} from './verify.ts'

const tokensInMemory = 10_000

/** What there is to say of a token. */
export type Verification =
  | { readonly active: true; readonly claims: AccessTokenClaims }
  | {
      readonly active: false
      readonly fault: TokenFault
      /** The key that somebody else seems to hold. */
      readonly forgedBy?: string
    }

/** Verifies a token for a request. @throws StoreUnavailable */
export type VerifyToken = (token: string, origin: Origin) => Promise<Verification>

export interface VerifierParts {
  readonly registry: Registry
  readonly marks: MarkSet
  readonly store: Pick<TokenStore, 'findIssuance'> & Pick<RegistryStore, 'readSequences' | 'recentSequences'>
  /** Tells what has expired. */
  readonly clock: Clock
  readonly alarm: ForgeryAlarm
}

interface KnownToken {
  readonly signed: SignedToken
  readonly claims: AccessTokenClaims
  /** The sequences of registry and marks at which it was active. */
  readonly registry: number
  readonly marks: number
}

/** Registry and marks as they are in memory. */
interface Memory {
  readonly view: RegistryView
  readonly asOf: Sequences
}

/** A token that looks forged by what is in memory. */
class Unsure extends Error {}

type Attempt<T> = (view: RegistryView, verify: VerifyToken) => Promise<T>

export class TokenVerifier {
  readonly #parts: VerifierParts
  /** By the SHA-256 of the token: no token lies in memory for longer than its request. */
  readonly #known = new LRUCache<string, KnownToken>({ max: tokensInMemory })

  constructor(parts: VerifierParts) {
    this.#parts = parts
  }

  /**
   * Makes a decision about tokens on the registry and the marks as of now.
   *
   * @throws OAuthError what `attempt` refused, or `registry_moving`
   * @throws StoreUnavailable, KeyMaterialError
   */
  async decide<T>(attempt: Attempt<T>): Promise<T> {
    const { marks, registry, alarm } = this.#parts
    await marks.refresh()
    return registry.decideNow((view) =>
      attempt(view, async (token, origin) => {
        const found = await this.#verify(token, view)
        if (!found.active && found.forgedBy !== undefined) {
          await alarm.raise({ token, kid: found.forgedBy, fault: found.fault }, origin)
        }
        return found
      }),
    )
  }

  /**
   * The same for an answer that nothing comes of but itself: tokens may be active by registry and marks as of a moment ago,
   * within the bound of the store. `attempt` may be made twice.
   *
   * @param isYes tells what may go by memory: also a caller who may not know of an active token hears a no
   * @throws as `decide` does
   */
  async answer<T>(attempt: Attempt<T>, isYes: (answer: T) => boolean): Promise<T> {
    const memory = this.#recall()
    const settled = memory === undefined ? undefined : await this.#answerFrom(memory, attempt, isYes)
    if (settled === undefined) return this.decide(attempt)
    return settled()
  }

  #recall(): Memory | undefined {
    const { marks, registry, store } = this.#parts
    const asOf = store.recentSequences()
    if (asOf === undefined || !marks.isAt(asOf.mark)) return undefined
    const view = registry.viewAt(asOf.registry)
    return view && { view, asOf }
  }

  // What comes of it, or `undefined` when only a decision can tell.
  async #answerFrom<T>(
    { view, asOf }: Memory,
    attempt: Attempt<T>,
    isYes: (answer: T) => boolean,
  ): Promise<(() => T) | undefined> {
    const verify: VerifyToken = async (token) => {
      const found = await this.#verify(token, view)
      if (!found.active && found.forgedBy !== undefined) throw new Unsure()
      return found
    }
    try {
      const value = await attempt(view, verify)
      return isYes(value) || (await this.#isStill(asOf)) ? () => value : undefined
    } catch (error) {
      if (error instanceof StoreUnavailable) throw error
      if (!(error instanceof OAuthError) || !(await this.#isStill(asOf))) return undefined
      return () => {
        throw error
      }
    }
  }

  async #isStill({ registry, mark }: Sequences): Promise<boolean> {
    const now = await this.#parts.store.readSequences()
    return now.registry === registry && now.mark === mark
  }

  async #verify(token: string, view: RegistryView): Promise<Verification> {
    if (token.length > maxJwtLength) return { active: false, fault: 'malformed' }
    const id = hash('sha256', token, 'base64url')
    const known = this.#known.get(id)
    // Before anything is waited for: marks that come meanwhile must be looked at the next time.
    const asOf = { registry: view.sequence, marks: this.#parts.marks.sequence }
    if (known?.registry === asOf.registry && known.marks === asOf.marks) return this.#stillActive(known.claims)
    const grounds = this.#groundsOf(view)
    const signed = reread(known, grounds) ?? readSignedToken(token, grounds.findKey)
    if (typeof signed === 'string') return { active: false, fault: signed }
    const claims = await judgeToken(signed, grounds)
    if (typeof claims === 'string') {
      return { active: false, fault: claims, ...(isForgery(claims) ? { forgedBy: signed.kid } : {}) }
    }
    this.#known.set(id, { ...asOf, signed, claims })
    return { active: true, claims }
  }

  #stillActive(claims: AccessTokenClaims): Verification {
    const fault = findOutside(claims, this.#parts.clock.nowMilliseconds())
    return fault === undefined ? { active: true, claims } : { active: false, fault }
  }

  #groundsOf(view: RegistryView): Grounds {
    const { marks, clock, store } = this.#parts
    return {
      issuer: view.issuer,
      tokensAfter: view.tokensAfter,
      marks,
      now: clock.nowMilliseconds(),
      findKey: (kid) => view.ring.verifyingKey(kid),
      findClient: async (clientId) => (await view.findClient(clientId)).client,
      findIssuance: (jti) => store.findIssuance(jti),
    }
  }
}

// The signature stays right; whether its key is still one of ours may have changed.
function reread(known: KnownToken | undefined, { findKey }: Grounds): SignedToken | undefined {
  return known === undefined || findKey(known.signed.kid) === undefined ? undefined : known.signed
}
