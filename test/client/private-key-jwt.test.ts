import { createPublicKey } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  type AuthenticatedClient,
  authenticateClient,
  type ProofTools,
  parseClaim,
} from '../../src/client/authenticate.ts'
import type { Client } from '../../src/client/client.ts'
import { ImportedSecretChecker } from '../../src/client/imported-secret.ts'
import { assertionType, privateKeyJwt } from '../../src/client/private-key-jwt.ts'
import { parseForm } from '../../src/http/form.ts'
import { OAuthError } from '../../src/oauth/errors.ts'
import { foreignAlgs, parsePublicJwk } from '../../src/oauth/public-jwk.ts'
import { OutboundError, outboundFailures } from '../../src/outbound/outbound-error.ts'
import { AssertionMaker, credentialsOf, macParts, makeTestKey, type TestKey } from '../support/assertion.ts'
import { makeClient } from '../support/client.ts'
import { ManualClock } from '../support/clock.ts'
import { anyText } from '../support/text.ts'
import { wrongClaims, wrongHeaders } from '../support/wrong-assertions.ts'

const clock = new ManualClock()
const issuer = 'https://tokens.example.test'
const key = makeTestKey('ES256', 'one')
const rsa = makeTestKey('RS256', 'rsa')
const maker = new AssertionMaker('billing', issuer, key, clock)

const nothingFetched = { find: () => Promise.reject(new Error('no key is fetched')) }

function clientOf(keys: readonly TestKey[], changes: Partial<Client> = {}): Client {
  const jwks = keys.map(({ publicKey }) => publicKey.jwk)
  return makeClient({ authMethods: ['private_key_jwt'], keys: { kind: 'inline', jwks }, ...changes })
}

async function authenticate(
  assertion: string,
  client: Client | undefined = clientOf([key]),
  { tokensAfter = 0, ...tools }: Partial<ProofTools> & { readonly tokensAfter?: number } = {},
): Promise<AuthenticatedClient> {
  const form = parseForm(new URLSearchParams(credentialsOf(assertion)).toString())
  const lookup = {
    importedCost: undefined,
    tokensAfter,
    findClient: async (clientId: string) => ({
      client: client?.clientId === clientId ? client : undefined,
      cached: false,
    }),
    probe: async () => undefined,
  }
  return authenticateClient(parseClaim({ authorization: undefined, form }), lookup, {
    checker: new ImportedSecretChecker({ running: 0, waiting: 0 }),
    clock,
    assertionAudiences: [issuer],
    remoteKeys: nothingFetched,
    ...tools,
  })
}

async function reasonOf(outcome: Promise<unknown>): Promise<string> {
  const error = await outcome.then(
    () => new Error('it was accepted'),
    (thrown: unknown) => thrown,
  )
  if (error instanceof OAuthError) return error.reason
  throw error
}

