/**
 * Lines to somebody who may not read them. Each is written at once, by a write that does not block. Where that finds no room
 * the line waits, with those behind it, and is tried again now and then. What waits is bounded: the oldest lines are dropped
 * for new ones, and how many is the first thing to be said when there is room again. Nothing here throws, and nothing
 * waits but `flush`, at the end of a process.
 */

/** Where lines go. */
export interface LineSink {
  /**
   * Writes without blocking, perhaps only a part.
   *
   * @returns how many bytes
   * @throws Error with a `code`: `EAGAIN` when there is no room now
   */
  write(data: string | Uint8Array): number
}

export interface LineWriterOptions {
  readonly maxWaitingBytes?: number
  /** The line that says how many are missing where it stands. */
  describeLoss(lines: number): string
}

interface Waiting {
  readonly line: string
  readonly bytes: number
}

const defaultMaxWaitingBytes = 1024 * 1024
const firstRetryMilliseconds = 1
const lastRetryMilliseconds = 100
const flushPauseMilliseconds = 10

export class LineWriter {
  readonly #sink: LineSink
  readonly #describeLoss: (lines: number) => string
  readonly #maxWaitingBytes: number
  readonly #waiting: Waiting[] = []
  #waitingBytes = 0
  /** What is left of a line that was written in part. It is not dropped: who reads shall find whole lines. */
  #rest: Uint8Array | undefined
  #lost = 0
  /** How many of the lost ones have not been told of yet. */
  #untold = 0
  /** Set while something waits. */
  #retry: NodeJS.Timeout | undefined

  constructor(sink: LineSink, { describeLoss, maxWaitingBytes = defaultMaxWaitingBytes }: LineWriterOptions) {
    this.#sink = sink
    this.#describeLoss = describeLoss
    this.#maxWaitingBytes = maxWaitingBytes
  }

  /** How many lines were dropped. */
  get lost(): number {
    return this.#lost
  }

  /** Writes a line, or keeps it until there is room. */
  write(line: string): void {
    this.#keep(line)
    if (this.#retry === undefined && this.#drain() !== 'done') this.#retryIn(firstRetryMilliseconds)
  }

  /** Writes what waits, and blocks for so long at most while there is no room. Nothing waits for a reader that is gone. */
  flush(milliseconds: number): void {
    const cell = new Int32Array(new SharedArrayBuffer(4))
    for (let left = milliseconds; this.#drain() === 'full' && left > 0; left -= flushPauseMilliseconds) {
      Atomics.wait(cell, 0, 0, flushPauseMilliseconds)
    }
  }

  #keep(line: string): void {
    const bytes = Buffer.byteLength(line)
    this.#waiting.push({ line, bytes })
    this.#waitingBytes += bytes
    while (this.#waitingBytes > this.#maxWaitingBytes) {
      this.#forgetOldest()
      this.#noteLoss()
    }
  }

  #forgetOldest(): void {
    this.#waitingBytes -= this.#waiting.shift()?.bytes ?? 0
  }

  #noteLoss(): void {
    this.#lost += 1
    this.#untold += 1
  }

  #retryIn(milliseconds: number): void {
    const retry = setTimeout(() => {
      this.#retry = undefined
      const before = this.#waitingBytes
      if (this.#drain() === 'done') return
      const hasMoved = this.#waitingBytes < before
      this.#retryIn(hasMoved ? firstRetryMilliseconds : Math.min(milliseconds * 2, lastRetryMilliseconds))
    }, milliseconds)
    // It keeps no process alive: what still waits at the end is written by `flush`.
    this.#retry = retry.unref()
  }

  #drain(): 'done' | 'full' | 'gone' {
    try {
      while (this.#rest !== undefined || this.#untold > 0 || this.#waiting.length > 0) this.#writeNext()
      return 'done'
    } catch (error) {
      const code = error instanceof Error && 'code' in error ? error.code : undefined
      if (code === 'EAGAIN') return 'full'
      // Nobody has the first part any more.
      if (code === 'EPIPE' && this.#rest !== undefined) {
        this.#rest = undefined
        this.#noteLoss()
      }
      return 'gone'
    }
  }

  // In the order of what happened: the rest of a line, how many are missing behind it, those that were kept.
  #writeNext(): void {
    if (this.#rest !== undefined) {
      const written = this.#sink.write(this.#rest)
      this.#rest = written < this.#rest.length ? this.#rest.subarray(written) : undefined
    } else if (this.#untold > 0) {
      this.#writeLine(this.#describeLoss(this.#untold))
      this.#untold = 0
    } else if (this.#waiting[0] !== undefined) {
      this.#writeLine(this.#waiting[0].line)
      this.#forgetOldest()
    }
  }

  #writeLine(line: string): void {
    const written = this.#sink.write(line)
    this.#rest = written < Buffer.byteLength(line) ? Buffer.from(line).subarray(written) : undefined
  }
}
