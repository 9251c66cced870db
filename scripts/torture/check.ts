/**
 * Replays a history against a model of what may happen. The model knows nothing of how the server works: a family is a chain
 * of tokens, each with one successor; it dies when somebody revokes it, when its client is disabled, or when a token comes
 * back whose successor was used. What was answered must fit into some order of the calls that their times allow; a call
 * whose outcome is unknown may have happened or not.
 */
import { maxMarksPerClient } from '../../src/token/mark-store.ts'
import type { Admin, Begin, Call, FinalState, History, Introspect, Refresh, Revoke } from './history.ts'

/** What is wrong, a sentence each; none when the history fits the model. */
export function checkHistory({ calls, final }: History): readonly string[] {
  const model = new Model(calls)
  return [
    ...calls.flatMap((call) => checkStatus(call)),
    ...[...model.families.values()].flatMap((family) => checkFamily(family, model)),
    ...calls.flatMap((call) => (call.kind === 'begin' ? checkBegin(call, model) : [])),
    ...calls.flatMap((call) => checkAnswer(call)),
    ...checkTokensOnce(calls),
    ...checkFinal(final, model),
  ]
}

interface Family {
  readonly id: string
  readonly client: string
  readonly begin: Begin
  /** Generation of each token that was seen. */
  readonly depths: Map<string, number>
  readonly refreshes: Refresh[]
  readonly revokes: Revoke[]
  readonly introspects: Introspect[]
}

class Model {
  readonly families = new Map<string, Family>()
  readonly admin = new Map<string, Admin[]>()
  readonly calls: readonly Call[]

  constructor(calls: readonly Call[]) {
    this.calls = calls
    for (const call of calls) {
      if (call.kind === 'begin' && call.family !== undefined) {
        const depths = new Map(call.received === undefined ? [] : [[call.received, 0] as const])
        const { family: id, client } = call
        this.families.set(id, { id, client, begin: call, depths, refreshes: [], revokes: [], introspects: [] })
      }
      if (isAdmin(call)) this.admin.set(call.client, [...(this.admin.get(call.client) ?? []), call])
    }
    // A call is entered when it ends, and a retry may end before the call that it follows.
    for (const call of calls.toSorted((a, b) => a.start - b.start)) this.#enter(call)
  }

  #enter(call: Call): void {
    if (call.kind !== 'refresh' && call.kind !== 'revoke' && call.kind !== 'introspect') return
    const family = this.families.get(call.family)
    if (family === undefined) throw new Error(`a call of a family that was never begun: ${JSON.stringify(call)}`)
    if (call.kind === 'revoke') family.revokes.push(call)
    else if (call.kind === 'introspect') family.introspects.push(call)
    else {
      family.refreshes.push(call)
      const depth = family.depths.get(call.presented)
      if (depth !== undefined && call.received !== undefined) family.depths.set(call.received, depth + 1)
    }
  }

  adminOf(client: string): readonly Admin[] {
    return this.admin.get(client) ?? []
  }
}

const isAdmin = (call: Call): call is Admin =>
  call.kind === 'disable' || call.kind === 'enable' || call.kind === 'offboard' || call.kind === 'collapse'
const isEnding = (call: Admin): boolean => call.kind !== 'enable'
const isShutting = (call: Admin): boolean => call.kind === 'disable' || call.kind === 'offboard'
const isOwn = (call: Refresh): boolean => call.as === call.client && call.scope === undefined
const mayHaveHappened = (call: Call): boolean => call.outcome !== 'fail'

function checkStatus(call: Call): readonly string[] {
  if (call.outcome !== 'fail') return []
  // A server that finds the store locked for too long says so; anything else of ours is a fault.
  if (/^5/.test(call.error ?? '') && !/^503 /.test(call.error ?? '')) return [`answered with a fault: ${tell(call)}`]
  return []
}

// Who is given an access token is given the refresh token that goes with it.
function checkAnswer(call: Call): readonly string[] {
  if ((call.kind !== 'begin' && call.kind !== 'refresh') || call.outcome !== 'ok') return []
  const isWhole = call.received !== undefined && call.jti !== undefined && call.family !== undefined
  return isWhole ? [] : [`answered without a token: ${tell(call)}`]
}

// A retry brings the same refresh token, and an access token of its own.
function checkTokensOnce(calls: readonly Call[]): readonly string[] {
  const seen = new Set<string>()
  const problems: string[] = []
  for (const call of calls) {
    if ((call.kind !== 'begin' && call.kind !== 'refresh') || call.jti === undefined) continue
    if (seen.has(call.jti)) problems.push(`the access token ${call.jti} was given twice`)
    seen.add(call.jti)
  }
  return problems
}