describe('an assertion', () => {
  it('JA-01 proves its client, by a key, and is to be used once', async () => {
    const client = clientOf([key])
    const exp = maker.now + 60
    const proved = await authenticate(maker.make({ exp }), client)
    expect(proved).toMatchObject({ client, credentialId: `key_${key.publicKey.thumbprint}` })
    // It is forgotten when nobody would take it any more.
    expect(proved.uses.map(({ kind, expiresAt }) => [kind, expiresAt])).toEqual([['assertion', (exp + 60) * 1000]])
  })

  it('J21 has one use, however it is signed, and another one with another id or issuer', async () => {
    const useOf = async (claims: object, from = maker) => {
      const client = clientOf([from.key], { clientId: from.clientId })
      const [use] = (await authenticate(from.make({ ...claims }), client)).uses
      return Buffer.from(use?.key ?? []).toString('hex')
    }
    const other = new AssertionMaker('other', issuer, key, clock)
    const once = await useOf({ jti: 'a' })
    expect(await useOf({ jti: 'a', iat: undefined })).toBe(once)
    expect(await useOf({ jti: 'b' })).not.toBe(once)
    expect(await useOf({ jti: 'a' }, other)).not.toBe(once)
  })

  it('JA-01 has the type that the standard names', () => {
    expect(assertionType).toBe('urn:ietf:params:oauth:client-assertion-type:jwt-bearer')
  })

  it.each<[string, (now: number) => object]>([
    ['an end that is not quite a minute ago', (now) => ({ iat: now - 120, exp: now - 59 })],
    ['a date in a minute', (now) => ({ iat: now + 60, exp: now + 120 })],
    ['a beginning in a minute', (now) => ({ nbf: now + 60 })],
    ['an end in six minutes and no date', (now) => ({ iat: undefined, exp: now + 360 })],
    ['a life of five minutes', (now) => ({ iat: now, exp: now + 300 })],
    ['a life of a second', (now) => ({ iat: now, exp: now + 1 })],
    ['an id of 256 characters', () => ({ jti: 'j'.repeat(256) })],
    ['its audience in a list', () => ({ aud: [issuer] })],
  ])('is taken with %s', async (_name, claims) => {
    await expect(authenticate(maker.make({ ...claims(maker.now) }))).resolves.toBeDefined()
  })

  it.each([undefined, 'JWT', 'client-authentication+jwt', 'application/Client-Authentication+JWT'])(
    'JA-11 is taken with the type %s',
    async (typ) => {
      await expect(authenticate(maker.make({}, { typ }))).resolves.toBeDefined()
    },
  )

  it.each(wrongClaims)('is refused with %s', async (_name, spoil, reason) => {
    expect(await reasonOf(authenticate(maker.make(spoil(maker))))).toBe(`assertion_${reason}`)
  })

  it.each(wrongHeaders)('is refused with %s', async (_name, header, reason) => {
    expect(await reasonOf(authenticate(maker.make({}, header)))).toBe(`assertion_${reason}`)
  })

  it('J02 is refused under a MAC with the public key', async () => {
    const pem = createPublicKey(key.privateKey).export({ type: 'spki', format: 'pem' })
    const forged = macParts(pem, maker.header(), maker.claims())
    expect(await reasonOf(authenticate(forged))).toBe('assertion_alg_unsupported')
  })

  it('I21 is refused when one character of it is another, wherever, and so is any other text', async () => {
    const good = maker.make()
    const letters = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.= '
    const changed = fc
      .tuple(fc.nat(good.length - 1), fc.constantFrom(...letters))
      .filter(([at, letter]) => good[at] !== letter)
      .map(([at, letter]) => good.slice(0, at) + letter + good.slice(at + 1))
    const text = fc.oneof(
      changed,
      anyText().filter((any) => any !== ''),
    )
    await fc.assert(
      fc.asyncProperty(text, async (assertion) => {
        expect(await reasonOf(authenticate(assertion))).toMatch(/^(?:assertion|client|form)_/)
      }),
      { seed: 20_260_102, numRuns: 1_000 },
    )
  })

  it('J24 is not taken where nobody knows whether it was used: when it may be from before the store went back', async () => {
    const { now } = maker
    const restored = { tokensAfter: now * 1000 }
    // Its client's clock may have been a minute ahead when it was made.
    for (const claims of [{}, { iat: now - 1 }, { iat: now + 60 }, { iat: undefined, exp: now + 360 }])
      for (const client of [clientOf([key]), makeClient({ clientId: 'nobody' })])
        expect(await reasonOf(authenticate(maker.make(claims), client, restored))).toBe('assertion_use_unknown')
    const aMinuteAgo = { tokensAfter: (now - 61) * 1000 }
    for (const claims of [{}, { iat: undefined, exp: now + 300 }])
      await expect(authenticate(maker.make(claims), clientOf([key]), aMinuteAgo)).resolves.toBeDefined()
  })

  it('I12 does not show itself', () => {
    const assertion = maker.make()
    const form = parseForm(new URLSearchParams(credentialsOf(assertion)).toString())
    const shown = JSON.stringify(privateKeyJwt.parse({ authorization: undefined, form }))
    for (const part of assertion.split('.')) expect(shown).not.toContain(part)
    expect(shown).not.toContain('jti')
  })
})

