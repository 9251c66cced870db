/** Everything that a run starts and makes on disk, so that it ends and goes with the run, however that ends. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'

const startMilliseconds = 120_000
const endMilliseconds = 10_000

export interface ChildOptions {
  /** Arguments of `node`. */
  readonly args: readonly string[]
  /** Core to keep it on, as taskset names it. */
  readonly core?: string | undefined
  readonly cwd?: string
  readonly env?: Readonly<Record<string, string>>
}

/** A server that listens. */
export interface Server {
  readonly pid: number
  readonly url: string
  /** From the start of the process to the line that says where it listens. */
  readonly startMilliseconds: number
  end(): Promise<void>
}

export class Stage {
  readonly #children = new Set<ChildProcess>()
  readonly #folders = new Set<string>()

  /** A fresh folder. */
  folder(): string {
    const folder = mkdtempSync(join(tmpdir(), 'mayfly-bench-'))
    this.#folders.add(folder)
    return folder
  }

  /** Starts a program that talks over IPC; it ends when this process does. */
  fork(options: ChildOptions): ChildProcess {
    return this.#spawn(options, ['ignore', 'ignore', 'inherit', 'ipc'])
  }

  /** Starts a program that prints `listening on URL`, and waits for that. @throws Error when it ends before, or is silent for two minutes */
  async serve(options: ChildOptions): Promise<Server> {
    const started = performance.now()
    const child = this.#spawn(options, ['ignore', 'pipe', 'pipe'])
    const complaints = keepTail(child)
    const timer = setTimeout(() => child.kill('SIGKILL'), startMilliseconds)
    try {
      const url = await readUrl(child, complaints)
      return { pid: child.pid ?? 0, url, startMilliseconds: performance.now() - started, end: () => this.end(child) }
    } finally {
      clearTimeout(timer)
    }
  }

  /** Ends one process; by force when it does not listen. */
  async end(child: ChildProcess): Promise<void> {
    this.#children.delete(child)
    if (child.exitCode !== null || child.signalCode !== null) return
    const closed = once(child, 'exit')
    child.kill('SIGTERM')
    const timer = setTimeout(() => child.kill('SIGKILL'), endMilliseconds)
    await closed
    clearTimeout(timer)
  }

  /** Ends all there is, at once: the last thing of a run. */
  close(): void {
    for (const child of this.#children) child.kill('SIGKILL')
    this.#children.clear()
    for (const folder of this.#folders) rmSync(folder, { recursive: true, force: true, maxRetries: 5 })
    this.#folders.clear()
  }

  #spawn({ args, core, cwd, env }: ChildOptions, stdio: ('ignore' | 'pipe' | 'inherit' | 'ipc')[]): ChildProcess {
    const command = [process.execPath, '--disable-warning=ExperimentalWarning', ...args]
    const [file = '', ...rest] = core === undefined ? command : ['taskset', '-c', core, ...command]
    const child = spawn(file, rest, { stdio, cwd, env: { ...cleanEnvironment(), ...env } })
    this.#children.add(child)
    child.once('exit', () => this.#children.delete(child))
    return child
  }
}

// Default settings are measured, whatever this shell has set.
function cleanEnvironment(): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^(?:MAYFLY_|VITEST|NODE_)/.test(name)))
}

// What a server says on stderr matters when it does not start; meanwhile its pipe must not fill.
function keepTail(child: ChildProcess): () => string {
  let tail = ''
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    tail = (tail + text).slice(-2000)
  })
  return () => tail
}

async function readUrl(child: ChildProcess, complaints: () => string): Promise<string> {
  if (child.stdout === null) throw new Error('no output to read')
  // Goes on reading for as long as the process prints, or it would one day wait for its reader.
  const lines = createInterface(child.stdout)
  return new Promise((resolve, reject) => {
    lines.on('line', (line) => {
      const url = /listening on (https?:\S+)/.exec(line)?.[1]
      if (url !== undefined) resolve(url)
    })
    child.once('error', reject)
    child.once('exit', (code, signal) =>
      reject(new Error(`${child.spawnargs.join(' ')} ended with ${code ?? signal}: ${complaints()}`)),
    )
  })
}
