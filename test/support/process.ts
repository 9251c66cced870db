/** Programs as their user runs them: `bin/mayfly.js` in a process of its own. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { createInterface } from 'node:readline'
import { onTestFinished } from 'vitest'

export const root = resolve(import.meta.dirname, '../..')
export const launcher = join(root, 'bin/mayfly.js')

/** A folder that is gone when the test is over. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'mayfly-test-'))
  // A folder with installed packages has ten thousand files, and the disk may be busy.
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }), 240_000)
  return folder
}

export { freePort } from '../../scripts/free-port.ts'

/** The environment of this process without the settings that somebody may have set. */
export function cleanEnvironment(extra: Readonly<Record<string, string>> = {}): NodeJS.ProcessEnv {
  const entries = Object.entries(process.env).filter(([name]) => !/^(?:MAYFLY_|VITEST|NODE_OPTIONS)/.test(name))
  return { ...Object.fromEntries(entries), ...extra }
}

export interface Finished {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  readonly stdout: string
  readonly stderr: string
}

export interface RunOptions {
  readonly cwd: string
  readonly env?: Readonly<Record<string, string>>
  readonly input?: string | Buffer
}

/** Collects what a process prints, and resolves when it has ended. */
export async function finish(child: ChildProcess, input?: string | Buffer): Promise<Finished> {
  let stdout = ''
  let stderr = ''
  child.stdout?.setEncoding('utf8').on('data', (text: string) => {
    stdout += text
  })
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    stderr += text
  })
  child.stdin?.on('error', () => {})
  child.stdin?.end(input ?? '')
  const [code, signal] = (await once(child, 'close')) as [number | null, NodeJS.Signals | null]
  return { code, signal, stdout, stderr }
}

/** Runs one mayfly command to its end. */
export function mayfly(args: readonly string[], { cwd, env, input }: RunOptions): Promise<Finished> {
  const child = spawn(process.execPath, [launcher, ...args], {
    cwd,
    env: cleanEnvironment(env),
    stdio: 'pipe',
    timeout: 60_000,
  })
  return finish(child, input)
}

/** The same, with `--json`, and its document. Fails when the command does. */
export async function mayflyJson<T = Record<string, unknown>>(
  args: readonly string[],
  options: RunOptions,
): Promise<T> {
  const { code, stdout, stderr } = await mayfly([...args, '--json'], options)
  if (code !== 0) throw new Error(`mayfly ${args.join(' ')} ended with ${code}: ${stderr}`)
  return JSON.parse(stdout) as T
}

export interface ServerProcess {
  readonly url: string
  readonly child: ChildProcess
  /** Everything printed so far. */
  output(): string
  /** What of it went to stderr. */
  errors(): string
  /** Sends a signal and waits for the end. */
  end(signal: NodeJS.Signals): Promise<{ code: number | null; signal: NodeJS.Signals | null }>
}

/** Starts `mayfly serve` on a free port; it is ended with the test. */
export async function serve(options: RunOptions & { command?: readonly string[] }): Promise<ServerProcess> {
  const [file = process.execPath, ...args] = options.command ?? [process.execPath, launcher, 'serve']
  const env = cleanEnvironment({ MAYFLY_PORT: '0', ...options.env })
  const child = spawn(file, args, { cwd: options.cwd, env, stdio: ['ignore', 'pipe', 'pipe'] })
  let output = ''
  let errors = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    output += text
    errors += text
  })
  const closed = once(child, 'close') as Promise<[number | null, NodeJS.Signals | null]>
  const url = await new Promise<string>((done, fail) => {
    createInterface(child.stdout).on('line', (line) => {
      output += `${line}\n`
      const listening = /^mayfly listening on (\S+)$/.exec(line)?.[1]
      if (listening !== undefined) done(listening)
    })
    closed.then(([code]) => fail(new Error(`mayfly serve ended with ${code}: ${output}`)))
  })
  const end = async (signal: NodeJS.Signals) => {
    child.kill(signal)
    const [code, by] = await closed
    return { code, signal: by }
  }
  onTestFinished(async () => {
    if (child.exitCode === null && child.signalCode === null) await end('SIGKILL')
  })
  return { url, child, output: () => output, errors: () => errors, end }
}
