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
   * Tokens of a client that have not expired by themselves, by the trail: how many, and when the last of them does
   * (seconds since the epoch).
   *
   * @throws StoreUnavailable
   */
  readLiveTokens(clientId: string, now: number): Promise<{ readonly count: number; readonly lastExpiresAt?: number }>
}
