import type { IssuanceRecord } from '../audit/event.ts'

export interface TokenStore {
  /**
   * The fence: records a token as issued if the registry sequence is still `sequence`, in one act. Resolves when it is
   * durable; only then may the token leave.
   *
   * @returns whether it was recorded; `false` when the registry moved, and then nothing happened
   * @throws StoreUnavailable and then it was not recorded, or nobody knows
   */
  recordIssuance(record: IssuanceRecord, sequence: number): Promise<boolean>
  /** The record of a token, while it is kept. @throws StoreUnavailable */
  findIssuance(jti: string): Promise<IssuanceRecord | undefined>
}
