import { createPublicKey } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { tlsSubjectForms } from '../../src/client/tls-subject.ts'
import { type Identity, makeIdentity } from '../support/certificates.ts'
import { mayfly } from '../support/process.ts'

const api = 'https://api.example.test'
let cwd = ''
let identity: Identity
const env = { MAYFLY_TRUSTED_PROXIES: '127.0.0.1', MAYFLY_MTLS_URL: 'https://mtls.example.test' }

type Json = Record<string, unknown>

async function ok(...args: string[]): Promise<Json> {
  const ended = await mayfly([...args, '--json'], { cwd, env })
  expect(ended.code, ended.stderr).toBe(0)
  return JSON.parse(ended.stdout) as Json
}

async function refused(...args: string[]): Promise<string> {
  const ended = await mayfly([...args, '--json'], { cwd, env })
  expect([ended.code, ended.stdout], ended.stderr).toEqual([2, ''])
  const { error, message } = JSON.parse(ended.stderr) as { error: string; message: string }
  expect([error, message.includes('\n')]).toEqual(['usage', false])
  return message
}

const create = (name: string, ...args: string[]) => ['client', 'create', name, '--audience', api, ...args]
const tls = ['--auth-method', 'tls_client_auth']
const own = ['--auth-method', 'self_signed_tls_client_auth']

beforeAll(async () => {
  cwd = mkdtempSync(join(tmpdir(), 'mayfly-cli-certificates-'))
  await ok('db', 'migrate')
  await ok('resource', 'create', api)
  identity = await makeIdentity()
  writeFileSync(join(cwd, 'own.crt'), `Subject: x\n${identity.cert}`)
  writeFileSync(join(cwd, 'next.crt'), (await makeIdentity()).cert)
  writeFileSync(join(cwd, 'both.pem'), identity.cert + identity.key)
  writeFileSync(join(cwd, 'two.pem'), identity.cert + identity.cert)
  writeFileSync(join(cwd, 'none.pem'), 'x')
  writeFileSync(join(cwd, 'broken.pem'), identity.cert.replace(/\n[^-\n]+\n-----END/, '\n-----END'))
})

afterAll(() => rmSync(cwd, { recursive: true, force: true }))

describe('a client with tls_client_auth', () => {
  it.each([
    ['--tls-client-auth-subject-dn', 'tls_client_auth_subject_dn', 'CN=Job 7,O=Example\\, Inc.'],
    ['--tls-client-auth-san-dns', 'tls_client_auth_san_dns', 'job.example.test'],
    ['--tls-client-auth-san-uri', 'tls_client_auth_san_uri', 'spiffe://example.test/job'],
    ['--tls-client-auth-san-ip', 'tls_client_auth_san_ip', '2001:db8::7'],
    ['--tls-client-auth-san-email', 'tls_client_auth_san_email', 'job@example.test'],
  ])('TLS-06 is registered by %s, has no secret and tokens that are bound', async (flag, member, value) => {
    const name = member.replaceAll('_', '-')
    const printed = await ok(...create(name, ...tls, flag, value))
    expect(printed).toMatchObject({
      token_endpoint_auth_method: 'tls_client_auth',
      [member]: value,
      tls_client_certificate_bound_access_tokens: true,
    })
    for (const absent of ['client_secret', 'secret_id', 'client_secret_expires_at']) {
      expect(printed).not.toHaveProperty(absent)
    }
    expect(await ok('client', 'show', name)).toMatchObject({ [member]: value, secret_count: 0, secrets: [] })
  })

  it('is shown for people with the curl that uses its certificate, at the host for it', async () => {
    const args = create('job', ...tls, '--tls-client-auth-san-dns', 'job.test', '--no-certificate-bound')
    const { stdout } = await mayfly(args, { cwd, env })
    expect(stdout).toContain(
      'curl -s --cert CERTIFICATE.pem --key KEY.pem -d client_id=job -d grant_type=client_credentials https://mtls.example.test/token',
    )
    expect(stdout).not.toMatch(/secret_id|the only time|certificate_bound/)
  })

  it('TLS-06 is refused with two names, with none, or with one that says nothing', async () => {
    const two = ['--tls-client-auth-san-dns', 'a.test', '--tls-client-auth-san-uri', 'x:y']
    expect(await refused(...create('x', ...tls, ...two))).toMatch(/both given: a client has exactly one name/)
    expect(await refused(...create('x', ...tls))).toMatch(/needs the name.*--tls-client-auth-san-dns/)
    expect(await refused(...create('x', '--tls-client-auth-san-dns', 'a.test'))).toMatch(
      /add `--auth-method tls_client_auth`/,
    )
    expect(await refused(...create('x', ...tls, '--tls-client-auth-san-dns', 'a.test', '--secret-stdin'))).toMatch(
      /has no secret/,
    )
  })

  it.each([
    ['subject_dn', 'job'],
    ['san_dns', '*.example.test'],
    ['san_uri', 'job'],
    ['san_ip', '10.0.0.0/8'],
    ['san_email', 'job'],
  ] as const)('is refused with the %s %s, and told what it takes', async (kind, value) => {
    const message = await refused(...create('x', ...tls, `--tls-client-auth-${kind.replaceAll('_', '-')}`, value))
    expect(message).toContain(tlsSubjectForms[kind])
    expect(message).toContain(JSON.stringify(value))
  })
})

