/**
 * Marks are set one after the other: whoever sets one takes the next value of their counter, and with it the row of that
 * counter until his commit. So they become visible in the order of their numbers, and a reader who has seen a number has
 * seen all that are below it. PostgreSQL's own sequences would give a number to each at once, and whoever commits later with
 * a lower one would be missed by every reader for ever.
 */
import { StoreUnavailable } from '../../lib/store-error.ts'
import { type Mark, type MarkStore, maxMarksPerClient } from '../../token/mark-store.ts'
import type { Connection, Transaction } from './connection.ts'
import type { Horizon } from './horizon.ts'

/** One client has as many marks as it can have: the next one needs the registry. */
class TooManyMarks extends Error {
  constructor() {
    super('too many marks')
    this.name = 'TooManyMarks'
  }
}

/** Sets a mark in a transaction. @returns whether it is new */
export type SetMark = (mark: Mark & { readonly clientId: string }) => Promise<boolean>

/** Something that ends tokens by marks. */
export type EndByMark<T> = (tx: Transaction, setMark: SetMark) => Promise<T>

// The count is that of before, as of when the statement began: others who mark the same client then may add a few.
const insert = `WITH counter AS (UPDATE sequence SET value = value + 1 WHERE name = 'mark' RETURNING value),
  written AS (
    INSERT INTO mark (kind, id, client_id, expires_at, sequence) SELECT $1, $2, $3, $4::bigint, value FROM counter
    ON CONFLICT DO NOTHING RETURNING 1
  )
  SELECT EXISTS (SELECT FROM written) AS written, (SELECT count(*) FROM mark WHERE client_id = $3) AS before`
const find = 'SELECT 1 FROM mark WHERE kind = $1 AND id = $2'
const endTokens =
  'UPDATE client SET tokens_after = greatest(coalesce(tokens_after, 0), $1::bigint) WHERE client_id = $2'
// Both as of one moment.
const readAfter = `SELECT s.value AS sequence, m.kind, m.id, m.expires_at AS "expiresAt"
  FROM sequence s LEFT JOIN mark m ON m.sequence > $1 WHERE s.name = 'mark'`
const prune = `WITH old AS (SELECT kind, id FROM mark WHERE expires_at < $1 LIMIT $2 FOR UPDATE SKIP LOCKED)
  DELETE FROM mark USING old WHERE mark.kind = old.kind AND mark.id = old.id RETURNING 1`

/**
 * Makes an act that sets marks. When a client gets too many, it is made again as one that changes the registry: one mark on
 * the client takes the place of the many. It ends more, and nothing that the others ended comes back.
 *
 * @throws StoreUnavailable, WitnessUnavailable
 */
export async function endByMark<T>(connection: Connection, act: EndByMark<T>): Promise<T> {
  return connection.witnessed(async () => {
    try {
      return await connection.transaction((tx) => act(tx, (mark) => setMark(tx, mark, refuse)))
    } catch (error) {
      if (!(error instanceof TooManyMarks)) throw error
      return connection.transaction((tx) => endWithRegistry(tx, act), { locksRegistry: true })
    }
  })
}

async function endWithRegistry<T>(tx: Transaction, act: EndByMark<T>): Promise<T> {
  // Before anything else is locked: whoever goes through the gate may wait for that.
  await tx.closeGate()
  return act(tx, (mark) => setMark(tx, mark, () => collapse(tx, mark.clientId)))
}

async function setMark(
  tx: Transaction,
  { kind, id, clientId, expiresAt }: Parameters<SetMark>[0],
  onTooMany: () => Promise<void>,
): Promise<boolean> {
  const values = [kind, id, clientId, expiresAt]
  const [done] = await tx.query({ name: 'set_mark', text: insert, values })
  if (done?.written !== true) {
    // Somebody's trigger may have swallowed it: what is not marked has not ended.
    const [present] = await tx.query({ text: find, values: [kind, id] })
    if (present === undefined) throw new StoreUnavailable('a mark was not written')
    return false
  }
  if (done.before >= maxMarksPerClient) await onTooMany()
  return true
}

async function refuse(): Promise<never> {
  throw new TooManyMarks()
}

async function collapse(tx: Transaction, clientId: string): Promise<void> {
  await tx.query({ text: endTokens, values: [await tx.endOfTokens(clientId), clientId] })
  await tx.query({ text: 'DELETE FROM mark WHERE client_id = $1', values: [clientId] })
  await tx.writeEvent({
    type: 'client.tokens_ended',
    clientId,
    actor: 'server',
    detail: { reason: 'more single tokens were revoked than are kept apart' },
  })
  tx.moveRegistry()
}

export function createMarkStore(connection: Connection, horizon: Pick<Horizon, 'read'>): MarkStore {
  return {
    readMarkSequence: async () => (await horizon.read()).mark,
    readMarks: async (after) => {
      const rows = await connection.read({ name: 'marks_after', text: readAfter, values: [after] })
      const marks = rows
        .filter((row) => row.id !== null)
        .map(({ kind, id, expiresAt }) => ({ kind, id, expiresAt }) as Mark)
      return { sequence: (rows[0]?.sequence as number | undefined) ?? 0, marks }
    },
    revokeToken: ({ expiresAt }, event) =>
      endByMark(connection, async (tx, set) => {
        const { jti, clientId } = event
        if (!(await set({ kind: 'jti', id: jti, clientId, expiresAt }))) return false
        await tx.writeEvent(event)
        return true
      }),
    pruneMarks: async (before, limit) =>
      (await connection.persist(() => ({ text: prune, values: [before, limit] }))).rows.length,
  }
}
