import type Database from 'better-sqlite3'
import type { Actor, AuditEvent, Change, ChangeRecord } from '../../audit/event.ts'
import type { Clock } from '../../lib/clock.ts'
import { makeUlid, nextUlid, ulidCeiling, ulidMilliseconds } from '../../lib/id.ts'
import { StoreUnavailable } from '../../lib/store-error.ts'
import { longestTokenLifeMilliseconds, nodeSkewMilliseconds } from '../../token/mark-store.ts'
import { type ActQueue, type Batch, toStoreError } from './act-queue.ts'
import { desc, drizzle, eq, sql } from './drizzle.ts'
import { auditEvent, sequence } from './schema.ts'

/** What the parts of the store share: one connection, its queue of acts, and how a change is made. */
export interface Connection {
  readonly sqlite: Database.Database
  readonly db: ReturnType<typeof drizzle>
  readonly acts: ActQueue
  readonly clock: Clock
  /** Prepared: appends to the audit trail, after all that is in it, whatever the clock shows. Only inside an act. */
  writeEvent(event: AuditEvent): void
  /** Moves the registry sequence: last in an act that changes what decisions read. */
  moveRegistry(batch: Batch): void
  /** The moment up to which the tokens of a client, or of all, are to be dead when they are ended now. Only inside an act. */
  endOfTokens(clientId?: string): number
  /** The registry sequence as of now. */
  readSequence(): number
  /**
   * A change to the registry: what `run` does, its audit record, and the registry sequence, in one act. When `run`
   * returns no event, nothing had to change and the sequence stays.
   */
  change<T>(by: Actor, run: () => Changed<T>): Promise<T>
}

/** What a change did. */
export interface Changed<T> {
  readonly value: T
  readonly events: readonly (Change & Pick<ChangeRecord, 'detail'>)[]
}

// How far the time in the id of an audit record may be from the clock before the record says what the clock showed.
const idErrorMilliseconds = 1_000

/** Runs a read; what SQLite throws becomes StoreUnavailable. Asynchronous only for the interface. */
export async function read<T>(run: () => T): Promise<T> {
  try {
    return run()
  } catch (error) {
    throw toStoreError(error)
  }
}

export function createConnection(sqlite: Database.Database, acts: ActQueue, clock: Clock): Connection {
  const db = drizzle({ client: sqlite })
  const { placeholder } = sql
  const insertEvent = db
    .insert(auditEvent)
    .values({
      id: placeholder('id'),
      type: placeholder('type'),
      clientId: placeholder('clientId'),
      requestId: placeholder('requestId'),
      detail: placeholder('detail'),
    })
    .prepare()
  const bumpSequence = db
    .update(sequence)
    .set({ value: sql`${sequence.value} + 1` })
    .where(eq(sequence.name, 'registry'))
    .returning({ value: sequence.value })
    .prepare()
  // By hand: it is asked for with every JWKS and every refusal.
  const readSequence = sqlite.prepare(`SELECT value FROM sequence WHERE name = 'registry'`).pluck()

  const selectNewestToken = sqlite
    .prepare('SELECT jti FROM issuance WHERE jti > ? AND (? OR client_id = ?) ORDER BY jti DESC LIMIT 1')
    .pluck()

  const selectLastEvent = db
    .select({ id: auditEvent.id })
    .from(auditEvent)
    .orderBy(desc(auditEvent.id))
    .limit(1)
    .prepare()

  // The write lock is held, so no other process writes between the two. An id that a step of the clock, or chance within
  // a millisecond, would put before the last one follows it instead.
  const makeEventId = (now: number): string => {
    const id = makeUlid(now)
    const last = selectLastEvent.get()?.id
    return last === undefined || id > last ? id : nextUlid(last)
  }

  const writeEvent = (event: AuditEvent): void => {
    const { type, ...rest } = event
    const { clientId, requestId, ...detail } = rest as { clientId?: string; requestId?: string }
    const now = clock.nowMilliseconds()
    const id = makeEventId(now)
    const isDatedByClock = Math.abs(ulidMilliseconds(id) - now) <= idErrorMilliseconds
    const { changes } = insertEvent.run({
      id,
      type,
      clientId: clientId ?? null,
      requestId: requestId ?? null,
      detail: JSON.stringify(isDatedByClock ? detail : { ...detail, wallAt: now }),
    })
    if (changes !== 1) throw new StoreUnavailable('an audit record was not written')
  }

  const moveRegistry = (batch: Batch): void => {
    const [bumped] = bumpSequence.all()
    if (bumped === undefined) throw new StoreUnavailable('the registry sequence is missing')
    batch.sequence = bumped.value
  }

  const runChange = <T>(batch: Batch, by: Actor, run: () => Changed<T>): T => {
    const { value, events } = run()
    for (const event of events) writeEvent({ ...event, actor: by })
    if (events.length === 0) return value
    moveRegistry(batch)
    return value
  }

  return {
    sqlite,
    db,
    acts,
    clock,
    writeEvent,
    moveRegistry,
    endOfTokens: (clientId) => {
      // A clock that has stepped back may have dated tokens ahead of it; whoever issues them may have one that is ahead. Only
      // the client's own: it can have no new ones before that moment.
      const now = clock.nowMilliseconds()
      const ahead = selectNewestToken.get(ulidCeiling(now), clientId === undefined ? 1 : 0, clientId ?? '')
      const dated = ahead === undefined ? now : ulidMilliseconds(ahead as string)
      // What is dated further ahead is not valid until then, and nobody shall wait for so long.
      return Math.min(dated, now + longestTokenLifeMilliseconds) + nodeSkewMilliseconds
    },
    readSequence: () => (readSequence.get() as number | undefined) ?? 0,
    change: async (by, run) => {
      const value = await acts.submit({ single: false, witnessed: true, run: (batch) => runChange(batch, by, run) })
      checkpoint(sqlite)
      return value
    },
  }
}

// Changes are few and matter: they go on into the main file at once, so that a copy of it without the -wal has them. It is
// durable already, so whatever stands in the way of this does no harm.
function checkpoint(sqlite: Database.Database): void {
  try {
    sqlite.pragma('wal_checkpoint(PASSIVE)')
  } catch {
    // The next change tries again.
  }
}
