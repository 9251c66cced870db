import { generateKeyPairSync } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type Assessment, assessClient, type Weakness, weaknesses } from '../../src/client/assessment.ts'
import type { Client, ClientSecret } from '../../src/client/client.ts'
import { authMethods } from '../../src/oauth/auth-method.ts'
import { grantTypes } from '../../src/oauth/grant-type.ts'
import { parsePublicJwk } from '../../src/oauth/public-jwk.ts'
import type { Resource } from '../../src/resource/resource.ts'
import { makeClient } from '../support/client.ts'
import { api } from '../support/registry.ts'

const day = 86_400_000
const now = Date.UTC(2026, 5, 1)

function resource(uri = api, scopes: readonly string[] = ['read', 'write'], ttl?: number): Resource {
  return { uri, scopes, createdAt: 0, updatedAt: 0, ...(ttl === undefined ? {} : { accessTokenTtlSeconds: ttl }) }
}

function secret(changes: Partial<ClientSecret> = {}): ClientSecret {
  return {
    secretId: 'sec_a',
    kind: 'generated',
    sha256: new Uint8Array(32),
    createdAt: now - 10 * day,
    expiresAt: now + 20 * day,
    lastUsedAt: now - day,
    ...changes,
  } as ClientSecret
}

/** A client of which nothing is known to be weak. */
function sound(changes: Partial<Client> = {}): Client {
  return makeClient({ audiences: [api], scopes: ['read'], secrets: [secret()], dpopBound: true, ...changes })
}

function assess(client: Client, changes: Partial<Parameters<typeof assessClient>[1]> = {}): Assessment {
  const resources = client.audiences.map((uri) => resource(uri))
  return assessClient(client, {
    now,
    resources,
    accessTokenTtlSeconds: 300,
    accessTokenMaxTtlSeconds: 3_600,
    ...changes,
  })
}

const weakOf = (client: Client): readonly Weakness[] => assess(client).weakPoints.map(({ weakness }) => weakness)

describe('how a client proves itself', () => {
  it('names the secret with its age, its end and its use', () => {
    expect(assess(sound()).provesItselfBy).toEqual([
      'a secret in the Authorization header (client_secret_basic)',
      'secret sec_a: generated, 10d old, ends in 20d, last used 1d ago',
    ])
  })

  it('names what is accepted beside, and leaves out secrets that have ended', () => {
    const { expiresAt: _, lastUsedAt: __, ...fresh } = secret({ secretId: 'sec_b', createdAt: now - 60_000 })
    const client = sound({
      authMethods: ['client_secret_post', 'client_secret_basic'],
      secrets: [secret({ expiresAt: now }), fresh as ClientSecret],
    })
    expect(assess(client).provesItselfBy).toEqual([
      'a secret in the form (client_secret_post)',
      'a secret in the Authorization header (client_secret_basic), also accepted',
      'secret sec_b: generated, 1m old, no end, never used',
    ])
  })

  it('says so when there is no secret to do it with', () => {
    expect(assess(sound({ secrets: [] })).provesItselfBy.at(-1)).toBe(
      'no secret that is alive: until it has one it gets nothing by it',
    )
  })

  const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const { jwk, thumbprint } = parsePublicJwk(publicKey.export({ format: 'jwk' }))
  const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 }).publicKey
  const { jwk: rsaJwk, thumbprint: rsaThumbprint } = parsePublicJwk(rsa.export({ format: 'jwk' }))

  it.each<[string, Partial<Client>, ...string[]]>([
    [
      'keys by their names',
      {
        authMethods: ['private_key_jwt'],
        assertionAlg: 'ES256',
        keys: { kind: 'inline', jwks: [{ ...jwk, kid: 'k1' }, jwk] },
      },
      'an assertion that its own key signs with ES256 (private_key_jwt)',
      `key k1: ES256, thumbprint ${thumbprint}`,
      `key ${thumbprint}: ES256, thumbprint ${thumbprint}`,
    ],
    [
      'all that a key can sign with',
      { authMethods: ['private_key_jwt'], keys: { kind: 'inline', jwks: [rsaJwk] } },
      'an assertion that its own key signs (private_key_jwt)',
      `key ${rsaThumbprint}: RS256, PS256, thumbprint ${rsaThumbprint}`,
    ],
    [
      'where keys are fetched from',
      { authMethods: ['private_key_jwt'], keys: { kind: 'uri', uri: 'https://c.example/jwks' } },
      'an assertion that its own key signs (private_key_jwt): the keys at https://c.example/jwks',
    ],
    [
      'the name of a certificate',
      { authMethods: ['tls_client_auth'], tlsSubject: { kind: 'san_dns', value: 'billing.example' } },
      'a certificate of a trusted authority (tls_client_auth): san_dns billing.example',
    ],
    [
      'the lack of a name',
      { authMethods: ['tls_client_auth'] },
      'a certificate of a trusted authority (tls_client_auth): no name yet',
    ],
    [
      'a certificate of its own',
      { authMethods: ['self_signed_tls_client_auth'], keys: { kind: 'inline', jwks: [{ ...jwk, kid: 'k1' }] } },
      'a certificate of its own (self_signed_tls_client_auth)',
      `key k1: ES256, thumbprint ${thumbprint}`,
    ],
    [
      'the lack of keys',
      { authMethods: ['private_key_jwt'] },
      'an assertion that its own key signs (private_key_jwt): no key yet',
    ],
    ['no method at all', { authMethods: [] }, 'nothing: it has no method to do so'],
  ])('names %s', (_, changes, ...sentences) => {
    expect(assess(sound({ secrets: [], ...changes })).provesItselfBy).toEqual(sentences)
  })
})

