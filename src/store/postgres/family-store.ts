import type { Origin } from '../../audit/event.ts'
import { ulidCeiling, ulidMilliseconds } from '../../lib/id.ts'
import { StoreUnavailable } from '../../lib/store-error.ts'
import type { FamilyEnding, FamilyStore } from '../../token/family-store.ts'
import { longestTokenLifeMilliseconds } from '../../token/mark-store.ts'
import { columnsOf } from './columns.ts'
import type { Connection, Transaction } from './connection.ts'
import { toFamily } from './family-rows.ts'
import { fence } from './fence.ts'
import { endByMark, type SetMark } from './mark-store.ts'
import { refreshFamily } from './schema.ts'

const selectFamily = `SELECT ${columnsOf(refreshFamily)} FROM refresh_family WHERE family_id = $1`
const end = `UPDATE refresh_family SET ended_at = $2, end_reason = $3, expires_at = least(expires_at, $2)
  WHERE family_id = $1 AND end_reason IS NULL AND ($4::bigint IS NULL OR generation = $4)
  RETURNING client_id AS "clientId", last_jti AS "lastJti"`
const findAlive = `SELECT 1 FROM refresh_family
  WHERE family_id = $1 AND end_reason IS NULL AND ($2::bigint IS NULL OR generation = $2)`
/** How many uses are looked back for the first one of a generation. */
const mostUses = 10_000
// From the last use of a family backwards, as far as the records are still there.
const firstUse = `WITH RECURSIVE uses AS (
    SELECT jti, request_id, address, refresh_generation, previous_jti, 1 AS uses FROM issuance WHERE jti = $1
    UNION ALL
    SELECT i.jti, i.request_id, i.address, i.refresh_generation, i.previous_jti, u.uses + 1
    FROM uses u JOIN issuance i ON i.jti = u.previous_jti
    WHERE u.refresh_generation IS DISTINCT FROM $2 AND u.uses < ${mostUses}
  )
  SELECT jti, request_id AS "requestId", address FROM uses WHERE refresh_generation = $2`
const count = `SELECT count(*) AS count FROM refresh_family
  WHERE client_id = $1 AND end_reason IS NULL AND expires_at > $2 AND family_id > $3`
// No ULID begins with Z.
const prune = `WITH part AS MATERIALIZED (
    SELECT family_id FROM refresh_family WHERE family_id > $1 ORDER BY family_id LIMIT 1 OFFSET $2
  ),
  gone AS (
    DELETE FROM refresh_family
    WHERE family_id > $1 AND family_id <= coalesce((SELECT family_id FROM part), 'Z') AND expires_at < $3
  )
  SELECT family_id AS last FROM part`
const noteMoment = `INSERT INTO sequence (name, value) VALUES ('family_moment', $1)
  ON CONFLICT (name) DO UPDATE SET value = greatest(sequence.value, excluded.value)`

export function createFamilyStore(connection: Connection): FamilyStore {
  const { clock } = connection

  const endFamily = async (
    tx: Transaction,
    setMark: SetMark,
    { familyId, ifGeneration, ifSequence, event }: FamilyEnding,
  ): Promise<boolean> => {
    if (ifSequence !== undefined && !(await isAt(tx, ifSequence))) return false
    const values = [familyId, clock.nowMilliseconds(), event.reason, ifGeneration ?? null]
    const [ended] = await tx.query({ text: end, values })
    if (ended === undefined) return refuseToEnd(tx, familyId, ifGeneration)
    const used = await findFirstUse(tx, ended.lastJti as string | null, event.presentedGeneration)
    await tx.writeEvent(used === undefined ? event : { ...event, firstUse: used })
    const clientId = ended.clientId as string
    const expiresAt = (await tx.endOfTokens(clientId)) + longestTokenLifeMilliseconds
    await setMark({ kind: 'family', id: familyId, clientId, expiresAt })
    return true
  }

  return {
    findFamily: async (familyId) => {
      const [row] = await connection.read({ name: 'find_family', text: selectFamily, values: [familyId] })
      return row === undefined ? undefined : toFamily(row as typeof refreshFamily.$inferSelect)
    },
    endFamily: (ending) => endByMark(connection, (tx, setMark) => endFamily(tx, setMark, ending)),
    countFamilies: async (clientId, { now, bornAfter }) => {
      const [row] = await connection.read({ text: count, values: [clientId, now, ulidCeiling(bornAfter)] })
      return row?.count as number
    },
    readMoment: async () => {
      const [row] = await connection.read({ text: `SELECT value FROM sequence WHERE name = 'family_moment'` })
      return (row?.value as number | undefined) ?? 0
    },
    noteMoment: async (at) => void (await connection.persist(() => ({ text: noteMoment, values: [at] }))),
    pruneFamilies: async (before, { after, limit }) => {
      const { rows } = await connection.persist(() => ({ text: prune, values: [after, limit - 1, before] }))
      return rows[0]?.last as string | undefined
    },
  }
}

// Somebody's trigger may have swallowed it: what could be ended and was not must not look as if it had.
async function refuseToEnd(tx: Transaction, familyId: string, ifGeneration: number | undefined): Promise<false> {
  const [alive] = await tx.query({ text: findAlive, values: [familyId, ifGeneration ?? null] })
  if (alive !== undefined) throw new StoreUnavailable('the end of a refresh family was not written')
  return false
}

async function isAt(tx: Transaction, sequence: number): Promise<boolean> {
  const [row] = await tx.query({ text: `SELECT ${fence} AS value` })
  if (row === undefined) throw new StoreUnavailable('the registry sequence is missing')
  return row.value === sequence
}

async function findFirstUse(
  tx: Transaction,
  lastJti: string | null,
  generation: number | undefined,
): Promise<(Origin & { at: number }) | undefined> {
  if (generation === undefined || lastJti === null) return undefined
  const [row] = await tx.query({ text: firstUse, values: [lastJti, generation] })
  if (row === undefined) return undefined
  const { jti, requestId, address } = row as { jti: string; requestId: string; address: string }
  return { requestId: `req_${requestId.replace(/^req_/, '')}`, address, at: ulidMilliseconds(jti) }
}
