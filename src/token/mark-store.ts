import type { TokenRevoked } from '../audit/event.ts'

/** A token that was ended, or a family whose tokens were. `expiresAt` (milliseconds): nothing that it ends lives longer. */
export interface Mark {
  readonly kind: 'jti' | 'family'
  readonly id: string
  readonly expiresAt: number
}

/** Marks that were set since some moment, and the counter after the last of them. */
export interface MarkDelta {
  readonly sequence: number
  readonly marks: readonly Mark[]
}

/** Marks that one client can have at a time. With one more, all of its tokens end instead. */
export const maxMarksPerClient = 1_000

/** No setting lets a token live longer, its verifiers' clocks and ours apart included. */
export const longestTokenLifeMilliseconds = (24 * 60 + 10) * 60_000

/** How far the clock of whoever issues tokens may be from the store's; so two of them may be twice as far apart. */
export const nodeSkewMilliseconds = 2_000

/**
 * Where it is kept what has ended tokens, under a counter of its own. Marks on a client, on the whole store and on keys are
 * not here but with the registry, which every decision looks at anyway.
 */
export interface MarkStore {
  /** Moves with every mark that is set: cheap enough for every introspection. @throws StoreUnavailable */
  readMarkSequence(): Promise<number>
  /** Everything that was set after a value of the counter; all marks for 0. @throws StoreUnavailable */
  readMarks(after: number): Promise<MarkDelta>
  /**
   * Ends one access token, until it has expired by itself. A client whose marks become too many gets one on all its tokens
   * instead: it can have new ones a moment later.
   *
   * @param token `expiresAt` in milliseconds
   * @returns whether it ended now: not when it had been revoked already
   * @throws StoreUnavailable
   */
  revokeToken(token: { readonly expiresAt: number }, event: TokenRevoked): Promise<boolean>
  /** Deletes a small batch of marks whose tokens have all died. @returns how many. @throws StoreUnavailable */
  pruneMarks(before: number, limit: number): Promise<number>
}
