import type { IssuanceRecord } from '../audit/event.ts'
import type { ReplayUse } from '../oauth/replay.ts'
import type { FamilyChange } from './family-store.ts'
import type { HourlyCount } from './quota.ts'

/** What became of a token's record. `moved`: the registry did, or the family is no longer as the change has it. */
export type RecordOutcome = 'recorded' | 'moved' | 'quota_used_up' | `${ReplayUse['kind']}_replayed`

/** What happens together with a token's record. */
export interface IssuanceActs {
  readonly change?: FamilyChange | undefined
  /** Statements that count once. */
  readonly uses?: readonly ReplayUse[] | undefined
  /** How many tokens its client may have in an hour; this one counts. Without it nothing is counted. */
  readonly tokensPerHour?: number | undefined
}

export interface TokenStore {
  /**
   * The fence: records a token as issued if the registry sequence is still `sequence`, in one act, and with it what
   * happens to its refresh family, and that the statements it rests on have counted. Resolves when it is durable; only then
   * may the token leave. A client's quota is asked for in the same act.
   *
   * @returns whether it was recorded; if not, nothing happened
   * @throws StoreUnavailable and then it was not recorded, or nobody knows
   */
  recordIssuance(record: IssuanceRecord, sequence: number, acts?: IssuanceActs): Promise<RecordOutcome>
  /** How many tokens a client with a quota has had in this hour. @throws StoreUnavailable */
  readHourlyCount(clientId: string): Promise<HourlyCount>
  /** The record of a token, while it is kept. @throws StoreUnavailable */
  findIssuance(jti: string): Promise<IssuanceRecord | undefined>
  /**
   * Tokens of a client that have not expired by themselves, by the trail: when the last of them does (seconds since the
   * epoch), and how many of them had not been ended by `endedBefore`, or one by one.
   *
   * @throws StoreUnavailable
   */
  readLiveTokens(
    clientId: string,
    now: number,
    endedBefore?: number,
  ): Promise<{ readonly count: number; readonly lastExpiresAt?: number }>
  /** When the newest token was issued that a secret proved the client of, since a moment. @throws StoreUnavailable */
  findLastUse(secretId: string, since: number): Promise<number | undefined>
}