function checkFamily(family: Family, model: Model): readonly string[] {
  return [
    ...checkForks(family),
    ...family.refreshes.flatMap((call) => {
      if (!isOwn(call)) return checkForeign(call)
      if (call.outcome === 'ok') return checkAccepted(call, family, model)
      return call.error === '400 invalid_grant' ? checkRefused(call, family, model) : checkOther(call, family, model)
    }),
    ...family.introspects.flatMap((call) => checkIntrospected(call, family, model)),
    ...family.revokes.flatMap((call) => checkOther(call, family, model)),
  ]
}

// One successor to each token, whoever asks and however often; and each token has one that it follows.
function checkForks({ id, refreshes, depths }: Family): readonly string[] {
  const successors = new Map<string, string>()
  const problems: string[] = []
  for (const { presented, received } of refreshes) {
    if (received === undefined) continue
    const known = successors.get(presented)
    if (known !== undefined && known !== received) problems.push(`fork: ${presented} of ${id} has two successors`)
    successors.set(presented, received)
  }
  const generations = [...depths.values()]
  if (new Set(generations).size !== generations.length) problems.push(`fork: two tokens of one generation in ${id}`)
  return problems
}

function checkForeign(call: Refresh): readonly string[] {
  if (call.outcome === 'ok') return [`given to another client, or for more than was granted: ${tell(call)}`]
  return []
}

/** Whatever ended this family for certain before a moment. */
function findCertainEnd(family: Family, model: Model, before: number): string | undefined {
  const ending = model
    .adminOf(family.client)
    .find((call) => isEnding(call) && call.outcome === 'ok' && call.end < before && family.begin.end < call.start)
  if (ending !== undefined) return `its client was ${ending.kind}d`
  const revoked = family.revokes.find(
    ({ what, outcome, end }) => what === 'refresh_token' && outcome === 'ok' && end < before,
  )
  if (revoked !== undefined) return 'it was revoked'
  const reuse = family.refreshes.find((call) => call.end < before && isCertainReuse(call, family))
  return reuse === undefined ? undefined : 'a used token had come back'
}

// Refused, and the successor of what was presented had been used before it was.
function isCertainReuse(call: Refresh, family: Family): boolean {
  if (!isOwn(call) || call.error !== '400 invalid_grant') return false
  return wasUsed(family, depthOf(call, family) + 1, call.start)
}

// Whether the token of a generation was used for certain before a moment.
function wasUsed(family: Family, depth: number, before: number): boolean {
  return family.refreshes.some((call) => call.outcome === 'ok' && call.end < before && depthOf(call, family) === depth)
}

function depthOf({ presented }: Refresh, { depths }: Family): number {
  return depths.get(presented) ?? Number.NaN
}

function checkAccepted(call: Refresh, family: Family, model: Model): readonly string[] {
  const end = findCertainEnd(family, model, call.start)
  if (end !== undefined) return [`accepted although ${end}: ${tell(call)}`]
  if (wasUsed(family, depthOf(call, family) + 1, call.start)) {
    return [`accepted although its successor had been used: ${tell(call)}`]
  }
  return checkEnabled(call, model)
}

// A disabled client gets nothing in a call that starts after the change has returned.
function checkEnabled(call: Begin | Refresh, model: Model): readonly string[] {
  const admin = model.adminOf(call.client)
  const disabled = admin.find(
    (ending) =>
      isEnding(ending) &&
      ending.outcome === 'ok' &&
      ending.end < call.start &&
      !admin.some((enabling) => enabling.kind === 'enable' && enabling.end > ending.start && enabling.start < call.end),
  )
  return disabled === undefined ? [] : [`issued to a client that was ${disabled.kind}d: ${tell(call)}`]
}

// What ended before the family began has nothing to do with it.
function mayBeEndedWithClient({ client, begin }: Family, model: Model, until: number): boolean {
  return model
    .adminOf(client)
    .some((call) => isEnding(call) && mayHaveHappened(call) && call.start < until && call.end > begin.start)
}

/** Whatever may have ended this family before a moment, the call itself included. */
function hasPossibleEnd(family: Family, model: Model, until: number): boolean {
  return (
    mayBeEndedWithClient(family, model, until) ||
    family.revokes.some((call) => call.what === 'refresh_token' && mayHaveHappened(call) && call.start < until) ||
    family.refreshes.some((call) => call.start < until && isPossibleReuse(call, family))
  )
}

// The successor of what is presented may have been used before this call was judged.
function isPossibleReuse(call: Refresh, family: Family): boolean {
  if (!isOwn(call)) return false
  const depth = depthOf(call, family)
  return family.refreshes.some(
    (other) => other.start < call.end && depthOf(other, family) > depth && isOwn(other) && mayHaveUsed(other),
  )
}

const mayHaveUsed = (call: Refresh): boolean => call.outcome !== 'fail'

