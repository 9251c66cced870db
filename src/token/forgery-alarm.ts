import { hash } from 'node:crypto'
import type { AuditStore } from '../audit/audit-store.ts'
import type { Origin, TokenForged } from '../audit/event.ts'
import { describeError, type Log } from '../lib/log.ts'
import type { TokenFault } from './verify.ts'

/** A token that our key signed and that we have not made. */
export interface ForgedToken {
  readonly token: string
  readonly kid: string
  readonly fault: TokenFault
}

export interface AlarmParts {
  readonly audit: Pick<AuditStore, 'recordRefusal'>
  readonly log: Log
  /** Called for each such token. */
  onForged(): void
}

/**
 * Tells people that somebody else may sign with one of our keys. Each token is counted; the log and the audit trail hear of
 * the first one of each key in the life of a process, for a thief who knows of them must not be able to fill them.
 */
export class ForgeryAlarm {
  readonly #parts: AlarmParts
  /** Never more than there are keys. */
  readonly #told = new Set<string>()

  constructor(parts: AlarmParts) {
    this.#parts = parts
  }

  /** Never fails: the token is refused whether or not it could be recorded, and the log has it. */
  async raise({ token, kid, fault }: ForgedToken, origin: Origin): Promise<void> {
    const { audit, log, onForged } = this.#parts
    onForged()
    if (this.#told.has(kid)) return
    this.#told.add(kid)
    const sha256 = hash('sha256', token, 'hex').slice(0, 12)
    const fields = { request_id: origin.requestId, address: origin.address, kid, fault, token_sha256: sha256 }
    log.error(fields, 'forged token: somebody else may hold the signing key; docs/forged-token.md says what to do')
    const { requestId, address } = origin
    const event: TokenForged = { type: 'token.forged', kid, detail: { fault, tokenSha256: sha256 }, requestId, address }
    try {
      await audit.recordRefusal(event)
    } catch (error) {
      // The next one is told of again, and recorded if it can be.
      this.#told.delete(kid)
      log.error({ request_id: requestId, err: describeError(error) }, 'forged token not recorded')
    }
  }
}
