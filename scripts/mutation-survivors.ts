/** Mutants that may survive, by the reason. Each is a file and `the code → what it was changed to`, as the run prints it. */
export interface Tolerated {
  readonly reason: string
  readonly mutants: Readonly<Record<string, readonly string[]>>
}

export const tolerated: readonly Tolerated[] = []
