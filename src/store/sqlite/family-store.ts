import type { FamilyEndReason, Origin } from '../../audit/event.ts'
import { ulidCeiling, ulidMilliseconds } from '../../lib/id.ts'
import { StoreUnavailable } from '../../lib/store-error.ts'
import { formatConfirmation } from '../../oauth/confirmation.ts'
import type { RefreshFamily } from '../../token/family.ts'
import type { FamilyChange, FamilyEnding, FamilyStore } from '../../token/family-store.ts'
import { longestTokenLifeMilliseconds } from '../../token/mark-store.ts'
import { parseConfirmation } from '../rows/columns.ts'
import type { Batch } from './act-queue.ts'
import { type Connection, read } from './connection.ts'
import { getTableColumns } from './drizzle.ts'
import type { SetMark } from './mark-store.ts'
import { refreshFamily } from './schema.ts'

type Row = {
  // Statements by hand hand over the columns by their names in the table.
  [Column in keyof Columns as SnakeCase<Column>]: Columns[Column]
}

type Columns = Omit<typeof refreshFamily.$inferSelect, 'seed'> & { readonly seed: string }

interface UseRow {
  readonly request_id: string
  readonly address: string
  readonly refresh_generation: number | null
  readonly previous_jti: string | null
}

type SnakeCase<Name extends string> = Name extends `${infer First}${infer Rest}`
  ? First extends Lowercase<First>
    ? `${First}${SnakeCase<Rest>}`
    : `_${Lowercase<First>}${SnakeCase<Rest>}`
  : ''

/** Makes the change to a family that goes with a token, inside the act that records it. @returns whether the family was still so */
export type ChangeFamily = (change: FamilyChange, jti: string) => boolean

// No ULID begins with it.
const behindAll = 'Z'
/** How many uses are looked back for the first one of a generation. */
const mostUses = 10_000

