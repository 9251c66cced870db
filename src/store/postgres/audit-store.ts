import type { AuditEntry, AuditQuery, AuditStore } from '../../audit/audit-store.ts'
import type { AuditEvent } from '../../audit/event.ts'
import { makeUlid, ulidFloor, ulidMilliseconds } from '../../lib/id.ts'
import { StoreUnavailable } from '../../lib/store-error.ts'
import { mergeTrail, requestSpan, toEntry } from '../rows/audit-rows.ts'
import { toIssuanceRecord } from '../rows/issuance-rows.ts'
import { columnsOf, isText } from './columns.ts'
import type { Connection, Transaction } from './connection.ts'
import { insertEvent, insertInOrder, laterId, toEventValues } from './event-row.ts'
import { auditEvent, issuance } from './schema.ts'

const issuances = `SELECT ${columnsOf(issuance)} FROM issuance
  WHERE ($1::text IS NULL OR client_id = $1) AND ($2::text IS NULL OR request_id = $2)
    AND ($3::text IS NULL OR jti >= $3) AND ($4::text IS NULL OR jti BETWEEN $4 AND $5)
  ORDER BY jti DESC LIMIT $6`
// An id is never of before its record, but may be of after it.
const others = `SELECT ${columnsOf(auditEvent)} FROM audit_event
  WHERE ($1::text IS NULL OR client_id = $1) AND ($2::text IS NULL OR request_id = $2)
    AND ($3::text IS NULL OR id >= $3 AND coalesce(wall_at, $4::bigint) >= $4::bigint) AND ($5::text IS NULL OR type = $5)
  ORDER BY id DESC LIMIT $6`

const pruneIssuance = `WITH old AS (SELECT jti FROM issuance WHERE jti < $1 ORDER BY jti LIMIT $2 FOR UPDATE SKIP LOCKED)
  DELETE FROM issuance USING old WHERE issuance.jti = old.jti RETURNING 1`
const pruneEvents = `WITH old AS (SELECT id FROM audit_event WHERE id < $1 ORDER BY id LIMIT $2 FOR UPDATE SKIP LOCKED)
  DELETE FROM audit_event USING old WHERE audit_event.id = old.id RETURNING 1`
// After a clock that was wrong for a while, ids stand ahead of it until it has caught up.
const pruneAhead = `WITH old AS (
    SELECT id FROM audit_event WHERE id > $1 AND wall_at < $2 ORDER BY id LIMIT $3 FOR UPDATE SKIP LOCKED
  )
  DELETE FROM audit_event USING old WHERE audit_event.id = old.id RETURNING 1`

export function createAuditStore(connection: Connection): AuditStore {
  const { clock } = connection

  const recordRefusal = async (event: AuditEvent): Promise<void> => {
    const now = clock.nowMilliseconds()
    const id = makeUlid(now)
    const first = { name: 'write_event', text: insertInOrder, values: toEventValues(id, event, now) }
    const [row] = (await connection.within.persist(() => first)).rows
    if (row?.present === true) return
    const later = laterId(id, row?.last as string | undefined)
    const { rows, wasLost } = await connection.within.persist(() => ({
      text: insertEvent,
      values: toEventValues(later, event, now),
    }))
    if (rows.length === 0 && !wasLost) throw new StoreUnavailable('an audit record was not written')
  }

  const listIssuance = async ({ clientId, requestId, since, limit }: AuditQuery): Promise<readonly AuditEntry[]> => {
    const span = requestSpan(requestId)
    const from = since === undefined ? null : ulidFloor(since)
    const values = [clientId ?? null, requestId ?? null, from, span?.from ?? null, span?.to ?? null, limit]
    return (await connection.read({ text: issuances, values })).map((found) => {
      const row = found as typeof issuance.$inferSelect
      return { id: row.jti, at: ulidMilliseconds(row.jti), type: 'token.issued', ...toIssuanceRecord(row) }
    })
  }

  const listEvents = async (query: AuditQuery): Promise<readonly AuditEntry[]> => {
    const { clientId = null, requestId = null, since, type = null, limit } = query
    const from = since === undefined ? null : ulidFloor(since)
    const rows = await connection.read({
      text: others,
      values: [clientId, requestId, from, since ?? null, type, limit],
    })
    return rows.map(({ wallAt, ...row }) => {
      const entry = toEntry(row as Parameters<typeof toEntry>[0])
      return wallAt === null ? entry : { ...entry, at: wallAt as number }
    })
  }

  const prune = async (tx: Transaction, before: Parameters<AuditStore['pruneAudit']>[0]): Promise<number> => {
    let left = before.limit
    const run = async (text: string, ...values: unknown[]): Promise<void> => {
      if (left > 0) left -= (await tx.query({ text, values: [...values, left] })).length
    }
    await run(pruneIssuance, ulidFloor(before.issuance))
    await run(pruneEvents, ulidFloor(before.others))
    await run(pruneAhead, ulidFloor(clock.nowMilliseconds()), before.others)
    return before.limit - left
  }

  return {
    recordRefusal: (event) => connection.enter(() => recordRefusal(event)),
    listAudit: async (query) => {
      if (!isText(`${query.clientId ?? ''}${query.requestId ?? ''}`)) return []
      const tokens = query.type === undefined || query.type === 'token.issued' ? await listIssuance(query) : []
      const events = query.type === 'token.issued' ? [] : await listEvents(query)
      return mergeTrail(tokens, events).slice(0, query.limit)
    },
    pruneAudit: (before) => connection.transaction((tx) => prune(tx, before)),
  }
}
