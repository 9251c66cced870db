/**
 * Something read from the store, with the registry sequence that was in force when the reading began. A change that
 * lands while it is read makes the value newer than the sequence says, never older, so a decision fenced by the
 * sequence is made again rather than made on stale facts.
 */
export interface Read<T> {
  readonly sequence: number
  readonly value: T
}
