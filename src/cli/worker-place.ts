import cluster, { type Worker } from 'node:cluster'
import type { Environment } from '../config/setting.ts'
import type { MetricsSnapshot, WorkerState } from '../http/metrics-sum.ts'
import { Channel, NoAnswer } from '../lib/channel.ts'
import { CommandFailure } from './command.ts'
import type { Ready, StartFault, SupervisorSays, WorkerSays } from './worker-talk.ts'

/** The supervisor's end of a channel. */
export type Talk = Channel<WorkerSays, SupervisorSays>

/** How a worker ended. */
export interface End {
  /** Absent when there was none to be had. */
  readonly process: number | undefined
  /** Its exit code, the signal that ended it, or what kept the machine from starting it. */
  readonly by: number | string
  readonly hadServed: boolean
  /** Why it could not begin, if it said so. */
  readonly fault: StartFault | undefined
}

export interface PlaceEvents {
  /** Before a worker has said anything. */
  onFork(talk: Talk, process: number): void
  onReady(place: WorkerPlace): void
  onEnd(place: WorkerPlace, end: End): void
}

/** The place of a worker, in which one follows the other. */
export class WorkerPlace {
  /** From 1. */
  readonly number: number
  state: WorkerState = 'starting'
  readonly #events: PlaceEvents
  #worker: Worker | undefined
  #talk: Talk | undefined
  #ended: Promise<void> = Promise.resolve()

  constructor(number: number, events: PlaceEvents) {
    this.number = number
    this.#events = events
  }

  get isEmpty(): boolean {
    return this.#worker === undefined
  }

  get process(): number | undefined {
    return this.#worker?.process.pid
  }

  /** Resolves when there is no worker in it any more. */
  get ended(): Promise<void> {
    return this.#ended
  }

  /** Puts a worker into it. @throws what kept the worker from serving */
  launch(environment: Environment): Promise<Ready> {
    const ready = Promise.withResolvers<Ready>()
    const ended = Promise.withResolvers<void>()
    ready.promise.catch(ignore)
    this.#ended = ended.promise
    this.state = 'starting'
    const end = (found: Omit<End, 'hadServed'>): void => {
      const whole = { ...found, hadServed: this.state !== 'starting' }
      this.#talk?.close()
      this.#worker = undefined
      this.#talk = undefined
      this.state = 'waiting'
      this.#events.onEnd(this, whole)
      ready.reject(toError(this.number, whole))
      ended.resolve()
    }
    try {
      this.#fork(environment, ready.resolve, end)
    } catch (error) {
      end({ process: undefined, ...couldNotStart(error) })
    }
    return ready.promise
  }

  #fork(environment: Environment, ready: (found: Ready) => void, end: (found: Omit<End, 'hadServed'>) => void): void {
    const worker = cluster.fork(environment)
    const talk: Talk = new Channel((message) => void worker.send(message as never, ignore))
    let fault: StartFault | undefined
    this.#worker = worker
    this.#talk = talk
    this.#events.onFork(talk, worker.id)
    talk.on('failed', (found) => {
      fault = found
      return null
    })
    talk.on('ready', (found) => {
      this.state = 'ready'
      this.#events.onReady(this)
      ready(found)
      return null
    })
    worker.on('message', (message) => talk.receive(message))
    // A worker that cannot be told anything is at its end. Without a process there is none that exits.
    worker.on('error', (error) => {
      if (worker.process.pid === undefined) end({ process: worker.id, ...couldNotStart(error) })
    })
    worker.once('exit', (code, signal) => end({ process: worker.id, by: signal ?? code, fault }))
  }

  /** Resolves when its worker takes no new connection, or after so many milliseconds. */
  async stopListening(milliseconds: number): Promise<void> {
    if (this.state !== 'starting') await this.#talk?.ask('stopListening', null, milliseconds).catch(ignore)
  }

  drain(): void {
    this.#talk?.tell('drain', null)
  }

  kill(): void {
    this.#worker?.process.kill('SIGKILL')
  }

  /**
   * What its worker has counted; `undefined` when none serves, or it does not answer, which its state then says.
   */
  async readSnapshot(
    milliseconds: number,
  ): Promise<{ readonly process: number; readonly snapshot: MetricsSnapshot } | undefined> {
    const [worker, talk] = [this.#worker, this.#talk]
    if (worker === undefined || talk === undefined || this.state === 'starting') return undefined
    try {
      const snapshot = await talk.ask('snapshot', null, milliseconds)
      if (this.#worker !== worker) return undefined
      this.state = 'ready'
      return { process: worker.id, snapshot }
    } catch (error) {
      if (!(error instanceof NoAnswer)) throw error
      if (this.#worker === worker) this.state = 'silent'
      return undefined
    }
  }
}

// No memory, no more processes, or another Node.js in the place of this one: it may be otherwise at the next attempt.
function couldNotStart(error: unknown): Pick<End, 'by' | 'fault'> {
  const { message, code = 'error' } = error as NodeJS.ErrnoException
  return { by: code, fault: { name: 'CommandFailure', message: `no worker can be started: ${message}` } }
}

// As it would have been thrown here.
function toError(number: number, { fault, by }: End): Error {
  if (fault === undefined)
    return new CommandFailure(`worker ${number} ended (${by}) before it served: the log says why`)
  const { name, message, cause } = fault
  const inner = cause === undefined ? {} : { cause: Object.assign(new Error(cause.message), { name: cause.name }) }
  return Object.assign(new Error(message, inner), { name })
}

function ignore(): void {}
