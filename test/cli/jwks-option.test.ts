import { createPublicKey, generateKeyPairSync } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { type OptionValues, UsageError } from '../../src/cli/command.ts'
import { parseAssertionAlg, parseKeys } from '../../src/cli/jwks-option.ts'
import { foreignAlgs } from '../../src/oauth/public-jwk.ts'
import { makeTestKey } from '../support/assertion.ts'
import { temporaryFolder } from '../support/process.ts'

const key = makeTestKey('ES256', 'one')
const other = makeTestKey('Ed25519')
const pem = key.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString()
const sec1 = key.privateKey.export({ type: 'sec1', format: 'pem' }).toString()
const weak = generateKeyPairSync('rsa', { modulusLength: 1024 }).publicKey.export({ format: 'jwk' })

function write(content: string | object): string {
  const path = join(temporaryFolder(), 'keys')
  writeFileSync(path, typeof content === 'string' ? content : JSON.stringify(content))
  return path
}

function publicPem(of: typeof key): string {
  return createPublicKey(of.privateKey).export({ type: 'spki', format: 'pem' }).toString()
}

describe('the keys of a client on the command line', () => {
  it('are those of a JWK set, without what else stands there', () => {
    const member = { ...key.publicKey.jwk, use: 'sig', note: 'mine' }
    expect(parseKeys({ jwks: write({ keys: [member, other.publicKey.jwk] }) })).toEqual({
      kind: 'inline',
      jwks: [key.publicKey.jwk, other.publicKey.jwk],
    })
  })

  it('are one JWK', () => {
    expect(parseKeys({ jwks: write(key.publicKey.jwk) })).toEqual({ kind: 'inline', jwks: [key.publicKey.jwk] })
  })

  it('are public keys in PEM, several in a file', () => {
    const { kid: _, ...named } = key.publicKey.jwk
    expect(parseKeys({ jwks: write(publicPem(key) + publicPem(other)) })).toEqual({
      kind: 'inline',
      jwks: [named, other.publicKey.jwk],
    })
  })

  it('are at a URL, in its one spelling', () => {
    expect(parseKeys({ jwksUri: 'https://Keys.Example.Test:443' })).toEqual({
      kind: 'uri',
      uri: 'https://keys.example.test/',
    })
  })

  it('are none when no option says so', () => {
    expect(parseKeys({})).toBeUndefined()
  })

  it.each<[string, string | object | undefined, OptionValues, RegExp]>([
    ['a private key in PEM', pem, {}, /holds a private key, which must never leave its owner/],
    ['a private key in the PEM of old', sec1, {}, /holds a private key/],
    ['a private key behind a public one', publicPem(other) + pem, {}, /holds a private key/],
    ['a private JWK', key.privateKey.export({ format: 'jwk' }), {}, /key 1 .*private or symmetric/],
    ['a symmetric key', { keys: [{ kty: 'oct', k: 'c2VjcmV0' }] }, {}, /private or symmetric/],
    ['J26 a weak key', { keys: [key.publicKey.jwk, weak] }, {}, /key 2 .*1024 bits/],
    ['what is no JSON', 'hello', {}, /is no JWK set, JWK or PEM file/],
    ['a list', [key.publicKey.jwk], {}, /is no JWK set, JWK or PEM file/],
    ['a name that stands twice', '{"keys":[],"keys":[]}', {}, /is no JWK set/],
    ['a PEM without an end', '-----BEGIN PUBLIC KEY-----\nx\n', {}, /is not a public key in PEM/],
    ['a PEM with nothing in it', '-----BEGIN PUBLIC KEY-----\nx\n-----END PUBLIC KEY-----', {}, /is not a public key/],
    ['keys that are no list', { keys: 7 }, {}, /its keys are no list/],
    ['an endless file', ' '.repeat(65_537), {}, /longer than 64 KiB/],
    ['no file', undefined, { jwks: 'nowhere.json' }, /takes the path of a file/],
    ['a folder', undefined, { jwks: '.' }, /takes the path of a file/],
    ['a device without end', undefined, { jwks: '/dev/zero' }, /longer than 64 KiB/],
    ['a file and a URL', undefined, { jwks: 'x', jwksUri: 'https://a.example/' }, /both given/],
    ['a URL without TLS', undefined, { jwksUri: 'http://keys.example.test/' }, /takes https/],
    ['S01 an address', undefined, { jwksUri: 'https://127.0.0.1/' }, /a host name that is no address/],
    ['S01 a port of another service', undefined, { jwksUri: 'https://keys.example.test:22/' }, /ends in 443/],
  ])('are not taken from %s', (_name, content, options, sentence) => {
    const named = content === undefined ? options : { jwks: write(content) }
    expect(() => parseKeys(named)).toThrow(UsageError)
    expect(() => parseKeys(named)).toThrow(sentence)
  })
})

describe('the algorithm of assertions on the command line', () => {
  it('is one that there is, or none', () => {
    for (const alg of foreignAlgs) expect(parseAssertionAlg({ tokenEndpointAuthSigningAlg: alg })).toBe(alg)
    expect(parseAssertionAlg({})).toBeUndefined()
  })

  it.each(['HS256', 'none', 'es256', 'RS512', ''])('is not %j', (alg) => {
    expect(() => parseAssertionAlg({ tokenEndpointAuthSigningAlg: alg })).toThrow(/it takes ES256/)
  })
})
