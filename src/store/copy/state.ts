import { formatTimestamp } from '../../lib/clock.ts'
import { type Remains, StoreOpenError } from '../store.ts'
import type { CopyState } from './sides.ts'

/** How many changes are written down for a copy: one that was killed must not fill the disk. */
export const mostChanges = 200_000

/** Why a place that a store has moved away from does not open. */
export function movedAway(location: string, { other, at }: Pick<CopyState, 'other' | 'at'>): string {
  return `${location} has moved to ${other}, at ${formatTimestamp(at)}: give MAYFLY_DATABASE_URL that place, and where that is called incomplete, run the same \`mayfly db copy\` again; where it is lost for good, \`mayfly db restore --accept-current\` brings this one back and ends every token and refresh token`
}

/** Why a place that a store has not wholly arrived at does not open. */
export function incomplete(location: string, { other, state }: Pick<CopyState, 'other' | 'state'>): string {
  const again = `${location} is an incomplete copy of ${other}: run \`mayfly db copy\` from there to here again`
  // What has arrived may be all that can still be opened of the store.
  if (state === 'arrived') return `${again}, which finishes it`
  return `${again}; to begin without it, name another place, or remove what lies here first (the file, or the database with \`dropdb\`)`
}

/** What a copy that is not finished has left in the place that it was to leave. */
export function toRemains(state: CopyState | undefined): readonly Remains[] {
  if (state?.state !== 'leaving' && state?.state !== 'abandoned') return []
  return [{ kind: 'copy', to: state.other, at: state.at, isAbandoned: state.state === 'abandoned' }]
}

/** Whether a store is on its way to the place where this was read. */
export function isArriving(state: CopyState | undefined): boolean {
  return state !== undefined && ['arriving', 'filling', 'arrived'].includes(state.state)
}

/** @throws StoreOpenError unless a place holds nothing, or what an earlier run of the copy of the same store has left there */
export function requireReceiving(
  { state, isEmpty }: { readonly state: CopyState | undefined; readonly isEmpty: boolean },
  storeId: string,
  location: string,
): void {
  if (state === undefined && isEmpty) return
  if (state === undefined || !(isArriving(state) || state.state === 'left'))
    throw new StoreOpenError(`${location} is not empty: give --to an empty place`)
  if (state.state === 'left') {
    throw new StoreOpenError(
      `${location} is where a database has moved away from, to ${state.other}: give --to an empty place`,
    )
  }
  if (state.storeId === storeId) return
  throw new StoreOpenError(
    `${location} is an incomplete copy of another database, ${state.other}: give --to an empty place`,
  )
}

/** @throws StoreOpenError unless the store lives in the place where this was read */
export function requireHere(state: CopyState | undefined, location: string): void {
  if (state?.state === 'left') throw new StoreOpenError(movedAway(location, state))
  if (state !== undefined && isArriving(state)) throw new StoreOpenError(incomplete(location, state))
}

/**
 * What was written down counts only if it was all the time, and the fence only where it stands on every table: migrations make
 * tables anew, without triggers.
 *
 * @throws StoreOpenError when the tables are not as they were when the copy was begun
 */
export function requireUnchanged(
  { newer, hasTriggers }: { readonly newer: boolean; readonly hasTriggers: boolean },
  location: string,
): void {
  if (hasTriggers && !newer) return
  throw new StoreOpenError(
    `the tables of ${location} were changed while it was copied: let migrations end, and run \`mayfly db copy\` again`,
  )
}

/** @throws StoreOpenError unless a run of the command still has the place to itself */
export function requireMine(
  state: CopyState | undefined,
  { copyId, expected }: { readonly copyId: string; readonly expected: CopyState['state'] },
  location: string,
): void {
  if (state?.copyId === copyId && state.state === expected) return
  if (state?.copyId === copyId && state.state === 'abandoned') {
    throw new StoreOpenError(
      `${location} changes faster than it is copied: run \`mayfly db copy\` again when less is asked of it`,
    )
  }
  throw new StoreOpenError(`${location} is being copied by another run of \`mayfly db copy\`: let that one end`)
}
