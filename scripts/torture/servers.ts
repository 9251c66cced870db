/** Server processes on one database, as their user runs them: killed at random moments and started again. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { environment } from './plan.ts'

export const launcher = join(import.meta.dirname, '../../bin/mayfly.js')

/** What a process of a rig gets: the environment of this one without the settings that somebody may have set, and `more`. */
export function environmentWith(more: Readonly<Record<string, string>>): NodeJS.ProcessEnv {
  const entries = Object.entries(process.env).filter(([name]) => !/^(?:MAYFLY_|VITEST|NODE_OPTIONS)/.test(name))
  return { ...Object.fromEntries(entries), ...more }
}

class Server {
  readonly url: string
  readonly #child: ChildProcess
  readonly #closed: Promise<unknown>

  constructor(url: string, child: ChildProcess, closed: Promise<unknown>) {
    this.url = url
    this.#child = child
    this.#closed = closed
  }

  /** Sends a signal and waits for the end. @returns the exit code */
  async end(signal: 'SIGKILL' | 'SIGTERM'): Promise<number | null> {
    this.#child.kill(signal)
    await this.#closed
    return this.#child.exitCode
  }
}

export class Servers {
  readonly #folder: string
  readonly #environment: Readonly<Record<string, string>>
  readonly #issuer = 'http://127.0.0.1:9'
  readonly #running: Server[] = []
  readonly #children = new Set<ChildProcess>()
  /** The end of what they wrote to stderr. */
  errors = ''

  /** `more`: settings besides those of the plan. */
  constructor(folder: string, more: Readonly<Record<string, string>> = {}) {
    this.#folder = folder
    this.#environment = { ...environment, ...more }
  }

  /** Where to send requests. */
  get urls(): readonly string[] {
    return this.#running.map(({ url }) => url)
  }

  /** Starts one; resolves when it answers. @throws Error when it does not start */
  async start(): Promise<void> {
    const child = spawn(process.execPath, [launcher, 'serve'], {
      cwd: this.#folder,
      env: environmentWith({ ...this.#environment, MAYFLY_PORT: '0', MAYFLY_ISSUER: this.#issuer }),
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    this.#children.add(child)
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      this.errors = `${this.errors}${text}`.slice(-20_000)
    })
    const closed = once(child, 'close')
    const listening = Promise.withResolvers<string>()
    createInterface(child.stdout).on('line', (line) => {
      const url = /^mayfly listening on (\S+)$/.exec(line)?.[1]
      if (url !== undefined) listening.resolve(url)
    })
    closed.then(([code, signal]) =>
      listening.reject(new Error(`a server ended with ${code ?? signal}: ${this.errors}`)),
    )
    this.#running.push(new Server(await listening.promise, child, closed))
  }

  /** Kills the one at a place. */
  async kill(place: number): Promise<void> {
    const [victim] = this.#running.splice(place, 1)
    await victim?.end('SIGKILL')
  }

  /** Drains all; they must end by themselves and well. @throws Error when one does not */
  async stop(): Promise<void> {
    const codes = await Promise.all(this.#running.splice(0).map((server) => server.end('SIGTERM')))
    if (codes.some((code) => code !== 0)) throw new Error(`servers ended with ${codes.join(', ')}: ${this.errors}`)
  }

  /** Ends whatever is left. */
  end(): void {
    for (const child of this.#children) child.kill('SIGKILL')
  }
}
