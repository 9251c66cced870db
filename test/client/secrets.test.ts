import { inspect } from 'node:util'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { authenticateClient, type ClientLookup, parseClaim } from '../../src/client/authenticate.ts'
import type { Client, ClientSecret } from '../../src/client/client.ts'
import { isClientId } from '../../src/client/client.ts'
import { generateSecret, hashSecret, makeSecretId, matchesHash, secretIdOf } from '../../src/client/client-secret.ts'
import type { ClientStore } from '../../src/client/client-store.ts'
import {
  type ArgonCost,
  checkLimitsFor,
  hashImportedSecret,
  ImportedSecretChecker,
  isAcceptableCost,
  parseArgonHash,
} from '../../src/client/imported-secret.ts'
import { SecretUse } from '../../src/client/secret-use.ts'
import { parseForm } from '../../src/http/form.ts'
import { Secret } from '../../src/lib/secret.ts'
import { basic, ManualClock } from '../support/server.ts'

const cheap: ArgonCost = { memoryKib: 7_168, passes: 5, lanes: 1 }

describe('a generated secret', () => {
  it('is scannable: prefix, id, 256 random bits and a checksum, of letters and digits', () => {
    const { secret, secretId } = generateSecret()
    expect(secret.reveal()).toMatch(/^mfs_[0-9A-Za-z]{65}$/)
    expect(secretId).toBe(`sec_${secret.reveal().slice(4, 20)}`)
    expect(secretIdOf(secret.reveal())).toBe(secretId)
  })

  it('is never the same', () => {
    const made = Array.from({ length: 200 }, () => generateSecret())
    expect(new Set(made.map(({ secret }) => secret.reveal())).size).toBe(200)
    expect(new Set(made.map(({ secretId }) => secretId)).size).toBe(200)
  })

  it('is not recognised with any one character changed, cut, or with more behind it', () => {
    const text = generateSecret().secret.reveal()
    for (let i = 0; i < text.length; i += 1) {
      const other = text[i] === 'a' ? 'b' : 'a'
      expect(secretIdOf(text.slice(0, i) + other + text.slice(i + 1))).toBeUndefined()
    }
    for (const bad of [text.slice(0, -1), `${text}a`, ` ${text}`, `${text}\n`, text.toUpperCase(), ''])
      expect(secretIdOf(bad)).toBeUndefined()
  })

  it('matches its own hash alone', () => {
    const { secret, sha256 } = generateSecret()
    expect(matchesHash(secret.reveal(), sha256)).toBe(true)
    expect(matchesHash(generateSecret().secret.reveal(), sha256)).toBe(false)
    expect(matchesHash(secret.reveal(), sha256.subarray(1))).toBe(false)
    expect(matchesHash('', new Uint8Array(32))).toBe(false)
  })

  it('cannot be printed, serialised or cloned', () => {
    const secret = new Secret('canary')
    const shown = [
      String(secret),
      `${secret}`,
      JSON.stringify({ secret }),
      inspect(secret, { depth: 9, showHidden: true }),
      inspect([secret]),
      JSON.stringify(structuredClone({ secret: { ...secret } })),
    ]
    for (const text of shown) expect(text).not.toContain('canary')
    expect(secret.reveal()).toBe('canary')
  })
})

describe('a client id', () => {
  it.each(['billing', 'a', 'A.b_c-9', '__proto__', 'x'.repeat(128)])('may be %j', (id) =>
    expect(isClientId(id)).toBe(true),
  )

  it.each(['', 'a b', 'a/b', 'a:b', '\u00e9', 'x'.repeat(129), 'a\n', 'mfs_x', 'mfr_x', 'mfm_x', 'a%20b'])(
    'C06 may not be %j',
    (id) => expect(isClientId(id)).toBe(false),
  )
})