/** By hand, as the record of a token is: these statements run for every refresh. */
export function createFamilyChanges({ sqlite, clock }: Connection): ChangeFamily {
  const insert = sqlite.prepare(
    `INSERT INTO refresh_family (family_id, client_id, subject, audience, scope, seed, generation, generation_at,
       root_version, expires_at, family_expires_at, confirmation)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
  )
  // The compare-and-set: of all who present the ticket of one generation, one changes the row.
  const rotate = sqlite.prepare(
    `UPDATE refresh_family SET generation = generation + 1, generation_at = ?, root_version = ?, expires_at = ?,
       confirmation = ?, last_jti = ?
     WHERE family_id = ? AND generation = ? AND end_reason IS NULL AND expires_at > ?`,
  )
  const findCurrent = sqlite
    .prepare(
      'SELECT 1 FROM refresh_family WHERE family_id = ? AND generation = ? AND end_reason IS NULL AND expires_at > ?',
    )
    .pluck()

  // Between the decision and its act a process may be paused for an hour.
  const latest = (at: number): number => Math.max(at, clock.nowMilliseconds())

  return (change, jti) => {
    switch (change.kind) {
      case 'start': {
        const { changes } = insert.run(...toValues(change.family))
        if (changes !== 1) throw new StoreUnavailable('a refresh family was not written')
        return true
      }
      case 'rotate': {
        const { at, rootVersion, expiresAt, familyId, generation } = change
        const confirmation = formatConfirmation(change.confirmation) ?? null
        const now = latest(at)
        // The window begins when the ticket is used, however long that had to wait.
        return rotate.run(now, rootVersion, expiresAt, confirmation, jti, familyId, generation, now).changes === 1
      }
      case 'retry': {
        const now = latest(change.at)
        return now < change.until && findCurrent.get(change.familyId, change.generation, now) !== undefined
      }
    }
  }
}

export function createFamilyStore(connection: Connection, setMark: SetMark): FamilyStore {
  const { sqlite, acts, clock } = connection
  // The seed as text: a blob comes in memory of its own, which takes as long as the rest of the row.
  const columns = Object.values(getTableColumns(refreshFamily)).map(({ name }) =>
    name === 'seed' ? 'hex(seed) AS seed' : name,
  )
  const byId = sqlite.prepare(`SELECT ${columns.join()} FROM refresh_family WHERE family_id = ?`)
  const end = sqlite.prepare(
    `UPDATE refresh_family SET ended_at = ?, end_reason = ?, expires_at = min(expires_at, ?)
     WHERE family_id = ? AND end_reason IS NULL`,
  )
  const useBy = sqlite.prepare(
    'SELECT request_id, address, refresh_generation, previous_jti FROM issuance WHERE jti = ?',
  )
  const count = sqlite
    .prepare(
      `SELECT count(*) FROM refresh_family WHERE client_id = ? AND end_reason IS NULL AND expires_at > ? AND family_id > ?`,
    )
    .pluck()
  const lastOfPart = sqlite
    .prepare('SELECT family_id FROM refresh_family WHERE family_id > ? ORDER BY family_id LIMIT 1 OFFSET ?')
    .pluck()
  const prune = sqlite.prepare('DELETE FROM refresh_family WHERE family_id > ? AND family_id <= ? AND expires_at < ?')

  const readMoment = sqlite.prepare(`SELECT value FROM sequence WHERE name = 'family_moment'`).pluck()
  const noteMoment = sqlite.prepare(
    `INSERT INTO sequence (name, value) VALUES ('family_moment', ?)
     ON CONFLICT (name) DO UPDATE SET value = max(value, excluded.value)`,
  )

  const find = (familyId: string): RefreshFamily | undefined => {
    const row = byId.get(familyId) as Row | undefined
    return row === undefined ? undefined : toFamily(row)
  }

  // From the last use of a family backwards, as far as the records are still there.
  const findFirstUse = (family: RefreshFamily, generation: number): (Origin & { at: number }) | undefined => {
    let jti: string | null = family.lastJti ?? null
    for (let uses = 0; jti !== null && uses < mostUses; uses += 1) {
      const row = useBy.get(jti) as UseRow | undefined
      if (row === undefined) return undefined
      const { request_id, address, refresh_generation, previous_jti } = row
      if (refresh_generation === generation) {
        return { requestId: `req_${request_id.replace(/^req_/, '')}`, address, at: ulidMilliseconds(jti) }
      }
      jti = previous_jti
    }
    return undefined
  }

  const pruneFamilies: FamilyStore['pruneFamilies'] = (before, { after, limit }) =>
    acts.submit({
      single: true,
      run: () => {
        const last = lastOfPart.get(after, limit - 1) as string | undefined
        prune.run(after, last ?? behindAll, before)
        return last
      },
    })

  const endFamily = ({ familyId, ifGeneration, ifSequence, event }: FamilyEnding, batch: Batch): boolean => {
    if (ifSequence !== undefined && batch.sequence !== ifSequence) return false
    const family = find(familyId)
    if (family === undefined || (ifGeneration !== undefined && family.generation !== ifGeneration)) return false
    const now = clock.nowMilliseconds()
    if (family.end !== undefined) return false
    if (end.run(now, event.reason, now, familyId).changes !== 1) {
      throw new StoreUnavailable('the end of a refresh family was not written')
    }
    const { presentedGeneration } = event
    const used = presentedGeneration === undefined ? undefined : findFirstUse(family, presentedGeneration)
    connection.writeEvent(used === undefined ? event : { ...event, firstUse: used })
    const expiresAt = connection.endOfTokens(family.clientId) + longestTokenLifeMilliseconds
    setMark({ kind: 'family', id: familyId, clientId: family.clientId, expiresAt }, batch)
    return true
  }

  return {
    findFamily: (familyId) => read(() => find(familyId)),
    endFamily: (ending) => acts.submit({ single: false, witnessed: true, run: (batch) => endFamily(ending, batch) }),
    countFamilies: (clientId, { now, bornAfter }) =>
      read(() => count.get(clientId, now, ulidCeiling(bornAfter)) as number),
    readMoment: () => read(() => (readMoment.get() as number | undefined) ?? 0),
    noteMoment: (at) => acts.submit({ single: true, run: () => void noteMoment.run(at) }),
    pruneFamilies,
  }
}

function toValues(family: RefreshFamily): (string | number | Buffer | null)[] {
  const { familyId, clientId, subject, audience, scopes, seed, generation, generationAt, rootVersion } = family
  return [
    familyId,
    clientId,
    subject === clientId ? null : subject,
    audience,
    scopes.length === 0 ? null : scopes.join(' '),
    Buffer.from(seed),
    generation,
    generationAt,
    rootVersion,
    family.expiresAt,
    family.familyExpiresAt,
    formatConfirmation(family.confirmation) ?? null,
  ]
}

function toFamily(row: Row): RefreshFamily {
  return {
    familyId: row.family_id,
    clientId: row.client_id,
    subject: row.subject ?? row.client_id,
    audience: row.audience,
    scopes: row.scope === null ? [] : row.scope.split(' '),
    seed: Buffer.from(row.seed, 'hex'),
    generation: row.generation,
    generationAt: row.generation_at,
    rootVersion: row.root_version,
    lastJti: row.last_jti ?? undefined,
    expiresAt: row.expires_at,
    familyExpiresAt: row.family_expires_at,
    ...parseConfirmation(row.confirmation),
    ...(row.end_reason === null ? {} : { end: row.end_reason as FamilyEndReason }),
  }
}
