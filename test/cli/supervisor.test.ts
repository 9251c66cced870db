/** The supervisor in this process, which waits for less long. */
import cluster, { type Worker } from 'node:cluster'
import { chmodSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { type Patience, Supervisor } from '../../src/cli/supervisor.ts'
import { parseSettings } from '../../src/config/settings.ts'
import { silentLog } from '../../src/lib/log.ts'
import { temporaryFolder } from '../support/process.ts'
import { isAlive } from '../support/workers.ts'

type Line = Readonly<Record<string, unknown>>

function makeSupervisor(patience: Partial<Patience>, options: { readonly version?: string } = {}) {
  const folder = temporaryFolder()
  const masterKey = join(folder, 'master.key')
  const environment: Record<string, string> = {
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
  return { supervisor, environment, masterKey, lines, pids }
}

/** Waits for a line of the log, those of before included. */
async function lineOf(lines: readonly Line[], isIt: (line: Line) => boolean): Promise<Line> {
  for (;;) {
    const found = lines.find(isIt)
    if (found !== undefined) return found
    await new Promise((resolve) => setImmediate(resolve))
  }
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

  it('goes on when no process can be had, and tries again', { timeout: 60_000 }, async () => {
    const { supervisor, environment, lines, pids } = makeSupervisor({})
    await supervisor.start()
    const [one = 0, two = 0] = pids()
    // More than the system takes in one variable, which is found out before a process is made; and no program, after.
    environment.MAYFLY_TOO_LONG = 'x'.repeat(200_000)
    process.kill(one, 'SIGKILL')
    await lineOf(lines, ({ by }) => by === 'E2BIG')
    delete environment.MAYFLY_TOO_LONG
    const node = process.execPath
    process.execPath = '/no-such-program'
    const line = await lineOf(lines, ({ by }) => by === 'ENOENT').finally(() => {
      process.execPath = node
    })
    expect(line).toMatchObject({ worker: 1, message: 'worker ended', err: { name: 'CommandFailure' } })
    await lineOf(lines, () => pids().length === 3)
    expect(isAlive(two)).toBe(true)
    expect(await supervisor.stop()).toBe(true)
  })

  it('stops at once though no process can be had for one of its workers', { timeout: 60_000 }, async () => {
    const { supervisor, environment, pids } = makeSupervisor({})
    environment.MAYFLY_TOO_LONG = 'x'.repeat(200_000)
    await expect(supervisor.start()).rejects.toThrow(/^no worker can be started: .*E2BIG/)
    expect(pids()).toEqual([])
  })

  it('leaves no worker behind that loses it before it listens', { timeout: 60_000 }, async () => {
    const { supervisor, pids } = makeSupervisor({})
    let forks = 0
    cluster.on('fork', cut)
    onTestFinished(() => void cluster.off('fork', cut))
    function cut({ process: child }: Worker): void {
      forks += 1
      if (forks !== 2) return
      child.prependListener('internalMessage', ({ act }: { act?: string }) => {
        if (act === 'queryServer') child.disconnect()
      })
    }
    await expect(supervisor.start()).rejects.toThrow('worker 2 ended (1) before it served')
    expect(pids().filter(isAlive)).toEqual([])
  })

  it('lets a worker end that is told so before it can hear', { timeout: 60_000 }, async () => {
    const { supervisor, pids } = makeSupervisor({})
    const starting = supervisor.start().catch((error: unknown) => error)
    expect(await supervisor.stop()).toBe(true)
    await starting
    expect(pids().filter(isAlive)).toEqual([])
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
