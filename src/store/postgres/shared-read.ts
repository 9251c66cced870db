/**
 * One look at the database for all who wait for it. Who asks gets what was so after he asked: he joins a look that has not
 * been sent yet, never one that is under way.
 */
export class SharedRead<T> {
  readonly #look: () => Promise<T>
  #current: Promise<unknown> | undefined
  #next: Promise<T> | undefined

  constructor(look: () => Promise<T>) {
    this.#look = look
  }

  read(): Promise<T> {
    this.#next ??= this.#start(this.#current)
    return this.#next
  }

  async #start(current: Promise<unknown> | undefined): Promise<T> {
    await current?.catch(() => undefined)
    // Those who ask in the same turn go with it.
    await new Promise((resolve) => setImmediate(resolve))
    const look = this.#look()
    this.#current = look
    this.#next = undefined
    return look
  }
}
