/**
 * Waits for something, but not for longer than that. A process that was paused finds its time gone and its answer there: the
 * answer counts.
 *
 * @throws what `late` makes
 */
export function within<T>(promise: Promise<T>, milliseconds: number, late: () => Error): Promise<T> {
  return new Promise((resolve, reject) => {
    // What has arrived is read between a timer and what it puts off.
    const timer = setTimeout(() => setImmediate(() => reject(late())), milliseconds)
    promise.then(resolve, reject).finally(() => clearTimeout(timer))
  })
}
