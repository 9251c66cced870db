import { generateKeyPairSync } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { makeTestKey } from '../support/assertion.ts'
import { makeInstallation } from '../support/installation.ts'
import { mayfly, mayflyJson } from '../support/process.ts'
import { api } from '../support/server.ts'

const key = makeTestKey('ES256', 'one')
const pem = key.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString()
const { publicKey: edwards } = generateKeyPairSync('ed25519')

/** A folder with a database, and files in it. */
async function start(files: Readonly<Record<string, string | object>> = {}) {
  const { cwd } = await makeInstallation()
  for (const [name, content] of Object.entries({ 'jwks.json': { keys: [key.publicKey.jwk] }, ...files }))
    writeFileSync(join(cwd, name), typeof content === 'string' ? content : JSON.stringify(content))
  const create = (...more: string[]) => mayfly(['client', 'create', 'signer', '--audience', api, ...more], { cwd })
  return { cwd, create }
}

describe('client create with keys', () => {
  it('makes a client without a secret, and says how it gets a token', async () => {
    const { cwd, create } = await start()
    const { code, stdout } = await create('--jwks', 'jwks.json', '--scope', 'read')
    expect(code).toBe(0)
    expect(stdout).toMatch(/^token_endpoint_auth_method +private_key_jwt$/m)
    expect(stdout).not.toMatch(/client_secret|mfs_|secret_id/)
    expect(stdout).toMatch(/client_assertion_type=urn:ietf:params:oauth:client-assertion-type:jwt-bearer/)
    expect(stdout).toContain(`key one: ES256, thumbprint ${key.publicKey.thumbprint}`)
    const shown = await mayflyJson(['client', 'show', 'signer'], { cwd })
    expect(shown).toMatchObject({
      token_endpoint_auth_method: 'private_key_jwt',
      jwks: { keys: [key.publicKey.jwk] },
      secret_count: 0,
      secrets: [],
    })
    const { stdout: text } = await mayfly(['client', 'show', 'signer'], { cwd })
    expect(text).toContain(`key one: ES256, thumbprint ${key.publicKey.thumbprint}`)
  })

  it('takes a URL, with the algorithm that is named', async () => {
    const { cwd, create } = await start()
    const uri = 'https://keys.example.test/jwks.json'
    const more = ['--token-endpoint-auth-signing-alg', 'PS256']
    expect((await create('--auth-method', 'private_key_jwt', '--jwks-uri', uri, ...more)).code).toBe(0)
    const shown = await mayflyJson(['client', 'show', 'signer'], { cwd })
    expect(shown).toMatchObject({ jwks_uri: uri, token_endpoint_auth_signing_alg: 'PS256' })
    expect(shown).not.toHaveProperty('jwks')
  })

  it('takes one JWK, and public keys in PEM, which are called by their thumbprints', async () => {
    const both = [key.publicKey.jwk, edwards.export({ format: 'jwk' })]
    const pems = edwards.export({ type: 'spki', format: 'pem' }).toString()
    const { cwd, create } = await start({ 'one.json': both[0] ?? {}, 'ed.pem': pems })
    expect((await create('--jwks', 'one.json')).code).toBe(0)
    expect((await mayfly(['client', 'update', 'signer', '--jwks', 'ed.pem'], { cwd })).code).toBe(0)
    expect(await mayflyJson(['client', 'show', 'signer'], { cwd })).toMatchObject({ jwks: { keys: [both[1]] } })
  })

  it('refuses a private key, and has then made no client', async () => {
    const { cwd, create } = await start({ 'key.pem': pem })
    const { code, stdout, stderr } = await create('--jwks', 'key.pem')
    expect([code, stdout]).toEqual([2, ''])
    expect(stderr).toMatch(/^.*holds a private key, which must never leave its owner.*\n$/)
    expect((await mayfly(['client', 'show', 'signer'], { cwd })).code).toBe(1)
  })

  it('refuses the method without a key, and an algorithm that no key of it has', async () => {
    const { create } = await start()
    const without = await create('--auth-method', 'private_key_jwt')
    expect([without.code, without.stderr]).toEqual([1, expect.stringMatching(/add `--jwks FILE` or `--jwks-uri URL`/)])
    const other = await create('--jwks', 'jwks.json', '--token-endpoint-auth-signing-alg', 'RS256')
    expect([other.code, other.stderr]).toEqual([1, expect.stringMatching(/none of the keys can sign with RS256/)])
  })
})

describe('client update with keys', () => {
  it('opens and closes a change of the method, and takes keys away when no method needs them', async () => {
    const { cwd } = await start()
    const update = (...more: string[]) => mayfly(['client', 'update', 'job', ...more], { cwd })
    const refused = await update('--also-accept', 'private_key_jwt')
    expect([refused.code, refused.stderr]).toEqual([1, expect.stringMatching(/takes a key of the client/)])
    expect((await update('--jwks', 'jwks.json', '--also-accept', 'private_key_jwt')).code).toBe(0)
    expect(await mayflyJson(['client', 'show', 'job'], { cwd })).toMatchObject({
      token_endpoint_auth_method: 'client_secret_basic',
      also_accepted_auth_methods: ['private_key_jwt'],
    })
    expect((await update('--no-jwks')).code).toBe(1)
    expect((await update('--auth-method', 'private_key_jwt', '--also-accept', 'client_secret_basic')).code).toBe(0)
    expect(await mayflyJson(['client', 'show', 'job'], { cwd })).toMatchObject({
      token_endpoint_auth_method: 'private_key_jwt',
      also_accepted_auth_methods: ['client_secret_basic'],
    })
    expect((await update('--auth-method', 'client_secret_basic', '--no-jwks')).code).toBe(0)
    const shown = await mayflyJson(['client', 'show', 'job'], { cwd })
    expect(shown).toMatchObject({ also_accepted_auth_methods: [] })
    expect(shown).not.toHaveProperty('jwks')
  })

  it('goes from keys that are registered to keys that are published, and keeps one or the other', async () => {
    const { cwd, create } = await start()
    await create('--jwks', 'jwks.json', '--token-endpoint-auth-signing-alg', 'ES256')
    const update = (...more: string[]) => mayfly(['client', 'update', 'signer', ...more], { cwd })
    expect((await update('--jwks-uri', 'https://keys.example.test', '--no-token-endpoint-auth-signing-alg')).code).toBe(
      0,
    )
    const shown = await mayflyJson(['client', 'show', 'signer'], { cwd })
    expect(shown).toMatchObject({ jwks_uri: 'https://keys.example.test/' })
    for (const name of ['jwks', 'token_endpoint_auth_signing_alg']) expect(shown).not.toHaveProperty(name)
  })
})
