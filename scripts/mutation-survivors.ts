/** Mutants that may survive, by the reason. Each is a file and `the code → what it was changed to`, as the run prints it. */
export interface Tolerated {
  readonly reason: string
  readonly mutants: Readonly<Record<string, readonly string[]>>
}

export const tolerated: readonly Tolerated[] = [
  {
    reason: 'What is absent is refused as nothing, and so is this text',
    mutants: {
      'src/token/inspect.ts': [`'' → "Stryker was here!"`],
      'src/client/certificate-path.ts': [`'' → "Stryker was here!"`, '[] → ["Stryker was here"]'],
      'src/client/client-secret-basic.ts': [`'' → "Stryker was here!"`, 'authorization !== undefined → true'],
      'src/client/distinguished-name.ts': [`'' → "Stryker was here!"`, '[] → ["Stryker was here"]'],
      'src/client/imported-secret.ts': [`'' → "Stryker was here!"`],
      'src/client/tls-subject.ts': [`'' → "Stryker was here!"`],
      'src/dpop/proof-keys.ts': [`'' → "Stryker was here!"`],
      'src/http/form.ts': [`'' → "Stryker was here!"`],
      'src/oauth/jwt.ts': [`'' → "Stryker was here!"`, 'bytes === undefined → false'],
      'src/oauth/public-jwk.ts': [`'' → "Stryker was here!"`],
      'src/token/ticket.ts': [`'' → "Stryker was here!"`, '[] → ["Stryker was here"]'],
    },
  },
  {
    reason: 'It only saves work',
    mutants: {
      'src/client/imported-secret.ts': ['this.#dummy === undefined || !isSameCost(this.#dummy.cost, cost) → true'],
      'src/http/form.ts': ['!incoming.complete → true', '!/[%+]/.test(encoded) → false'],
      'src/key/scheduler.ts': ['due.length === 0 → false', 'due.length === 0 → due.length <= 0'],
      'src/token/inspect.ts': ['fault === undefined → false', '() => now → () => undefined'],
      'src/token/marks.ts': [
        'clock.nowMilliseconds() + dropEveryMilliseconds → clock.nowMilliseconds() - dropEveryMilliseconds',
        'now + dropEveryMilliseconds → now - dropEveryMilliseconds',
        'now < this.#dropAt → false',
      ],
      'src/token/sign.ts': [
        'header === undefined → true',
        'known.set(typ, header) → ;',
        'headers.set(signer, known) → ;',
      ],
      'src/token/token-verifier.ts': [
        'token.length > maxJwtLength → false',
        'known === undefined || findKey(known.signed.kid) === undefined → true',
        '{ return known === undefined || findKey(known.signed.kid) === undefined ? undefined : known.signed } → {}',
      ],
    },
  },
  {
    reason: 'An undefined member is written as none, by JSON and by the store; only the type checker tells them apart',
    mutants: {
      'src/token/inspect.ts': [
        'scope === undefined → false',
        'familyId === undefined → false',
        'confirmation === undefined → false',
      ],
      'src/oauth/confirmation.ts': ['jkt === undefined → false', 'x5t === undefined → false'],
      'src/oauth/public-jwk.ts': ["kty === 'EC' → true"],
      'src/token/issue.ts': [
        'claims.scope === undefined → false',
        'claims.cnf === undefined → false',
        'confirmation === undefined → false',
        'scope === undefined → false',
        'familyId === undefined → false',
        'order.confirmation === undefined → false',
      ],
      'src/token/refresh.ts': ['grant.confirmation === undefined → false'],
    },
  },
  {
    reason: 'Only the type checker asks: a pattern with groups that matches has them',
    mutants: {
      'src/client/client-secret-basic.ts': [
        "basic.exec(authorization ?? '')?.groups?.credentials → basic.exec(authorization ?? '')?.groups.credentials",
      ],
      'src/client/tls-subject.ts': ['emailForm.exec(value)?.groups?.domain → emailForm.exec(value)?.groups.domain'],
      'src/dpop/url.ts': [`'' → "Stryker was here!"`],
    },
  },
  {
    reason: 'Only the type checker asks: it was found to be there before',
    mutants: {
      'src/client/certificate-path.ts': ['details?.namedCurve → details.namedCurve'],
      'src/client/mtls.ts': ['certificate === undefined → false', 'client?.status → client.status'],
      'src/client/private-key-jwt.ts': [`'' → "Stryker was here!"`],
      'src/client/x509.ts': ['block === undefined → false', `'it is no certificate' → ""`],
    },
  },
  {
    reason: 'Only the type checker asks: without the first part nothing comes of the second',
    mutants: {
      'src/client/private-key-jwt.ts': ['iat !== undefined → true'],
      'src/client/tls-subject.ts': ['bytes !== undefined → true'],
      'src/dpop/proof.ts': ['usesUnknownUpTo !== undefined → true'],
      'src/oauth/jwt.ts': ['names !== undefined → true'],
      'src/token/inspect.ts': ['jwt?.header → jwt.header', 'seconds !== undefined → true'],
      'src/token/marks.ts': ['sid !== undefined → true'],
      'src/token/verify.ts': ['kid === undefined → false'],
    },
  },
  {
    reason: 'A function that ends returns undefined',
    mutants: {
      'src/client/distinguished-name.ts': ['{ return undefined } → {}'],
      'src/oauth/jwt.ts': [
        '{ return undefined } → {}',
        '{ // Neither the error nor its message go on: the message quotes the text. return undefined } → {}',
      ],
    },
  },
  {
    reason: 'Whoever asks takes undefined for false',
    mutants: {
      'src/key/ring-clock.ts': ['() => false → () => undefined'],
      'src/client/mtls.ts': ['() => false → () => undefined'],
    },
  },
  {
    reason: 'What nobody has is there for the time that it takes, and no test looks at that',
    mutants: {
      'src/client/mtls.ts': [
        "{ kind: 'subject_dn', value: 'CN=nobody' } → {}",
        `'subject_dn' → ""`,
        `'CN=nobody' → ""`,
      ],
    },
  },
  {
    reason: 'The local part stands before it, as it is spelt',
    mutants: { 'src/client/tls-subject.ts': ['address.slice(at) → address'] },
  },
  {
    reason: 'A piece is one character or one escape: nothing stands before or behind',
    mutants: {
      'src/client/distinguished-name.ts': [
        String.raw`/^\\[0-9A-Fa-f]{2}$/ → /\\[0-9A-Fa-f]{2}$/`,
        String.raw`/^\\[0-9A-Fa-f]{2}$/ → /^\\[0-9A-Fa-f]{2}/`,
        String.raw`/^\\/ → /\\/`,
      ],
    },
  },
  {
    reason: 'A second wall: OpenSSL takes no BMPString in a name that is not well-formed',
    mutants: { 'src/client/x509.ts': ['true → false'] },
  },
  {
    reason: 'A second wall: OpenSSL takes no signature of another length for Ed25519',
    mutants: { 'src/oauth/public-jwk.ts': ['signature.length === 64 → true'] },
  },
  {
    reason: 'A second wall: with a nonce a date may be as far off as one that could heal',
    mutants: { 'src/dpop/proof.ts': ['nonceEnd === undefined → true'] },
  },
  {
    reason: 'An empty path becomes a slash either way',
    mutants: { 'src/dpop/url.ts': [`'/' → ""`] },
  },
  {
    reason: 'Nobody but the memory itself reads the name that it gives to a token',
    mutants: { 'src/token/token-verifier.ts': [`'base64url' → ""`] },
  },
  {
    reason: 'A second wall: a checksum of six characters stands at the end, so that nothing may stand before or behind',
    mutants: {
      'src/token/ticket.ts': [
        '/^mfr_([0-9A-Za-z]{4})([0-7][0-9A-HJKMNP-TV-Z]{25})([0-9A-Za-z]{8})([0-9A-Za-z]{43})([0-9A-Za-z]{6})$/ → /^mfr_([0-9A-Za-z]{4})([0-7][0-9A-HJKMNP-TV-Z]{25})([0-9A-Za-z]{8})([0-9A-Za-z]{43})([0-9A-Za-z]{6})/',
      ],
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
    mutants: {
      'src/key/verifying-key.ts': [`'latin1' → ""`],
      'src/oauth/public-jwk.ts': [`'latin1' → ""`],
      'src/token/sign.ts': [`'latin1' → ""`],
    },
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
