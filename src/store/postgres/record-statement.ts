/**
 * The statements that record tokens, each for many at a time, behind the fence (`fence.ts`).
 *
 * Tokens that nothing else goes with need the fence and the record. What goes with a refresh family, with statements that
 * count once or with a quota goes through these parts, each of which takes what the one before lets through:
 *
 *   act       what was decided at the sequence that the registry is still at, and has no record yet by an earlier try
 *   known     statements that have counted before, or are over: they may have counted and been forgotten while their process was
 *             paused; free: the acts without one
 *   held      the families that go on or are retried, locked in the order of their ids, as they are now; busy: those that
 *             somebody else has locked, which nobody shall wait for who has nothing to do with them
 *   fit       the acts whose family is still so; of all who use one generation, one
 *   hours     the counts of clients with a quota, locked in the order of their ids; uncounted: a client that has no row yet
 *   eligible  the acts that only a quota can stand in the way of; turn: which of its client's acts each is
 *   granted   those that the quota lets through, and which happen
 *   started, rotated, tallied, used   what happens with them. Who used a statement at the same moment makes all of it fail,
 *             and it is made again
 *   written   their records
 *
 * What is granted must be written: else the last line makes all of it fail.
 */
import type { IssuanceRecord } from '../../audit/event.ts'
import type { Clock } from '../../lib/clock.ts'
import { formatConfirmation } from '../../oauth/confirmation.ts'
import type { FamilyChange } from '../../token/family-store.ts'
import { hourOf, mostHoursAhead } from '../../token/quota.ts'
import type { IssuanceActs } from '../../token/token-store.ts'
import { toIssuanceValues } from '../rows/issuance-rows.ts'
import { issuanceColumns } from './columns.ts'
import type { Statement } from './database.ts'
import { toFamilyValues } from './family-rows.ts'
import { fence } from './fence.ts'
import { calendar } from './replay-store.ts'

/** A token to be recorded. */
export interface TokenAct {
  readonly record: IssuanceRecord
  /** The registry sequence that it was decided on. */
  readonly sequence: number
  readonly acts: IssuanceActs
}

/** What such a statement returns, in one row. */
export interface Recorded {
  readonly sequence: number | null
  /** The `jti`s that were written. */
  readonly written: readonly string[]
  /** The keys of statements that had counted before. */
  readonly known: readonly Buffer[]
  /** Which of the acts, by their place, somebody else is in the way of. */
  readonly busy: readonly number[]
  /** Which of them a quota is in the way of. */
  readonly spent: readonly number[]
  /** Which of them cannot be counted yet: `startCounting` makes the row. */
  readonly uncounted: readonly number[]
}

const names = issuanceColumns.map(([name]) => name)
const typed = issuanceColumns.map(([name, type]) => `${name} ${type}`)

const insertAlone = `WITH fence AS MATERIALIZED (SELECT ${fence} AS value),
  written AS (
    INSERT INTO issuance (${names.join(', ')})
    SELECT ${names.map((name) => `a.${name}`).join(', ')} FROM fence
    JOIN unnest($1::bigint[], ${issuanceColumns.map(([, type], i) => `$${i + 2}::${type}[]`).join(', ')})
      AS a(at_sequence, ${names.join(', ')}) ON a.at_sequence = fence.value
    ON CONFLICT (jti) DO NOTHING RETURNING jti
  )
  SELECT (SELECT value FROM fence) AS sequence, ARRAY(SELECT jti FROM written) AS written, ARRAY[]::bytea[] AS known,
    ARRAY[]::integer[] AS busy, ARRAY[]::integer[] AS spent, ARRAY[]::integer[] AS uncounted`

