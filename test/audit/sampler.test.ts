import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { RefusalSampler } from '../../src/audit/sampler.ts'
import { ManualClock } from '../support/server.ts'

const limits = { perAddress: 3, overall: 5, addresses: 4 }

describe('the sampling of refusals', () => {
  it('records the first of an address in a minute, and counts the rest', () => {
    const sampler = new RefusalSampler(new ManualClock(), limits)
    const admitted = Array.from({ length: 10 }, () => sampler.admit('a', 'secret_wrong'))
    expect(admitted.filter(Boolean)).toHaveLength(3)
    expect(sampler.take()).toEqual([])
    expect(sampler.take(true)).toEqual([{ type: 'token.refusals_sampled', address: 'a', counts: { secret_wrong: 7 } }])
    expect(sampler.take(true)).toEqual([])
  })

  it('records again in the next minute, and gives out the counts of the last', () => {
    const clock = new ManualClock()
    const sampler = new RefusalSampler(clock, limits)
    for (let i = 0; i < 4; i += 1) sampler.admit('a', 'client_unknown')
    clock.advance(59)
    expect(sampler.admit('a', 'client_unknown')).toBe(false)
    clock.advance(1)
    expect(sampler.admit('a', 'client_unknown')).toBe(true)
    expect(sampler.take()).toEqual([{ type: 'token.refusals_sampled', address: 'a', counts: { client_unknown: 2 } }])
  })

  it('is not fooled by a step of the wall clock', () => {
    const clock = new ManualClock()
    const sampler = new RefusalSampler(clock, limits)
    for (let i = 0; i < 3; i += 1) sampler.admit('a', 'client_unknown')
    clock.step(3600)
    expect(sampler.admit('a', 'client_unknown')).toBe(false)
  })

  it('bounds all addresses together, and how many it knows', () => {
    const sampler = new RefusalSampler(new ManualClock(), limits)
    const admitted = Array.from({ length: 100 }, (_, i) => sampler.admit(`address ${i}`, 'form_malformed'))
    expect(admitted.filter(Boolean)).toHaveLength(5)
    const taken = sampler.take(true)
    expect(taken.length).toBeLessThanOrEqual(limits.addresses + 1)
    expect(taken.find(({ address }) => address === '*')?.counts.form_malformed).toBeGreaterThan(90)
  })

  it('loses none: recorded and counted make the total (seed 20260207)', () => {
    const step = fc.record({ address: fc.constantFrom('a', 'b', 'c', 'd', 'e', 'f'), seconds: fc.nat(30) })
    fc.assert(
      fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
        const clock = new ManualClock()
        const sampler = new RefusalSampler(clock, limits)
        let accounted = 0
        for (const { address, seconds } of steps) {
          clock.advance(seconds)
          if (sampler.admit(address, 'secret_wrong')) accounted += 1
        }
        for (const { counts } of sampler.take(true)) accounted += counts.secret_wrong ?? 0
        expect(accounted).toBe(steps.length)
      }),
      { seed: 20_260_207 },
    )
  })
})
