import type { AuditEntry } from '../../audit/audit-store.ts'
import type { AuditEvent } from '../../audit/event.ts'
import { ulidFloor, ulidMilliseconds } from '../../lib/id.ts'
import type { auditEvent } from '../sqlite/schema.ts'

// A token is recorded within moments of its request, so its `jti` lies close behind the time in the request id.
const requestSpanMilliseconds = 60_000

/** Where the records of the tokens of a request can be. */
export function requestSpan(requestId: string | undefined): { from: string; to: string } | undefined {
  if (requestId === undefined) return undefined
  const at = ulidMilliseconds(requestId.replace(/^req_/, ''))
  return { from: ulidFloor(Math.max(0, at - requestSpanMilliseconds)), to: ulidFloor(at + requestSpanMilliseconds) }
}

/** Each list in its own order, which is that of events, and the two with each other by what the clock showed. */
export function mergeTrail(tokens: readonly AuditEntry[], others: readonly AuditEntry[]): readonly AuditEntry[] {
  const merged: AuditEntry[] = []
  let next = 0
  for (const other of others) {
    for (let token = tokens[next]; token !== undefined && isLater(token, other); token = tokens[next]) {
      merged.push(token)
      next += 1
    }
    merged.push(other)
  }
  return [...merged, ...tokens.slice(next)]
}

function isLater(a: AuditEntry, b: AuditEntry): boolean {
  return a.at === b.at ? a.id > b.id : a.at > b.at
}

/** A line of the trail from its row. The trail is written by this program alone, and read back as it was written. */
export function toEntry(row: typeof auditEvent.$inferSelect): AuditEntry {
  const { id, type, clientId, requestId } = row
  const { wallAt = ulidMilliseconds(id), ...detail } = JSON.parse(row.detail) as { wallAt?: number }
  const event = {
    type,
    ...detail,
    ...(clientId === null ? {} : { clientId }),
    ...(requestId === null ? {} : { requestId }),
  } as unknown as AuditEvent
  return { id, at: wallAt, ...event }
}
