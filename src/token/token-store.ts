import type { IssuanceRecord } from '../audit/event.ts'
import type { FamilyChange } from './family-store.ts'

export interface TokenStore {
  /**
   * The fence: records a token as issued if the registry sequence is still `sequence`, in one act, and with it what
   * happens to its refresh family. Resolves when it is durable; only then may the token leave.
   *
   * @returns whether it was recorded; `false` when the registry moved, or the family is no longer as the change has it, and
   *   then nothing happened
   * @throws StoreUnavailable and then it was not recorded, or nobody knows
   */
  recordIssuance(record: IssuanceRecord, sequence: number, change?: FamilyChange): Promise<boolean>
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