const insertWithActs = (whenLocked: '' | 'SKIP LOCKED'): string => `WITH
  fence AS MATERIALIZED (SELECT ${fence} AS value),
  act AS MATERIALIZED (
    SELECT a.* FROM fence JOIN json_to_recordset($1::json) AS a(n integer, at_sequence bigint, ${typed.join(', ')},
      change text, f_id text, f_client text, f_subject text, f_audience text, f_scope text, f_seed text, f_generation bigint,
      f_at bigint, f_root integer, f_expires bigint, f_end bigint, f_confirmation text, f_open boolean, quota bigint,
      hour bigint) ON a.at_sequence = fence.value
    WHERE NOT EXISTS (SELECT FROM issuance i WHERE i.jti = a.jti)
  ),
  use AS MATERIALIZED (
    SELECT u.n, decode(u.key, 'base64') AS key, u.expires_at, u.is_over
    FROM json_to_recordset($2::json) AS u(n integer, key text, expires_at bigint, is_over boolean) WHERE u.n IN (SELECT n FROM act)
  ),
  known AS MATERIALIZED (
    SELECT n, key FROM use WHERE is_over OR expires_at <= ${calendar} OR EXISTS (SELECT FROM replay WHERE replay.key = use.key)
  ),
  free AS MATERIALIZED (SELECT * FROM act WHERE n NOT IN (SELECT n FROM known)),
  held AS MATERIALIZED (
    SELECT family_id, generation, end_reason, expires_at FROM refresh_family
    WHERE family_id IN (SELECT f_id FROM free WHERE change IN ('rotate', 'retry'))
    ORDER BY family_id FOR NO KEY UPDATE ${whenLocked}
  ),
  busy AS MATERIALIZED (
    SELECT a.n FROM free a JOIN refresh_family f ON f.family_id = a.f_id
    WHERE a.change IN ('rotate', 'retry') AND a.f_id NOT IN (SELECT family_id FROM held)
  ),
  fit AS MATERIALIZED (
    SELECT a.n, a.change, row_number() OVER (PARTITION BY a.change, a.f_id ORDER BY a.n) AS place
    FROM free a JOIN held h ON h.family_id = a.f_id
    WHERE a.change IN ('rotate', 'retry') AND h.generation = a.f_generation AND h.end_reason IS NULL
      AND h.expires_at > a.f_at AND a.f_open
  ),
  hours AS MATERIALIZED (
    SELECT client_id, hour, issued FROM client_hour
    WHERE client_id IN (SELECT client_id FROM free WHERE quota IS NOT NULL) ORDER BY client_id FOR NO KEY UPDATE
  ),
  now AS MATERIALIZED (
    SELECT h.client_id, h.hour AS last, CASE WHEN h.hour < a.hour OR h.hour > a.hour + ${mostHoursAhead} THEN a.hour ELSE h.hour END AS hour,
      CASE WHEN h.hour < a.hour THEN 0 ELSE h.issued END AS issued
    FROM hours h JOIN (SELECT client_id, max(hour) AS hour FROM free WHERE quota IS NOT NULL GROUP BY client_id) a USING (client_id)
  ),
  uncounted AS MATERIALIZED (
    SELECT n FROM free WHERE quota IS NOT NULL AND client_id NOT IN (SELECT client_id FROM hours)
  ),
  eligible AS MATERIALIZED (
    SELECT a.*, row_number() OVER (PARTITION BY a.client_id, a.quota IS NULL ORDER BY a.n) AS turn FROM free a
    WHERE (a.change IS NULL OR a.change = 'start' OR a.n IN (SELECT n FROM fit WHERE change = 'retry' OR place = 1))
      AND a.n NOT IN (SELECT n FROM uncounted)
  ),
  granted AS MATERIALIZED (
    SELECT e.* FROM eligible e LEFT JOIN now USING (client_id) WHERE e.quota IS NULL OR now.issued + e.turn <= e.quota
  ),
  spent AS MATERIALIZED (
    SELECT a.n FROM free a JOIN now USING (client_id)
    WHERE a.quota IS NOT NULL AND a.n NOT IN (SELECT n FROM granted)
      AND (now.issued >= a.quota OR a.n IN (SELECT n FROM eligible))
  ),
  started AS (
    INSERT INTO refresh_family (family_id, client_id, subject, audience, scope, seed, generation, generation_at, root_version,
      expires_at, family_expires_at, confirmation)
    SELECT f_id, f_client, f_subject, f_audience, f_scope, decode(f_seed, 'base64'), f_generation, f_at, f_root, f_expires,
      f_end, f_confirmation
    FROM granted WHERE change = 'start' RETURNING 1
  ),
  rotated AS (
    UPDATE refresh_family f SET generation = f.generation + 1, generation_at = a.f_at, root_version = a.f_root,
      expires_at = a.f_expires, confirmation = a.f_confirmation, last_jti = a.jti
    FROM granted a WHERE a.change = 'rotate' AND f.family_id = a.f_id AND f.generation = a.f_generation RETURNING 1
  ),
  tallied AS (
    UPDATE client_hour c SET hour = now.hour,
      issued = now.issued + (SELECT count(*) FROM granted g WHERE g.client_id = now.client_id AND g.quota IS NOT NULL)
    FROM now WHERE c.client_id = now.client_id
      AND (now.last <> now.hour OR now.client_id IN (SELECT client_id FROM granted WHERE quota IS NOT NULL)) RETURNING 1
  ),
  used AS (
    INSERT INTO replay (key, expires_at) SELECT key, expires_at FROM use WHERE n IN (SELECT n FROM granted) RETURNING 1
  ),
  written AS (
    INSERT INTO issuance (${names.join(', ')}) SELECT ${names.join(', ')} FROM granted
    ON CONFLICT (jti) DO NOTHING RETURNING jti
  )
  SELECT (SELECT value FROM fence) AS sequence, ARRAY(SELECT jti FROM written) AS written,
    ARRAY(SELECT key FROM known) AS known, ARRAY(SELECT n FROM busy) AS busy, ARRAY(SELECT n FROM spent) AS spent,
    ARRAY(SELECT n FROM uncounted) AS uncounted,
    CAST(CASE WHEN (SELECT count(*) FROM granted) = (SELECT count(*) FROM written)
        AND (SELECT count(*) FROM started) = (SELECT count(*) FROM granted WHERE change = 'start')
        AND (SELECT count(*) FROM rotated) = (SELECT count(*) FROM granted WHERE change = 'rotate')
        AND (SELECT count(*) FROM used) = (SELECT count(*) FROM use WHERE n IN (SELECT n FROM granted))
        AND (SELECT count(*) FROM tallied) >= (SELECT count(DISTINCT client_id) FROM granted WHERE quota IS NOT NULL)
      THEN '1' ELSE 'the record of a token was not written' END AS integer) AS whole`