describe('an imported secret', () => {
  const salt = 'a'.repeat(22)
  const hash = 'b'.repeat(43)

  it('is read from its PHC form', () => {
    expect(parseArgonHash(`$argon2id$v=19$m=65536,t=3,p=4$${salt}$${hash}`)).toEqual({
      memoryKib: 65_536,
      passes: 3,
      lanes: 4,
    })
  })

  it.each([
    `$argon2i$v=19$m=65536,t=3,p=4$${salt}$${hash}`,
    `$argon2id$v=16$m=65536,t=3,p=4$${salt}$${hash}`,
    `$argon2id$m=65536,t=3,p=4$${salt}$${hash}`,
    `$argon2id$v=19$m=0,t=3,p=4$${salt}$${hash}`,
    `$argon2id$v=19$m=99999999,t=3,p=4$${salt}$${hash}`,
    `$argon2id$v=19$t=3,m=65536,p=4$${salt}$${hash}`,
    `$argon2id$v=19$m=65536,t=3,p=4$short$${hash}`,
    `$argon2id$v=19$m=65536,t=3,p=4$${salt}$`,
    ` $argon2id$v=19$m=65536,t=3,p=4$${salt}$${hash}`,
    `$argon2id$v=19$m=65536,t=3,p=4$${salt}$${hash}\n`,
    '$2b$10$abcdefghijklmnopqrstuv',
    '',
  ])('is refused as %j', (text) => expect(parseArgonHash(text)).toBeUndefined())

  it.each([
    [{ memoryKib: 19_456, passes: 2, lanes: 1 }, true],
    [{ memoryKib: 7_168, passes: 5, lanes: 1 }, true],
    [{ memoryKib: 65_536, passes: 4, lanes: 4 }, true],
    [{ memoryKib: 65_536, passes: 5, lanes: 1 }, false],
    [{ memoryKib: 65_537, passes: 1, lanes: 1 }, false],
    [{ memoryKib: 4_096, passes: 10, lanes: 1 }, false],
    [{ memoryKib: 19_456, passes: 1, lanes: 1 }, false],
    [{ memoryKib: 19_456, passes: 2, lanes: 5 }, false],
  ])('of cost %j is acceptable: %s', (cost, acceptable) => expect(isAcceptableCost(cost)).toBe(acceptable))

  it('matches its own text alone, and a dummy matches nothing', async () => {
    const checker = new ImportedSecretChecker(checkLimitsFor(2))
    const argon2id = await hashImportedSecret('correct horse', cheap)
    expect(await checker.matches('correct horse', argon2id, cheap)).toBe(true)
    expect(await checker.matches('correct house', argon2id, cheap)).toBe(false)
    expect(await checker.matches('correct horse', undefined, cheap)).toBe(false)
  })

  it('is checked by fewer computations than there are cores', () => {
    expect([1, 2, 4, 64].map((cores) => checkLimitsFor(cores).running)).toEqual([1, 1, 3, 63])
  })

  it('waits in line for its check, and is sent away at once when the line is full', async () => {
    const checker = new ImportedSecretChecker({ running: 1, waiting: 3 })
    const done: number[] = []
    const checks = [0, 1, 2, 3].map((i) => checker.matches(`guess ${i}`, undefined, cheap).then(() => done.push(i)))
    expect(checker.load).toBe(4)
    await expect(checker.matches('one too many', undefined, cheap)).rejects.toMatchObject({
      reason: 'secret_check_busy',
    })
    await Promise.all(checks)
    expect(done).toEqual([0, 1, 2, 3])
    expect(checker.load).toBe(0)
    expect(await checker.matches('again', undefined, cheap)).toBe(false)
  })
})