describe('the client of an assertion', () => {
  it.each<[string, Client | undefined, string]>([
    ['does not exist', undefined, 'client_unknown'],
    ['is disabled', clientOf([key], { status: 'disabled' }), 'client_disabled'],
    ['has no method', clientOf([key], { authMethods: [] }), 'client_public'],
    ['has another method', clientOf([key], { authMethods: ['client_secret_basic'] }), 'assertion_key_unknown'],
    ['has no keys', makeClient({ authMethods: ['private_key_jwt'] }), 'assertion_key_unknown'],
    ['has another algorithm', clientOf([rsa], { assertionAlg: 'RS256' }), 'assertion_alg_not_registered'],
    ['has other keys', clientOf([makeTestKey('ES256', 'one')]), 'assertion_signature_wrong'],
  ])('is refused when it %s', async (_name, client, reason) => {
    expect(await reasonOf(authenticate(maker.make(), client ?? makeClient({ clientId: 'x' })))).toBe(reason)
  })

  it('S09 makes nobody fetch when it does not exist, is disabled or does not use keys', async () => {
    const keys = { kind: 'uri', uri: 'https://keys.example.test/' } as const
    for (const changes of [
      { clientId: 'other' },
      { status: 'disabled' },
      { authMethods: ['client_secret_basic', 'self_signed_tls_client_auth'] },
      { assertionAlg: 'RS256' },
    ] as const) {
      const client = makeClient({ authMethods: ['private_key_jwt'], keys, ...changes })
      // A fetch would be an error of another kind.
      expect(await reasonOf(authenticate(maker.make(), client))).toMatch(/^(?:client|assertion)_/)
    }
  })

  it('is refused alike in every algorithm when it does not exist', async () => {
    for (const alg of foreignAlgs) {
      const strange = new AssertionMaker('nobody', issuer, makeTestKey(alg), clock)
      expect(await reasonOf(authenticate(strange.make(), makeClient()))).toBe('client_unknown')
    }
  })

  it('J12 is refused without a kid when several of its keys fit', async () => {
    const two = makeTestKey('ES256', 'two')
    const client = clientOf([two, key])
    const bare = maker.make({}, { kid: undefined })
    expect(await reasonOf(authenticate(bare, client))).toBe('assertion_key_ambiguous')
    await expect(authenticate(maker.make(), client)).resolves.toBeDefined()
    await expect(authenticate(bare, clientOf([rsa, key]))).resolves.toBeDefined()
  })

  it('has the keys that it publishes, taken by those that fit', async () => {
    const keys = { kind: 'uri', uri: 'https://keys.example.test/' } as const
    const client = makeClient({ authMethods: ['private_key_jwt'], keys })
    const published = [rsa, key, key].map(({ publicKey }) => ({
      name: publicKey.jwk.kid ?? '',
      identity: publicKey.thumbprint,
      key: publicKey,
    }))
    const asked: string[] = []
    const remoteKeys: ProofTools['remoteKeys'] = {
      find: async (url, fits) => {
        asked.push(url)
        return published.filter(fits)
      },
    }
    await expect(authenticate(maker.make(), client, { remoteKeys })).resolves.toMatchObject({ client })
    expect(await reasonOf(authenticate(maker.make({}, { kid: 'x' }), client, { remoteKeys }))).toBe(
      'assertion_key_unknown',
    )
    expect(asked).toEqual([keys.uri, keys.uri])
  })

  it.each(outboundFailures)('JA-16 is not believed when its keys could not be fetched: %s', async (failure) => {
    const keys = { kind: 'uri', uri: 'https://keys.example.test/' } as const
    const client = makeClient({ authMethods: ['private_key_jwt'], keys })
    const cause = new OutboundError(failure)
    const remoteKeys = { find: () => Promise.reject(cause) }
    await expect(authenticate(maker.make(), client, { remoteKeys })).rejects.toMatchObject(
      failure === 'busy' ? { reason: 'assertion_keys_busy', cause } : { reason: 'assertion_keys_unavailable' },
    )
  })

  it('passes on what is no failure of a source', async () => {
    const keys = { kind: 'uri', uri: 'https://keys.example.test/' } as const
    const client = makeClient({ authMethods: ['private_key_jwt'], keys })
    const remoteKeys = { find: () => Promise.reject(new TypeError('bug')) }
    await expect(authenticate(maker.make(), client, { remoteKeys })).rejects.toThrow(TypeError)
  })

  it('J26 has no keys that are weak: they are refused where they are registered', () => {
    expect(() => parsePublicJwk({ ...rsa.publicKey.jwk, n: 'AQAB' })).toThrow(/bits/)
  })
})
