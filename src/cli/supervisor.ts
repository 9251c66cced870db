/**
 * Several processes on one port. The supervisor serves nothing: it starts workers, starts those again that die, keeps what
 * limits count, and sums the metrics. All workers listen on one socket (node:cluster without its scheduler), so that a
 * connection goes to whoever takes it: none waits at a worker that is paused, and none is lost with one that dies before
 * it has taken it.
 *
 *   the first start      worker 1 alone, which makes what is missing; then the others. One that cannot begin ends them all
 *   a worker dies        another one takes its place, after a time that doubles while it goes on dying
 *   none serves          after a minute the supervisor ends with 1: whoever runs it shall see that
 *   SIGTERM, SIGINT      all stop listening; when none listens any more, all drain; who has not ended after 12 s is killed
 *   the supervisor dies  its workers see the channel end, and drain
 */
import cluster from 'node:cluster'
import { fileURLToPath } from 'node:url'
import type { Environment } from '../config/setting.ts'
import type { Settings } from '../config/settings.ts'
import { MetricsSum } from '../http/metrics-sum.ts'
import { createSharedMemory, type SharedMemory, serveSharedMemory } from '../http/shared-line.ts'
import { BackOff } from '../lib/back-off.ts'
import { systemClock } from '../lib/clock.ts'
import type { Log } from '../lib/log.ts'
import { pause } from '../lib/pause.ts'
import { CommandFailure } from './command.ts'
import { readVersion } from './program.ts'
import { type End, type Talk, WorkerPlace } from './worker-place.ts'
import { firstStartVariable, type Ready, versionVariable, workerVariable } from './worker-talk.ts'

const restartLimits = { firstMilliseconds: 200, mostMilliseconds: 30_000, livedWellMilliseconds: 60_000 }
const snapshotMilliseconds = 500
const stopListeningMilliseconds = 1_000
const defaultPatience: Patience = { drain: 12_000, lost: 60_000 }

export interface SupervisorParts {
  readonly settings: Settings
  /** What workers take their settings from. */
  readonly environment: Environment
  /** What the first worker prepares and describes. */
  readonly firstStart: 'first' | 'dev'
  readonly log: Log
  /** What a test does not wait so long for. */
  readonly patience?: Partial<Patience>
  readonly version?: string
}

/** In milliseconds. */
export interface Patience {
  /** For workers that drain. */
  readonly drain: number
  /** With none that serves. */
  readonly lost: number
}

export class Supervisor {
  readonly #parts: SupervisorParts
  readonly #patience: Patience
  readonly #places: readonly WorkerPlace[]
  readonly #backOffs: ReadonlyMap<WorkerPlace, BackOff>
  readonly #memory: SharedMemory
  readonly #sum = new MetricsSum()
  readonly #version: string
  readonly #timers = new Set<NodeJS.Timeout>()
  readonly #lost = Promise.withResolvers<never>()
  #lostTimer: NodeJS.Timeout | undefined
  #first: Ready | undefined
  #hasStarted = false
  #isEnding = false
  #restarts = 0
  #look: Promise<string> | undefined

  constructor(parts: SupervisorParts) {
    if (!cluster.isPrimary)
      throw new CommandFailure(
        'a process manager runs this process as one of its workers: set MAYFLY_WORKERS=1, or have it run one process',
      )
    this.#parts = parts
    this.#patience = { ...defaultPatience, ...parts.patience }
    this.#version = parts.version ?? readVersion()
    this.#memory = createSharedMemory(parts.settings, systemClock)
    const events = {
      onFork: (talk: Talk, process: number) => this.#connect(talk, process),
      onReady: (place: WorkerPlace) => this.#noteReady(place),
      onEnd: (place: WorkerPlace, end: End) => this.#noteEnd(place, end),
    }
    this.#places = Array.from({ length: parts.settings.workers }, (_, i) => new WorkerPlace(i + 1, events))
    this.#backOffs = new Map(this.#places.map((place) => [place, new BackOff(systemClock, restartLimits)]))
    this.#lost.promise.catch(() => undefined)
    cluster.schedulingPolicy = cluster.SCHED_NONE
    cluster.setupPrimary({
      exec: fileURLToPath(new URL('../../bin/mayfly.js', import.meta.url)),
      args: ['serve'],
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    })
  }

  /** Rejects when no worker has served for a minute. */
  get lost(): Promise<never> {
    return this.#lost.promise
  }

