/**
 * A machine's clock that can be set while processes run. libfaketime moves wall time under them; the monotonic clock
 * stays true, as it does when ntpd or a person steps a real one.
 */
import { existsSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { temporaryFolder } from './process.ts'

const library = '/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1'

export class SteppedClock {
  readonly #file = join(temporaryFolder(), 'offset')
  offset = 0

  constructor() {
    if (!existsSync(library)) throw new Error('these tests need faketime: install it with apt-get')
    this.step(0)
  }

  /** What a process has in its environment to live by this clock. */
  get env(): Readonly<Record<string, string>> {
    return {
      LD_PRELOAD: library,
      FAKETIME_TIMESTAMP_FILE: this.#file,
      FAKETIME_NO_CACHE: '1',
      FAKETIME_DONT_FAKE_MONOTONIC: '1',
    }
  }

  /** Sets the clock this many seconds off the true one. */
  step(seconds: number): void {
    this.offset = seconds
    writeFileSync(`${this.#file}.new`, `${seconds < 0 ? '' : '+'}${seconds}\n`)
    renameSync(`${this.#file}.new`, this.#file)
  }

  nowSeconds(): number {
    return Math.floor(Date.now() / 1000) + this.offset
  }
}
