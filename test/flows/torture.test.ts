/** The short form of `npm run torture`. */
import { describe, expect, it } from 'vitest'
import { checkHistory } from '../../scripts/torture/check.ts'
import type { Plan } from '../../scripts/torture/plan.ts'
import { run } from '../../scripts/torture/run.ts'

const plan: Plan = {
  seed: 'npm test',
  cycles: 6,
  database: 'sqlite',
  servers: 2,
  clients: 4,
  actors: 8,
  maxMinutes: 3,
}
/** The sixth kill is that of the database. */
const plans: readonly Plan[] = [plan, { ...plan, database: 'postgres', cycles: 7 }]

describe('refresh tokens and access under torture', () => {
  it.each(plans)(
    'F01 F03 I1 I2 I3 I4 I5 I10 lose nothing, fork nothing and end nothing for no reason: $database (seed $seed)',
    {
      timeout: 300_000,
    },
    async (plan) => {
      const { history, kills } = await run(plan)
      expect(checkHistory(history)).toEqual([])
      expect(kills).toBe(plan.cycles)
      const happened = (kind: string, outcome: string): number =>
        history.calls.filter((call) => call.kind === kind && call.outcome === outcome).length
      expect(happened('refresh', 'ok')).toBeGreaterThan(50)
      expect(happened('begin', 'ok')).toBeGreaterThan(5)
      expect(history.calls.filter(({ error }) => error === '400 invalid_grant').length).toBeGreaterThan(0)
    },
  )
})
