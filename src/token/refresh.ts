/** What is done with refresh tickets: one that is presented is examined, and one that is to be handed out is planned. */
import { randomBytes } from 'node:crypto'
import type { FamilyEnded, Origin } from '../audit/event.ts'
import type { Client } from '../client/client.ts'
import type { DerivedKeys } from '../key/ring.ts'
import type { Clock } from '../lib/clock.ts'
import { makeUlid } from '../lib/id.ts'
import { type Confirmation, formatConfirmation } from '../oauth/confirmation.ts'
import { OAuthError } from '../oauth/errors.ts'
import { judgeTicket, type RefreshFamily, type TicketVerdict } from './family.ts'
import type { FamilyChange, FamilyStore } from './family-store.ts'
import { isTicketOf, makeTicket, parseTicket, type TicketParts } from './ticket.ts'

/** What the server's settings say of refresh tokens. */
export interface RefreshSettings {
  readonly refreshTokenIdleTtlSeconds: number
  readonly refreshTokenMaxTtlSeconds: number
  readonly refreshRetryWindowSeconds: number
}

/** What a request knows of its ticket from one decision to the next. */
export interface Presentation {
  /** Set once the ticket was found good. */
  wasGood: boolean
}

/** What a ticket is examined beside. */
export interface TicketContext {
  readonly presentation: Presentation
  readonly client: Client
  readonly keys: DerivedKeys
  readonly origin: Origin
  /** The registry sequence that the client was authenticated at. */
  readonly sequence: number
  /** Families of before this moment are ended. */
  readonly tokensAfter: number
  /** Called before a family is ended: what the client proved itself with must count, or a replay would end it. */
  beforeEnd(): Promise<void>
}

/** A ticket that may be used. */
export interface Redemption {
  readonly use: 'rotate' | 'retry'
  readonly family: RefreshFamily
  /** The generation of the ticket that was presented. */
  readonly generation: number
}

type FamilyGrant = Pick<RefreshFamily, 'clientId' | 'subject' | 'audience' | 'scopes' | 'confirmation'>

/** A ticket that may be handed out once the change is recorded. */
export interface PlannedTicket {
  readonly ticket: string
  readonly familyId: string
  readonly change: FamilyChange
}

export class RefreshTickets {
  readonly #settings: RefreshSettings
  readonly #store: FamilyStore
  readonly #clock: Clock

  /** `clock` must neither go back nor stand still: what has expired would live again, a window would stay open. */
  constructor(settings: RefreshSettings, store: FamilyStore, clock: Clock) {
    this.#settings = settings
    this.#store = store
    this.#clock = clock
  }

  /**
   * Examines a presented ticket. Nothing happens to its family, unless it proves that the ticket is in two hands: then
   * the family is ended before the refusal is thrown.
   *
   * @throws OAuthError with a reason of `invalid_grant`, or what `beforeEnd` throws; StoreUnavailable
   * @see RFC 6749 section 6, RFC 9700 section 4.14.2
   */
  async examine(presented: string, context: TicketContext): Promise<Redemption> {
    const parts = parseTicket(presented)
    if (parts === undefined) throw new OAuthError('refresh_malformed')
    const family = await this.findOwn(parts, context)
    const { generation } = parts
    const verdict = judgeTicket(family, {
      generation,
      now: this.#clock.nowMilliseconds(),
      retryWindowMilliseconds: this.#settings.refreshRetryWindowSeconds * 1000,
      tokensAfter: context.tokensAfter,
      wasGood: context.presentation.wasGood,
    })
    if ('use' in verdict) {
      context.presentation.wasGood = true
      return { use: verdict.use, family, generation }
    }
    if ('end' in verdict) {
      await context.beforeEnd()
      await this.#end(verdict, family, generation, context)
    }
    throw new OAuthError(verdict.refuse)
  }

  /**
   * The family of a ticket, once the ticket is proved to be ours and the client's.
   *
   * @throws OAuthError `refresh_root_replaced`, `_unknown`, `_forged`, `_of_another_client`; StoreUnavailable
   */
  async findOwn(parts: TicketParts, { client, keys }: Pick<TicketContext, 'client' | 'keys'>): Promise<RefreshFamily> {
    const key = keys.keyOf(parts.rootVersion)
    if (key === undefined) throw new OAuthError('refresh_root_replaced')
    const family = await this.#store.findFamily(parts.familyId)
    if (family === undefined) throw new OAuthError('refresh_unknown')
    if (!isTicketOf(parts, family.seed, key)) throw new OAuthError('refresh_forged')
    if (family.clientId !== client.clientId) throw new OAuthError('refresh_of_another_client')
    return family
  }