describe('a client with self_signed_tls_client_auth', () => {
  it('has its certificates in its jwks, several while it changes them', async () => {
    const printed = await ok(...create('own', ...own, '--certificate', 'own.crt', '--certificate', 'next.crt'))
    expect(printed).toMatchObject({ token_endpoint_auth_method: 'self_signed_tls_client_auth' })
    const { keys } = printed.jwks as { keys: readonly Json[] }
    expect(keys).toHaveLength(2)
    expect(keys[0]).toMatchObject({ kty: 'EC', crv: 'P-256', x5c: [identity.der] })
    expect(await ok('client', 'update', 'own', '--certificate', 'next.crt')).toMatchObject({
      jwks: { keys: [expect.not.objectContaining({ x5c: [identity.der] })] },
    })
  })

  it.each([
    ['both.pem', /holds a private key, which must not leave its owner/],
    ['two.pem', /holds 2 certificates/],
    ['none.pem', /holds 0 certificates/],
    ['broken.pem', /is no certificate that can be registered/],
    ['nowhere.pem', /cannot be read/],
  ])('is refused with %s', async (file, sentence) => {
    expect(await refused(...create('x', ...own, '--certificate', file))).toMatch(sentence)
  })

  it('is refused without a certificate, and a certificate without the method', async () => {
    expect(await refused(...create('x', ...own))).toMatch(/needs a certificate: add `--certificate FILE`/)
    expect(await refused(...create('x', '--certificate', 'own.crt'))).toMatch(/add `--auth-method self_signed/)
  })

  it('TLS-04 is refused where keys without a certificate would be all that it has, or nothing', async () => {
    const { key } = identity
    const jwk = createPublicKey(key).export({ format: 'jwk' })
    writeFileSync(join(cwd, 'keys.json'), JSON.stringify({ keys: [{ ...jwk, kid: 'one', x5c: [identity.der] }] }))
    await ok(...create('kept', ...own, '--certificate', 'own.crt'))
    for (const args of [
      create('bare', ...own, '--jwks', 'keys.json'),
      ['client', 'update', 'kept', '--jwks', 'keys.json'],
      ['client', 'update', 'kept', '--no-jwks'],
    ]) {
      const ended = await mayfly([...args, '--json'], { cwd, env })
      expect(ended.code).not.toBe(0)
      expect(ended.stderr).toMatch(/a certificate.*--certificate FILE/)
    }
  })
})

describe('a client that moves from its secret to a certificate', () => {
  it('accepts both while it moves, and then its certificate alone', async () => {
    await ok(...create('moving'))
    expect(await refused('client', 'update', 'moving', '--also-accept', 'tls_client_auth')).toMatch(/needs the name/)
    const named = ['--tls-client-auth-san-dns', 'moving.test']
    const both = await ok('client', 'update', 'moving', '--also-accept', 'tls_client_auth', ...named)
    expect(both).toMatchObject({
      token_endpoint_auth_method: 'client_secret_basic',
      also_accepted_auth_methods: ['tls_client_auth'],
      tls_client_auth_san_dns: 'moving.test',
    })
    expect(both).not.toHaveProperty('tls_client_certificate_bound_access_tokens')
    expect(await ok('client', 'update', 'moving', ...tls, '--certificate-bound')).toMatchObject({
      token_endpoint_auth_method: 'tls_client_auth',
      also_accepted_auth_methods: [],
      tls_client_auth_san_dns: 'moving.test',
      tls_client_certificate_bound_access_tokens: true,
    })
    expect(await ok('client', 'update', 'moving', '--no-certificate-bound')).not.toHaveProperty(
      'tls_client_certificate_bound_access_tokens',
    )
    expect(await refused('client', 'update', 'moving', '--certificate', 'own.crt')).toMatch(
      /self_signed_tls_client_auth/,
    )
  })
})