const waiting = insertWithActs('')
const passing = insertWithActs('SKIP LOCKED')

/** Makes the rows that tokens of clients with a quota are counted in. */
export function startCounting(clientIds: readonly string[]): Statement {
  const text = `INSERT INTO client_hour (client_id, hour, issued) SELECT id, 0, 0 FROM unnest($1::text[]) AS id
    ORDER BY id ON CONFLICT DO NOTHING`
  return { text, values: [[...new Set(clientIds)]] }
}

/** Records tokens that nothing else goes with. */
export function recordAlone(acts: readonly TokenAct[]): Statement {
  const rows = acts.map(({ record, acts: { change } }) => toIssuanceValues(record, change))
  const lists = issuanceColumns.map((_, i) => rows.map((row) => row[i]))
  return { name: 'record_alone', text: insertAlone, values: [acts.map(({ sequence }) => sequence), ...lists] }
}

/** Records tokens with what happens together with them. With `waits` it waits for families that somebody else has locked. */
export function recordWithActs(acts: readonly TokenAct[], clock: Clock, waits: boolean): Statement {
  const now = clock.nowMilliseconds()
  const hour = hourOf(now)
  const rows = acts.map(({ record, sequence, acts: { change, tokensPerHour } }, n) => {
    const columns = toIssuanceValues(record, change).map((value, i) => [names[i], value] as const)
    return {
      n,
      at_sequence: sequence,
      ...Object.fromEntries(columns),
      ...toChange(change, clock),
      quota: tokensPerHour,
      hour,
    }
  })
  const uses = acts.flatMap(({ acts: { uses = [] } }, n) =>
    uses.map(({ key, expiresAt }) => ({
      n,
      key: Buffer.from(key).toString('base64'),
      expires_at: expiresAt,
      is_over: expiresAt <= now,
    })),
  )
  const values = [JSON.stringify(rows), JSON.stringify(uses)]
  return waits ? { name: 'record_waiting', text: waiting, values } : { name: 'record_with_acts', text: passing, values }
}

function toChange(change: FamilyChange | undefined, clock: Clock): object {
  if (change === undefined) return {}
  if (change.kind === 'start') return { change: 'start', f_open: true, ...toFamilyValues(change.family) }
  const { kind, familyId, generation } = change
  // Between the decision and its act a process may be paused for an hour. The window begins when the ticket is used.
  const now = Math.max(change.at, clock.nowMilliseconds())
  const common = { change: kind, f_id: familyId, f_generation: generation, f_at: now }
  if (kind === 'retry') return { ...common, f_open: now < change.until }
  const confirmation = formatConfirmation(change.confirmation) ?? null
  return {
    ...common,
    f_open: true,
    f_root: change.rootVersion,
    f_expires: change.expiresAt,
    f_confirmation: confirmation,
  }
}
