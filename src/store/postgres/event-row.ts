import type { AuditEvent } from '../../audit/event.ts'
import { makeUlid, nextUlid, ulidMilliseconds } from '../../lib/id.ts'

/** How far the time in the id of an audit record may be from the clock before the record says what the clock showed. */
const idErrorMilliseconds = 1_000

const randomEnd = 8

/**
 * Appends a record. Where the clock has stepped back, or another process's is ahead, the id would stand before the last one:
 * then it is not written, and the last one is told. `present`: it is there, perhaps by an earlier try of the same.
 */
export const insertInOrder = `WITH last AS MATERIALIZED (SELECT id FROM audit_event ORDER BY id DESC LIMIT 1),
  written AS (
    INSERT INTO audit_event (id, type, client_id, request_id, detail, wall_at)
    SELECT $1, $2, $3, $4, $5, $6::bigint WHERE NOT EXISTS (SELECT FROM last WHERE id >= $1)
    ON CONFLICT (id) DO NOTHING RETURNING id
  )
  SELECT (SELECT id FROM last) AS last,
    EXISTS (SELECT FROM written) OR EXISTS (SELECT FROM audit_event WHERE id = $1) AS present`

/** Appends a record, whatever the last one is: `toEventValues` has what it takes. */
export const insertEvent = `INSERT INTO audit_event (id, type, client_id, request_id, detail, wall_at)
  VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (id) DO NOTHING RETURNING id`

/** The columns of an audit record. */
export function toEventValues(id: string, event: AuditEvent, now: number): readonly unknown[] {
  const { type, ...rest } = event
  const { clientId = null, requestId = null, ...detail } = rest as { clientId?: string; requestId?: string }
  const isDatedByClock = Math.abs(ulidMilliseconds(id) - now) <= idErrorMilliseconds
  return [id, type, clientId, requestId, JSON.stringify(detail), isDatedByClock ? null : now]
}

/**
 * An id behind another, whatever the clock shows: the given one where it is. Two who look for one behind the same id at
 * the same time do not find the same.
 */
export function laterId(id: string, last: string | undefined): string {
  if (last === undefined || id > last) return id
  return (
    nextUlid(last.slice(0, -randomEnd) + 'Z'.repeat(randomEnd)).slice(0, -randomEnd) + makeUlid(0).slice(-randomEnd)
  )
}
