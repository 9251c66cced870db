import { describe, expect, it } from 'vitest'
import type { ClientSettings } from '../../src/client/client.ts'
import { maxKeysPerClient, parseClientKey, readClientKey, registeredKeys } from '../../src/client/client-keys.ts'
import { findProofFault } from '../../src/client/proof-rules.ts'
import { PublicJwkError } from '../../src/oauth/public-jwk.ts'
import { makeTestKey } from '../support/assertion.ts'
import { makeClient } from '../support/client.ts'

const one = makeTestKey('ES256', 'one')
const bare = makeTestKey('ES256')
const inline = (...keys: (typeof one)[]) =>
  ({ kind: 'inline', jwks: keys.map(({ publicKey }) => publicKey.jwk) }) as const

function faultOf(changes: Partial<ClientSettings>): string | undefined {
  return findProofFault({ ...makeClient(), authMethods: ['private_key_jwt'], ...changes })
}

describe('a key of a client', () => {
  it('is called by its kid, or by its thumbprint when it has none', () => {
    expect(parseClientKey(one.publicKey.jwk).name).toBe('one')
    expect(parseClientKey(bare.publicKey.jwk).name).toBe(bare.publicKey.thumbprint)
  })

  it('R02 is refused with its private half, and is no key of a published set', () => {
    const leaked = one.privateKey.export({ format: 'jwk' })
    expect(() => parseClientKey(leaked)).toThrow(PublicJwkError)
    expect(readClientKey(leaked)).toBeUndefined()
    expect(readClientKey(undefined)).toBeUndefined()
    expect(readClientKey(one.publicKey.jwk)?.name).toBe('one')
  })

  it('passes on what is no fault of a key', () => {
    const member = {
      get kty(): string {
        throw new TypeError('bug')
      },
    }
    expect(() => readClientKey(member)).toThrow(TypeError)
  })

  it('has the first certificate that stands beside it, up to 16 KiB', () => {
    const longest = 'A'.repeat(16_384)
    for (const x5c of [['MIIB'], ['MIIB', 'MIIC'], [longest]])
      expect(parseClientKey({ ...one.publicKey.jwk, x5c })).toHaveProperty('certificate', x5c[0])
    for (const x5c of [undefined, [], [1], [['MIIB']], 'MIIB', { 0: 'MIIB' }, [`${longest}A`]])
      expect(parseClientKey({ ...one.publicKey.jwk, x5c })).not.toHaveProperty('certificate')
  })

  it('is taken apart once', () => {
    const keys = inline(one)
    expect(registeredKeys(keys)).toBe(registeredKeys(keys))
  })
})

describe('how a client proves itself', () => {
  it.each([
    ['by keys', { keys: inline(one, bare) }],
    ['by keys that it publishes', { keys: { kind: 'uri', uri: 'https://keys.example.test/' } }],
    ['by the algorithm of one of its keys', { keys: inline(makeTestKey('Ed25519'), one), assertionAlg: 'ES256' }],
    [
      'by a certificate that it publishes',
      { authMethods: ['self_signed_tls_client_auth'], keys: { kind: 'uri', uri: 'https://keys.example.test/' } },
    ],
    [
      'by a certificate, beside a key',
      {
        authMethods: ['self_signed_tls_client_auth'],
        keys: { kind: 'inline', jwks: [one.publicKey.jwk, { ...bare.publicKey.jwk, x5c: ['MIIB'] }] },
      },
    ],
    ['by a secret', { authMethods: ['client_secret_basic'] }],
    ['by a secret, with keys for later', { authMethods: ['client_secret_basic'], keys: inline(one) }],
  ] as const)('may be %s', (_name, changes) => {
    expect(faultOf(changes)).toBeUndefined()
  })

  it.each([
    ['without a key', {}, /takes a key/],
    ['also without a key', { authMethods: ['client_secret_basic', 'private_key_jwt'] }, /takes a key/],
    ['TLS-04 without a certificate', { authMethods: ['self_signed_tls_client_auth'] }, /takes a certificate/],
    [
      'TLS-04 by keys without a certificate',
      { authMethods: ['self_signed_tls_client_auth'], keys: inline(one) },
      /takes a certificate/,
    ],
    ['by a set without keys', { keys: inline() }, /without a key/],
    ['J12 by two keys of one name', { keys: inline(one, makeTestKey('ES256', 'one')) }, /same kid/],
    ['J12 by two of one name and two types', { keys: inline(one, makeTestKey('Ed25519', 'one')) }, /same kid/],
    ['by the same key twice', { keys: inline(bare, bare) }, /same kid/],
    [
      'J12 by one that has the thumbprint of another as name',
      { keys: inline(bare, makeTestKey('ES256', bare.publicKey.thumbprint)) },
      /same kid/,
    ],
    ['by an algorithm that no key of it has', { keys: inline(one), assertionAlg: 'RS256' }, /none of the keys/],
  ] as const)('may not be %s', (_name, changes, sentence) => {
    expect(faultOf(changes)).toMatch(sentence)
  })

  it('may not be by more keys than anybody looks through', () => {
    const keys = Array.from({ length: maxKeysPerClient + 1 }, (_, i) => makeTestKey('ES256', `k${i}`))
    expect(faultOf({ keys: inline(...keys) })).toMatch(/at most 20/)
    expect(faultOf({ keys: inline(...keys.slice(1)) })).toBeUndefined()
  })
})
