/** Processes of the rig: how they are started, talk and end. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'

/** A program of the rig in a process of its own. */
export class RigProcess<Report> {
  readonly name: string
  readonly #child: ChildProcess
  readonly #ended: Promise<unknown>
  #errors = ''

  /** Runs `scripts/rollover/PROGRAM` with one JSON argument. */
  constructor(name: string, program: string, order: object, onReport: (report: Report) => void) {
    this.name = name
    const entries = Object.entries(process.env).filter(([variable]) => !/^(?:MAYFLY_|VITEST|NODE_)/.test(variable))
    this.#child = spawn(process.execPath, [join(import.meta.dirname, program), JSON.stringify(order)], {
      env: Object.fromEntries(entries),
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
    })
    this.#child.on('message', (message) => onReport(message as Report))
    this.#child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.#errors = `${this.#errors}${text}`.slice(-20_000)
    })
    // A message to a process that was just killed.
    this.#child.on('error', () => {})
    this.#ended = once(this.#child, 'close')
  }

  get isRunning(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null
  }

  /** The end of what it wrote to stderr. */
  get errors(): string {
    return this.#errors
  }

  /** Resolves when it has ended, with its exit code. */
  async ended(): Promise<number | null> {
    await this.#ended
    return this.#child.exitCode
  }

  tell(message: unknown): void {
    if (this.#child.connected) this.#child.send(message as object, () => {})
  }

  signal(signal: 'SIGKILL' | 'SIGSTOP' | 'SIGCONT'): void {
    if (this.isRunning) this.#child.kill(signal)
  }

  /** Ends it whatever it does, a pause included. */
  async kill(): Promise<void> {
    this.signal('SIGKILL')
    await this.#ended
  }
}

/** Inside such a process: tells the rig something. */
export function send(report: object): void {
  process.send?.(report)
}

/** Inside such a process: hears the rig, and ends with it. */
export function receive<Message>(handle: (message: Message) => void): void {
  process.on('message', (message) => handle(message as Message))
  process.on('disconnect', () => process.exit())
}
