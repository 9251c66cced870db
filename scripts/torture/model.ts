/** What a history says of each family and client, as far as several rules ask for it. */
import type { Admin, Begin, Call, Introspect, Refresh, Revoke } from './history.ts'

export interface Family {
  readonly id: string
  readonly client: string
  readonly begin: Begin
  /** Generation of each token that was seen. */
  readonly depths: Map<string, number>
  readonly refreshes: Refresh[]
  readonly revokes: Revoke[]
  readonly introspects: Introspect[]
}

/** A call that closed a client, and the moment at which it may be open again at the earliest, or must be at the latest. */
export interface Closing {
  readonly call: Admin
  readonly reopened: number
}

export class Model {
  readonly families = new Map<string, Family>()
  readonly admin = new Map<string, Admin[]>()
  readonly calls: readonly Call[]
  readonly #certainlyClosed = new Map<string, readonly Closing[]>()
  readonly #possiblyClosed = new Map<string, readonly Closing[]>()

  constructor(calls: readonly Call[]) {
    this.calls = calls
    for (const call of calls) {
      if (call.kind === 'begin' && call.family !== undefined) {
        const depths = new Map(call.received === undefined ? [] : [[call.received, 0] as const])
        const { family: id, client } = call
        this.families.set(id, { id, client, begin: call, depths, refreshes: [], revokes: [], introspects: [] })
      }
      if (isAdmin(call)) pushTo(this.admin, call.client, call)
    }
    // A call is entered when it ends, and a retry may end before the call that it follows.
    for (const call of calls.toSorted((a, b) => a.start - b.start)) this.#enter(call)
    for (const [client, changes] of this.admin) {
      this.#certainlyClosed.set(client, certainClosings(changes))
      this.#possiblyClosed.set(client, possibleClosings(changes))
    }
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

  /** The call that closed a client before another began, if nothing can have opened it again before that one ended. */
  findClosing({ client, start, end }: Begin | Refresh): Admin | undefined {
    const closings = this.#certainlyClosed.get(client) ?? []
    return closings.find(({ call, reopened }) => call.end < start && reopened >= end)?.call
  }

  /** Whether a client may have been closed while a call was answered. */
  mayBeClosed(client: string, { start, end }: Call): boolean {
    const closings = this.#possiblyClosed.get(client) ?? []
    return closings.some(({ call, reopened }) => call.start < end && reopened >= start)
  }
}

// `reopened`: when the first call began that may have come after it and opened the client.
function certainClosings(changes: readonly Admin[]): readonly Closing[] {
  const enabling = changes.filter(({ kind }) => kind === 'enable')
  return changes
    .filter((call) => isEnding(call) && call.outcome === 'ok')
    .map((call) => ({
      call,
      reopened: earliest(enabling.filter(({ end }) => end > call.start).map(({ start }) => start)),
    }))
}

// `reopened`: when the first call ended that must have come after it and opened the client.
function possibleClosings(changes: readonly Admin[]): readonly Closing[] {
  const enabling = changes.filter(({ kind, outcome }) => kind === 'enable' && outcome === 'ok')
  return changes
    .filter((call) => isShutting(call) && mayHaveHappened(call))
    .map((call) => ({
      call,
      reopened: earliest(enabling.filter(({ start }) => start > call.end).map(({ end }) => end)),
    }))
}

function earliest(moments: readonly number[]): number {
  return moments.reduce((first, moment) => Math.min(first, moment), Number.POSITIVE_INFINITY)
}

/** Adds to the list that stands under a key. */
export function pushTo<K, V>(lists: Map<K, V[]>, key: K, value: V): void {
  const list = lists.get(key)
  if (list === undefined) lists.set(key, [value])
  else list.push(value)
}

const isAdmin = (call: Call): call is Admin =>
  call.kind === 'disable' || call.kind === 'enable' || call.kind === 'offboard' || call.kind === 'collapse'
export const isEnding = (call: Admin): boolean => call.kind !== 'enable'
const isShutting = (call: Admin): boolean => call.kind === 'disable' || call.kind === 'offboard'
export const isOwn = (call: Refresh): boolean => call.as === call.client && call.scope === undefined
export const mayHaveHappened = (call: Call): boolean => call.outcome !== 'fail'
export const mayHaveUsed = (call: Refresh): boolean => call.outcome !== 'fail'

/** Whatever ended this family for certain before a moment. */
export function findCertainEnd(family: Family, model: Model, before: number): string | undefined {
  const ending = model
    .adminOf(family.client)
    .find((call) => isEnding(call) && call.outcome === 'ok' && call.end < before && family.begin.end < call.start)
  if (ending !== undefined) return `its client was ${ending.kind}d`
  const revoked = family.revokes.find(
    ({ what, outcome, end }) => what === 'refresh_token' && outcome === 'ok' && end < before,
  )
  if (revoked !== undefined) return 'it was revoked'
  const reuse = reusesOf(family).certain.find(({ end }) => end < before)
  return reuse === undefined ? undefined : 'a used token had come back'
}

// Refused, and the successor of what was presented had been used before it was.
function isCertainReuse(call: Refresh, family: Family): boolean {
  if (!isOwn(call) || call.error !== '400 invalid_grant') return false
  return wasUsed(family, depthOf(call, family) + 1, call.start)
}

// Whether the token of a generation was used for certain before a moment.
export function wasUsed(family: Family, depth: number, before: number): boolean {
  return family.refreshes.some((call) => call.outcome === 'ok' && call.end < before && depthOf(call, family) === depth)
}

/** The generation of what was presented. */
export function depthOf({ presented }: Refresh, { depths }: Family): number {
  return depths.get(presented) ?? Number.NaN
}

// What ended before the family began has nothing to do with it.
export function mayBeEndedWithClient({ client, begin }: Family, model: Model, until: number): boolean {
  return model
    .adminOf(client)
    .some((call) => isEnding(call) && mayHaveHappened(call) && call.start < until && call.end > begin.start)
}

/** Whatever may have ended this family before a moment, the call itself included. */
export function hasPossibleEnd(family: Family, model: Model, until: number): boolean {
  return (
    mayBeEndedWithClient(family, model, until) ||
    family.revokes.some((call) => call.what === 'refresh_token' && mayHaveHappened(call) && call.start < until) ||
    reusesOf(family).possible.some(({ start }) => start < until)
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

/** Presentations of a token that must, or may, have been taken for reuse. */
interface Reuses {
  readonly certain: readonly Refresh[]
  readonly possible: readonly Refresh[]
}

const reuses = new WeakMap<Family, Reuses>()

/** Those of a family that is wholly known. */
export function reusesOf(family: Family): Reuses {
  const known = reuses.get(family)
  if (known !== undefined) return known
  const certain = family.refreshes.filter((call) => isCertainReuse(call, family))
  const possible = family.refreshes.filter((call) => isPossibleReuse(call, family))
  reuses.set(family, { certain, possible })
  return { certain, possible }
}
