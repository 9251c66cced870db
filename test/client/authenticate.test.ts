import { crc32 } from 'node:zlib'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  type AuthenticatedClient,
  authenticateClient,
  type Claim,
  type ClientLookup,
  isDearToCheck,
  parseClaim,
} from '../../src/client/authenticate.ts'
import type { Client, ClientSecret } from '../../src/client/client.ts'
import { generateSecret } from '../../src/client/client-secret.ts'
import { type ArgonCost, hashImportedSecret, ImportedSecretChecker } from '../../src/client/imported-secret.ts'
import { parseForm } from '../../src/http/form.ts'
import { encodeBase62Number } from '../../src/lib/base62.ts'
import { OAuthError, refusalOf } from '../../src/oauth/errors.ts'
import { AssertionMaker, credentialsOf, makeTestKey } from '../support/assertion.ts'
import { makeClient } from '../support/client.ts'
import { ManualClock } from '../support/clock.ts'
import { basic, secretOf } from '../support/credentials.ts'
import { anyText } from '../support/text.ts'

const clock = new ManualClock()
const now = clock.nowMilliseconds()
const cheap: ArgonCost = { memoryKib: 8, passes: 1, lanes: 1 }
const someId = 'sec_0000000000000000'

/** A checker that has room for nothing: whoever tries to run argon2id is refused with `secret_check_busy`. */
const noArgon = new ImportedSecretChecker({ running: 0, waiting: 0 })

/** For clients with secrets: nobody looks for a key. */
const noKeys = { assertionAudiences: [], remoteKeys: { find: () => Promise.reject(new Error('no key is looked for')) } }

function argon(): ImportedSecretChecker {
  return new ImportedSecretChecker({ running: 2, waiting: 10 })
}

function claimOf(body: string, authorization?: string): Claim {
  return parseClaim({ authorization, form: parseForm(body) })
}

function present(secret: string, clientId = 'billing'): Claim {
  return claimOf('', basic(clientId, secret))
}

interface Generated {
  readonly text: string
  readonly stored: ClientSecret
}

function makeGenerated(facts: Partial<ClientSecret> = {}): Generated {
  const { secret, secretId, sha256 } = generateSecret()
  const { expiresAt } = facts
  const stored: ClientSecret = {
    kind: 'generated',
    secretId,
    sha256,
    createdAt: now,
    ...(expiresAt === undefined ? {} : { expiresAt }),
  }
  return { text: secret.reveal(), stored }
}

async function makeImported(text: string, expiresAt?: number): Promise<ClientSecret> {
  const argon2id = await hashImportedSecret(text, cheap)
  return {
    kind: 'imported',
    secretId: someId,
    argon2id,
    createdAt: now,
    ...(expiresAt === undefined ? {} : { expiresAt }),
  }
}

function clientOf(secrets: readonly ClientSecret[], changes: Partial<Client> = {}): Client {
  return makeClient({ createdAt: now, updatedAt: now, ...changes, secrets })
}

interface Registered {
  readonly lookup: ClientLookup
  /** How often the store was read. */
  reads(): number
}

function register(
  client: Client | undefined,
  { cached = false, importedCost }: { cached?: boolean; importedCost?: ArgonCost } = {},
): Registered {
  let reads = 0
  return {
    reads: () => reads,
    lookup: {
      importedCost,
      tokensAfter: 0,
      findClient: async (clientId) => {
        if (!cached) reads += 1
        return { client: client?.clientId === clientId ? client : undefined, cached }
      },
      probe: async () => {
        reads += 1
      },
    },
  }
}

function authenticate(claim: Claim, { lookup }: Registered, checker = noArgon): Promise<AuthenticatedClient> {
  return authenticateClient(claim, lookup, { ...noKeys, checker, clock })
}

async function reasonOf(outcome: Promise<unknown>): Promise<string> {
  const error = await outcome.then(
    () => new Error('it was accepted'),
    (thrown: unknown) => thrown,
  )
  if (error instanceof OAuthError) return error.reason
  throw error
}

