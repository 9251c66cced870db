/** What a move or a restore has left in a database. */
import type { CopyState } from '../copy/sides.ts'
import { toRemains } from '../copy/state.ts'
import type { Remains } from '../store.ts'
import type { Connection } from './connection.ts'
import { selectState } from './copy-state.ts'

/** How the schema begins that a restore puts away what was there. */
export const asidePrefix = 'before_restore_'

const schemas = `SELECT nspname AS schema, coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint AS bytes
  FROM pg_namespace n LEFT JOIN pg_class c ON c.relnamespace = n.oid AND c.relkind = 'r'
  WHERE starts_with(nspname, '${asidePrefix}') GROUP BY nspname ORDER BY nspname`

/** @throws StoreUnavailable */
export async function readRemains(connection: Pick<Connection, 'read'>): Promise<readonly Remains[]> {
  const [state] = await connection.read({ text: selectState })
  const replaced = await connection.read({ text: schemas })
  return [
    ...toRemains(state as CopyState | undefined),
    ...replaced.map(
      ({ schema, bytes }): Remains => ({ kind: 'replaced', schema: schema as string, bytes: bytes as number }),
    ),
  ]
}
