import { systemClock } from './clock.ts'

/** A timer that is so late has not been late by itself: the process was paused, or had too much to do. */
const latenessMilliseconds = 100

/**
 * Waits for something, but not for longer than that. A process that was paused finds its time gone: what has arrived meanwhile
 * counts, and what has not is waited for once more, for as long.
 *
 * @throws what `late` makes
 */
export function within<T>(promise: Promise<T>, milliseconds: number, late: () => Error): Promise<T> {
  return new Promise((resolve, reject) => {
    const wait = (isLast: boolean): NodeJS.Timeout => {
      const due = systemClock.monotonicMilliseconds() + milliseconds
      return setTimeout(() => {
        const wasPaused = systemClock.monotonicMilliseconds() > due + latenessMilliseconds
        if (wasPaused && !isLast) timer = wait(true)
        // What has arrived is read between a timer and what it puts off.
        else setImmediate(() => reject(late()))
      }, milliseconds)
    }
    let timer = wait(false)
    promise.then(resolve, reject).finally(() => clearTimeout(timer))
  })
}