function checkRefused(call: Refresh, family: Family, model: Model): readonly string[] {
  if (hasPossibleEnd(family, model, call.end)) return []
  return [`refused as if it were stolen or unknown, and nothing had ended it: ${tell(call)}`]
}

// Any other refusal: only while the client may be disabled, or the server could not.
function checkOther(call: Refresh | Revoke, { client }: Family, model: Model): readonly string[] {
  if (call.outcome !== 'fail' || /^503 /.test(call.error ?? '')) return []
  if (/ invalid_client$/.test(call.error ?? '')) return checkDisabled(call, client, model)
  return [`refused for no reason: ${tell(call)}`]
}

function checkDisabled(call: Begin | Refresh | Revoke, client: string, model: Model): readonly string[] {
  const admin = model.adminOf(client)
  const mayBe = admin.some(
    (ending) =>
      isShutting(ending) &&
      mayHaveHappened(ending) &&
      ending.start < call.end &&
      !admin.some(
        (enabling) =>
          enabling.kind === 'enable' &&
          enabling.outcome === 'ok' &&
          enabling.start > ending.end &&
          enabling.end < call.start,
      ),
  )
  return mayBe ? [] : [`a client that was not disabled was refused: ${tell(call)}`]
}

function checkBegin(call: Begin, model: Model): readonly string[] {
  if (call.outcome === 'ok') return checkEnabled(call, model)
  if (call.outcome === 'unknown' || /^503 /.test(call.error ?? '')) return []
  if (/ invalid_client$/.test(call.error ?? '')) return checkDisabled(call, call.client, model)
  return [`refused for no reason: ${tell(call)}`]
}

function checkIntrospected(call: Introspect, family: Family, model: Model): readonly string[] {
  // Nobody disables the service that asks.
  if (call.outcome === 'fail' && !/^503 /.test(call.error ?? '')) return [`refused for no reason: ${tell(call)}`]
  if (call.outcome !== 'ok') return []
  if (call.active === true) {
    const revoked = family.revokes.find(
      ({ jti, outcome, end }) => jti === call.jti && outcome === 'ok' && end < call.start,
    )
    const end = revoked === undefined ? findCertainEnd(family, model, call.start) : 'it was revoked'
    return end === undefined ? [] : [`active although ${end}: ${tell(call)}`]
  }
  const mayBeRevoked = family.revokes.some(
    (revoke) => revoke.jti === call.jti && mayHaveHappened(revoke) && revoke.start < call.end,
  )
  if (mayBeRevoked || hasPossibleEnd(family, model, call.end)) return []
  return [`inactive although nothing had ended it: ${tell(call)}`]
}

function checkFinal(final: FinalState, model: Model): readonly string[] {
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
  return [...model.families.values()].flatMap((family) => {
    const row = rows.get(family.id)
    if (row === undefined) return [`the family ${family.id} is not in the database`]
    const records = ended.filter(({ familyId }) => familyId === family.id).map(({ reason }) => reason)
    const owner = row.clientId === family.client ? [] : [`the family ${family.id} belongs to ${row.clientId}`]
    return [...owner, ...checkGeneration(row, family), ...checkEnd(row, family, model), ...checkEndRecord(row, records)]
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
  if (reason === 'reused') return family.refreshes.some((call) => isPossibleReuse(call, family))
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
    family.refreshes.some((call) => isCertainReuse(call, family) && !mayBeEndedWithClient(family, model, call.end))
  )
}

// Every token that somebody has is on record, as what it is.
function checkTrail({ issued, revoked }: FinalState, model: Model): readonly string[] {
  const records = new Map(issued.map((record) => [record.jti, record]))
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
      if (what === 'access_token' && outcome === 'ok' && jti !== undefined && !revoked.includes(jti) && !mayBeDead) {
        problems.push(`the token ${jti} was revoked, and the trail does not have it`)
      }
    }
  }
  if (records.size !== issued.length) problems.push('two records have one jti')
  return problems
}

const typeOf = { disable: 'client.disabled', enable: 'client.enabled', offboard: 'client.offboarded' } as const

// A change that returned is in the trail. One operator at a time changes a client here, so each of them changes something.
function checkChanges({ changes }: FinalState, model: Model): readonly string[] {
  const problems: string[] = []
  for (const [client, calls] of model.admin) {
    for (const [kind, type] of Object.entries(typeOf)) {
      const own = calls.filter((call) => call.kind === kind)
      const least = own.filter(({ outcome }) => outcome === 'ok').length
      const found = changes.find((change) => change.type === type && change.clientId === client)?.count ?? 0
      if (found < least || found > own.length) {
        problems.push(`the trail has ${found} times ${type} of ${client}, and must have ${least} to ${own.length}`)
      }
    }
  }
  return problems
}

function tell(call: Call): string {
  return JSON.stringify(call)
}
