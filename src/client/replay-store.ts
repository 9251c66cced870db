import type { ReplayUse } from '../oauth/replay.ts'

/** Where it is remembered which statements have counted. */
export interface ReplayStore {
  /**
   * Makes statements count, all or none of them. Resolves when it is durable. Those that go with a token are made to count by
   * `TokenStore.recordIssuance`, in the act that records it.
   *
   * @returns the kind of one that had counted before, or is over, and then nothing happened; `undefined` when all of them count now
   * @throws StoreUnavailable and then none counts, or nobody knows
   */
  useOnce(uses: readonly ReplayUse[]): Promise<ReplayUse['kind'] | undefined>
  /** As `useOnce` would answer now; nothing counts by it. @throws StoreUnavailable */
  findUsed(uses: readonly ReplayUse[]): Promise<ReplayUse['kind'] | undefined>
  /** Deletes a small batch of what nobody would take any more at a moment. @returns how many. @throws StoreUnavailable */
  pruneReplays(before: number, limit: number): Promise<number>
}
