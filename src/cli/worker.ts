/** One of several processes that share a port: a server as any other, which a supervisor starts and ends (`supervisor.ts`). */
import cluster from 'node:cluster'
import type { Membership } from '../app/parts.ts'
import { parseSettings, type Settings } from '../config/settings.ts'
import { createSharedCounts } from '../http/shared-counts.ts'
import { createSharedMemory, SharedLine } from '../http/shared-line.ts'
import { createSharedProofs } from '../http/shared-proofs.ts'
import { Channel } from '../lib/channel.ts'
import { systemClock } from '../lib/clock.ts'
import { describeError, type Log } from '../lib/log.ts'
import { pause } from '../lib/pause.ts'
import { StoreUnavailable } from '../lib/store-error.ts'
import { type RunningServer, startServer } from '../main.ts'
import { OAuthError } from '../oauth/errors.ts'
import { CommandFailure } from './command.ts'
import { describeFirstSteps, makeDevClient } from './first-steps.ts'
import { openLog, type ServerLog } from './operator-log.ts'
import { readVersion } from './program.ts'
import {
  firstStartVariable,
  type Ready,
  type StartFault,
  type SupervisorSays,
  versionVariable,
  type WorkerSays,
  workerVariable,
} from './worker-talk.ts'

type Talk = Channel<SupervisorSays, WorkerSays>

const metricsMilliseconds = 1_500
const lastWordMilliseconds = 1_000
const othersMilliseconds = 250
const maxWaiting = 1_000

/** Serves until the supervisor says so, or is gone, or a signal comes; then drains and ends the process. */
export async function runWorker(): Promise<void> {
  const settings = parseSettings(process.env, process.cwd())
  const number = Number(process.env[workerVariable])
  const { log, linesLost } = openLog(settings.logLevel, { worker: number })
  const talk: Talk = new Channel(createSend())
  process.on('message', (message) => talk.receive(message))
  const { ends, drains, gone } = listenForTheEnd(talk, log)
  try {
    // The socket is had from the supervisor: who does not listen yet when it is gone would wait for ever.
    const server = await Promise.race([begin(settings, { number, talk, log, linesLost }), gone])
    await ends
    // The others hear of it at the same time, or a little later: a client whose connection ends here must not come to one
    // of them that is about to close.
    server.stopListening()
    await Promise.race([drains, pause(othersMilliseconds)])
    await server.stop()
    await talk.ask('counted', await server.readSnapshot(), lastWordMilliseconds).catch(ignore)
    process.exit(0)
  } catch (error) {
    await talk.ask('failed', await explain(error, settings), lastWordMilliseconds).catch(ignore)
    process.exit(1)
  }
}

// A supervisor that is paused reads nothing, and what is sent to it waits in memory.
function createSend(): (message: object) => void {
  let waiting = 0
  return (message) => {
    if (waiting >= maxWaiting) return
    waiting += 1
    process.send?.(message, undefined, {}, () => {
      waiting -= 1
    })
  }
}

async function begin(
  settings: Settings,
  { number, talk, log, linesLost }: ServerLog & { readonly number: number; readonly talk: Talk },
): Promise<RunningServer> {
  const first = process.env[firstStartVariable]
  requireSameProgram()
  const line = new SharedLine({ channel: talk, clock: systemClock, log })
  const own = createSharedMemory(settings, systemClock)
  const membership: Membership = {
    number,
    count: settings.workers,
    joins: first === undefined,
    counts: createSharedCounts(line, own.counts),
    seenProofs: createSharedProofs(line, own.proofs),
    readMetrics: () => readMetrics(talk),
  }
  const server = await startServer(settings, { log, linesLost, membership })
  talk.on('snapshot', () => server.readSnapshot())
  talk.on('stopListening', () => {
    server.stopListening()
    return null
  })
  const text = first === 'dev' ? await makeDevClient(server) : first && (await describeFirstSteps(settings, server))
  const ready: Ready = { url: server.url, issuer: server.issuer, metricsUrl: server.metricsUrl, text }
  talk.tell('ready', ready)
  return server
}

// A package that was replaced while the server runs would bring the database up to date under the other workers.
function requireSameProgram(): void {
  const [runs, lies] = [process.env[versionVariable], readVersion()]
  if (runs === lies) return
  throw new CommandFailure(`version ${runs} runs, and ${lies} was installed in its place: restart the server`)
}

// Half of the numbers would look like all of them.
async function readMetrics(talk: Talk): Promise<string> {
  try {
    return await talk.ask('metrics', null, metricsMilliseconds)
  } catch (cause) {
    throw new OAuthError('not_ready', { cause })
  }
}

interface TheEnd {
  /** It shall end: the supervisor says so or is gone, or a signal came, which goes to all of a group. */
  readonly ends: Promise<void>
  /** The supervisor says that no other takes new connections either. */
  readonly drains: Promise<void>
  /** Rejects when the supervisor is gone. */
  readonly gone: Promise<never>
}

function listenForTheEnd(talk: Talk, log: Log): TheEnd {
  const [ends, drains] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
  const gone = Promise.withResolvers<never>()
  process.on('uncaughtException', (error) => {
    log.error({ err: describeError(error) }, 'uncaught')
    process.exit(1)
  })
  talk.on('drain', () => {
    ends.resolve()
    drains.resolve()
    return null
  })
  cluster.worker?.once('disconnect', () => {
    // Node would end the process here, and the requests with it.
    if (cluster.worker !== undefined) cluster.worker.exitedAfterDisconnect = true
    talk.close()
    log.warn({}, 'the supervisor is gone')
    ends.resolve()
    gone.reject(new CommandFailure('the supervisor is gone'))
  })
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => ends.resolve())
  return { ends: ends.promise, drains: drains.promise, gone: gone.promise }
}

async function explain(error: unknown, settings: Settings): Promise<StartFault> {
  const { explainFailure } = await import('../store/open-store.ts')
  const explained = error instanceof StoreUnavailable ? explainFailure(error, settings) : error
  if (!(explained instanceof Error)) return { name: 'Error', message: typeof explained }
  const { name, message, cause } = explained
  return { name, message, ...(cause instanceof Error ? { cause: { name: cause.name, message: cause.message } } : {}) }
}

function ignore(): void {}
