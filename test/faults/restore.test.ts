/** A restore, and the change that a witness is told of, killed as they enter each system call that leaves something behind. */
import { spawnSync } from 'node:child_process'
import { cpSync, existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'
import { openStore } from '../../src/store/open-store.ts'
import { readWitness } from '../../src/store/witness.ts'
import { makeInstallation } from '../support/installation.ts'
import { cleanEnvironment, launcher, mayfly, mayflyJson, temporaryFolder } from '../support/process.ts'
import { repetitions } from '../support/seed.ts'
import { requireTools } from '../support/tools.ts'

beforeAll(() => requireTools('strace'))

const patience = 600_000
// A step may write many pages in a row. `RESTORE_KILLS=18` for the long run: each of the first calls.
const many = repetitions('RESTORE_KILLS', 2)
const moments = [...Array.from({ length: many }, (_, i) => i + 1), 2 * many, 4 * many]

/** Runs a command that is killed as it enters a system call for the nth time. @returns whether it got that far */
function killAt(call: string, nth: number, args: readonly string[], cwd: string): boolean {
  const inject = ['-e', `inject=${call}:signal=SIGKILL:when=${nth}`]
  const { status, signal } = spawnSync(
    'strace',
    ['-f', '-qq', '-o', '/dev/null', ...inject, process.execPath, launcher, ...args],
    { cwd, env: cleanEnvironment(), timeout: 60_000, stdio: 'ignore' },
  )
  return signal === 'SIGKILL' || status === 137
}

async function makeWorld(): Promise<string> {
  const { cwd, place } = await makeInstallation()
  await mayflyJson(['db', 'backup', 'backup.db'], { cwd })
  const witness = { file: join(cwd, 'keys/master.key.witness') }
  const store = openStore(place, { create: false, examine: false, witness })
  await store.setClientStatus('job', 'disabled', 'cli:test')
  await store.close()
  return cwd
}

function copyOf(world: string): string {
  const cwd = temporaryFolder()
  cpSync(world, cwd, { recursive: true })
  return cwd
}

/** Whether the database is the one of before or of after the restore; fails when it is neither, or not whole. */
async function lookAt(cwd: string): Promise<'before' | 'after'> {
  const witness = { file: join(cwd, 'keys/master.key.witness') }
  const store = openStore(join(cwd, 'data/mayfly.db'), { create: false, examine: true, witness })
  try {
    expect(await store.check()).toEqual([])
    const { value } = await store.findClient('job')
    const restored = await store.listAudit({ type: 'store.restored', limit: 5 })
    const found = [value?.status, restored.length]
    expect([
      ['disabled', 0],
      ['active', 1],
    ]).toContainEqual(found)
    return value?.status === 'disabled' ? 'before' : 'after'
  } finally {
    await store.close()
  }
}

describe('F18 a restore that is killed', () => {
  it.each(['pwrite64', 'fsync', 'fdatasync', 'linkat', 'link', 'rename', 'unlink', 'ftruncate'] as const)(
    'at %s leaves the old database or the new one, whole, and can be run again',
    async (call) => {
      const world = await makeWorld()
      const seen = new Set<string>()
      for (const nth of moments) {
        const cwd = copyOf(world)
        const killed = killAt(call, nth, ['db', 'restore', 'backup.db', '--yes'], cwd)
        const found = await lookAt(cwd)
        seen.add(found)
        if (killed) {
          expect((await mayfly(['db', 'restore', 'backup.db'], { cwd })).code, `${call} ${nth}`).toBe(0)
          const witness = { file: join(cwd, 'keys/master.key.witness') }
          await openStore(join(cwd, 'data/mayfly.db'), { create: false, examine: true, witness }).close()
          const left = readdirSync(join(cwd, 'data')).filter((name) => /\.tmp|-journal/.test(name))
          expect(left).toEqual([])
        } else {
          expect(found).toBe('after')
          break
        }
      }
      expect(seen.size).toBeGreaterThan(0)
    },
    patience,
  )
})

describe('F03 a change whose process is killed on its way to the witness', () => {
  it.each(['fsync', 'rename', 'unlink', 'pwrite64', 'write'] as const)(
    'at %s leaves a database that opens, a witness that is whole, and nothing that the next change does not mend',
    async (call) => {
      const world = await makeWorld()
      for (const nth of moments) {
        const cwd = copyOf(world)
        const file = join(cwd, 'keys/master.key.witness')
        const before = [...(readWitness(file)?.values() ?? [])][0]?.registry ?? Number.NaN
        const killed = killAt(call, nth, ['client', 'enable', 'job'], cwd)
        const known = [...(readWitness(file)?.values() ?? [])][0]?.registry ?? Number.NaN
        expect(known, readFileSync(file, 'utf8')).toBeGreaterThanOrEqual(before)
        expect((await mayfly(['client', 'enable', 'job'], { cwd })).code, `${call} ${nth}`).toBe(0)
        const after = [...(readWitness(file)?.values() ?? [])][0]
        const store = openStore(join(cwd, 'data/mayfly.db'), { create: false, examine: true, witness: { file } })
        expect(after?.registry).toBe(await store.readRegistrySequence())
        await store.close()
        expect(readdirSync(join(cwd, 'keys')).filter((name) => name.endsWith('.tmp'))).toEqual([])
        expect(existsSync(file)).toBe(true)
        if (!killed) break
      }
    },
    patience,
  )
})
