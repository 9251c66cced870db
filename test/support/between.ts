/** Something that happens between two statements of a store, as when its process is paused there. */
import Database from 'better-sqlite3'
import pg from 'pg'
import { onTestFinished } from 'vitest'
import type { StorePlace } from '../../src/store/open-store.ts'
import { connect } from './postgres.ts'

/**
 * Has `act` happen once, before the first statement to PostgreSQL whose text matches.
 *
 * @returns whether it has
 */
export function beforeQuery(pattern: RegExp, act: () => Promise<void>): () => boolean {
  const query = pg.Client.prototype.query as (...args: unknown[]) => Promise<unknown>
  let hasHappened = false
  const patched = function (this: pg.Client, ...args: unknown[]): unknown {
    const [first] = args
    const text = typeof first === 'string' ? first : (first as { text: string }).text
    if (hasHappened || !pattern.test(text)) return query.apply(this, args)
    hasHappened = true
    return act().then(() => query.apply(this, args))
  }
  pg.Client.prototype.query = patched as never
  onTestFinished(() => {
    pg.Client.prototype.query = query as never
  })
  return () => hasHappened
}

const statement = Object.getPrototypeOf(new Database(':memory:').prepare('SELECT 1')) as Record<
  'get' | 'all',
  (this: Database.Statement, ...args: unknown[]) => unknown
>

/**
 * Has `act` happen once, before the `count`th read of a SQLite file from now on whose text matches.
 *
 * @returns whether it has
 */
export function beforeRead(pattern: RegExp, count: number, act: () => void): () => boolean {
  const { get, all } = statement
  let left = count
  const patch = (original: typeof get): typeof get =>
    function (this: Database.Statement, ...args) {
      if (pattern.test(this.source)) left -= 1
      if (left === 0) {
        left = -1
        act()
      }
      return original.apply(this, args)
    }
  statement.get = patch(get)
  statement.all = patch(all)
  onTestFinished(() => void Object.assign(statement, { get, all }))
  return () => left < 0
}

/** Waits until something is over, or waits for a lock of PostgreSQL. */
export async function settledOrWaiting(place: StorePlace, act: Promise<unknown>): Promise<'settled' | 'waiting'> {
  const client = await connect(place.postgresUrl?.reveal() ?? '')
  const settled = act.then(
    () => 'settled' as const,
    () => 'settled' as const,
  )
  for (;;) {
    const { rows } = await client.query(
      `SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`,
    )
    if (rows.length > 0) return 'waiting'
    const tick = new Promise<undefined>((resolve) => setTimeout(resolve, 20, undefined))
    if ((await Promise.race([settled, tick])) !== undefined) return 'settled'
  }
}
