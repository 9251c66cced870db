import { describe, expect, it } from 'vitest'
import { type Plan, safeSpeed } from '../../scripts/rollover/plan.ts'
import { run } from '../../scripts/rollover/run.ts'

// The short form of `npm run rollover`. On a machine that is busy its time runs slower, so that it takes longer instead of
// seeing things.
const short: Plan = {
  seed: 'npm test',
  rollovers: 6,
  maxMinutes: 4,
  database: 'sqlite',
  speed: safeSpeed,
  servers: 2,
  verifierProcesses: 2,
  verifiers: 50,
  tokensPerSecond: 20,
  kills: 1,
  pauses: 1,
}

describe('F30 rollover in compressed time', () => {
  it.each<Plan>([short, { ...short, database: 'postgres' }])(
    'I7 I8 fails no verifier and no request while servers are killed and paused: $database (seed $seed)',
    {
      timeout: 300_000,
    },
    async (short) => {
      const result = await run(short)
      expect(result.violations).toEqual([])
      expect(result.verifiers.failures).toEqual([])
      expect(Object.keys(result.front.answers), result.serverLog.slice(-4_000)).toEqual(['200'])
      expect([result.load.refused, result.front.unanswered]).toEqual([{}, 0])
      expect(result.faults).toMatchObject({ kills: 1, pauses: 1 })
      expect(result.rollovers).toBeGreaterThanOrEqual(short.rollovers)
      // Every kind of verifier has had something to do, and the recorder too.
      expect(Object.values(result.verifiers.verified).filter((count) => count < 10)).toEqual([])
      expect(result.snapshots).toBeGreaterThan(20)
    },
  )

  it('sees keys that sign too early, in the history and at a verifier that does not look again', {
    timeout: 300_000,
  }, async () => {
    // Faster than is safe: what the machine does cannot hide what is looked for.
    const plan = { ...short, speed: 240, servers: 1, verifierProcesses: 1, verifiers: 10, kills: 0, pauses: 0 }
    const { violations, verifiers } = await run({ ...plan, sabotage: 'lead' })
    expect(violations.join('\n')).toMatch(/signed [0-9.]+ s after the trail has it staged/)
    const failed = verifiers.failures.find(({ kind }) => kind === 'max-age, never looks again')
    expect(failed?.error).toContain('JWKSNoMatchingKey')
  })
})
