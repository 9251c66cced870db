import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { RingMoment } from '../../src/key/ring-clock.ts'
import {
  dueTransitions,
  keepLeftMilliseconds,
  leadLeftMilliseconds,
  rotationDueAt,
  type Transition,
} from '../../src/key/rotate.ts'
import type { SigningKeyFacts } from '../../src/key/signing-key.ts'
import { keepSecondsOf, leadSecondsOf } from '../../src/key/timing.ts'
import { makeFacts, momentAt } from '../support/facts.ts'
import { defaultTiming } from '../support/ring.ts'

const timing = defaultTiming
const interval = timing.rotationIntervalSeconds
const lead = timing.leadSeconds
// 1 h of token life, 60 s of skew, 2 s until every process knows.
const keep = 3600 + 60 + 2

const active = makeFacts({ kid: 'active', state: 'active', activatedAt: 0 })
const staged = makeFacts({ kid: 'staged' })
const retiring = makeFacts({ kid: 'retiring', state: 'retiring', activatedAt: 0, retiringAt: 0, retiringRunning: 0 })
const rsa = [makeFacts({ alg: 'RS256', state: 'active', activatedAt: 1e15 }), makeFacts({ alg: 'RS256' })]

/** What is due to the ES256 ring. */
function due(keys: readonly SigningKeyFacts[], moment: RingMoment) {
  return dueTransitions([...keys, ...rsa], moment, timing)
}

describe('a ring', () => {
  it('needs nothing while its keys are young', () => {
    expect(due([active, staged], momentAt(0))).toEqual([])
    expect(due([active, staged], momentAt(interval - 0.001))).toEqual([])
  })

  it('stages a key for each algorithm that has none, and never a second one', () => {
    expect(due([active], momentAt(0))).toEqual([{ kind: 'stage', alg: 'ES256' }])
    expect(dueTransitions([active, staged], momentAt(0), timing)).toEqual([{ kind: 'stage', alg: 'RS256' }])
    expect(dueTransitions([], momentAt(0), timing).map(({ kind }) => kind)).toEqual(['stage', 'stage'])
  })

  it('rotates when the active key has signed for its interval', () => {
    const rotation = { kind: 'rotate', alg: 'ES256', from: 'active', to: 'staged' }
    expect(due([active, staged], momentAt(interval))).toEqual([rotation])
    expect(due([active, staged], momentAt(interval * 100))).toEqual([rotation])
  })

  it('rotates when somebody has asked for it, and not before the staged key may sign', () => {
    const asked = { ...active, rotationRequestedAt: 5000 }
    expect(due([asked, staged], momentAt(lead - 0.001))).toEqual([])
    expect(due([asked, staged], momentAt(lead))).toMatchObject([{ kind: 'rotate', to: 'staged' }])
  })

  it('does not rotate later because somebody has asked for it', () => {
    const asked = { ...active, rotationRequestedAt: interval * 2000 }
    expect(rotationDueAt(asked, timing)).toBe(interval * 1000)
  })

  it('rotates to nothing that was published too short, by either clock', () => {
    const late = interval * 2
    const fresh = { ...staged, publishedAt: late * 1000, publishedRunning: late * 1000 }
    expect(due([active, fresh], momentAt(late))).toEqual([])
    // The calendar jumped ahead; nothing ran meanwhile.
    expect(due([active, fresh], momentAt(late + lead, { running: (late + lead) * 1000 - 1 }))).toEqual([])
    // Enough has run, but the calendar stands still, for the wall clock is behind.
    expect(due([active, fresh], momentAt(late + lead - 1, { running: (late + 2 * lead) * 1000 }))).toEqual([])
    expect(due([active, fresh], momentAt(late + lead))).toHaveLength(1)
  })

  it('waits for the copies of the JWKS that a longer max-age allowed when the key appeared', () => {
    const remembering = { ...staged, cachedSeconds: lead * 2 }
    const asked = { ...active, rotationRequestedAt: 0 }
    expect(due([asked, remembering], momentAt(lead * 2 + 61.999))).toEqual([])
    expect(due([asked, remembering], momentAt(lead * 2 + 62))).toHaveLength(1)
  })

  it('has no key step in for an active one that is missing', () => {
    expect(due([staged], momentAt(interval * 2))).toEqual([])
    expect(due([staged, { ...active, state: 'compromised' }], momentAt(interval * 2))).toEqual([])
  })

  it('lets a retiring key go when its last token is dead, by both clocks', () => {
    const keys = [active, staged, retiring]
    const retirement = { kind: 'retire', alg: 'ES256', kid: 'retiring' }
    expect(due(keys, momentAt(keep - 0.001))).toEqual([])
    expect(due(keys, momentAt(keep))).toEqual([retirement])
    expect(due(keys, momentAt(keep, { running: keep * 1000 - 1 }))).toEqual([])
    expect(due(keys, momentAt(keep - 1, { running: keep * 5000 }))).toEqual([])
  })

  it('keeps a retiring key for the longest life that its tokens may have, not for today’s setting', () => {
    const longer = { ...retiring, maxTtlSeconds: 86_400 }
    expect(due([active, staged, longer], momentAt(86_400 + 61.999))).toEqual([])
    expect(due([active, staged, longer], momentAt(86_400 + 62))).toHaveLength(1)
  })

  it('lets a key go that an older version retired without noting the running time, once enough has run', () => {
    const { retiringRunning: _, ...older } = retiring
    expect(due([active, staged, older], momentAt(keep - 0.001))).toEqual([])
    expect(due([active, staged, older], momentAt(keep))).toHaveLength(1)
  })

  it('does all that is due in one go: retirements first, each algorithm for itself', () => {
    const keys = [active, staged, retiring, ...rsa.map((key) => ({ ...key, rotationRequestedAt: 0 }))]
    expect(dueTransitions(keys, momentAt(interval), timing).map(({ kind, alg }) => `${kind} ${alg}`)).toEqual([
      'retire ES256',
      'rotate ES256',
      'rotate RS256',
    ])
  })

  it('does nothing to keys that are gone', () => {
    const gone = ['retired', 'compromised'] as const
    const keys = gone.map((state) => makeFacts({ state, activatedAt: 0, retiringAt: 0, retiringRunning: 0 }))
    expect(due([active, staged, ...keys], momentAt(interval - 1))).toEqual([])
  })
})

