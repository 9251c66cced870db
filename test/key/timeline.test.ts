import { describe, expect, it } from 'vitest'
import type { SigningKeyFacts } from '../../src/key/signing-key.ts'
import { findOverdue, nextTransitionAt, rotationAt, timelineOf } from '../../src/key/timeline.ts'
import { makeFacts, momentAt } from '../support/facts.ts'
import { defaultTiming } from '../support/ring.ts'

const timing = defaultTiming
const lead = timing.leadSeconds
const interval = timing.rotationIntervalSeconds
const ttl = timing.accessTokenMaxTtlSeconds
const keep = ttl + 62

const active = makeFacts({ kid: 'active', state: 'active', activatedAt: 0 })
const staged = makeFacts({ kid: 'staged' })
const retiring = makeFacts({ kid: 'old', state: 'retiring', activatedAt: 0, retiringAt: 5000, retiringRunning: 5000 })
const rsa = [makeFacts({ alg: 'RS256', state: 'active', activatedAt: 1e15 }), makeFacts({ alg: 'RS256' })]
const ring = [active, staged, retiring, ...rsa]

/** The timeline of one key among others, without the key. */
function stepsOf(key: SigningKeyFacts, others: readonly SigningKeyFacts[], moment = momentAt(10)) {
  const steps = timelineOf([key, ...others], moment, timing)[0]
  return { ...steps, key: undefined }
}

describe('the timeline of a key', () => {
  it('says when a staged key will sign: when the active one has had its interval', () => {
    expect(stepsOf(staged, [active])).toEqual({ activatesAt: interval * 1000 })
  })

  it('says when a staged key will sign: when its lead is over, if that is later', () => {
    const fresh = { ...staged, publishedAt: interval * 1000, publishedRunning: interval * 1000 }
    expect(stepsOf(fresh, [active], momentAt(interval))).toEqual({ activatesAt: (interval + lead) * 1000 })
  })

  it('counts what must still run from now on, when the calendar is ahead of it', () => {
    const moment = momentAt(interval * 2, { running: lead * 1000 - 7000 })
    expect(stepsOf(staged, [active], moment)).toEqual({ activatesAt: moment.now + 7000 })
  })

  it('says when an active key will stop signing, when its last token can be dead, and when it will leave', () => {
    expect(stepsOf(active, [staged])).toEqual({
      retiresAt: interval * 1000,
      tokensUntil: (interval + ttl) * 1000,
      leavesAt: (interval + keep) * 1000,
    })
  })

  it('brings all of that forward when a rotation was asked for', () => {
    const asked = { ...active, rotationRequestedAt: 1000 }
    expect(stepsOf(asked, [staged])).toMatchObject({ retiresAt: lead * 1000 })
  })

  it('says when a retiring key will leave, and until when a token of it can live', () => {
    expect(stepsOf(retiring, [])).toEqual({ leavesAt: (5 + keep) * 1000, tokensUntil: (5 + ttl) * 1000 })
  })

  it('says when what is overdue should have happened, and what follows from now on', () => {
    expect(stepsOf(retiring, [], momentAt(keep * 3))).toMatchObject({ leavesAt: (5 + keep) * 1000 })
    expect(stepsOf(staged, [active], momentAt(interval * 2))).toEqual({ activatesAt: interval * 1000 })
    expect(stepsOf(active, [staged], momentAt(interval * 2))).toEqual({
      retiresAt: interval * 1000,
      tokensUntil: (interval * 2 + ttl) * 1000,
      leavesAt: (interval * 2 + keep) * 1000,
    })
  })

  it('says until when a token of a retired key could live', () => {
    expect(stepsOf({ ...retiring, state: 'retired', retiredAt: 9e9 }, [])).toEqual({ tokensUntil: (5 + ttl) * 1000 })
    expect(stepsOf(makeFacts({ state: 'retired' }), [])).toEqual({})
  })

  it('says until when a token of a compromised key can live, unless it never signed', () => {
    const signing = makeFacts({ state: 'compromised', activatedAt: 0, compromisedAt: 8000 })
    expect(stepsOf(signing, [])).toEqual({ tokensUntil: (8 + ttl) * 1000 })
    expect(stepsOf({ ...signing, retiringAt: 5000 }, [])).toEqual({ tokensUntil: (5 + ttl) * 1000 })
    expect(stepsOf(makeFacts({ state: 'compromised', compromisedAt: 8000 }), [])).toEqual({})
    expect(stepsOf(makeFacts({ state: 'compromised', activatedAt: 0 }), [])).toEqual({})
  })

  it('counts the longest life of a token that the key remembers, not today’s', () => {
    expect(stepsOf({ ...active, maxTtlSeconds: 86_400 }, [staged])).toMatchObject({
      tokensUntil: (interval + 86_400) * 1000,
      leavesAt: (interval + 86_400 + 62) * 1000,
    })
  })

  it('tells no date while a key is missing', () => {
    expect(stepsOf(staged, rsa)).toEqual({})
    expect(stepsOf(active, rsa)).toEqual({})
    expect(timelineOf([staged, ...rsa], momentAt(10), timing)[0]).not.toHaveProperty('activatesAt')
    expect(rotationAt('ES256', [active, ...rsa], momentAt(0), timing)).toBeUndefined()
  })

  it('comes in the order of the keys given', () => {
    expect(timelineOf(ring, momentAt(10), timing).map(({ key }) => key)).toEqual(ring)
  })
})

