import type { AuditEvent, AuditType, IssuanceRecord } from './event.ts'

/**
 * One line of the audit trail as it is read back. `at` is what the clock showed, milliseconds since the epoch. Refusals
 * and changes have ids in the order in which they happened, also when the clock stepped back between them.
 */
export type AuditEntry =
  | ({ readonly id: string; readonly at: number; readonly type: 'token.issued' } & IssuanceRecord)
  | ({ readonly id: string; readonly at: number } & AuditEvent)

/** Which lines to read. All conditions hold together; newest first. */
export interface AuditQuery {
  readonly clientId?: string
  readonly requestId?: string
  /** Only what happened at or after this moment, milliseconds since the epoch. */
  readonly since?: number
  readonly type?: AuditType
  /** At most this many lines. */
  readonly limit: number
}

/** Where the audit trail lies, as far as it is not written together with what it records. */
export interface AuditStore {
  /** Records a refusal. Resolves when it is durable. @throws StoreUnavailable */
  recordRefusal(event: AuditEvent): Promise<void>
  /** Reads the trail back, newest first. @throws StoreUnavailable */
  listAudit(query: AuditQuery): Promise<readonly AuditEntry[]>
  /**
   * Deletes one small batch of what is older than two moments (milliseconds since the epoch): records of issued
   * tokens, and all others.
   *
   * @returns how many it deleted; less than `limit` when nothing is left to do
   * @throws StoreUnavailable
   */
  pruneAudit(before: { issuance: number; others: number; limit: number }): Promise<number>
}
