/**
 * An access token is signed, then recorded, then handed out, in that order. Between each two steps the process may
 * die or be paused for an hour:
 *
 *   signed, not recorded      the token is forgotten with the process; nobody has it
 *   recorded, not handed out  the trail knows a token that nobody has; the client asks again
 *   paused before recording   the registry or the refresh family may have moved: then nothing is written or handed out
 */
import type { Origin } from '../audit/event.ts'
import type { AuthenticatedClient } from '../client/authenticate.ts'
import type { Client } from '../client/client.ts'
import { isSecretId } from '../client/client-secret.ts'
import type { DerivedKeys } from '../key/ring.ts'
import type { Signer, SigningAlg } from '../key/signer.ts'
import { type Clock, nowSeconds } from '../lib/clock.ts'
import { makeUlid } from '../lib/id.ts'
import { pause } from '../lib/pause.ts'
import { type AccessTokenClaims, accessTokenType } from '../oauth/claims.ts'
import type { Confirmation } from '../oauth/confirmation.ts'
import { OAuthError } from '../oauth/errors.ts'
import type { GrantType } from '../oauth/grant-type.ts'
import { formatScope } from '../oauth/scope.ts'
import { type TokenType, tokenTypeOf } from '../oauth/token-type.ts'
import type { Resource } from '../resource/resource.ts'
import { restOfHourSeconds } from './quota.ts'
import type { PlannedTicket, Redemption, RefreshTickets } from './refresh.ts'
import { signJwt } from './sign.ts'
import type { TokenStore } from './token-store.ts'

/** Two seconds that clocks may differ, and the rest of a second. */
const longestWaitMilliseconds = 3_000
/** A timer may end a moment before the clock gets there. */
const mostWaits = 3

/** What the server's settings say of tokens. */
export interface TokenSettings {
  readonly issuer: string
  readonly signingAlg: SigningAlg
  readonly accessTokenTtlSeconds: number
  readonly accessTokenMaxTtlSeconds: number
}

/** What is to be issued, to whom, and on whose word. */
export interface TokenOrder extends AuthenticatedClient {
  readonly grantType: GrantType
  readonly subject: string
  readonly audience: Resource
  readonly scopes: readonly string[]
  readonly origin: Origin
  readonly startsFamily?: boolean
  readonly redemption?: Redemption
  /** What the token shall be bound to. */
  readonly confirmation?: Confirmation
}

/** A token that may be handed out. */
export interface IssuedToken {
  readonly accessToken: string
  readonly lifetimeSeconds: number
  readonly scope: string | undefined
  readonly alg: SigningAlg
  readonly refreshToken?: string
  /** Whether that refresh token had been handed out before. */
  readonly isRetry: boolean
  readonly tokenType: TokenType
}

/** The registry as the token was decided on. */
export interface Fence {
  readonly sequence: number
  readonly ticketKeys: DerivedKeys
  /** Only tokens issued after this moment would be alive (milliseconds). */
  readonly tokensAfter: number
  activeSigner(alg: SigningAlg): Signer
}

export class TokenIssuer {
  readonly #settings: TokenSettings
  readonly #store: TokenStore
  readonly #tickets: RefreshTickets
  readonly #clock: Clock

  constructor(settings: TokenSettings, store: TokenStore, tickets: RefreshTickets, clock: Clock) {
    this.#settings = settings
    this.#store = store
    this.#tickets = tickets
    this.#clock = clock
  }