describe('a claim', () => {
  const credentials = basic('billing', 'hunter2')

  it('is taken from Basic', () => {
    const claim = claimOf('grant_type=client_credentials', credentials)
    expect(claim).toMatchObject({ clientId: 'billing', method: 'client_secret_basic' })
    expect(secretOf(claim)).toBe('hunter2')
  })

  it('CA-06 is taken from the body', () => {
    const claim = claimOf('client_id=billing&client_secret=hunter2')
    expect(claim).toMatchObject({ clientId: 'billing', method: 'client_secret_post' })
    expect(secretOf(claim)).toBe('hunter2')
  })

  it('CA-08 may name its client twice when both are the same', () => {
    expect(claimOf('client_id=billing', credentials)).toMatchObject({ clientId: 'billing' })
  })

  it('HTTP-05 is not made by an empty client_secret', () => {
    expect(claimOf('client_secret=', credentials)).toMatchObject({ method: 'client_secret_basic' })
    expect(() => claimOf('client_id=billing&client_secret=')).toThrow('authentication_missing')
  })

  it('CA-13 does not show its secret', () => {
    expect(JSON.stringify(claimOf('', credentials))).not.toContain('hunter2')
  })

  it.each([
    ['Basic and a secret in the body', 'client_secret=x', credentials],
    ['Basic and id and secret in the body', 'client_id=billing&client_secret=hunter2', credentials],
    ['Basic and an assertion', 'client_assertion=x', credentials],
    ['Basic and the type of an assertion', 'client_assertion_type=x', credentials],
    ['an assertion and a secret in the body', 'client_assertion=x&client_id=billing&client_secret=x', undefined],
    ['a malformed Basic and a secret in the body', 'client_id=billing&client_secret=x', 'Basic'],
    ['Bearer and a secret in the body', 'client_id=billing&client_secret=x', 'Bearer x'],
    ['Bearer and an assertion', 'client_assertion=x', 'Bearer x'],
    ['an empty header and a secret in the body', 'client_id=billing&client_secret=x', ''],
  ])('CA-07 C01 rejects %s', (_, body, authorization) => {
    expect(() => claimOf(body, authorization)).toThrow('authentication_several')
  })

  it.each(['client_id=other', 'client_id=Billing', 'client_id=billing%20', 'client_id=billing%2F'])(
    'CA-08 C01 rejects %s beside Basic of billing',
    (body) => {
      expect(() => claimOf(body, credentials)).toThrow('authentication_client_mismatch')
    },
  )

  it.each(['', 'grant_type=client_credentials', 'client_id=billing'])('CA-10 rejects %j, which has none', (body) => {
    expect(() => claimOf(body)).toThrow('authentication_missing')
  })

  it.each(['Bearer x', 'DPoP x', 'Foo x', 'Negotiate', '', 'Bas', 'Basic-x y'])(
    'CA-12 C03 rejects %j as the only credential',
    (authorization) => {
      expect(() => claimOf('client_id=billing', authorization)).toThrow('authentication_scheme_unsupported')
    },
  )

  it('CA-09 rejects an assertion of a type that there is not', () => {
    const body = 'client_assertion=x&client_assertion_type=y&client_id=billing'
    expect(() => claimOf(body)).toThrow('authentication_method_unsupported')
  })

  it.each([
    'client_assertion=x',
    'client_assertion_type=x&client_id=billing',
    'client_assertion=x&client_assertion_type=',
  ])('JA-13 rejects %s, which is half an assertion', (body) => {
    expect(() => claimOf(body)).toThrow('assertion_incomplete')
  })

  it('rejects a secret in the body without an id', () => {
    expect(() => claimOf('client_secret=hunter2')).toThrow('authentication_malformed')
  })

  it('I21 is taken or rejected, whatever the request has', () => {
    const body = fc
      .uniqueArray(fc.constantFrom('client_id', 'client_secret', 'client_assertion', 'client_assertion_type', 'scope'))
      .chain((names) =>
        fc.tuple(...names.map((name) => fc.constantFrom(`${name}=`, `${name}=x`, `${name}=%F0%9F%94%91`))),
      )
      .map((pairs) => pairs.join('&'))
    const authorization = fc.option(
      fc.oneof(
        fc.constantFrom('', 'Basic', 'Bearer x', credentials),
        anyText(),
        anyText().map((text) => `Basic ${text}`),
      ),
      { nil: undefined },
    )
    fc.assert(
      fc.property(body, authorization, (form, header) => {
        try {
          expect(claimOf(form, header).clientId).not.toBe('')
        } catch (error) {
          expect(error).toBeInstanceOf(OAuthError)
        }
      }),
      { seed: 20_260_102, numRuns: 1_000 },
    )
  })
})