  // The record is written, and the access tokens are ended, before anybody hears of it. Generations only rise, so what was
  // reused stays so, whoever uses the family meanwhile; a store that had gone back may have caught up.
  async #end(
    { end }: TicketVerdict & { readonly end: FamilyEnded['reason'] },
    family: RefreshFamily,
    generation: number,
    { origin, sequence }: TicketContext,
  ): Promise<void> {
    const { familyId, clientId } = family
    await this.#store.endFamily({
      familyId,
      ...(end === 'generation_ahead' ? { ifGeneration: family.generation } : {}),
      ifSequence: sequence,
      event: {
        type: 'family.ended',
        familyId,
        clientId,
        reason: end,
        presentedGeneration: generation,
        currentGeneration: family.generation,
        requestId: origin.requestId,
        address: origin.address,
      },
    })
  }

  /** A new family, and its first ticket. `bornAt`: by the clock that dates tokens. */
  planStart(grant: FamilyGrant & { readonly bornAt: number }, keys: DerivedKeys): PlannedTicket {
    const now = this.#clock.nowMilliseconds()
    const familyExpiresAt = now + this.#settings.refreshTokenMaxTtlSeconds * 1000
    const family: RefreshFamily = {
      clientId: grant.clientId,
      subject: grant.subject,
      audience: grant.audience,
      scopes: grant.scopes,
      familyId: makeUlid(grant.bornAt),
      seed: randomBytes(16),
      generation: 0,
      generationAt: now,
      rootVersion: keys.newestVersion,
      expiresAt: this.#idleEnd(now, familyExpiresAt),
      familyExpiresAt,
      ...(grant.confirmation === undefined ? {} : { confirmation: grant.confirmation }),
    }
    return { ticket: ticketOf(family, keys), familyId: family.familyId, change: { kind: 'start', family } }
  }

  /**
   * The successor of a ticket that may be used: the same bytes for a retry.
   *
   * @param confirmation what the token shall be bound to that comes with it
   * @throws OAuthError `refresh_root_replaced`, `refresh_retry_other_key`, `proof_missing`, `certificate_missing`
   */
  planNext({ use, family, generation }: Redemption, keys: DerivedKeys, confirmation?: Confirmation): PlannedTicket {
    const { familyId, lastJti } = family
    requireBinding(use, family.confirmation, confirmation)
    const at = this.#clock.nowMilliseconds()
    if (use === 'retry') {
      const until = family.generationAt + this.#settings.refreshRetryWindowSeconds * 1000
      const change: FamilyChange = { kind: 'retry', familyId, generation: family.generation, at, until }
      return { ticket: ticketOf(family, keys), familyId, change }
    }
    const rootVersion = keys.newestVersion
    const expiresAt = this.#idleEnd(at, family.familyExpiresAt)
    const ticket = ticketOf({ familyId, seed: family.seed, generation: generation + 1, rootVersion }, keys)
    return {
      ticket,
      familyId,
      change: { kind: 'rotate', familyId, generation, rootVersion, lastJti, at, expiresAt, confirmation },
    }
  }

  // Use prolongs a family up to its absolute end and no further.
  #idleEnd(now: number, familyExpiresAt: number): number {
    return Math.min(now + this.#settings.refreshTokenIdleTtlSeconds * 1000, familyExpiresAt)
  }
}

// Another key may follow, for the client has proved itself (RFC 9449 section 5); none may not, or a token that is stolen
// would shed its binding. A retry gets what was lost, and that was bound to the key of then.
function requireBinding(use: Redemption['use'], before: Confirmation | undefined, now: Confirmation | undefined): void {
  if (use === 'retry' && formatConfirmation(before) !== formatConfirmation(now)) {
    throw new OAuthError('refresh_retry_other_key')
  }
  if (before?.jkt !== undefined && now?.jkt === undefined) throw new OAuthError('proof_missing')
  if (before?.['x5t#S256'] !== undefined && now?.['x5t#S256'] === undefined) throw new OAuthError('certificate_missing')
}

type Derived = Pick<RefreshFamily, 'familyId' | 'seed' | 'generation' | 'rootVersion'>

function ticketOf(family: Derived, keys: DerivedKeys): string {
  const key = keys.keyOf(family.rootVersion)
  if (key === undefined) throw new OAuthError('refresh_root_replaced')
  return makeTicket(family, family.seed, key)
}
