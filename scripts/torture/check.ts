/**
 * Replays a history against a model of what may happen. The model knows nothing of how the server works: a family is a chain
 * of tokens, each with one successor; it dies when somebody revokes it, when its client is disabled, or when a token comes
 * back whose successor was used. What was answered must fit into some order of the calls that their times allow; a call
 * whose outcome is unknown may have happened or not.
 */
import { checkFinal } from './check-final.ts'
import type { Begin, Call, History, Introspect, Refresh, Revoke } from './history.ts'
import {
  depthOf,
  type Family,
  findCertainEnd,
  hasPossibleEnd,
  isOwn,
  Model,
  mayHaveHappened,
  wasUsed,
} from './model.ts'

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
  const closing = model.findClosing(call)
  return closing === undefined ? [] : [`issued to a client that was ${closing.kind}d: ${tell(call)}`]
}

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
  return model.mayBeClosed(client, call) ? [] : [`a client that was not disabled was refused: ${tell(call)}`]
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

function tell(call: Call): string {
  return JSON.stringify(call)
}
