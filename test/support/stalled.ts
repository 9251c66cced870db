/** `mayfly serve` with a stderr that nobody reads until the test does. */
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, constants, openSync, writeSync } from 'node:fs'
import { Agent, get } from 'node:http'
import { Socket } from 'node:net'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { onTestFinished } from 'vitest'
import { cleanEnvironment, launcher, temporaryFolder } from './process.ts'
import { askOnce, type LogLine } from './workers.ts'

export interface StalledServer {
  readonly url: string
  readonly cwd: string
  readonly env: Readonly<Record<string, string>>
  /** Asks until it has logged more than pipe or socket take. */
  fill(): Promise<void>
  /** Asks until lines are lost. */
  flood(): Promise<void>
  /** Reads from now on. */
  read(): Reading
  /** Ends the reader. */
  hangUp(): void
  /** Sends SIGTERM. @returns its exit code or signal */
  terminate(): Promise<number | NodeJS.Signals | null>
}

export interface Reading {
  /** Whole lines so far. @throws SyntaxError when one is broken */
  lines(): readonly LogLine[]
  /** Waits for a line, those of before included. */
  lineOf(isIt: (line: LogLine) => boolean): Promise<LogLine>
  /** All lines, when the last writer is gone. */
  all(): Promise<readonly LogLine[]>
}

/** What stderr is: a pipe that the server can open anew, or a socket, which it cannot. */
export type StderrKind = 'pipe' | 'socket'

export async function serveUnread(
  kind: StderrKind,
  extra: Readonly<Record<string, string>> = {},
): Promise<StalledServer> {
  const cwd = temporaryFolder()
  const env = { MAYFLY_PORT: '0', MAYFLY_LOG_LEVEL: 'debug', ...extra }
  const pipe = kind === 'pipe' ? makePipe(cwd) : undefined
  const child = spawn(process.execPath, [launcher, 'serve'], {
    cwd,
    env: cleanEnvironment(env),
    stdio: ['ignore', 'pipe', pipe?.write ?? 'pipe'],
  })
  if (pipe !== undefined) closeSync(pipe.write)
  const closed = once(child, 'exit') as Promise<[number | null, NodeJS.Signals | null]>
  onTestFinished(async () => {
    if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL')
    await closed
  })
  const stderr = pipe === undefined ? (child.stderr as Socket | null) : new Socket({ fd: pipe.read, readable: true })
  if (stderr === null || child.stdout === null) throw new Error('it has no pipes')
  stderr.pause()
  const url = await new Promise<string>((done, fail) => {
    createInterface(child.stdout as NonNullable<typeof child.stdout>).on('line', (line) => {
      const listening = /^mayfly listening on (\S+)$/.exec(line)?.[1]
      if (listening !== undefined) done(listening)
    })
    closed.then(([code]) => fail(new Error(`mayfly serve ended with ${code}`)))
  })
  return {
    url,
    cwd,
    env,
    fill: () => askOften(url, 2_000),
    flood: async () => {
      do await askOften(url, 1_600)
      while ((await countLost(url)) === 0)
    },
    read: () => readFrom(stderr),
    hangUp: () => stderr.destroy(),
    terminate: async () => {
      child.kill('SIGTERM')
      const [code, signal] = await closed
      return signal ?? code
    },
  }
}

/** Runs `mayfly serve` with a stderr that is full from the start. @returns its exit code or signal */
export async function serveFull(extra: Readonly<Record<string, string>>): Promise<number | NodeJS.Signals | null> {
  const cwd = temporaryFolder()
  const { read, write } = makePipe(cwd)
  fillPipe(join(cwd, 'stderr'))
  const child = spawn(process.execPath, [launcher, 'serve'], {
    cwd,
    env: cleanEnvironment({ MAYFLY_PORT: '0', ...extra }),
    stdio: ['ignore', 'ignore', write],
  })
  const closed = once(child, 'exit') as Promise<[number | null, NodeJS.Signals | null]>
  onTestFinished(async () => {
    if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL')
    await closed
    for (const end of [read, write]) closeSync(end)
  })
  const [code, signal] = await closed
  return signal ?? code
}

function fillPipe(path: string): void {
  const own = openSync(path, constants.O_WRONLY | constants.O_NONBLOCK)
  try {
    // The last of it by single bytes, for a pipe takes what is no longer than a page whole or not at all.
    for (const bytes of [4_096, 1]) writeUntilFull(own, Buffer.alloc(bytes, '\n'))
  } finally {
    closeSync(own)
  }
}

function writeUntilFull(fd: number, data: Uint8Array): void {
  try {
    for (;;) writeSync(fd, data)
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'EAGAIN')) throw error
  }
}

/** How many lines were lost, as `/metrics` has it. */
export async function countLost(url: string): Promise<number> {
  const { text } = await askOnce(`${url}/metrics`)
  const found = /^mayfly_log_lines_lost_total (\d+)$/m.exec(text)?.[1]
  if (found === undefined) throw new Error(`no such metric: ${text}`)
  return Number(found)
}

// The ends of a FIFO: a pipe that has a name only until both are open.
function makePipe(folder: string): { readonly read: number; readonly write: number } {
  const path = join(folder, 'stderr')
  execFileSync('mkfifo', [path])
  const read = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK)
  return { read, write: openSync(path, constants.O_WRONLY) }
}

// Each answer is a line of some 200 bytes.
async function askOften(url: string, times: number): Promise<void> {
  const lanes = 16
  const agent = new Agent({ keepAlive: true, maxSockets: lanes })
  const ask = (): Promise<void> =>
    new Promise((resolve, reject) => {
      get(`${url}/livez`, { agent }, (reply) => reply.resume().on('end', resolve).on('error', reject)).on(
        'error',
        reject,
      )
    })
  await Promise.all(
    Array.from({ length: lanes }, async () => {
      for (let i = 0; i < times / lanes; i += 1) await ask()
    }),
  )
  agent.destroy()
}

function readFrom(stderr: Socket): Reading {
  let text = ''
  stderr.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk
  })
  stderr.resume()
  const ended = new Promise<void>((resolve) => {
    stderr.once('end', resolve)
  })
  const lines = (): readonly LogLine[] =>
    text
      .slice(0, text.lastIndexOf('\n') + 1)
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as LogLine)
  const lineOf = async (isIt: (line: LogLine) => boolean): Promise<LogLine> => {
    for (;;) {
      const found = lines().find(isIt)
      if (found !== undefined) return found
      await once(stderr, 'data')
    }
  }
  return {
    lines,
    lineOf,
    all: async () => {
      await ended
      if (!text.endsWith('\n')) throw new Error('the last line is not whole')
      return lines()
    },
  }
}