describe('the next transition of an algorithm', () => {
  it('is the first of what will happen to any of its keys', () => {
    expect(nextTransitionAt('ES256', ring, momentAt(10), timing)).toBe((5 + keep) * 1000)
    expect(nextTransitionAt('ES256', [active, staged, ...rsa], momentAt(10), timing)).toBe(interval * 1000)
    expect(nextTransitionAt('RS256', ring, momentAt(10), timing)).toBe(1e15 + interval * 1000)
  })

  it('lies in the past when it is overdue', () => {
    expect(nextTransitionAt('ES256', [active, staged], momentAt(interval + 90), timing)).toBe(interval * 1000)
  })

  it('is none when there are no keys', () => {
    expect(nextTransitionAt('ES256', rsa, momentAt(0), timing)).toBeUndefined()
  })
})

describe('what somebody should look at', () => {
  const find = (keys: readonly SigningKeyFacts[], moment = momentAt(10)) =>
    findOverdue([...keys, ...rsa], moment, timing)

  it('is nothing while all goes by itself, nor in the first minute of being late', () => {
    expect(find([active, staged, retiring])).toEqual([])
    expect(find([active, staged], momentAt(interval + 60))).toEqual([])
    expect(find([active, staged], momentAt(10, { wall: 70_000 }))).toEqual([])
    expect(find([active, staged], momentAt(100, { wall: 40_000 }))).toEqual([])
  })

  it('is a clock behind what the database has seen', () => {
    const [sentence, ...others] = find([active, staged], momentAt(10_000, { wall: 100_000 }))
    expect(others).toEqual([])
    expect(sentence).toMatch(/clock of this machine is 2h 45m behind .* `mayfly doctor --reset-calendar`$/)
  })

  it('is a clock that jumped ahead while the process ran', () => {
    const [sentence, ...others] = find([active, staged], momentAt(10, { wall: 3_610_000 }))
    expect(others).toEqual([])
    expect(sentence).toMatch(/jumped 1h ahead while this process ran.*restart the process$/)
  })

  it('is an algorithm without an active key, whatever else it has', () => {
    expect(find([staged])).toEqual(['no ES256 key is active: put back a backup of the database that has one'])
    expect(findOverdue([], momentAt(0), timing)).toHaveLength(2)
  })

  it('is an algorithm without a staged key', () => {
    expect(find([active])).toEqual(['no ES256 key is staged: run `mayfly key stage`, or start a server'])
  })

  it('is a rotation that is late because the staged key is young, and for how long', () => {
    const late = momentAt(interval + 61)
    const fresh = { ...staged, publishedAt: late.now, publishedRunning: late.running - 500 }
    expect(find([active, fresh], late)).toEqual([
      `the ES256 key active should have stopped signing 1m 1s ago; the staged key staged must be published for 1d more`,
    ])
  })

  it('is a rotation that is late because no key is staged', () => {
    expect(find([active], momentAt(interval + 61))).toEqual([
      'the ES256 key active should have stopped signing 1m 1s ago, and no key is staged behind it: run `mayfly key stage`, or start a server',
    ])
  })

  it('is a rotation that is late though nothing stands in the way', () => {
    const [sentence] = find([active, staged], momentAt(interval + 61))
    expect(sentence).toMatch(
      /should have stopped signing 1m 1s ago, and nothing stands in the way: is a server running/,
    )
  })

  it('is no rotation that somebody asked for while the staged key is young: that is what they were told', () => {
    const asked = { ...active, rotationRequestedAt: 0 }
    expect(find([asked, staged], momentAt(lead - 0.001))).toEqual([])
    expect(find([asked, staged], momentAt(lead))).toEqual([
      'the ES256 key active should have stopped signing 1d ago, and nothing stands in the way: is a server running, and can it write to the database?',
    ])
  })

  it('is told of each algorithm and of the clock, the clock first', () => {
    const sentences = findOverdue([], momentAt(10_000, { wall: 0 }), timing)
    expect(sentences.map((sentence) => sentence.slice(0, 12))).toEqual(['the clock of', 'no ES256 key', 'no RS256 key'])
  })
})