  /**
   * Resolves when all workers serve, or the first does after `stop` was called.
   *
   * @throws what kept one of them from it; none is left then
   */
  async start(): Promise<Ready> {
    const [one, ...others] = this.#places
    if (one === undefined) throw new Error('no worker is wanted')
    try {
      const first = await one.launch(this.#environmentOf(one, { [firstStartVariable]: this.#parts.firstStart }))
      this.#first = first
      if (this.#isEnding) return first
      await Promise.all(others.map((place) => place.launch(this.#environmentOf(place))))
      this.#hasStarted = true
      return first
    } catch (error) {
      await this.stop()
      throw error
    }
  }

  /** Drains all workers. @returns whether each of them ended by itself */
  async stop(): Promise<boolean> {
    this.#isEnding = true
    clearTimeout(this.#lostTimer)
    for (const timer of this.#timers) clearTimeout(timer)
    // A reply that ends a connection has its client come again at once: it must not come to one who is about to close.
    await Promise.all(this.#places.map((place) => place.stopListening(stopListeningMilliseconds)))
    for (const place of this.#places) place.drain()
    const ended = Promise.all(this.#places.map((place) => place.ended))
    const late = new AbortController()
    await Promise.race([ended, pause(this.#patience.drain, late.signal)])
    late.abort()
    const left = this.#places.filter((place) => !place.isEmpty)
    for (const { number } of left) this.#parts.log.error({ worker: number }, 'did not end, and is killed')
    this.kill()
    await ended
    return left.length === 0
  }

  /** Ends all workers at once. */
  kill(): void {
    this.#isEnding = true
    for (const place of this.#places) place.kill()
  }

  #connect(talk: Talk, process: number): void {
    this.#sum.noteStart(process)
    serveSharedMemory(talk, this.#memory)
    talk.on('metrics', () => this.#readMetrics())
    talk.on('counted', (snapshot) => {
      this.#sum.note(process, snapshot)
      return null
    })
  }

  #noteReady(place: WorkerPlace): void {
    // What it is told before it listens to us is lost.
    if (this.#isEnding) place.drain()
    this.#backOffs.get(place)?.noteBirth()
    clearTimeout(this.#lostTimer)
    this.#lostTimer = undefined
    this.#parts.log.info({ worker: place.number, pid: place.process }, 'worker serves')
  }

  #noteEnd(place: WorkerPlace, { process, by, hadServed, fault }: End): void {
    if (process !== undefined) this.#sum.noteEnd(process)
    const wait = this.#backOffs.get(place)?.noteEnd() ?? 0
    // One that cannot begin ends the first start.
    if (this.#isEnding || !(this.#hasStarted || hadServed)) return
    const why = fault === undefined ? {} : { err: fault }
    this.#parts.log.error({ worker: place.number, by, restart_in_ms: wait, ...why }, 'worker ended')
    if (this.#places.every(({ state }) => state === 'waiting' || state === 'starting')) {
      this.#lostTimer ??= setTimeout(() => this.#giveUp(), this.#patience.lost)
    }
    const timer = setTimeout(() => {
      this.#timers.delete(timer)
      this.#restarts += 1
      // How it ends is told to `#noteEnd`.
      place.launch(this.#environmentOf(place)).catch(() => undefined)
    }, wait)
    this.#timers.add(timer)
  }

  #giveUp(): void {
    this.#lost.reject(new CommandFailure('no worker has served for a minute: the log says why each of them ended'))
  }

  /** Those that ask together share one look. */
  #readMetrics(): Promise<string> {
    this.#look ??= this.#sumMetrics().finally(() => {
      this.#look = undefined
    })
    return this.#look
  }

  async #sumMetrics(): Promise<string> {
    const found = await Promise.all(this.#places.map((place) => place.readSnapshot(snapshotMilliseconds)))
    for (const each of found) if (each !== undefined) this.#sum.note(each.process, each.snapshot)
    return this.#sum.write({ states: this.#places.map(({ state }) => state), restarts: this.#restarts })
  }

  // What was in `.env` at the start is in the environment now; what is written there since counts after the next start.
  #environmentOf(place: WorkerPlace, extra: Environment = {}): Environment {
    return {
      ...this.#parts.environment,
      ...this.#whereTheOthersAre(),
      ...extra,
      [workerVariable]: String(place.number),
      [versionVariable]: this.#version,
    }
  }

  // A free port was chosen by the first worker, and the others name it: whoever asks for a free one is given the same only
  // while somebody has it who asked so too.
  #whereTheOthersAre(): Environment {
    if (this.#first === undefined) return {}
    const { issuer, url, metricsUrl } = this.#first
    const { settings } = this.#parts
    return {
      MAYFLY_ISSUER: issuer,
      ...(settings.port === 0 ? { MAYFLY_PORT: new URL(url).port } : {}),
      ...(settings.metricsListen?.port === 0 && metricsUrl !== undefined
        ? { MAYFLY_METRICS_LISTEN: new URL(metricsUrl).host }
        : {}),
    }
  }
}
