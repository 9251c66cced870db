/** What the driver throws, in the words of the store. */
import { StoreUnavailable } from '../../lib/store-error.ts'

/** The database could not do it, or nobody knows whether it did. */
export class DatabaseFailure extends StoreUnavailable {
  /** What PostgreSQL calls it (https://www.postgresql.org/docs/current/errcodes-appendix.html); absent when it said nothing. */
  readonly state: string | undefined
  /** The answer was lost: what was asked for may have been done, or may yet be. */
  readonly lost: boolean

  constructor(cause: unknown, { lost }: { readonly lost: boolean }) {
    super('the database cannot do it', { cause, outcomeUnknown: lost })
    this.state = stateOf(cause)
    this.lost = lost
  }

  /** Somebody else was in the way: the same may succeed if it is made again. */
  get isConflict(): boolean {
    return this.state === '40001' || this.state === '40P01'
  }

  /** A row with this key is there already. */
  get isDuplicate(): boolean {
    return this.state === '23505'
  }
}

function stateOf(cause: unknown): string | undefined {
  const isFromServer = cause instanceof Error && 'severity' in cause && 'code' in cause
  return isFromServer && typeof cause.code === 'string' ? cause.code : undefined
}

/**
 * What a statement that was sent failed with. PostgreSQL says ERROR of what it has undone. Whatever else ends a statement
 * (no answer in time, the end of the connection, FATAL) may have come after the commit.
 */
export function failureOfSent(cause: unknown): DatabaseFailure {
  if (cause instanceof DatabaseFailure) return cause
  const severity = cause instanceof Error && 'severity' in cause ? cause.severity : undefined
  // 40003 says in so many words that nobody knows.
  return new DatabaseFailure(cause, { lost: severity !== 'ERROR' || stateOf(cause) === '40003' })
}

/** What an attempt to connect failed with: nothing was sent. */
export function failureOfConnect(cause: unknown): DatabaseFailure {
  return new DatabaseFailure(cause, { lost: false })
}
