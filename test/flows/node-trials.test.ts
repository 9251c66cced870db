/**
 * How soon other nodes know, in short. `REVOCATION_TRIALS=500` and `COMMAND_TRIALS=500` for as many of each; `npm run nodes`
 * prints the figures.
 */
import { describe, expect, it } from 'vitest'
import { runCommand } from '../../scripts/nodes/command.ts'
import { type NodesPlan, run } from '../../scripts/nodes/run.ts'
import { recentMilliseconds } from '../../src/store/postgres/horizon.ts'
import { temporaryFolder } from '../support/process.ts'
import { repetitions, seed } from '../support/seed.ts'

const trials = repetitions('REVOCATION_TRIALS', 6)
const commandTrials = repetitions('COMMAND_TRIALS', 2)

async function expectInTime(plan: Omit<NodesPlan, 'seed'>): Promise<void> {
  const results = await run({ ...plan, seed: String(seed) })
  expect(results).toHaveLength(plan.endings.length * plan.trials)
  for (const result of results) {
    expect(result).toMatchObject({ issuedAfter: 0, others: [] })
    expect(Math.max(result.introspect, result.verify)).toBeLessThan(recentMilliseconds)
    expect(Math.min(result.alive.introspect, result.alive.verify)).toBeGreaterThan(0)
  }
}

describe('what is ended at one node of a PostgreSQL', () => {
  it.each([false, true])(
    `I5 I6 F25 is ended at the other within the bound, and gets no token there, ${trials} times each (seed ${seed}); without notifications: %s`,
    { timeout: 120_000 + trials * 3_000 },
    (deaf) => expectInTime({ endings: ['disable', 'revoke'], trials, nodes: 2, deaf }),
  )
})

describe('what a command has ended on the machine of one node', () => {
  it(
    `I5 I6 is ended at all three within the bound of its exit, and gets no token, ${commandTrials} times each (seed ${seed})`,
    { timeout: 120_000 + commandTrials * 20_000 },
    () =>
      expectInTime({ endings: ['command-disable', 'command-revoke'], trials: commandTrials, nodes: 3, deaf: false }),
  )

  it('is not taken for ended when the command failed', async () => {
    const nowhere = { folder: temporaryFolder(), env: {} }
    await expect(runCommand(['client', 'disable', 'nobody'], nowhere)).rejects.toThrow(
      /^mayfly client disable ended with 1: /,
    )
  })
})