describe('authentication', () => {
  const clock = new ManualClock()

  /** Counts what a check costs. */
  class CountingChecker extends ImportedSecretChecker {
    checks = 0

    constructor() {
      super({ running: 1, waiting: 9 })
    }

    override matches(...args: Parameters<ImportedSecretChecker['matches']>): Promise<boolean> {
      this.checks += 1
      return super.matches(...args)
    }
  }

  function lookup(
    clients: readonly Client[],
    cached: boolean,
    importedCost: ArgonCost | undefined,
  ): ClientLookup & { reads: number } {
    return {
      reads: 0,
      importedCost,
      async findClient(clientId) {
        if (!cached) this.reads += 1
        return {
          client: clients.find((client) => client.clientId === clientId),
          cached: cached && clients.some((client) => client.clientId === clientId),
        }
      },
      async readClient() {
        this.reads += 1
        return undefined
      },
    }
  }

  function makeClient(clientId: string, secrets: readonly ClientSecret[], more: Partial<Client> = {}): Client {
    return {
      clientId,
      name: clientId,
      status: 'active',
      grantTypes: ['client_credentials'],
      authMethods: ['client_secret_basic'],
      scopes: [],
      audiences: [],
      secrets,
      createdAt: 0,
      updatedAt: 0,
      ...more,
    }
  }

  const own = generateSecret()
  const generated: ClientSecret = { kind: 'generated', secretId: own.secretId, sha256: own.sha256, createdAt: 0 }
  const claimFor = (id: string, secret: string) => parseClaim({ authorization: basic(id, secret), form: parseForm('') })

  it('reads the registry once for each refusal, whether the client was in memory, was read or does not exist', async () => {
    const clients = [makeClient('billing', [generated]), makeClient('off', [generated], { status: 'disabled' })]
    for (const cached of [true, false]) {
      for (const id of ['billing', 'off']) {
        const registry = lookup(clients, cached, undefined)
        await expect(
          authenticateClient(claimFor(id, 'wrong'), registry, new CountingChecker(), clock),
        ).rejects.toThrow()
        expect(registry.reads, `${id} ${cached}`).toBe(1)
      }
    }
    const registry = lookup(clients, false, undefined)
    await expect(
      authenticateClient(claimFor('nobody', 'wrong'), registry, new CountingChecker(), clock),
    ).rejects.toThrow()
    expect(registry.reads).toBe(1)
  })

  it('never runs argon2id for what begins like a generated secret, even for a client with an imported one', async () => {
    const argon2id = await hashImportedSecret('imported', cheap)
    const imported: ClientSecret = { kind: 'imported', secretId: makeSecretId(), argon2id, createdAt: 0 }
    const registry = lookup([makeClient('mixed', [imported, generated])], true, cheap)
    const checker = new CountingChecker()
    for (const secret of ['mfs_short', `mfs_${'0'.repeat(65)}`, generateSecret().secret.reveal()]) {
      await expect(authenticateClient(claimFor('mixed', secret), registry, checker, clock)).rejects.toThrow()
    }
    await authenticateClient(claimFor('mixed', own.secret.reveal()), registry, checker, clock)
    expect(checker.checks).toBe(0)
  })

  it('runs argon2id exactly once for anything else, whoever it names', async () => {
    const argon2id = await hashImportedSecret('imported', cheap)
    const imported: ClientSecret = { kind: 'imported', secretId: makeSecretId(), argon2id, createdAt: 0 }
    const clients = [
      makeClient('legacy', [imported]),
      makeClient('billing', [generated]),
      makeClient('off', [imported], { status: 'disabled' }),
    ]
    for (const id of ['legacy', 'billing', 'off', 'nobody']) {
      const checker = new CountingChecker()
      await expect(
        authenticateClient(claimFor(id, 'guess'), lookup(clients, true, cheap), checker, clock),
      ).rejects.toThrow()
      expect(checker.checks, id).toBe(1)
    }
    const none = new CountingChecker()
    await expect(
      authenticateClient(
        claimFor('billing', 'guess'),
        lookup([makeClient('billing', [generated])], true, undefined),
        none,
        clock,
      ),
    ).rejects.toThrow()
    expect(none.checks).toBe(0)
  })

  it('does not pay twice when the registry moved and the same request is judged again', async () => {
    const argon2id = await hashImportedSecret('imported', cheap)
    const imported: ClientSecret = { kind: 'imported', secretId: makeSecretId(), argon2id, createdAt: 0 }
    const checker = new CountingChecker()
    const claim = claimFor('legacy', 'imported')
    for (let i = 0; i < 3; i += 1)
      await authenticateClient(claim, lookup([makeClient('legacy', [imported])], true, cheap), checker, clock)
    expect(checker.checks).toBe(1)
  })

  it.each([
    ['an unknown client', [], 'client_unknown'],
    ['a disabled client', [makeClient('c', [generated], { status: 'disabled' })], 'client_disabled'],
    ['a client without methods', [makeClient('c', [generated], { authMethods: [] })], 'client_public'],
    [
      'another method',
      [makeClient('c', [generated], { authMethods: ['client_secret_post'] })],
      'authentication_method_not_registered',
    ],
    ['a secret that was revoked', [makeClient('c', [])], 'secret_unknown'],
    ['an expired secret', [makeClient('c', [{ ...generated, expiresAt: clock.nowMilliseconds() }])], 'secret_expired'],
    ['another hash', [makeClient('c', [{ ...generated, sha256: hashSecret('x') }])], 'secret_wrong'],
  ] as const)('refuses %s', async (_, clients, reason) => {
    const registry = lookup(clients, true, undefined)
    await expect(
      authenticateClient(claimFor('c', own.secret.reveal()), registry, new CountingChecker(), clock),
    ).rejects.toMatchObject({ reason })
  })

  it.each([
    [undefined, '', 'authentication_missing'],
    [undefined, 'client_id=a', 'authentication_missing'],
    [undefined, 'client_secret=a', 'authentication_malformed'],
    ['Bearer x', '', 'authentication_scheme_unsupported'],
    ['Bearer x', 'client_id=a&client_secret=b', 'authentication_several'],
    [basic('a', 'b'), 'client_secret=b', 'authentication_several'],
    [basic('a', 'b'), 'client_assertion=x', 'authentication_several'],
    [undefined, 'client_id=a&client_secret=b&client_assertion_type=x', 'authentication_several'],
    [undefined, 'client_assertion=x&client_assertion_type=y', 'authentication_method_unsupported'],
    [basic('a', 'b'), 'client_id=c', 'authentication_client_mismatch'],
  ])('CA-07 judges %j with the form %j as %s', (authorization, body, reason) => {
    expect(() => parseClaim({ authorization, form: parseForm(body) })).toThrow(reason)
  })
})

