/** How soon other nodes know, in short. `REVOCATION_TRIALS=500` for as many of each; `npm run nodes` prints the figures. */
import { describe, expect, it } from 'vitest'
import { run } from '../../scripts/nodes/run.ts'
import { recentMilliseconds } from '../../src/store/postgres/horizon.ts'
import { repetitions, seed } from '../support/seed.ts'

const trials = repetitions('REVOCATION_TRIALS', 6)

describe('what is ended at one node of a PostgreSQL', () => {
  it.each([false, true])(
    `I5 I6 F25 is ended at the other within the bound, and gets no token there, ${trials} times each (seed ${seed}); without notifications: %s`,
    { timeout: 120_000 + trials * 3_000 },
    async (deaf) => {
      const results = await run({ seed: String(seed), trials, nodes: 2, deaf })
      expect(results).toHaveLength(2 * trials)
      for (const result of results) {
        expect(result).toMatchObject({ issuedAfter: 0, others: [] })
        expect(Math.max(result.introspect, result.verify)).toBeLessThan(recentMilliseconds)
        expect(result.asked).toBeGreaterThan(2)
      }
    },
  )
})