describe('what a client may get', () => {
  it('names audience, scope, life, refresh tokens, binding and quota', () => {
    const client = sound({
      scopes: ['read', 'admin', 'write'],
      grantTypes: ['client_credentials', 'refresh_token'],
      tokensPerHour: 100,
      introspects: ['https://own.example', 'https://other.example'],
    })
    expect(assess(client, { issuedThisHour: 7 }).mayGet).toEqual([
      `tokens for ${api}, scope read write, of 5m, with refresh tokens`,
      'bound to a DPoP key, by client_credentials and refresh_token',
      'at most 100 tokens an hour, 7 of them in this one',
      'answers about tokens for https://own.example https://other.example',
    ])
  })

  it.each([
    ['the default', undefined, undefined, '5m'],
    ['what its resource names', 60, undefined, '1m'],
    ['the least of both', 120, 90, '90s'],
    ['the cap', 86_400, undefined, '1h'],
  ])('names a life that is %s', (_, ttl, own, life) => {
    const client = sound(own === undefined ? {} : { accessTokenTtlSeconds: own })
    const [tokens] = assess(client, { resources: [resource(api, ['read'], ttl)] }).mayGet
    expect(tokens).toBe(`tokens for ${api}, scope read, of ${life}`)
  })

  it('leaves out an audience that is there no more, and scopes that nothing defines', () => {
    const client = sound({ audiences: [api, 'https://gone.example'], scopes: ['gone'] })
    expect(assess(client, { resources: [resource()] }).mayGet[0]).toBe(`tokens for ${api}, without scope, of 5m`)
  })

  it('says that a client without grants gets no tokens, and one that is disabled gets nothing now', () => {
    expect(assess(sound({ grantTypes: [], audiences: [] })).mayGet).toEqual(['no tokens: it has no grant'])
    expect(assess(sound({ status: 'disabled' })).mayGet[0]).toBe('nothing now: it is disabled. If it is enabled:')
  })

  it.each<[Partial<Client>, string]>([
    [{}, 'good in any hands unless it asks with a DPoP proof, by client_credentials'],
    [{ certificateBound: true }, 'bound to its certificate, by client_credentials'],
    [{ certificateBound: true, dpopBound: true }, 'bound to its certificate and a DPoP key, by client_credentials'],
  ])('says what tokens are bound to: %j', (changes, sentence) => {
    expect(assess(sound({ dpopBound: false, ...changes })).mayGet).toContain(sentence)
  })
})

