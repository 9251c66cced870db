/** The store could not do it. What was asked for did not happen, unless `outcomeUnknown`: the answer to a COMMIT was lost. */
export class StoreUnavailable extends Error {
  readonly outcomeUnknown: boolean

  constructor(message: string, options: ErrorOptions & { outcomeUnknown?: boolean } = {}) {
    super(message, options)
    this.name = 'StoreUnavailable'
    this.outcomeUnknown = options.outcomeUnknown ?? false
  }
}

/**
 * What was asked for is done and durable, but what remembers how far the store had come could not be told: an old copy of
 * the store could take it back unnoticed. The message is a sentence that says what to do.
 */
export class WitnessUnavailable extends StoreUnavailable {
  constructor(message: string, options: ErrorOptions = {}) {
    super(message, { ...options, outcomeUnknown: true })
    this.name = 'WitnessUnavailable'
  }
}

/** A change to the registry that its rules refuse. The message is a sentence for the person at the command line. */
export class RegistryError extends Error {
  readonly code: 'unknown' | 'exists' | 'in_use' | 'invalid' | 'limit'

  constructor(code: RegistryError['code'], message: string) {
    super(message)
    this.name = 'RegistryError'
    this.code = code
  }
}