  /**
   * Signs and records one access token, with the refresh token that belongs to it.
   *
   * @returns `undefined` when the registry or the refresh family moved since the decision: nothing was issued, decide again
   * @throws StoreUnavailable; KeyMaterialError when no key can sign; OAuthError `clock_behind`, `assertion_replayed`,
   *   `proof_replayed`, `quota_used_up`
   * @see RFC 9068
   */
  async issue(order: TokenOrder, fence: Fence): Promise<IssuedToken | undefined> {
    const signer = fence.activeSigner(order.audience.alg ?? this.#settings.signingAlg)
    const lifetimeSeconds = this.lifetimeSeconds(order)
    await this.#passMoment(fence.tokensAfter)
    const planned = this.#planTicket(order, fence)
    const claims = this.#claims(order, lifetimeSeconds, planned?.familyId)
    const accessToken = await signJwt(accessTokenType, claims, signer)
    const outcome = await this.#store.recordIssuance(
      {
        ...order.origin,
        jti: claims.jti,
        clientId: claims.client_id,
        subject: claims.sub,
        grantType: order.grantType,
        ...(isSecretId(order.credentialId) ? { secretId: order.credentialId } : { credentialId: order.credentialId }),
        audience: claims.aud,
        ...(claims.scope === undefined ? {} : { scope: claims.scope }),
        kid: signer.kid,
        expiresAt: claims.exp,
        ...(planned === undefined ? {} : { familyId: planned.familyId }),
        ...(order.redemption === undefined ? {} : { refreshGeneration: order.redemption.generation }),
        ...(claims.cnf === undefined ? {} : { confirmation: claims.cnf }),
      },
      fence.sequence,
      { change: planned?.change, uses: order.uses, tokensPerHour: order.client.tokensPerHour },
    )
    if (outcome === 'moved') return undefined
    if (outcome === 'quota_used_up') throw await this.#quotaUsedUp(order.client)
    if (outcome !== 'recorded') throw new OAuthError(outcome)
    const refreshToken = planned === undefined ? {} : { refreshToken: planned.ticket }
    const isRetry = order.redemption?.use === 'retry'
    const tokenType = tokenTypeOf(claims.cnf)
    return { accessToken, lifetimeSeconds, scope: claims.scope, alg: signer.alg, isRetry, tokenType, ...refreshToken }
  }

  async #quotaUsedUp({ clientId, tokensPerHour: quota = 0 }: Client): Promise<OAuthError> {
    const { hour } = await this.#store.readHourlyCount(clientId)
    const resetSeconds = restOfHourSeconds(this.#clock.nowMilliseconds(), hour)
    const limit = { name: 'tokens', quota, windowSeconds: 3_600, remaining: 0, resetSeconds } as const
    return new OAuthError('quota_used_up', { limit })
  }

  #planTicket(order: TokenOrder, { ticketKeys }: Fence): PlannedTicket | undefined {
    if (order.redemption !== undefined) return this.#tickets.planNext(order.redemption, ticketKeys, order.confirmation)
    if (order.startsFamily !== true) return undefined
    const { subject, audience, scopes, client, confirmation } = order
    const bound = confirmation === undefined ? {} : { confirmation }
    const grant = { clientId: client.clientId, subject, audience: audience.uri, scopes, ...bound }
    return this.#tickets.planStart({ ...grant, bornAt: this.#clock.nowMilliseconds() }, ticketKeys)
  }

  // Tokens carry whole seconds, and those of up to a moment are ended. A client that may have tokens again would get one
  // that is dead at birth; it waits for the next second that counts instead.
  async #passMoment(tokensAfter: number): Promise<void> {
    const first = (Math.floor(tokensAfter / 1000) + 1) * 1000
    for (let waits = 0; this.#clock.nowMilliseconds() < first; waits += 1) {
      const left = first - this.#clock.nowMilliseconds()
      if (left > longestWaitMilliseconds || waits === mostWaits) throw new OAuthError('clock_behind')
      await pause(left)
    }
  }

  /** The least of what resource and client ask for, or the default when neither does; never above the server's cap. */
  lifetimeSeconds({ audience, client }: Pick<TokenOrder, 'audience' | 'client'>): number {
    const asked = [audience.accessTokenTtlSeconds, client.accessTokenTtlSeconds].filter((ttl) => ttl !== undefined)
    const wanted = asked.length === 0 ? this.#settings.accessTokenTtlSeconds : Math.min(...asked)
    return Math.min(wanted, this.#settings.accessTokenMaxTtlSeconds)
  }

  #claims(order: TokenOrder, lifetimeSeconds: number, familyId: string | undefined): AccessTokenClaims {
    const now = nowSeconds(this.#clock)
    const scope = formatScope(order.scopes)
    return {
      iss: this.#settings.issuer,
      sub: order.subject,
      aud: order.audience.uri,
      exp: now + lifetimeSeconds,
      iat: now,
      nbf: now,
      jti: makeUlid(this.#clock.nowMilliseconds()),
      client_id: order.client.clientId,
      ...(scope === undefined ? {} : { scope }),
      ...(familyId === undefined ? {} : { sid: familyId }),
      ...(order.confirmation === undefined ? {} : { cnf: order.confirmation }),
    }
  }
}