describe('what is weak about a client', () => {
  it('is nothing for one with a young secret that ends, is used, and gets bound tokens of a part of the scope', () => {
    expect(weakOf(sound())).toEqual([])
  })

  const withSecret = (changes: Partial<ClientSecret>): Partial<Client> => ({ secrets: [secret(changes)] })
  const without = (name: 'expiresAt' | 'lastUsedAt', changes: Partial<ClientSecret> = {}): Partial<Client> => {
    const { [name]: _, ...rest } = secret(changes)
    return { secrets: [rest as ClientSecret] }
  }
  const many = Array.from({ length: 5 }, (_, i) => `https://api-${i}.example`)

  it.each<[string, Partial<Client>, readonly Weakness[]]>([
    ['a secret of 90 days', withSecret({ createdAt: now - 90 * day }), []],
    ['a secret of more', withSecret({ createdAt: now - 90 * day - 1 }), ['old secret']],
    ['a secret without an end', without('expiresAt'), ['secret without an end']],
    ['a secret never used for a week', without('lastUsedAt', { createdAt: now - 7 * day }), []],
    ['a secret never used for longer', without('lastUsedAt', { createdAt: now - 7 * day - 1 }), ['unused secret']],
    ['a secret used 90 days ago', withSecret({ lastUsedAt: now - 90 * day }), []],
    ['a secret used before that', withSecret({ lastUsedAt: now - 90 * day - 1 }), ['unused secret']],
    ['a secret that is weak and has ended', withSecret({ createdAt: 0, expiresAt: now, lastUsedAt: 0 }), []],
    ['an imported secret', { secrets: [{ ...secret(), kind: 'imported', argon2id: '' }] }, ['imported secret']],
    ['a secret in the form', { authMethods: ['client_secret_post'] }, ['secret in the form']],
    ['a secret left behind', { authMethods: ['private_key_jwt'] }, ['secret that no method takes']],
    ['a key and no secret', { authMethods: ['private_key_jwt'], secrets: [] }, []],
    ['a change not ended', { authMethods: ['private_key_jwt', 'client_secret_basic'] }, ['change not ended']],
    ['no binding', { dpopBound: false }, ['no binding']],
    ['no binding, but no tokens either', { dpopBound: false, grantTypes: [] }, []],
    ['tokens bound to a certificate', { dpopBound: false, certificateBound: true }, []],
    ['every scope of its audiences', { scopes: ['write', 'read'] }, ['wide scope']],
    ['four audiences', { audiences: many.slice(1) }, []],
    ['five audiences', { audiences: many }, ['many audiences']],
  ])('%s', (_, changes, expected) => expect(weakOf(sound(changes))).toEqual(expected))

  it('is not that it has the one scope that there is', () => {
    expect(assess(sound(), { resources: [resource(api, ['read'])] }).weakPoints).toEqual([])
  })

  it('is said of each secret by its id, with what to do', () => {
    const old = secret({ createdAt: now - 100 * day })
    const { weakPoints } = assess(sound({ secrets: [old, secret({ ...old, secretId: 'sec_b' })] }))
    expect(weakPoints.map(({ text }) => text)).toEqual([
      'sec_a is 100 days old: `mayfly secret create billing` makes its successor',
      'sec_b is 100 days old: `mayfly secret create billing` makes its successor',
    ])
  })

  it.each<[string, Partial<Client>]>([
    [
      'its secret travels in the form (client_secret_post), where logs of proxies and frameworks find it: `mayfly client update billing --auth-method client_secret_basic`',
      { authMethods: ['client_secret_post'] },
    ],
    [
      'a secret is left that no method of it takes: `mayfly secret revoke` them',
      { authMethods: ['private_key_jwt'], secrets: [secret()] },
    ],
    [
      '2 secrets are left that no method of it takes: `mayfly secret revoke` them',
      { authMethods: ['private_key_jwt'], secrets: [secret(), secret({ secretId: 'sec_b' })] },
    ],
    [
      'it also accepts client_secret_basic and tls_client_auth beside private_key_jwt: end the change with `mayfly client update billing --auth-method METHOD`',
      { authMethods: ['private_key_jwt', 'client_secret_basic', 'tls_client_auth'] },
    ],
    [
      'sec_a never expires: `mayfly secret create billing` makes its successor, with `--expires-in`',
      without('expiresAt'),
    ],
    [
      'sec_a was never used: `mayfly secret revoke billing sec_a`',
      without('lastUsedAt', { createdAt: now - 20 * day }),
    ],
    [
      'sec_a was not used for 91 days: `mayfly secret revoke billing sec_a`',
      withSecret({ createdAt: now - 90 * day, lastUsedAt: now - 91 * day }),
    ],
    [
      'sec_a was imported and can be guessed if a person chose it: `mayfly secret create billing` makes its successor',
      { secrets: [{ ...secret(), kind: 'imported', argon2id: '' }] },
    ],
    ['its tokens are bound to no key: whoever gets hold of one can use it until it expires', { dpopBound: false }],
    [
      'it may have every scope of its audiences, and gets all 2 when it asks for none: take away what it does not need',
      { scopes: ['read', 'write'] },
    ],
    ['its credentials open 5 services: a client for each task loses less', { audiences: many }],
  ])('is said in a sentence: %s', (sentence, changes) => {
    expect(assess(sound(changes)).weakPoints.map(({ text }) => text)).toEqual([sentence])
  })

  it('is found in any client without failing, and never tells a hash (seed 20261203)', () => {
    const moment = fc.integer({ min: 0, max: 2 * now })
    const optional = fc.option(moment, { nil: undefined })
    const anySecret = fc.record({ createdAt: moment, expiresAt: optional, lastUsedAt: optional }).map((times) =>
      // What is absent is not there at all.
      secret(Object.fromEntries(Object.entries(times).filter(([, value]) => value !== undefined))),
    )
    const client = fc.record({
      grantTypes: fc.subarray([...grantTypes]),
      authMethods: fc.subarray([...authMethods]),
      scopes: fc.subarray(['read', 'write', 'other']),
      secrets: fc.array(anySecret, { maxLength: 3 }),
      audiences: fc.subarray([api, ...many]),
      dpopBound: fc.boolean(),
      status: fc.constantFrom('active' as const, 'disabled' as const),
    })
    fc.assert(
      fc.property(client, (changes) => {
        const { provesItselfBy, mayGet, weakPoints } = assess(makeClient(changes))
        expect(provesItselfBy.length).toBeGreaterThan(0)
        expect(mayGet.length).toBeGreaterThan(0)
        for (const { weakness } of weakPoints) expect(weaknesses).toContain(weakness)
        const all = JSON.stringify([provesItselfBy, mayGet, weakPoints])
        expect(all).not.toMatch(/undefined|NaN|null|sha256/)
      }),
      { seed: 20_261_203 },
    )
  })
})