describe('a client with a generated secret', () => {
  it('proves itself, and by which secret', async () => {
    const [one, other] = [makeGenerated(), makeGenerated()]
    const client = clientOf([one.stored, other.stored])
    await expect(authenticate(present(other.text), register(client))).resolves.toEqual({
      client,
      credentialId: other.stored.secretId,
      uses: [],
    })
  })

  it('proves itself until the moment before its secret expires', async () => {
    const { text, stored } = makeGenerated({ expiresAt: now + 1 })
    await expect(authenticate(present(text), register(clientOf([stored])))).resolves.toBeDefined()
  })

  it('proves itself by any method that it is registered for', async () => {
    const { text, stored } = makeGenerated()
    const client = clientOf([stored], { authMethods: ['client_secret_basic', 'client_secret_post'] })
    await expect(authenticate(present(text), register(client))).resolves.toBeDefined()
    const post = claimOf(`client_id=billing&client_secret=${text}`)
    await expect(authenticate(post, register(client))).resolves.toBeDefined()
  })
})

const mine = makeGenerated()
const expired = makeGenerated({ expiresAt: now })
const foreign = makeGenerated()

const another = makeGenerated()

/** What anybody can make who has seen the id of a secret: its checksum is right. */
function forgedUnder(id: string): string {
  const body = `mfs_${id}${'x'.repeat(43)}`
  return body + encodeBase62Number(crc32(body), 6)
}

const refusals: readonly (readonly [string, string, Client | undefined, () => Claim])[] = [
  ['an unknown client', 'client_unknown', undefined, () => present(mine.text)],
  ['a client of another case', 'client_unknown', clientOf([mine.stored]), () => present(mine.text, 'Billing')],
  ['a disabled client', 'client_disabled', clientOf([mine.stored], { status: 'disabled' }), () => present(mine.text)],
  [
    'a disabled client with a wrong secret',
    'client_disabled',
    clientOf([mine.stored], { status: 'disabled' }),
    () => present(foreign.text),
  ],
  [
    'a client without a method',
    'client_public',
    clientOf([mine.stored], { authMethods: [] }),
    () => present(mine.text),
  ],
  ['a client without a secret', 'secret_unknown', clientOf([]), () => present(mine.text)],
  ['the secret of another client', 'secret_unknown', clientOf([mine.stored]), () => present(foreign.text)],
  [
    'a secret whose checksum is wrong',
    'secret_wrong',
    clientOf([mine.stored]),
    () => present(`${mine.text.slice(0, -1)}-`),
  ],
  ['a secret cut short', 'secret_wrong', clientOf([mine.stored]), () => present(mine.text.slice(0, -1))],
  ['the prefix alone', 'secret_wrong', clientOf([mine.stored]), () => present('mfs_')],
  [
    'a secret that was made up under the id of a real one',
    'secret_wrong',
    clientOf([another.stored, mine.stored]),
    () => present(forgedUnder(mine.text.slice(4, 20))),
  ],
  ['a string that is none of ours', 'secret_wrong', clientOf([mine.stored]), () => present('hunter2')],
  ['the id of the secret', 'secret_wrong', clientOf([mine.stored]), () => present(mine.stored.secretId)],
  [
    'a secret that was made up under the id of an imported one',
    'secret_wrong',
    clientOf([{ kind: 'imported', secretId: someId, argon2id: '', createdAt: now }]),
    () => present(forgedUnder('0'.repeat(16))),
  ],
  ['an expired secret', 'secret_expired', clientOf([expired.stored, mine.stored]), () => present(expired.text)],
  [
    'the right secret by another method',
    'authentication_method_not_registered',
    clientOf([mine.stored]),
    () => claimOf(`client_id=billing&client_secret=${mine.text}`),
  ],
  [
    'the right secret by another method, the other way round',
    'authentication_method_not_registered',
    clientOf([mine.stored], { authMethods: ['client_secret_post'] }),
    () => present(mine.text),
  ],
]

