/** The store could not do it. What was asked for did not happen, unless `outcomeUnknown`: the answer to a COMMIT was lost. */
export class StoreUnavailable extends Error {
  readonly outcomeUnknown: boolean

  constructor(message: string, options: ErrorOptions & { outcomeUnknown?: boolean } = {}) {
    super(message, options)
    this.name = 'StoreUnavailable'
    this.outcomeUnknown = options.outcomeUnknown ?? false
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
