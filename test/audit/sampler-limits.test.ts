import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { defaultSamplerLimits, RefusalSampler } from '../../src/audit/sampler.ts'
import type { Reason } from '../../src/oauth/errors.ts'
import { ManualClock } from '../support/server.ts'

const limits = { perAddress: 3, overall: 10, addresses: 5 }

function make(own: Partial<typeof limits> = {}): { clock: ManualClock; sampler: RefusalSampler } {
  const clock = new ManualClock()
  return { clock, sampler: new RefusalSampler(clock, { ...limits, ...own }) }
}

function admitMany(sampler: RefusalSampler, count: number, address: string, reason: Reason = 'secret_wrong'): number {
  return Array.from({ length: count }, () => sampler.admit(address, reason)).filter(Boolean).length
}

describe('the sampler of refusals', () => {
  it('records the first of an address one by one', () => {
    const { sampler } = make()
    expect(admitMany(sampler, 3, '192.0.2.1')).toBe(3)
    expect(sampler.take(true)).toEqual([])
  })

  it('I10 refuses a record of its own to what is over the rate of an address, and counts it by reason', () => {
    const { sampler } = make()
    admitMany(sampler, 3, '192.0.2.1')
    expect(admitMany(sampler, 4, '192.0.2.1')).toBe(0)
    expect(admitMany(sampler, 2, '192.0.2.1', 'client_unknown')).toBe(0)
    expect(sampler.take(true)).toEqual([
      { type: 'token.refusals_sampled', address: '192.0.2.1', counts: { secret_wrong: 4, client_unknown: 2 } },
    ])
  })

  it('C08 decides by address and time alone, never by the reason', () => {
    const one = make().sampler
    const other = make().sampler
    const reasons: readonly Reason[] = ['client_unknown', 'secret_wrong', 'client_disabled', 'secret_expired']
    const asked = reasons.map((reason) => one.admit('192.0.2.1', reason))
    expect(reasons.toReversed().map((reason) => other.admit('192.0.2.1', reason))).toEqual(asked)
  })

  it('does not let one address use up what another may have', () => {
    const { sampler } = make()
    admitMany(sampler, 100, '192.0.2.1')
    expect(admitMany(sampler, 3, '192.0.2.2')).toBe(3)
  })

  it('refuses a record of its own to what is over the rate of all addresses together', () => {
    const { sampler } = make({ addresses: 100 })
    const admitted = Array.from({ length: 20 }, (_, i) => admitMany(sampler, 1, `192.0.2.${i}`))
    expect(admitted.reduce((sum, n) => sum + n, 0)).toBe(10)
    expect(sampler.take(true)).toHaveLength(10)
  })

  it('begins anew a minute later', () => {
    const { clock, sampler } = make()
    expect(admitMany(sampler, 5, '192.0.2.1')).toBe(3)
    clock.advance(59.999)
    expect(admitMany(sampler, 1, '192.0.2.1')).toBe(0)
    clock.advance(0.001)
    expect(admitMany(sampler, 5, '192.0.2.1')).toBe(3)
  })

  it('gives out no count of a window that still runs', () => {
    const { clock, sampler } = make()
    admitMany(sampler, 5, '192.0.2.1')
    expect(sampler.take()).toEqual([])
    clock.advance(60)
    expect(sampler.take()).toEqual([
      { type: 'token.refusals_sampled', address: '192.0.2.1', counts: { secret_wrong: 2 } },
    ])
  })

  it('gives each count out once', () => {
    const { clock, sampler } = make()
    admitMany(sampler, 5, '192.0.2.1')
    clock.advance(60)
    expect(sampler.take()).toHaveLength(1)
    expect(sampler.take()).toEqual([])
    expect(sampler.take(true)).toEqual([])
  })

  it('does not begin anew when wall time steps', () => {
    const { clock, sampler } = make()
    admitMany(sampler, 5, '192.0.2.1')
    clock.step(86_400)
    expect(admitMany(sampler, 1, '192.0.2.1')).toBe(0)
    clock.step(-86_400 * 2)
    expect(admitMany(sampler, 1, '192.0.2.1')).toBe(0)
  })

  it('does not begin anew because what it counted was taken', () => {
    const { sampler } = make()
    admitMany(sampler, 5, '192.0.2.1')
    sampler.take(true)
    expect(admitMany(sampler, 1, '192.0.2.1')).toBe(0)
  })

  it('H16 counts apart no more addresses than it may, and the rest under one name', () => {
    const { sampler } = make({ overall: 0 })
    for (let i = 0; i < 1_000; i += 1) sampler.admit(`192.0.2.${i}`, 'secret_wrong')
    const taken = sampler.take(true)
    expect(taken).toHaveLength(limits.addresses + 1)
    expect(taken.at(-1)).toEqual({
      type: 'token.refusals_sampled',
      address: '*',
      counts: { secret_wrong: 1_000 - limits.addresses },
    })
  })

  it('gives all further addresses together the rate of one', () => {
    const { sampler } = make({ overall: 1_000 })
    for (let i = 0; i < limits.addresses; i += 1) sampler.admit(`192.0.2.${i}`, 'secret_wrong')
    const further = Array.from({ length: 50 }, (_, i) => admitMany(sampler, 1, `198.51.100.${i}`))
    expect(further.reduce((sum, n) => sum + n, 0)).toBe(limits.perAddress)
  })

  it('has limits of its own that a flood cannot fill a disk with', () => {
    expect(defaultSamplerLimits).toEqual({ perAddress: 60, overall: 6_000, addresses: 10_000 })
  })

  it('I10 admits or counts every refusal exactly once, whatever comes when', () => {
    const act = fc.oneof(
      { weight: 8, arbitrary: fc.record({ address: fc.nat(9), reason: fc.constantFrom('secret_wrong', 'fault') }) },
      { weight: 1, arbitrary: fc.record({ wait: fc.nat(90) }) },
      { weight: 1, arbitrary: fc.record({ take: fc.boolean() }) },
    )
    fc.assert(
      fc.property(fc.array(act, { maxLength: 200 }), (acts) => {
        const { clock, sampler } = make()
        let admitted = 0
        let asked = 0
        const taken = []
        for (const each of acts) {
          if ('wait' in each) clock.advance(each.wait)
          else if ('take' in each) taken.push(...sampler.take(each.take))
          else {
            asked += 1
            admitted += Number(sampler.admit(`192.0.2.${each.address}`, each.reason))
          }
        }
        taken.push(...sampler.take(true))
        const counted = taken.flatMap(({ counts }) => Object.values(counts)).reduce((sum, n) => sum + n, 0)
        expect(admitted + counted).toBe(asked)
      }),
      { seed: 20_260_102, numRuns: 300 },
    )
  })
})
