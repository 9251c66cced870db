/** The supervisor in this process, which waits for less long. */
import { chmodSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { type Patience, Supervisor } from '../../src/cli/supervisor.ts'
import { parseSettings } from '../../src/config.ts'
import { silentLog } from '../../src/lib/log.ts'
import { temporaryFolder } from '../support/process.ts'
import { isAlive } from '../support/workers.ts'

type Line = Readonly<Record<string, unknown>>

function makeSupervisor(patience: Partial<Patience>, options: { readonly version?: string } = {}) {
  const folder = temporaryFolder()
  const masterKey = join(folder, 'master.key')
  const environment = {
    MAYFLY_WORKERS: '2',
    MAYFLY_PORT: '0',
    MAYFLY_LOG_LEVEL: 'silent',
    MAYFLY_DATABASE_URL: `file:${join(folder, 'mayfly.db')}`,
    MAYFLY_MASTER_KEY_FILE: masterKey,
  }
  const lines: Line[] = []
  const note = (fields: object, message: string): void => void lines.push({ ...fields, message })
  const log = { ...silentLog, info: note, error: note }
  const settings = parseSettings(environment, folder)
  const supervisor = new Supervisor({ settings, environment, firstStart: 'first', log, patience, ...options })
  onTestFinished(() => supervisor.kill())
  const pids = (): number[] => lines.filter(({ message }) => message === 'worker serves').map(({ pid }) => Number(pid))
  return { supervisor, masterKey, lines, pids }
}

describe('a supervisor', () => {
  it('gives up when none of its workers has served for so long, and says so', { timeout: 60_000 }, async () => {
    const { supervisor, masterKey, lines, pids } = makeSupervisor({ lost: 1_500 })
    await supervisor.start()
    chmodSync(masterKey, 0o644)
    for (const pid of pids()) process.kill(pid, 'SIGKILL')
    await expect(supervisor.lost).rejects.toThrow(/no worker has served/)
    const fault = () => lines.find(({ err }) => err !== undefined)
    // It goes on trying until it is stopped.
    while (fault() === undefined) await new Promise((resolve) => setImmediate(resolve))
    expect(fault()).toMatchObject({ message: 'worker ended', err: { name: 'KeyMaterialError' } })
    expect(await supervisor.stop()).toBe(true)
  })

  it('does not give up while one of them serves', { timeout: 60_000 }, async () => {
    const { supervisor, masterKey, lines, pids } = makeSupervisor({ lost: 1 })
    await supervisor.start()
    let isLost = false
    supervisor.lost.catch(() => {
      isLost = true
    })
    chmodSync(masterKey, 0o644)
    process.kill(pids()[0] ?? 0, 'SIGKILL')
    while (lines.filter(({ err }) => err !== undefined).length < 2)
      await new Promise((resolve) => setImmediate(resolve))
    expect(isLost).toBe(false)
    expect(await supervisor.stop()).toBe(true)
  })

  it('kills a worker that does not end, says which, and that not all ended by themselves', {
    timeout: 60_000,
  }, async () => {
    const { supervisor, lines, pids } = makeSupervisor({ drain: 1_500 })
    await supervisor.start()
    process.kill(pids()[1] ?? 0, 'SIGSTOP')
    expect(await supervisor.stop()).toBe(false)
    expect(lines.at(-1)).toEqual({ worker: 2, message: 'did not end, and is killed' })
    expect(pids().filter(isAlive)).toEqual([])
  })

  it('does not let a worker of another version at the database', { timeout: 60_000 }, async () => {
    const { supervisor, pids } = makeSupervisor({}, { version: '0.0.0' })
    await expect(supervisor.start()).rejects.toThrow(/^version 0\.0\.0 runs, and [0-9.]+ was installed in its place/)
    expect(pids()).toEqual([])
  })
})
