import { StoreUnavailable } from '../../lib/store-error.ts'
import type { Mark, MarkStore } from '../../token/mark-store.ts'
import { maxMarksPerClient } from '../../token/mark-store.ts'
import type { Batch } from './act-queue.ts'
import { type Connection, read } from './connection.ts'

/** Sets a mark inside an act. @returns whether it is new */
export type SetMark = (mark: Mark & { readonly clientId: string }, batch: Batch) => boolean

/** What the stores share that end tokens. */
export function createMarkSetter(connection: Connection): SetMark {
  const { sqlite } = connection
  const insert = sqlite.prepare(
    'INSERT INTO mark (kind, id, client_id, expires_at, sequence) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING',
  )
  const bump = sqlite.prepare(`UPDATE sequence SET value = value + 1 WHERE name = 'mark' RETURNING value`).pluck()
  const find = sqlite.prepare('SELECT 1 FROM mark WHERE kind = ? AND id = ?').pluck()
  const count = sqlite.prepare('SELECT count(*) FROM mark WHERE client_id = ?').pluck()
  const drop = sqlite.prepare('DELETE FROM mark WHERE client_id = ?')
  const endTokens = sqlite.prepare(
    'UPDATE client SET tokens_after = max(coalesce(tokens_after, 0), ?) WHERE client_id = ?',
  )

  // One mark on the client takes the place of the many: it ends more, and nothing that the others ended comes back.
  const collapse = (clientId: string, batch: Batch): void => {
    endTokens.run(connection.endOfTokens(clientId), clientId)
    drop.run(clientId)
    connection.writeEvent({
      type: 'client.tokens_ended',
      clientId,
      actor: 'server',
      detail: { reason: 'more single tokens were revoked than are kept apart' },
    })
    connection.moveRegistry(batch)
  }

  return ({ kind, id, clientId, expiresAt }, batch) => {
    const sequence = bump.get() as number
    if (insert.run(kind, id, clientId, expiresAt, sequence).changes !== 1) {
      // Somebody's trigger may have swallowed it: what is not marked has not ended.
      if (find.get(kind, id) === undefined) throw new StoreUnavailable('a mark was not written')
      return false
    }
    if ((count.get(clientId) as number) > maxMarksPerClient) collapse(clientId, batch)
    return true
  }
}

export function createMarkStore(connection: Connection, setMark: SetMark): MarkStore {
  const { sqlite, acts } = connection
  const readSequence = sqlite.prepare(`SELECT value FROM sequence WHERE name = 'mark'`).pluck()
  const readAfter = sqlite.prepare('SELECT kind, id, expires_at AS expiresAt FROM mark WHERE sequence > ?')
  const prune = sqlite.prepare(
    'DELETE FROM mark WHERE (kind, id) IN (SELECT kind, id FROM mark WHERE expires_at < ? LIMIT ?)',
  )
  const currentSequence = (): number => (readSequence.get() as number | undefined) ?? 0

  return {
    readMarkSequence: () => read(currentSequence),
    readMarks: (after) =>
      read(() => {
        // The sequence first: a mark that comes between the two is read twice rather than never.
        const sequence = currentSequence()
        return { sequence, marks: readAfter.all(after) as Mark[] }
      }),
    revokeToken: ({ expiresAt }, event) =>
      acts.submit({
        single: false,
        witnessed: true,
        run: (batch) => {
          const { jti, clientId } = event
          if (!setMark({ kind: 'jti', id: jti, clientId, expiresAt }, batch)) return false
          connection.writeEvent(event)
          return true
        },
      }),
    pruneMarks: (before, limit) => acts.submit({ single: true, run: () => prune.run(before, limit).changes }),
  }
}
