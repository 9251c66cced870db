/**
 * The log of a server, on stderr, which does not block whoever writes to it. `O_NONBLOCK` belongs to an open file, and all
 * who have inherited that share it: Node sets it, clears it in each child that it starts, and restores it when it ends. So
 * stderr is opened anew where that can be done, for a flag of our own.
 */
import { constants, fstatSync, openSync, writeSync } from 'node:fs'
import { isatty } from 'node:tty'
import type { LogLevel } from '../config/operation.ts'
import { type LineSink, LineWriter } from '../lib/line-writer.ts'
import type { Log } from '../lib/log.ts'
import { createLogger } from '../logger.ts'

/** So long a process stays at its end for a log that nobody reads. */
export const lastLinesMilliseconds = 1_000
const stderr = 2

/** The log of this process, and how many of its lines were lost. */
export interface ServerLog {
  readonly log: Log
  linesLost(): number
}

/** Opens the log; what waits in it is written at the end of the process. @param base fields of every line */
export function openLog(level: LogLevel, base?: object): ServerLog {
  const options = { level, readable: process.stderr.isTTY === true, ...(base === undefined ? {} : { base }) }
  const { log, lines } = createLogger(openSink(), options)
  process.once('exit', () => lines.flush(lastLinesMilliseconds))
  return { log, linesLost: () => lines.lost }
}

/** Says why a server ends. Its workers may have left stderr so that a write waits for a reader. */
export function sayLast(text: string): void {
  const lines = new LineWriter(openSink(), { describeLoss: () => '' })
  lines.write(text)
  process.once('exit', () => lines.flush(lastLinesMilliseconds))
}

function openSink(): LineSink {
  const own = reopen()
  if (own !== undefined) return { write: (data) => writeTo(own, data) }
  return {
    write: (data) => {
      // Another process may have cleared it since the last line.
      setNonBlocking()
      return writeTo(stderr, data)
    },
  }
}

// A pipe or terminal of this user, on Linux. A socket cannot be opened, and a file has no reader that could stall.
function reopen(): number | undefined {
  if (!fstatSync(stderr).isFIFO() && !isatty(stderr)) return undefined
  try {
    return openSync(`/proc/self/fd/${stderr}`, constants.O_WRONLY | constants.O_NONBLOCK | constants.O_NOCTTY)
  } catch {
    return undefined
  }
}

// Node has no public name for it. A file has no handle.
function setNonBlocking(): void {
  const { _handle: handle } = process.stderr as { _handle?: { setBlocking?(blocking: boolean): number } }
  handle?.setBlocking?.(false)
}

function writeTo(fd: number, data: string | Uint8Array): number {
  return typeof data === 'string' ? writeSync(fd, data) : writeSync(fd, data)
}
