import { maxMarksPerClient } from '../../src/token/mark-store.ts'
import type { Admin, FinalState, Refresh } from './history.ts'
import {
  depthOf,
  type Family,
  hasPossibleEnd,
  isOwn,
  type Model,
  mayBeEndedWithClient,
  mayHaveUsed,
  pushTo,
  reusesOf,
} from './model.ts'

/** What is wrong with the database and the trail as they were found at the end. */
export function checkFinal(final: FinalState, model: Model): readonly string[] {
  return [
    ...final.damage.map((damage) => `the database: ${damage}`),
    ...checkFinalFamilies(final, model),
    ...checkUnknown(final, model),
    ...checkTrail(final, model),
    ...checkChanges(final, model),
    ...checkCollapses(final, model),
  ]
}

// One moment takes the place of a thousand marks, and not of fewer.
function checkCollapses({ ended, revoked }: FinalState, { admin }: Model): readonly string[] {
  const collapses = [...admin.values()].flat().filter(({ kind }) => kind === 'collapse').length
  if (collapses * maxMarksPerClient <= ended.length + revoked.length) return []
  return [`all tokens of a client were ended ${collapses} times, for fewer marks than that takes`]
}

function checkFinalFamilies({ families, ended }: FinalState, model: Model): readonly string[] {
  const rows = new Map(families.map((row) => [row.familyId, row]))
  const reasons = new Map<string, string[]>()
  for (const { familyId, reason } of ended) pushTo(reasons, familyId, reason)
  return [...model.families.values()].flatMap((family) => {
    const row = rows.get(family.id)
    if (row === undefined) return [`the family ${family.id} is not in the database`]
    const owner = row.clientId === family.client ? [] : [`the family ${family.id} belongs to ${row.clientId}`]
    return [
      ...owner,
      ...checkGeneration(row, family),
      ...checkEnd(row, family, model),
      ...checkEndRecord(row, reasons.get(family.id) ?? []),
    ]
  })
}

// What nobody has seen was made for a call whose answer was lost, one for each at the most, and nothing can have ended it.
function checkUnknown({ families, issued, ended }: FinalState, model: Model): readonly string[] {
  const lost = model.calls.filter((call) => call.outcome === 'unknown' || /^503 /.test(call.error ?? ''))
  const begins = lost.filter(({ kind }) => kind === 'begin').length
  const refreshes = lost.filter(({ kind }) => kind === 'refresh').length
  const seen = new Set(model.calls.flatMap((call) => ('jti' in call && call.jti !== undefined ? [call.jti] : [])))
  const strange = families.filter(({ familyId }) => !model.families.has(familyId)).length
  const tokens = issued.filter(({ jti }) => !seen.has(jti)).length
  return [
    ...(strange > begins ? [`${strange} families that nobody has, and ${begins} answers that were lost`] : []),
    ...(tokens > begins + refreshes
      ? [`${tokens} tokens that nobody has, and ${begins + refreshes} answers that were lost`]
      : []),
    ...ended
      .filter(({ familyId }) => !model.families.has(familyId))
      .map(({ familyId, reason }) => `the family ${familyId}, which nobody has, has ended as ${reason}`),
  ]
}

type FamilyRow = FinalState['families'][number]

function checkGeneration({ generation }: FamilyRow, family: Family): readonly string[] {
  const reached = (calls: readonly Refresh[]): number => Math.max(0, ...calls.map((call) => depthOf(call, family) + 1))
  const own = family.refreshes.filter(isOwn)
  const least = reached(own.filter(({ outcome }) => outcome === 'ok'))
  const most = reached(own.filter(mayHaveUsed))
  if (generation >= least && generation <= most) return []
  return [`the family ${family.id} is at generation ${generation}, and must be at ${least} to ${most}`]
}

function checkEnd({ endReason }: FamilyRow, family: Family, model: Model): readonly string[] {
  if (endReason === null) return isEndedByItself(family, model) ? [`the family ${family.id} has not ended`] : []
  if (mayEndAs(endReason, family) && hasPossibleEnd(family, model, Number.POSITIVE_INFINITY)) return []
  return [`the family ${family.id} has ended as ${endReason}, and nothing has ended it`]
}

// No window ends in a run, and no store goes back in time.
function mayEndAs(reason: string, family: Family): boolean {
  if (reason === 'reused') return reusesOf(family).possible.length > 0
  return reason === 'revoked'
}

function checkEndRecord({ familyId, endReason }: FamilyRow, records: readonly string[]): readonly string[] {
  if (records.join() === (endReason ?? '')) return []
  return [`the family ${familyId} ended as ${endReason}, and the trail has ${JSON.stringify(records)}`]
}

// A reuse after everything of its client was ended finds the family dead already, by what stands with the client.
function isEndedByItself(family: Family, model: Model): boolean {
  return (
    family.revokes.some(({ what, outcome }) => what === 'refresh_token' && outcome === 'ok') ||
    reusesOf(family).certain.some((call) => !mayBeEndedWithClient(family, model, call.end))
  )
}

// Every token that somebody has is on record, as what it is.
function checkTrail({ issued, revoked }: FinalState, model: Model): readonly string[] {
  const records = new Map(issued.map((record) => [record.jti, record]))
  const known = new Set(revoked)
  const problems: string[] = []
  const require = (jti: string, family: string, generation: number | null): void => {
    const record = records.get(jti)
    if (record === undefined) problems.push(`the token ${jti} has no record`)
    else if (record.familyId !== family || record.refreshGeneration !== generation) {
      problems.push(`the token ${jti} of ${family} is on record as ${JSON.stringify(record)}`)
    }
  }
  for (const family of model.families.values()) {
    if (family.begin.jti !== undefined) require(family.begin.jti, family.id, null)
    for (const call of family.refreshes) if (call.jti !== undefined) require(call.jti, family.id, depthOf(call, family))
    for (const { what, outcome, jti, end } of family.revokes) {
      // A token that was dead already is not revoked once more.
      const mayBeDead = hasPossibleEnd(family, model, end)
      if (what === 'access_token' && outcome === 'ok' && jti !== undefined && !known.has(jti) && !mayBeDead) {
        problems.push(`the token ${jti} was revoked, and the trail does not have it`)
      }
    }
  }
  if (records.size !== issued.length) problems.push('two records have one jti')
  return problems
}

const typeOf = { disable: 'client.disabled', enable: 'client.enabled', offboard: 'client.offboarded' } as const

// A change that returned is in the trail. One operator at a time changes a client here, so each of them changes something,
// unless the one before it had no answer and did nothing: a client that is disabled still is disabled without a record.
function checkChanges({ changes }: FinalState, model: Model): readonly string[] {
  const problems: string[] = []
  for (const [client, calls] of model.admin) {
    for (const [kind, type] of Object.entries(typeOf)) {
      const own = calls.filter((call) => call.kind === kind)
      const least = own.filter((call) => call.outcome === 'ok' && !mayBeDoneAlready(call, calls)).length
      const found = changes.find((change) => change.type === type && change.clientId === client)?.count ?? 0
      if (found < least || found > own.length) {
        problems.push(`the trail has ${found} times ${type} of ${client}, and must have ${least} to ${own.length}`)
      }
    }
  }
  return problems
}

function mayBeDoneAlready(call: Admin, calls: readonly Admin[]): boolean {
  const commands = calls.filter(({ kind }) => kind !== 'collapse')
  const before = commands[commands.indexOf(call) - 1]
  return call.kind === 'disable' && before?.kind === 'enable' && before.outcome !== 'ok'
}
