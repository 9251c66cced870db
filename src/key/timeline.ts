/** When each step of a key's life happened and will happen, for people and for metrics. A pure function, as `dueTransitions` is. */
import { formatSpan } from '../lib/duration.ts'
import type { RingMoment } from './ring-clock.ts'
import { keepLeftMilliseconds, leadLeftMilliseconds, rotationDueAt } from './rotate.ts'
import { type SigningAlg, signingAlgs } from './signer.ts'
import type { SigningKeyFacts } from './signing-key.ts'
import { type KeyTiming, keepSecondsOf } from './timing.ts'

/** A key with what is to come. Milliseconds since the epoch on the ring's calendar: in the past when it is overdue, absent when it cannot be told. */
export interface KeyTimeline {
  readonly key: SigningKeyFacts
  /** When a staged key will sign. */
  readonly activatesAt?: number
  /** When an active key will stop signing. */
  readonly retiresAt?: number
  /** When the key will leave the JWKS. */
  readonly leavesAt?: number
  /** Until when a token of it can live. */
  readonly tokensUntil?: number
}

/** How far a due rotation may lag before somebody should look. */
const overdueMilliseconds = 60_000

/** The timeline of each key, in the order given. */
export function timelineOf(
  keys: readonly SigningKeyFacts[],
  moment: RingMoment,
  timing: KeyTiming,
): readonly KeyTimeline[] {
  return keys.map((key) => ({ key, ...stepsOf(key, keys, moment, timing) }))
}

function stepsOf(
  key: SigningKeyFacts,
  keys: readonly SigningKeyFacts[],
  moment: RingMoment,
  timing: KeyTiming,
): Omit<KeyTimeline, 'key'> {
  const lived = key.activatedAt !== undefined
  switch (key.state) {
    case 'staged': {
      const activatesAt = rotationAt(key.alg, keys, moment, timing)
      return activatesAt === undefined ? {} : { activatesAt }
    }
    case 'active': {
      const retiresAt = rotationAt(key.alg, keys, moment, timing)
      if (retiresAt === undefined) return {}
      const last = Math.max(retiresAt, moment.now)
      return {
        retiresAt,
        leavesAt: last + keepSecondsOf(key, timing) * 1000,
        tokensUntil: last + key.maxTtlSeconds * 1000,
      }
    }
    case 'retiring':
      return {
        leavesAt: moment.now + keepLeftMilliseconds(key, moment, timing),
        tokensUntil: (key.retiringAt ?? moment.now) + key.maxTtlSeconds * 1000,
      }
    case 'retired':
    case 'compromised': {
      const last = key.retiringAt ?? key.compromisedAt
      return !lived || last === undefined ? {} : { tokensUntil: last + key.maxTtlSeconds * 1000 }
    }
  }
}

/** When the next rotation of an algorithm will happen, or should have; `undefined` while a key is missing. */
export function rotationAt(
  alg: SigningAlg,
  keys: readonly SigningKeyFacts[],
  moment: RingMoment,
  timing: KeyTiming,
): number | undefined {
  const active = keys.find((key) => key.alg === alg && key.state === 'active')
  const staged = keys.find((key) => key.alg === alg && key.state === 'staged')
  if (active === undefined || staged === undefined) return undefined
  return Math.max(rotationDueAt(active, timing), moment.now + leadLeftMilliseconds(staged, moment, timing))
}

/** The next moment at which something will happen to any key of an algorithm, or should have. */
export function nextTransitionAt(
  alg: SigningAlg,
  keys: readonly SigningKeyFacts[],
  moment: RingMoment,
  timing: KeyTiming,
): number | undefined {
  const steps = timelineOf(keys, moment, timing)
    .filter(({ key }) => key.alg === alg)
    .flatMap(({ activatesAt, leavesAt }) => [activatesAt, leavesAt])
    .filter((at) => at !== undefined)
  return steps.length === 0 ? undefined : Math.min(...steps)
}

/** What somebody should look at: one sentence each, none when all goes by itself. */
export function findOverdue(
  keys: readonly SigningKeyFacts[],
  moment: RingMoment,
  timing: KeyTiming,
): readonly string[] {
  return [...clockFaults(moment), ...signingAlgs.flatMap((alg) => ringFaults(alg, keys, moment, timing))]
}

function clockFaults({ now, wall }: RingMoment): readonly string[] {
  const off = Math.round((wall - now) / 1000)
  if (off < -overdueMilliseconds / 1000) {
    return [
      `the clock of this machine is ${formatSpan(-off)} behind what the database has seen, and no key moves until it catches up: set the clock right, or, if the database is wrong, run \`mayfly doctor --reset-calendar\``,
    ]
  }
  if (off > overdueMilliseconds / 1000) {
    return [
      `the clock of this machine jumped ${formatSpan(off)} ahead while this process ran, and the dates of keys did not follow: if the clock is right now, restart the process`,
    ]
  }
  return []
}

function ringFaults(
  alg: SigningAlg,
  keys: readonly SigningKeyFacts[],
  moment: RingMoment,
  timing: KeyTiming,
): readonly string[] {
  const active = keys.find((key) => key.alg === alg && key.state === 'active')
  const staged = keys.find((key) => key.alg === alg && key.state === 'staged')
  if (active === undefined) return [`no ${alg} key is active: put back a backup of the database that has one`]
  const overdue = moment.now - rotationDueAt(active, timing)
  if (overdue <= overdueMilliseconds) {
    return staged === undefined ? [`no ${alg} key is staged: run \`mayfly key stage\`, or start a server`] : []
  }
  const late = `the ${alg} key ${active.kid} should have stopped signing ${formatSpan(overdue / 1000)} ago`
  if (staged === undefined) {
    return [`${late}, and no key is staged behind it: run \`mayfly key stage\`, or start a server`]
  }
  const left = leadLeftMilliseconds(staged, moment, timing)
  // Whoever asked for a rotation was told that it waits for this.
  if (left > 0 && active.rotationRequestedAt !== undefined) return []
  return left > 0
    ? [`${late}; the staged key ${staged.kid} must be published for ${formatSpan(left / 1000)} more`]
    : [`${late}, and nothing stands in the way: is a server running, and can it write to the database?`]
}
