import { describe, expect, it } from 'vitest'
import { makeInstallation } from '../support/installation.ts'
import { createRandom, repetitions, seed } from '../support/seed.ts'
import { Lane, runCycles } from './lane.ts'

const kills = repetitions('KILLS', 80)

describe('F01 SIGKILL', () => {
  it(`loses nothing that was acknowledged, in ${kills} kills (seed ${seed})`, { timeout: kills * 20_000 }, async () => {
    const lanes = await Promise.all([1, 2].map(async (part) => new Lane(await makeInstallation(), createRandom(part))))
    const { tokens, changes, lost } = await runCycles(lanes, kills, (lane) => lane.cycle())
    process.stdout.write(`F01: ${kills} kills, ${tokens} tokens and ${changes} changes acknowledged\n`)
    expect(lost).toEqual([])
    expect(tokens).toBeGreaterThan(kills)
    expect(changes).toBeGreaterThan(kills)
  })
})
