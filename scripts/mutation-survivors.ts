/** Mutants that may survive, by the reason. Each is a file and `the code → what it was changed to`, as the run prints it. */
export interface Tolerated {
  readonly reason: string
  readonly mutants: Readonly<Record<string, readonly string[]>>
}

export const tolerated: readonly Tolerated[] = [
  {
    reason: 'What is absent is refused as nothing, and so is this text',
    mutants: {
      'src/client/client-secret-basic.ts': [`'' → "Stryker was here!"`, 'authorization !== undefined → true'],
      'src/client/imported-secret.ts': [`'' → "Stryker was here!"`],
      'src/http/form.ts': [`'' → "Stryker was here!"`],
      'src/token/inspect.ts': ['[] → ["Stryker was here"]'],
    },
  },
  {
    reason: 'It only saves work',
    mutants: {
      'src/client/imported-secret.ts': ['this.#dummy === undefined || !isSameCost(this.#dummy.cost, cost) → true'],
      'src/http/form.ts': ['!incoming.complete → true', '!/[%+]/.test(encoded) → false'],
      'src/key/scheduler.ts': ['due.length === 0 → false', 'due.length === 0 → due.length <= 0'],
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
    reason: 'Only the type checker asks: a pattern with groups that matches has them',
    mutants: {
      'src/client/client-secret-basic.ts': [
        "basic.exec(authorization ?? '')?.groups?.credentials → basic.exec(authorization ?? '')?.groups.credentials",
      ],
    },
  },
  {
    reason: 'A second wall: the checksum behind a secret is six characters, so that nothing may stand before or behind',
    mutants: {
      'src/client/client-secret.ts': [
        '/^mfs_[0-9A-Za-z]{65}$/ → /^mfs_[0-9A-Za-z]{65}/',
        '/^mfs_[0-9A-Za-z]{65}$/ → /mfs_[0-9A-Za-z]{65}$/',
      ],
    },
  },
  {
    reason: 'Padding stands at the end of base64 and nowhere else',
    mutants: { 'src/client/imported-secret.ts': ['/=+$/ → /=+/'] },
  },
  {
    reason: 'A second wall: without a hash a dummy of random bytes is checked, which nothing matches',
    mutants: { 'src/client/imported-secret.ts': ['argon2id !== undefined → true'] },
  },
  {
    reason: 'The text is ASCII, the same in either encoding',
    mutants: { 'src/token/issue.ts': [`'latin1' → ""`] },
  },
  {
    reason: 'A second wall: each of our public keys names its algorithm, and jose takes it for no other',
    mutants: { 'src/token/inspect.ts': ['{ algorithms: [...signingAlgs] } → {}'] },
  },
  {
    reason: 'A second wall: what is long enough to be decrypted at all has 16 bytes of tag',
    mutants: { 'src/key/root-key.ts': ['{ authTagLength: tagLength, } → {}'] },
  },
  {
    reason: 'Only a power loss would tell',
    mutants: {
      'src/key/master-key-file.ts': [
        'syncFolder(dirname(path)) → ;',
        'fsyncSync(file) → ;',
        "{ const folder = openSync(path, 'r') try { fsyncSync(folder) } finally { closeSync(folder) } } → {}",
        '{ fsyncSync(folder) } → {}',
        'fsyncSync(folder) → ;',
      ],
    },
  },
  {
    reason:
      'No file system that tests can count on refuses a link for another reason, and no test wins the race that would',
    mutants: {
      'src/key/master-key-file.ts': [
        'key === undefined → false',
        `\`the master key \${path} vanished while it was made\` → \`\``,
        "{ if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) throw error } → {}",
        "!(error instanceof Error && 'code' in error && error.code === 'EEXIST') → false",
        "error instanceof Error && 'code' in error && error.code === 'EEXIST' → true",
        "error instanceof Error && 'code' in error && error.code === 'EEXIST' → error instanceof Error && 'code' in error || error.code === 'EEXIST'",
        "error instanceof Error && 'code' in error → true",
        "error instanceof Error && 'code' in error → error instanceof Error || 'code' in error",
        "error.code === 'EEXIST' → true",
      ],
    },
  },
  {
    reason: 'Taking over what is equal changes nothing',
    mutants: { 'src/key/ring-clock.ts': ['mark.running > running → mark.running >= running'] },
  },
]
