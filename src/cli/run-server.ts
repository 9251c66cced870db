/** `mayfly serve` as a process: what it prints, which signals end it, and how. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Environment } from '../config/setting.ts'
import { readEnvironment, type Settings, unknownVariables } from '../config/settings.ts'
import { defaultWitnessFile } from '../config/storage.ts'
import { describeError, type Log } from '../lib/log.ts'
import { type CommandContext, CommandFailure } from './command.ts'
import { openLog, type ServerLog } from './operator-log.ts'

/** Runs a server until SIGTERM or SIGINT. @throws what `startServer` throws */
export async function runServer(context: CommandContext, dev: boolean): Promise<void> {
  const folder = dev ? mkdtempSync(join(tmpdir(), 'mayfly-dev-')) : undefined
  const settings = folder === undefined ? context.settings : devSettings(context.settings, folder)
  const { log, linesLost } = openLog(settings.logLevel)
  if (folder !== undefined) process.once('exit', () => throwAway(folder))
  const environment = readEnvironment(process.env, process.cwd())
  const run = { settings, environment, dev, log, linesLost, ended: catchSignals(log) }
  try {
    for (const name of unknownVariables(environment))
      log.warn({ variable: name }, 'not a setting of this version: ignored')
    await (settings.workers === 1 ? runAlone(run) : runSupervisor(run))
  } finally {
    if (folder !== undefined) throwAway(folder)
  }
}

interface Run extends ServerLog {
  readonly settings: Settings
  readonly environment: Environment
  readonly dev: boolean
  /** Resolves at the first signal. */
  readonly ended: Promise<void>
}

async function runAlone({ settings, dev, log, linesLost, ended }: Run): Promise<void> {
  const { startServer } = await import('../main.ts')
  const { describeFirstSteps, makeDevClient } = await import('./first-steps.ts')
  const server = await startServer(settings, { log, linesLost })
  announce(server.url)
  try {
    process.stdout.write(dev ? await makeDevClient(server) : await describeFirstSteps(settings, server))
    await ended
  } finally {
    await server.stop()
  }
}

async function runSupervisor({ settings, environment, dev, log, ended }: Run): Promise<void> {
  const { Supervisor } = await import('./supervisor.ts')
  const own = Object.entries(environment).filter(([name]) => name.startsWith('MAYFLY_'))
  const supervisor = new Supervisor({
    settings,
    environment: { ...Object.fromEntries(own), ...(dev ? devEnvironment(settings) : {}) },
    firstStart: dev ? 'dev' : 'first',
    log,
  })
  killAtSecondSignal(ended, () => supervisor.kill())
  let byThemselves = false
  try {
    // A signal that all of a group are sent ends workers that cannot answer it yet: that is no start that failed.
    const first = await Promise.race([supervisor.start(), ended])
    if (first !== undefined) {
      announce(first.url)
      process.stdout.write(first.text ?? '')
      await Promise.race([ended, supervisor.lost])
    }
    log.info({}, 'draining')
  } finally {
    byThemselves = await supervisor.stop()
  }
  if (!byThemselves) throw new CommandFailure('not every worker ended by itself: what those had only counted is gone')
  log.info({}, 'stopped')
}

function announce(url: string): void {
  process.stdout.write(`mayfly listening on ${url}\n`)
}

function throwAway(folder: string): void {
  rmSync(folder, { recursive: true, force: true })
}

// What nobody caught is a bug: it is logged, and the process ends rather than go on half alive.
function catchSignals(log: Log): Promise<void> {
  process.on('uncaughtException', (error) => {
    log.error({ err: describeError(error) }, 'uncaught')
    process.exit(1)
  })
  return new Promise((resolve) => {
    process.once('SIGTERM', () => resolve())
    process.once('SIGINT', () => resolve())
  })
}

// By itself it would end the supervisor alone, and its workers would drain.
function killAtSecondSignal(first: Promise<void>, kill: () => void): void {
  void first.then(() => {
    for (const signal of ['SIGTERM', 'SIGINT'] as const) {
      process.removeAllListeners(signal).once(signal, () => {
        kill()
        process.kill(process.pid, signal)
      })
    }
  })
}

function devSettings({ postgresUrl: _, ...settings }: Settings, folder: string): Settings {
  const masterKeyFile = join(folder, 'master.key')
  const witnessFile = defaultWitnessFile(masterKeyFile)
  return { ...settings, databasePath: join(folder, 'mayfly.db'), masterKeyFile, witnessFile }
}

function devEnvironment({ databasePath, masterKeyFile, witnessFile }: Settings): Environment {
  return {
    MAYFLY_DATABASE_URL: `file:${databasePath}`,
    MAYFLY_DATABASE_URL_FILE: '',
    MAYFLY_MASTER_KEY_FILE: masterKeyFile,
    MAYFLY_WITNESS_FILE: witnessFile,
  }
}
