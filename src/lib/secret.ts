import { inspect } from 'node:util'

const hidden = '[secret]'

/**
 * A value that must not be printed, serialised or cloned by accident. Only `reveal()` gives it out, so that a search
 * for that word finds every place where a secret is used.
 */
export class Secret<T = string> {
  readonly #value: T

  constructor(value: T) {
    this.#value = value
  }

  /** The value itself. */
  reveal(): T {
    return this.#value
  }

  toString(): string {
    return hidden
  }

  toJSON(): string {
    return hidden
  }

  [inspect.custom](): string {
    return hidden
  }
}
