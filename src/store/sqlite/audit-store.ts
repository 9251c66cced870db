import type { AuditEntry, AuditQuery, AuditStore } from '../../audit/audit-store.ts'
import { ulidFloor, ulidMilliseconds } from '../../lib/id.ts'
import { mergeTrail, requestSpan, toEntry } from '../rows/audit-rows.ts'
import { toIssuanceRecord } from '../rows/issuance-rows.ts'
import { type Connection, read } from './connection.ts'
import { and, desc, eq, gte, sql } from './drizzle.ts'
import { auditEvent, issuance } from './schema.ts'

export function createAuditStore(connection: Connection): AuditStore {
  const { db, acts, sqlite } = connection
  const pruneIssuance = sqlite.prepare(
    'DELETE FROM issuance WHERE jti IN (SELECT jti FROM issuance WHERE jti < ? ORDER BY jti LIMIT ?)',
  )
  const pruneEvents = sqlite.prepare(
    'DELETE FROM audit_event WHERE id IN (SELECT id FROM audit_event WHERE id < ? ORDER BY id LIMIT ?)',
  )
  // After a clock that was wrong for a while, ids stand ahead of it until it has caught up.
  const pruneAhead = sqlite.prepare(
    `DELETE FROM audit_event WHERE id IN (SELECT id FROM audit_event WHERE id > ? AND json_extract(detail, '$.wallAt') < ? ORDER BY id LIMIT ?)`,
  )

  const pruneAllEvents = (before: number, limit: number): number => {
    const { changes } = pruneEvents.run(ulidFloor(before), limit)
    if (changes === limit) return changes
    return changes + pruneAhead.run(ulidFloor(connection.clock.nowMilliseconds()), before, limit - changes).changes
  }

  const listIssuance = (query: AuditQuery): AuditEntry[] => {
    const span = requestSpan(query.requestId)
    return db
      .select()
      .from(issuance)
      .where(
        and(
          query.clientId === undefined ? undefined : eq(issuance.clientId, query.clientId),
          query.requestId === undefined ? undefined : eq(issuance.requestId, query.requestId),
          query.since === undefined ? undefined : gte(issuance.jti, ulidFloor(query.since)),
          span === undefined ? undefined : sql`${issuance.jti} BETWEEN ${span.from} AND ${span.to}`,
        ),
      )
      .orderBy(desc(issuance.jti))
      .limit(query.limit)
      .all()
      .map((row) => ({ id: row.jti, at: ulidMilliseconds(row.jti), type: 'token.issued', ...toIssuanceRecord(row) }))
  }

  const listEvents = (query: AuditQuery): AuditEntry[] =>
    db
      .select()
      .from(auditEvent)
      .where(
        and(
          query.type === undefined ? undefined : eq(auditEvent.type, query.type),
          query.clientId === undefined ? undefined : eq(auditEvent.clientId, query.clientId),
          query.requestId === undefined ? undefined : eq(auditEvent.requestId, query.requestId),
          ...since(query.since),
        ),
      )
      .orderBy(desc(auditEvent.id))
      .limit(query.limit)
      .all()
      .map(toEntry)

  // An id is never of before its record, but may be of after it.
  const since = (moment: number | undefined) =>
    moment === undefined
      ? []
      : [
          gte(auditEvent.id, ulidFloor(moment)),
          sql`coalesce(json_extract(${auditEvent.detail}, '$.wallAt'), ${moment}) >= ${moment}`,
        ]

  return {
    recordRefusal: (event) => acts.submit({ single: true, patient: true, run: () => connection.writeEvent(event) }),
    listAudit: (query) =>
      read(() => {
        const tokens = query.type === undefined || query.type === 'token.issued' ? listIssuance(query) : []
        const others = query.type === 'token.issued' ? [] : listEvents(query)
        return mergeTrail(tokens, others).slice(0, query.limit)
      }),
    pruneAudit: (before) =>
      acts.submit({
        single: false,
        run: () => {
          const tokens = pruneIssuance.run(ulidFloor(before.issuance), before.limit).changes
          const rest = before.limit - tokens
          return rest === 0 ? tokens : tokens + pruneAllEvents(before.others, rest)
        },
      }),
  }
}