describe('the last use of a secret', () => {
  it('is written once in five minutes, and again when the store had failed', async () => {
    const clock = new ManualClock()
    const written: (readonly [string, number])[][] = []
    let failing = false
    const store = {
      noteSecretUse: async (uses: ReadonlyMap<string, number>) => {
        if (failing) throw new Error('away')
        written.push([...uses])
      },
    } as unknown as ClientStore
    const use = new SecretUse(store, clock)
    const start = clock.nowMilliseconds()
    use.note('sec_a', undefined)
    use.note('sec_b', start - 1_000)
    await use.flush()
    use.note('sec_a', undefined)
    await use.flush()
    expect(written).toEqual([[['sec_a', start]]])
    clock.advance(300)
    failing = true
    use.note('sec_a', undefined)
    await expect(use.flush()).rejects.toThrow('away')
    failing = false
    await use.flush()
    expect(written[1]).toEqual([['sec_a', start + 300_000]])
  })

  it('never needs more than it was given room for (seed 20260204)', async () => {
    const sizes: number[] = []
    const store = {
      noteSecretUse: async (uses: ReadonlyMap<string, number>) => void sizes.push(uses.size),
    } as unknown as ClientStore
    const use = new SecretUse(store, new ManualClock())
    fc.assert(
      fc.property(fc.nat(50_000), (n) => use.note(`sec_${n}`, undefined)),
      { seed: 20_260_204, numRuns: 20_000 },
    )
    await use.flush()
    expect(Math.max(...sizes)).toBeLessThanOrEqual(500)
    expect(sizes.reduce((sum, size) => sum + size, 0)).toBeLessThanOrEqual(10_000)
  })
})
