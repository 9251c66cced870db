/**
 * What is due now: a pure function of the ring, the moment and the settings. Each algorithm has a ring of its own.
 *
 *   no key is staged                                   stage one, so that there is always one that everybody has
 *   the active key has signed for its interval, or a
 *   rotation was asked for, and the staged key has
 *   been published for its lead                        the staged key signs, the active one retires, a new one is staged
 *   a retiring key's last token is dead                it leaves the JWKS, and its private half is destroyed
 *
 * Nothing here steps in for an active key that is missing: that is an emergency, and somebody decides.
 */
import type { RingMoment } from './ring-clock.ts'
import { type SigningAlg, signingAlgs } from './signer.ts'
import type { SigningKeyFacts } from './signing-key.ts'
import { type KeyTiming, keepSecondsOf, leadSecondsOf } from './timing.ts'

/** One step of a ring. */
export type Transition =
  | { readonly kind: 'stage'; readonly alg: SigningAlg }
  | { readonly kind: 'rotate'; readonly alg: SigningAlg; readonly from: string; readonly to: string }
  | { readonly kind: 'retire'; readonly alg: SigningAlg; readonly kid: string }

/** Every transition that is due, in an order in which they may be made. */
export function dueTransitions(
  keys: readonly SigningKeyFacts[],
  moment: RingMoment,
  timing: KeyTiming,
): readonly Transition[] {
  return signingAlgs.flatMap((alg) => {
    const ring = keys.filter((key) => key.alg === alg)
    return [...dueRetirements(ring, moment, timing), ...dueRotation(alg, ring, moment, timing)]
  })
}

function dueRotation(
  alg: SigningAlg,
  ring: readonly SigningKeyFacts[],
  moment: RingMoment,
  timing: KeyTiming,
): readonly Transition[] {
  const active = ring.find((key) => key.state === 'active')
  const staged = ring.find((key) => key.state === 'staged')
  if (staged === undefined) return [{ kind: 'stage', alg }]
  if (active === undefined || rotationDueAt(active, timing) > moment.now) return []
  if (leadLeftMilliseconds(staged, moment, timing) > 0) return []
  return [{ kind: 'rotate', alg, from: active.kid, to: staged.kid }]
}

function dueRetirements(
  ring: readonly SigningKeyFacts[],
  moment: RingMoment,
  timing: KeyTiming,
): readonly Transition[] {
  return ring
    .filter((key) => key.state === 'retiring' && keepLeftMilliseconds(key, moment, timing) <= 0)
    .map(({ alg, kid }) => ({ kind: 'retire' as const, alg, kid }))
}

/** When an active key shall stop signing: at the end of its interval, or when somebody asked for it. Milliseconds since the epoch. */
export function rotationDueAt(active: SigningKeyFacts, timing: KeyTiming): number {
  const planned = (active.activatedAt ?? active.publishedAt) + timing.rotationIntervalSeconds * 1000
  return Math.min(planned, active.rotationRequestedAt ?? planned)
}

/** How much longer a staged key must be published before it may sign; zero or less when it may. */
export function leadLeftMilliseconds(staged: SigningKeyFacts, moment: RingMoment, timing: KeyTiming): number {
  const needed = leadSecondsOf(staged, timing) * 1000
  return Math.max(staged.publishedRunning + needed - moment.running, staged.publishedAt + needed - moment.now)
}

/** How much longer a retiring key must be published; zero or less when it need not. */
export function keepLeftMilliseconds(retiring: SigningKeyFacts, moment: RingMoment, timing: KeyTiming): number {
  const needed = keepSecondsOf(retiring, timing) * 1000
  // An older version noted no running time: all that ran since the upgrade counts, and nothing before.
  return Math.max(
    (retiring.retiringRunning ?? 0) + needed - moment.running,
    (retiring.retiringAt ?? moment.now) + needed - moment.now,
  )
}
