import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { type LineSink, LineWriter } from '../../src/lib/line-writer.ts'
import { seed } from '../support/seed.ts'

/** A reader with so much room: it takes what fits, and throws what a system would. */
class Pipe implements LineSink {
  text = ''
  room: number
  /** In place of `EAGAIN`. */
  code = 'EAGAIN'
  writes = 0

  constructor(room = Number.POSITIVE_INFINITY) {
    this.room = room
  }

  write(data: string | Uint8Array): number {
    this.writes += 1
    const bytes = Buffer.from(data)
    const taken = Math.min(this.room, bytes.length)
    if (taken === 0) throw Object.assign(new Error('no'), { code: this.code })
    this.room -= taken
    this.text += bytes.subarray(0, taken).toString('latin1')
    return taken
  }
}

const describeLoss = (lines: number): string => `lost ${lines}\n`
const write = (writer: LineWriter, from: number, to: number): void => {
  for (let i = from; i < to; i += 1) writer.write(`line ${String(i).padStart(3, '0')}\n`)
}
const lineBytes = 9

describe('lines to somebody who may not read', () => {
  beforeEach(() => vi.useFakeTimers())
  afterEach(() => vi.useRealTimers())

  it('are written at once, one write each', () => {
    const pipe = new Pipe()
    write(new LineWriter(pipe, { describeLoss }), 0, 3)
    expect([pipe.text, pipe.writes, vi.getTimerCount()]).toEqual(['line 000\nline 001\nline 002\n', 3, 0])
  })

  it('wait for room in their order, and a line that was written in part is completed', () => {
    const pipe = new Pipe(lineBytes + 4)
    const writer = new LineWriter(pipe, { describeLoss })
    write(writer, 0, 3)
    expect(pipe.text).toBe('line 000\nline')
    pipe.room = 1_000
    vi.advanceTimersByTime(1)
    expect([pipe.text, writer.lost]).toEqual(['line 000\nline 001\nline 002\n', 0])
  })

  it('are asked about again more and more seldom, however many come', () => {
    const pipe = new Pipe(0)
    const writer = new LineWriter(pipe, { describeLoss })
    write(writer, 0, 500)
    expect(pipe.writes).toBe(1)
    vi.advanceTimersByTime(10_127)
    // After 1, 2, 4 … 64 ms, then every 100.
    expect(pipe.writes).toBe(1 + 7 + 100)
  })

  it('take no more memory than they may: the oldest are dropped, and how many is said first', () => {
    const pipe = new Pipe(4)
    const writer = new LineWriter(pipe, { describeLoss, maxWaitingBytes: 3 * lineBytes })
    write(writer, 0, 10)
    expect(writer.lost).toBe(6)
    pipe.room = 1_000
    vi.advanceTimersByTime(1)
    expect(pipe.text).toBe('line 000\nlost 6\nline 007\nline 008\nline 009\n')
    write(writer, 10, 11)
    expect(pipe.text.endsWith('line 009\nline 010\n')).toBe(true)
    expect(writer.lost).toBe(6)
  })

  it('drops a line that alone is larger than what may wait', () => {
    const pipe = new Pipe(0)
    const writer = new LineWriter(pipe, { describeLoss, maxWaitingBytes: 100 })
    writer.write(`${'x'.repeat(200)}\n`)
    expect(writer.lost).toBe(1)
    pipe.room = 1_000
    vi.advanceTimersByTime(1)
    expect(pipe.text).toBe('lost 1\n')
  })

  it.each(['EPIPE', 'ENOSPC', 'EIO'])('does not throw for %s, and goes on when it is over', (code) => {
    const pipe = new Pipe(lineBytes)
    pipe.code = code
    const writer = new LineWriter(pipe, { describeLoss })
    write(writer, 0, 3)
    pipe.room = 1_000
    vi.advanceTimersByTime(1)
    expect(pipe.text).toBe('line 000\nline 001\nline 002\n')
  })

  it('does not complete a line for a reader that has not seen its beginning', () => {
    const pipe = new Pipe(4)
    const writer = new LineWriter(pipe, { describeLoss })
    pipe.code = 'EPIPE'
    write(writer, 0, 2)
    pipe.text = ''
    pipe.room = 1_000
    vi.advanceTimersByTime(1)
    expect([pipe.text, writer.lost]).toEqual(['lost 1\nline 001\n', 1])
  })

  it('are all written at the end while there is room, and not waited for longer than told', () => {
    const pipe = new Pipe(0)
    const writer = new LineWriter(pipe, { describeLoss })
    write(writer, 0, 2)
    const before = pipe.writes
    writer.flush(50)
    expect(pipe.writes - before).toBe(6)
    pipe.room = 1_000
    writer.flush(50)
    expect(pipe.text).toBe('line 000\nline 001\n')
  })

  it('are not waited for at the end when the reader is gone', () => {
    const pipe = new Pipe(0)
    pipe.code = 'EPIPE'
    const writer = new LineWriter(pipe, { describeLoss })
    write(writer, 0, 2)
    const before = pipe.writes
    writer.flush(10_000)
    expect(pipe.writes - before).toBe(1)
  })

  it(`arrive whole, in order, and each gap has its number, whatever the reader does (seed ${seed})`, () => {
    const steps = fc.array(
      fc.record({ lines: fc.nat({ max: 6 }), room: fc.nat({ max: 60 }), milliseconds: fc.nat({ max: 120 }) }),
      { maxLength: 40 },
    )
    fc.assert(
      fc.property(steps, (taken) => {
        const pipe = new Pipe(0)
        const writer = new LineWriter(pipe, { describeLoss, maxWaitingBytes: 5 * lineBytes })
        let next = 0
        for (const { lines, room, milliseconds } of taken) {
          pipe.room = room
          write(writer, next, next + lines)
          next += lines
          vi.advanceTimersByTime(milliseconds)
        }
        pipe.room = 100_000
        writer.flush(0)
        let expected = 0
        for (const line of pipe.text.split('\n').slice(0, -1)) {
          const [, word, number] = /^(line|lost) (\d+)$/.exec(line) ?? []
          if (word === 'line') expect(Number(number)).toBe(expected)
          expected += word === 'lost' ? Number(number) : 1
          expect(word).toBeDefined()
        }
        expect(expected).toBe(next)
      }),
      { seed, numRuns: 300 },
    )
  })
})
