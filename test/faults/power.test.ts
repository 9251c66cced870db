import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import Database from 'better-sqlite3'
import { beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { makeInstallation } from '../support/installation.ts'
import { temporaryFolder } from '../support/process.ts'
import { createRandom, type Random, repetitions, seed } from '../support/seed.ts'
import { mountTmpfs, requireTools } from '../support/tools.ts'
import { Lane, program, runCycles, start, tellAcknowledged } from './lane.ts'
import { compileShim, type Luck, PoweredFolder } from './power.ts'

beforeAll(() => requireTools('gcc', 'mount', 'umount'))

const losses = repetitions('POWER_LOSSES', 16)
const lucks: readonly [Luck, ...Luck[]] = ['none', 'none', 'some', 'some', 'some', 'all']

interface Powered {
  readonly lane: Lane
  readonly folder: PoweredFolder
  readonly random: Random
}

/** @param lies whether the disk keeps nothing that it says it keeps */
async function makePowered(library: string, part: number, lies = false): Promise<Powered> {
  const folder = new PoweredFolder(mountTmpfs(temporaryFolder(), '1g'), library)
  const installation = await makeInstallation(folder.root)
  folder.settle()
  const random = createRandom(part)
  return { lane: new Lane(installation, random, lies ? {} : folder.env), folder, random }
}

describe('F02 power loss', () => {
  it(`takes nothing that was acknowledged, in ${losses} losses (seed ${seed})`, {
    timeout: losses * 20_000,
  }, async () => {
    const library = compileShim(temporaryFolder())
    const powered = await Promise.all([1, 2].map((part) => makePowered(library, part)))
    const { lost, ...acknowledged } = await runCycles(
      powered.map(({ lane }) => lane),
      losses,
      async (lane, i) => {
        await lane.cycle()
        const { folder, random } = powered[i] ?? expect.fail('no such lane')
        folder.lose(random.pick(lucks), random)
      },
    )
    process.stdout.write(`F02: ${losses} losses, ${tellAcknowledged(acknowledged)}\n`)
    expect(lost).toEqual([])
    expect(acknowledged.tokens).toBeGreaterThan(losses)
    expect(acknowledged.changes).toBeGreaterThan(losses)
    expect(acknowledged.uses).toBeGreaterThan(losses)
    expect(acknowledged.revocations).toBeGreaterThan(0)
  })

  it(`is seen by the rig when the disk keeps nothing that it says it keeps (seed ${seed})`, async () => {
    const { lane, folder, random } = await makePowered(compileShim(temporaryFolder()), 3, true)
    while (lane.log.tokens.length === 0 || lane.log.changes.length === 0) {
      await lane.cycle()
      folder.lose('none', random)
    }
    await lane.lookAtAll()
    expect(lane.lost.filter((sentence) => /token .* is recorded as undefined/.test(sentence))).not.toEqual([])
    expect(lane.lost.filter((sentence) => /client.created .* is recorded 0 times/.test(sentence))).not.toEqual([])
  })

  it(`takes acknowledged writes with synchronous=NORMAL, and none with FULL (seed ${seed})`, async () => {
    const library = compileShim(temporaryFolder())
    const said = { FULL: 0, NORMAL: 0 }
    const lost = { FULL: 0, NORMAL: 0 }
    const random = createRandom(4)
    for (const mode of ['FULL', 'NORMAL', 'FULL', 'NORMAL', 'FULL', 'NORMAL'] as const) {
      const written = await loseFromPlainWriter(mode, library, random)
      said[mode] += written.said
      lost[mode] += written.lost
    }
    process.stdout.write(`F02: acknowledged ${JSON.stringify(said)}, lost ${JSON.stringify(lost)}\n`)
    expect(lost.FULL).toBe(0)
    expect(lost.NORMAL).toBeGreaterThan(0)
    expect(said.FULL).toBeGreaterThan(0)
  })
})

async function loseFromPlainWriter(
  mode: 'FULL' | 'NORMAL',
  library: string,
  random: Random,
): Promise<{ said: number; lost: number }> {
  const folder = new PoweredFolder(mountTmpfs(temporaryFolder(), '256m'), library)
  const file = join(folder.root, 'plain.db')
  const writer = start([program('plain-writer.ts'), file, mode], folder.env, folder.root)
  await writer.begun
  await pause(random.between(100, 300))
  const said = (await writer.kill()).split('\n').length - 1
  folder.lose('none', random)
  const sqlite = new Database(file)
  onTestFinished(() => void sqlite.close())
  expect(sqlite.pragma('integrity_check', { simple: true })).toBe('ok')
  // What it had committed but not yet said may be there too.
  return { said, lost: Math.max(0, said - countWritten(sqlite)) }
}

function countWritten(sqlite: Database.Database): number {
  const exists = sqlite.prepare(`SELECT 1 FROM sqlite_schema WHERE name = 'written'`).get() !== undefined
  return exists ? Number(sqlite.prepare('SELECT count(*) FROM written').pluck().get()) : 0
}