const run = { seed: 20_260_102, numRuns: 2_000 }
const seconds = fc.integer({ min: 0, max: 4 * interval })
const milliseconds = seconds.map((n) => n * 1000)
const moments = fc
  .record({ now: milliseconds, running: milliseconds, wall: milliseconds })
  .map((clocks): RingMoment => ({ ...clocks, resets: 0 }))
const key = fc
  .record({
    state: fc.constantFrom('staged', 'active', 'retiring', 'retired', 'compromised'),
    publishedAt: milliseconds,
    publishedRunning: milliseconds,
    activatedAt: milliseconds,
    retiringAt: milliseconds,
    retiringRunning: milliseconds,
    cachedSeconds: fc.integer({ min: 0, max: 2 * lead }),
    maxTtlSeconds: fc.integer({ min: 1, max: 86_400 }),
  } as const)
  .map(makeFacts)
const rings = fc.uniqueArray(key, {
  maxLength: 6,
  // One active and one staged key at most, as the database has it.
  selector: ({ kid, state }) => (state === 'active' || state === 'staged' ? state : kid),
})

/** By how much longer than it must each clock has run for the key that a transition moves. Milliseconds. */
function waitedFor(transition: Transition, keys: readonly SigningKeyFacts[], moment: RingMoment): readonly number[] {
  if (transition.kind === 'stage') return []
  const isRotation = transition.kind === 'rotate'
  const kid = isRotation ? transition.to : transition.kid
  const moved = keys.find((each) => each.kid === kid && each.state === (isRotation ? 'staged' : 'retiring'))
  if (moved === undefined) throw new Error(`no key ${kid} could be moved`)
  const needed = 1000 * (isRotation ? leadSecondsOf(moved, timing) : keepSecondsOf(moved, timing))
  const { publishedAt, publishedRunning, retiringAt = Number.NaN, retiringRunning = Number.NaN } = moved
  const [at, ran] = isRotation ? [publishedAt, publishedRunning] : [retiringAt, retiringRunning]
  return [moment.now - at - needed, moment.running - ran - needed]
}

describe('whatever the clocks show, what is due', () => {
  it('moves no key before its time by both of them', () => {
    fc.assert(
      fc.property(rings, moments, (keys, moment) => {
        for (const transition of dueTransitions(keys, moment, timing)) {
          for (const waited of waitedFor(transition, keys, moment)) expect(waited).toBeGreaterThanOrEqual(0)
        }
      }),
      run,
    )
  })

  it('stays due while time goes on', () => {
    fc.assert(
      fc.property(rings, moments, milliseconds, milliseconds, (keys, moment, now, running) => {
        const later = { ...moment, now: moment.now + now, running: moment.running + running }
        expect(dueTransitions(keys, later, timing)).toEqual(
          expect.arrayContaining([...dueTransitions(keys, moment, timing)]),
        )
      }),
      run,
    )
  })

  it('does not hang on the wall clock', () => {
    fc.assert(
      fc.property(rings, moments, milliseconds, (keys, moment, wall) => {
        expect(dueTransitions(keys, { ...moment, wall }, timing)).toEqual(dueTransitions(keys, moment, timing))
      }),
      run,
    )
  })

  it('is due exactly when nothing is left of what it waits for', () => {
    fc.assert(
      fc.property(moments, moments, (then, now) => {
        const waiting = makeFacts({ publishedAt: then.now, publishedRunning: then.running })
        const over = makeFacts({ state: 'retiring', retiringAt: then.now, retiringRunning: then.running })
        const asked = makeFacts({ state: 'active', activatedAt: 0, rotationRequestedAt: 0 })
        const kinds = dueTransitions([asked, waiting, over, ...rsa], now, timing).map(({ kind }) => kind)
        expect(kinds.includes('rotate')).toBe(leadLeftMilliseconds(waiting, now, timing) <= 0)
        expect(kinds.includes('retire')).toBe(keepLeftMilliseconds(over, now, timing) <= 0)
      }),
      run,
    )
  })
})
