import { describe, expect, it } from 'vitest'
import { makeInstallation } from '../support/installation.ts'
import { createRandom, repetitions, seed } from '../support/seed.ts'
import { Lane, runCycles, tellAcknowledged } from './lane.ts'

const kills = repetitions('KILLS', 24)

describe('F01 SIGKILL', () => {
  it(`loses nothing that was acknowledged, in ${kills} kills (seed ${seed})`, { timeout: kills * 20_000 }, async () => {
    const lanes = await Promise.all([1, 2].map(async (part) => new Lane(await makeInstallation(), createRandom(part))))
    const { lost, ...acknowledged } = await runCycles(lanes, kills, (lane) => lane.cycle())
    process.stdout.write(`F01: ${kills} kills, ${tellAcknowledged(acknowledged)}\n`)
    expect(lost).toEqual([])
    expect(acknowledged.tokens).toBeGreaterThan(kills)
    expect(acknowledged.changes).toBeGreaterThan(kills)
    expect(acknowledged.uses).toBeGreaterThan(kills)
    expect(acknowledged.revocations).toBeGreaterThan(0)
  })
})
