import type { FamilyEnded } from '../audit/event.ts'
import type { Confirmation } from '../oauth/confirmation.ts'
import type { RefreshFamily } from './family.ts'

/** What the issuance of a token does to a refresh family, in the act that records the token. */
export type FamilyChange =
  | { readonly kind: 'start'; readonly family: RefreshFamily }
  | {
      /** The ticket of a generation is used: the next one begins at `at`, or when it is recorded if that is later. */
      readonly kind: 'rotate'
      readonly familyId: string
      readonly generation: number
      readonly rootVersion: number
      /** As the family has it: the records of its uses are found one from the other. */
      readonly lastJti: string | undefined
      readonly at: number
      readonly expiresAt: number
      readonly confirmation?: Confirmation | undefined
    }
  | {
      /** The ticket before the current generation is presented once more, which it may be until `until`. */
      readonly kind: 'retry'
      readonly familyId: string
      readonly generation: number
      readonly at: number
      readonly until: number
    }

/** Whose word ends a family, and on what it is based. */
export interface FamilyEnding {
  readonly familyId: string
  /** Nothing happens unless the family is still at this generation. */
  readonly ifGeneration?: number
  /** Nothing happens unless the registry is still at this sequence: a client that is no longer one ends nothing. */
  readonly ifSequence?: number
  readonly event: FamilyEnded
}

/** Where refresh families lie. Changes that go with a token are made by `TokenStore.recordIssuance`. */
export interface FamilyStore {
  /** @throws StoreUnavailable */
  findFamily(familyId: string): Promise<RefreshFamily | undefined>
  /**
   * Ends a family for ever, and with it its access tokens, by a mark. For a generation that was used, the record names who
   * used it first, as far as that is still known.
   *
   * @returns whether it ended now: not when it had ended already, or a condition does not hold
   * @throws StoreUnavailable
   */
  endFamily(ending: FamilyEnding): Promise<boolean>
  /** How many families of a client, started after a moment, can still be used at another. @throws StoreUnavailable */
  countFamilies(clientId: string, moments: { readonly now: number; readonly bornAfter: number }): Promise<number>
  /** The latest moment of those that were noted, milliseconds since the epoch; 0 before the first. @throws StoreUnavailable */
  readMoment(): Promise<number>
  /** Notes a moment that families have lived to, for those whose clock does not know of it. @throws StoreUnavailable */
  noteMoment(at: number): Promise<void>
  /**
   * Looks through the next `limit` families, by id behind `after`, and deletes those that died before a moment.
   *
   * @returns the last that it looked at; `undefined` when there are no more
   * @throws StoreUnavailable
   */
  pruneFamilies(before: number, part: { readonly after: string; readonly limit: number }): Promise<string | undefined>
}
