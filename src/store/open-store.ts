import { type Clock, systemClock } from '../lib/clock.ts'
import type { StoreUnavailable } from '../lib/store-error.ts'
import { toOpenError } from './sqlite/open.ts'
import { openSqliteStore } from './sqlite/sqlite-store.ts'
import { type Store, type StoreEvents, StoreOpenError } from './store.ts'

/** How to open: see `OpenOptions` of the store for `create` and `examine`. */
export interface OpenStoreOptions {
  readonly create: boolean
  readonly examine: boolean
  readonly clock?: Clock
  readonly events?: StoreEvents
}

/**
 * Opens the store at a place, here the absolute path of a SQLite file. The only file that names a concrete store.
 *
 * @throws StoreOpenError
 */
export function openStore(place: string, options: OpenStoreOptions): Store {
  return openSqliteStore(place, { clock: systemClock, ...options })
}

/** What a store that failed at work says to the person at the command line. */
export function explainFailure(error: StoreUnavailable, place: string): StoreOpenError {
  const explained = toOpenError(error.cause, place)
  if (explained instanceof StoreOpenError) return explained
  const outcome = error.outcomeUnknown
    ? 'it may or may not have been done: `mayfly audit list` tells'
    : 'nothing was changed: try again'
  return new StoreOpenError(`${place}: ${error.message}; ${outcome}`, { cause: error })
}
