/**
 * Answers for tokens as of now, without a commit behind the answer. What it is based on is looked at in the request itself:
 * first the marks, then the registry. In this order, because a client that has too many marks gets one moment with the
 * registry in their place: who saw neither the marks nor the moment would take what they ended for alive.
 *
 * A token that was verified once is kept with the two sequences that it was judged at. While neither has moved, it costs a
 * hash and a look at the clock; when one has, everything is asked again but the signature, which does not change.
 */
import { hash } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import type { Origin } from '../audit/event.ts'
import type { Clock } from '../lib/clock.ts'
import type { AccessTokenClaims } from '../oauth/claims.ts'
import { maxJwtLength } from '../oauth/jwt.ts'
import type { Registry, RegistryView } from '../registry/registry.ts'
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
  | { readonly active: false; readonly fault: TokenFault }

/** Verifies a token for a request. @throws StoreUnavailable */
export type VerifyToken = (token: string, origin: Origin) => Promise<Verification>

export interface VerifierParts {
  readonly registry: Registry
  readonly marks: MarkSet
  readonly store: Pick<TokenStore, 'findIssuance'>
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
  async decide<T>(attempt: (view: RegistryView, verify: VerifyToken) => Promise<T>): Promise<T> {
    const { marks, registry } = this.#parts
    await marks.refresh()
    return registry.decideNow((view) => attempt(view, (token, origin) => this.#verify(token, origin, view)))
  }

  async #verify(token: string, origin: Origin, view: RegistryView): Promise<Verification> {
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
    if (typeof claims === 'string') return this.#refuse(token, signed, claims, origin)
    this.#known.set(id, { ...asOf, signed, claims })
    return { active: true, claims }
  }

  #stillActive(claims: AccessTokenClaims): Verification {
    const fault = findOutside(claims, this.#parts.clock.nowMilliseconds())
    return fault === undefined ? { active: true, claims } : { active: false, fault }
  }

  async #refuse(token: string, { kid }: SignedToken, fault: TokenFault, origin: Origin): Promise<Verification> {
    if (isForgery(fault)) await this.#parts.alarm.raise({ token, kid, fault }, origin)
    return { active: false, fault }
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
