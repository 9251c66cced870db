import { type Clock, systemClock } from '../lib/clock.ts'
import { openSqliteStore } from './sqlite/sqlite-store.ts'
import type { Store, StoreEvents } from './store.ts'

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