describe('the refusal of a client', () => {
  it.each(refusals)('CA-04 comes for %s', async (_, reason, client, claim) => {
    expect(await reasonOf(authenticate(claim(), register(client)))).toBe(reason)
  })

  it.each(refusals)('C08 I19 costs one read of the store for %s, in memory or not', async (_, __, client, claim) => {
    for (const cached of [false, true]) {
      // Who does not exist is never in memory.
      if (cached && client === undefined) continue
      const registered = register(client, { cached })
      await reasonOf(authenticate(claim(), registered))
      expect(registered.reads(), cached ? 'in memory' : 'not in memory').toBe(1)
    }
  })

  it.each(refusals)('C08 I19 shows the same face for %s', async (_, __, client, claim) => {
    const error = await authenticate(claim(), register(client)).catch((thrown: unknown) => thrown)
    expect(error).toBeInstanceOf(OAuthError)
    if (error instanceof OAuthError) expect(refusalOf(error.reason)).toEqual(refusalOf('client_unknown'))
  })

  it('does not read the store for a client in memory that proves itself', async () => {
    const registered = register(clientOf([mine.stored]), { cached: true })
    await authenticate(present(mine.text), registered)
    expect(registered.reads()).toBe(0)
  })

  it('notes for its record whether a client has the id, and nothing of which', async () => {
    const unknown = present('hunter2', 'nobody')
    await reasonOf(authenticate(unknown, register(clientOf([mine.stored]))))
    expect(unknown.exists).toBe(false)
    const wrong = present('hunter2')
    await reasonOf(authenticate(wrong, register(clientOf([mine.stored]))))
    expect(wrong.exists).toBe(true)
  })

  it('is an outage when the store cannot be read, and nothing else', async () => {
    const broken: ClientLookup = {
      importedCost: undefined,
      tokensAfter: 0,
      findClient: async () => {
        throw new Error('broken')
      },
      probe: async () => undefined,
    }
    await expect(
      authenticateClient(present(mine.text), broken, { ...noKeys, checker: noArgon, clock }),
    ).rejects.toThrow('broken')
  })
})

describe('a client with an imported secret', () => {
  it('proves itself', async () => {
    const stored = await makeImported('hunter2')
    const client = clientOf([mine.stored, stored])
    const registered = register(client, { importedCost: cheap })
    await expect(authenticate(present('hunter2'), registered, argon())).resolves.toEqual({
      client,
      credentialId: someId,
      uses: [],
    })
    await expect(authenticate(present(mine.text), registered, argon())).resolves.toMatchObject({
      credentialId: mine.stored.secretId,
    })
  })

  it.each(['hunter3', 'Hunter2', 'hunter2 ', 'x'])('rejects %j', async (text) => {
    const registered = register(clientOf([await makeImported('hunter2')]), { importedCost: cheap })
    expect(await reasonOf(authenticate(present(text), registered, argon()))).toBe('secret_wrong')
    expect(registered.reads()).toBe(1)
  })

  it('rejects it from the moment at which it expires', async () => {
    const registered = register(clientOf([await makeImported('hunter2', now)]), { importedCost: cheap })
    expect(await reasonOf(authenticate(present('hunter2'), registered, argon()))).toBe('secret_expired')
  })

  it('rejects it while it is disabled', async () => {
    const client = clientOf([await makeImported('hunter2')], { status: 'disabled' })
    const registered = register(client, { importedCost: cheap })
    expect(await reasonOf(authenticate(present('hunter2'), registered, argon()))).toBe('client_disabled')
  })
})

