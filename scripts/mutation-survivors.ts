/** Mutants that may survive, by the reason. Each is a file and `the code → what it was changed to`, as the run prints it. */
export interface Tolerated {
  readonly reason: string
  readonly mutants: Readonly<Record<string, readonly string[]>>
}

export const tolerated: readonly Tolerated[] = [
  {
    reason: 'What is absent is refused as nothing, and so is this text',
    mutants: {
      'src/http/form.ts': [`'' → "Stryker was here!"`],
      'src/token/inspect.ts': ['[] → ["Stryker was here"]'],
    },
  },
  {
    reason: 'It only saves work',
    mutants: {
      'src/http/form.ts': ['!incoming.complete → true', '!/[%+]/.test(encoded) → false'],
      'src/token/issue.ts': ['header === undefined → true', 'headers.set(signer, header) → ;'],
    },
  },
  {
    reason: 'An undefined member is written as none, by JSON and by the store; only the type checker tells them apart',
    mutants: {
      'src/token/issue.ts': ['claims.scope === undefined → false', 'scope === undefined → false'],
    },
  },
  {
    reason: 'The text is ASCII, the same in either encoding',
    mutants: { 'src/token/issue.ts': [`'latin1' → ""`] },
  },
  {
    reason: 'A second wall: each of our public keys names its algorithm, and jose takes it for no other',
    mutants: { 'src/token/inspect.ts': ['{ algorithms: [...signingAlgs] } → {}'] },
  },
]
