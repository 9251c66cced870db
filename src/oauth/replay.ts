import { hash } from 'node:crypto'

/**
 * A statement that counts once: who made it and under which id, as one hash. Two spellings of one statement (ECDSA signatures
 * can be rewritten) have the same.
 */
export interface ReplayUse {
  readonly kind: 'assertion' | 'proof'
  /** 32 bytes. */
  readonly key: Uint8Array
  /** Until then it must be remembered, milliseconds since the epoch: from then on nobody would take the statement. */
  readonly expiresAt: number
}

/** The use of a statement. `names`: who made it and its `jti`, and whatever else it is told apart by. */
export function makeReplayUse(kind: ReplayUse['kind'], names: readonly string[], expiresAt: number): ReplayUse {
  return { kind, key: hash('sha256', JSON.stringify([kind, ...names]), 'buffer'), expiresAt }
}