describe('the cost of a check', () => {
  it('C08 is one argon2id check for any string that is not generated, whoever the client is', async () => {
    const clients = [
      undefined,
      clientOf([]),
      clientOf([mine.stored]),
      clientOf([await makeImported('hunter2')]),
      clientOf([await makeImported('hunter2')], { status: 'disabled' }),
    ]
    for (const client of clients) {
      const registered = register(client, { importedCost: cheap })
      expect(await reasonOf(authenticate(present('hunter2'), registered, noArgon))).toBe('secret_check_busy')
      const checker = argon()
      const outcome = authenticate(present('wrong'), registered, checker)
      await Promise.resolve()
      await Promise.resolve()
      expect(checker.load).toBe(1)
      await reasonOf(outcome)
    }
  })

  it('C08 is no argon2id check for any string while the store holds no imported secret', async () => {
    for (const client of [undefined, clientOf([]), clientOf([mine.stored])]) {
      expect(await reasonOf(authenticate(present('hunter2'), register(client), noArgon))).not.toBe('secret_check_busy')
    }
  })

  it('C09 is never argon2id for what begins like a generated secret', async () => {
    const client = clientOf([await makeImported('mfs_hunter2'), mine.stored])
    const registered = register(client, { importedCost: cheap })
    for (const text of ['mfs_', 'mfs_hunter2', `mfs_${'x'.repeat(65)}`, foreign.text, `${mine.text}x`]) {
      expect(await reasonOf(authenticate(present(text), registered, noArgon))).toMatch(/^secret_(?:unknown|wrong)$/)
    }
    await expect(authenticate(present(mine.text), registered, noArgon)).resolves.toBeDefined()
  })

  it('C09 is not paid a second time when the same claim is decided again', async () => {
    const client = clientOf([await makeImported('hunter2')])
    const registered = register(client, { importedCost: cheap })
    const right = present('hunter2')
    await authenticate(right, registered, argon())
    await expect(authenticate(right, registered, noArgon)).resolves.toMatchObject({ credentialId: someId })
    const wrong = present('hunter3')
    await reasonOf(authenticate(wrong, registered, argon()))
    expect(await reasonOf(authenticate(wrong, registered, noArgon))).toBe('secret_wrong')
    const unknown = present('hunter2', 'nobody')
    await reasonOf(authenticate(unknown, registered, argon()))
    expect(await reasonOf(authenticate(unknown, registered, noArgon))).toBe('client_unknown')
  })

  it('does not let a proof of one hash stand for another', async () => {
    const claim = present('hunter2')
    const before = register(clientOf([await makeImported('hunter2')]), { importedCost: cheap })
    await authenticate(claim, before, argon())
    const after = register(clientOf([await makeImported('changed')]), { importedCost: cheap })
    expect(await reasonOf(authenticate(claim, after, argon()))).toBe('secret_wrong')
    const gone = register(clientOf([]), { importedCost: cheap })
    expect(await reasonOf(authenticate(claim, gone, argon()))).toBe('secret_wrong')
  })

  it('is dear for any secret that is not generated, and for nothing else', () => {
    expect(isDearToCheck(present('hunter2'))).toBe(true)
    expect(isDearToCheck(present('hunter2 mfs_'))).toBe(true)
    for (const text of ['mfs_', mine.text]) expect(isDearToCheck(present(text))).toBe(false)
    const assertion = new AssertionMaker('billing', 'https://tokens.example.test', makeTestKey(), clock).make()
    expect(isDearToCheck(claimOf(new URLSearchParams(credentialsOf(assertion)).toString()))).toBe(false)
  })

  it('goes first for a string that was right before, in a line of its own', async () => {
    const registered = register(clientOf([await makeImported('hunter2')]), { importedCost: cheap })
    const checker = new ImportedSecretChecker({ running: 1, waiting: 1 })
    const ended: string[] = []
    const others = ['one', 'two'].map(async (text) => {
      const reason = await reasonOf(authenticate(present(text), registered, checker))
      ended.push(text)
      return reason
    })
    expect(await reasonOf(authenticate(present('three'), registered, checker))).toBe('secret_check_busy')
    const known = present('hunter2')
    known.wasRight = true
    await expect(authenticate(known, registered, checker)).resolves.toMatchObject({ credentialId: someId })
    ended.push('known')
    expect(await Promise.all(others)).toEqual(['secret_wrong', 'secret_wrong'])
    expect(ended).toEqual(['one', 'known', 'two'])
  })

  it('C09 has the refusal for want of room without another read of the store', async () => {
    const registered = register(clientOf([await makeImported('hunter2')]), { importedCost: cheap, cached: true })
    expect(await reasonOf(authenticate(present('hunter2'), registered, noArgon))).toBe('secret_check_busy')
    expect(registered.reads()).toBe(0)
  })
})
