/** Clients with certificates, without a connection. What comes of them is in test/flows/mtls.test.ts. */
import { describe, expect, it } from 'vitest'
import { authenticateClient, parseClaim } from '../../src/client/authenticate.ts'
import type { ClientCertificate } from '../../src/client/certificate.ts'
import type { Client } from '../../src/client/client.ts'
import { parseClientKey } from '../../src/client/client-keys.ts'
import { generateSecret } from '../../src/client/client-secret.ts'
import { ImportedSecretChecker } from '../../src/client/imported-secret.ts'
import { bindToCertificate, proveByCertificate } from '../../src/client/mtls.ts'
import { ownProofs } from '../../src/client/own-proofs.ts'
import { readCertificate } from '../../src/client/x509.ts'
import { parseForm } from '../../src/http/form.ts'
import type { Reason } from '../../src/oauth/errors.ts'
import { OutboundError, outboundFailures } from '../../src/outbound/outbound-error.ts'
import { type Identity, makeIdentity } from '../support/certificates.ts'
import { makeClient } from '../support/client.ts'
import { ManualClock } from '../support/clock.ts'
import { basic } from '../support/credentials.ts'
import { makeProofKey } from '../support/proof.ts'

const clock = new ManualClock()
const registeredAt = { kind: 'uri', uri: 'https://keys.example.test/' } as const
const jwk = makeProofKey().jwk

function certificateOf({ der }: Identity, changes: Partial<ClientCertificate> = {}): ClientCertificate {
  return { ...readCertificate(Buffer.from(der, 'base64')), isTrusted: true, isForwarded: false, ...changes }
}

const [identity, renewed] = await Promise.all([makeIdentity(), makeIdentity()])
const certificate = certificateOf(identity)
const credentialId = `crt_${certificate.thumbprint}`

const named: Partial<Client> = {
  authMethods: ['tls_client_auth'],
  tlsSubject: { kind: 'subject_dn', value: 'CN=billing' },
}

/** A client whose keys are published with these certificates. */
const published: Partial<Client> = { authMethods: ['self_signed_tls_client_auth'], keys: registeredAt }

function keysWith(...identities: readonly Identity[]) {
  const keys = identities.map(({ der }) => parseClientKey({ ...jwk, x5c: [der] }))
  return { find: async (_: string, fits: (key: (typeof keys)[number]) => boolean) => keys.filter(fits) }
}

const noKeys = { find: () => Promise.reject(new Error('no key is looked for')) }

describe('a certificate', () => {
  it('TLS-01 proves the client that has its name, where an authority vouches for it', async () => {
    await expect(proveByCertificate(certificate, makeClient(named), noKeys)).resolves.toEqual({
      credentialId,
      method: 'tls_client_auth',
    })
  })

  it('TLS-03 proves the client that has registered it, whoever vouches for it', async () => {
    const untrusted = certificateOf(identity, { isTrusted: false })
    await expect(proveByCertificate(untrusted, makeClient(published), keysWith(renewed, identity))).resolves.toEqual({
      credentialId,
      method: 'self_signed_tls_client_auth',
    })
  })

  it('proves a client by whichever of its methods fits', async () => {
    const all = ['client_secret_basic', 'tls_client_auth', 'self_signed_tls_client_auth'] as const
    for (const methods of [all, all.toReversed()]) {
      const client = makeClient({ ...named, ...published, authMethods: methods })
      const byName = await proveByCertificate(certificate, client, keysWith(renewed))
      expect(byName).toEqual({ credentialId, method: 'tls_client_auth' })
      const untrusted = certificateOf(identity, { isTrusted: false })
      const byItself = await proveByCertificate(untrusted, client, keysWith(identity))
      expect(byItself).toEqual({ credentialId, method: 'self_signed_tls_client_auth' })
    }
  })

  it.each<[Reason, string, Partial<Client> | undefined, Partial<ClientCertificate>]>([
    ['certificate_untrusted', 'TLS-04 when nobody vouches for it', named, { isTrusted: false }],
    [
      'certificate_wrong',
      'TLS-05 when it has another name',
      { ...named, tlsSubject: { kind: 'subject_dn', value: 'CN=other' } },
      {},
    ],
    ['certificate_wrong', 'of a client without a registered name', { authMethods: ['tls_client_auth'] }, {}],
    ['certificate_wrong', 'of a client that does not exist', undefined, {}],
    [
      'certificate_untrusted',
      'of a client that does not exist, though nobody vouches for it',
      undefined,
      { isTrusted: false },
    ],
    [
      'authentication_method_not_registered',
      'of a client that proves itself otherwise',
      { ...named, authMethods: ['client_secret_basic', 'private_key_jwt'] },
      {},
    ],
    ['certificate_wrong', 'that another has replaced', published, {}],
    [
      'certificate_wrong',
      'of a client that has registered none',
      { ...published, keys: { kind: 'inline', jwks: [] } },
      {},
    ],
  ])('is refused as %s, %s', async (reason, _, client, changes) => {
    const presented = certificateOf(identity, changes)
    const known = client === undefined ? undefined : makeClient(client)
    await expect(proveByCertificate(presented, known, keysWith(renewed))).resolves.toBe(reason)
  })

  it('C13 proves no client that has no name, whatever it is called', async () => {
    const nobody = certificateOf(await makeIdentity({ subject: 'CN=nobody' }))
    for (const client of [undefined, makeClient({ authMethods: ['tls_client_auth'] })])
      await expect(proveByCertificate(nobody, client, noKeys)).resolves.toBe('certificate_wrong')
  })

  it('S09 makes nobody fetch for a client that is disabled', async () => {
    const client = makeClient({ ...published, status: 'disabled' })
    await expect(proveByCertificate(certificate, client, noKeys)).resolves.toBe('certificate_wrong')
  })

  it.each(outboundFailures)('is not believed when what was registered could not be fetched: %s', async (failure) => {
    const cause = new OutboundError(failure)
    const remoteKeys = { find: () => Promise.reject(cause) }
    const proof = proveByCertificate(certificate, makeClient(published), remoteKeys)
    if (failure === 'busy') await expect(proof).rejects.toMatchObject({ reason: 'assertion_keys_busy', cause })
    else await expect(proof).resolves.toBe('certificate_keys_unavailable')
  })

  it('passes on what is no failure of a source', async () => {
    await expect(proveByCertificate(certificate, makeClient(published), noKeys)).rejects.toThrow('no key is looked for')
  })
})

describe('a claim by certificate', () => {
  const claimOf = (body: string, more: { readonly authorization?: string; readonly certificate?: ClientCertificate }) =>
    parseClaim({ authorization: undefined, form: parseForm(body), ...more })

  it('TLS-01 is made by a request with a certificate and the name of a client', () => {
    expect(claimOf('client_id=billing', { certificate })).toMatchObject({
      kind: 'certificate',
      method: 'tls_client_auth',
      clientId: 'billing',
      certificate,
    })
  })

  it.each(['', 'client_id='])('is malformed without the name of a client: %j', (body) => {
    expect(() => claimOf(body, { certificate })).toThrow('authentication_malformed')
  })

  it('is not made without a certificate', () => {
    expect(() => claimOf('client_id=billing', {})).toThrow('authentication_missing')
  })

  it.each([
    ['client_secret_basic', '', basic('billing', 'hunter2')],
    ['client_secret_post', 'client_id=billing&client_secret=hunter2', undefined],
  ])('is not made beside %s: the certificate is part of the connection', (method, body, authorization) => {
    const claim = claimOf(body, { certificate, ...(authorization === undefined ? {} : { authorization }) })
    expect(claim).toMatchObject({ kind: 'secret', method, certificate })
    const bare = claimOf(body, authorization === undefined ? {} : { authorization })
    expect(bare).not.toHaveProperty('certificate')
  })

  it.each(['client_assertion=x', 'client_assertion_type=x'])('is not made beside half an assertion: %s', (half) => {
    expect(() => claimOf(`client_id=billing&${half}`, { certificate })).toThrow(/^assertion_/)
  })

  it('is not made beside a scheme that nobody knows', () => {
    const foreign = { certificate, authorization: 'Negotiate x' }
    expect(() => claimOf('client_id=billing', foreign)).toThrow('authentication_scheme_unsupported')
  })

  describe('and nothing besides', () => {
    const ask = (client: Client | undefined) => {
      const claim = claimOf('client_id=billing', { certificate })
      const lookup = {
        importedCost: undefined,
        tokensAfter: 0,
        findClient: async () => ({ client, cached: false }),
        probe: async () => undefined,
      }
      const checker = new ImportedSecretChecker({ running: 0, waiting: 0 })
      return authenticateClient(claim, lookup, {
        assertionAudiences: [],
        remoteKeys: keysWith(identity),
        checker,
        clock,
      })
    }

    it.each([named, published])('TLS-01 TLS-03 proves the client that is registered for it: %j', async (settings) => {
      const client = makeClient(settings)
      await expect(ask(client)).resolves.toEqual({ client, credentialId, uses: [] })
    })

    it.each<[Reason, Client | undefined]>([
      ['client_unknown', undefined],
      ['client_disabled', makeClient({ ...named, status: 'disabled' })],
      ['client_public', makeClient({ ...named, authMethods: [] })],
      ['authentication_method_not_registered', makeClient({ ...named, authMethods: ['client_secret_basic'] })],
    ])('is refused as %s', async (reason, client) => {
      await expect(ask(client)).rejects.toMatchObject({ reason })
    })
  })

  describe('and a secret besides', () => {
    const { secret, secretId, sha256 } = generateSecret()
    const secrets = [{ kind: 'generated', secretId, sha256, createdAt: 0 }] as const
    const ask = (client: Partial<Client> | undefined, presented: ClientCertificate | undefined) => {
      const claim = claimOf('', {
        authorization: basic('billing', secret.reveal()),
        ...(presented === undefined ? {} : { certificate: presented }),
      })
      const lookup = {
        importedCost: undefined,
        tokensAfter: 0,
        findClient: async () => ({ client: client && makeClient({ ...client, secrets }), cached: false }),
        probe: async () => undefined,
      }
      const checker = new ImportedSecretChecker({ running: 0, waiting: 0 })
      return authenticateClient(claim, lookup, { assertionAudiences: [], remoteKeys: noKeys, checker, clock })
    }

    it('CA-03 are two methods at once for the client that has that certificate', async () => {
      await expect(ask(named, certificate)).rejects.toMatchObject({ reason: 'authentication_several' })
    })

    it.each<[string, Reason, Partial<Client> | undefined, Partial<ClientCertificate>]>([
      ['that does not exist', 'client_unknown', undefined, {}],
      ['with a certificate of another', 'authentication_method_not_registered', named, { isTrusted: false }],
      ['when it is disabled', 'client_disabled', { ...named, status: 'disabled' }, {}],
    ])('tell nobody of the client %s', async (_, reason, client, changes) => {
      await expect(ask(client, certificateOf(identity, changes))).rejects.toMatchObject({ reason })
    })

    it('are one method for a client that may use it', async () => {
      const client = { ...named, authMethods: ['tls_client_auth', 'client_secret_basic'] } as const
      for (const presented of [certificate, undefined])
        await expect(ask(client, presented)).resolves.toMatchObject({ credentialId: secretId })
    })
  })
})

describe('a token', () => {
  const bound = { 'x5t#S256': certificate.thumbprint }
  const before = { 'x5t#S256': renewed.thumbprint }

  it.each([
    [
      'TLS-08 is bound to the certificate of a client that is registered for it',
      { certificateBound: true },
      undefined,
      bound,
    ],
    ['TLS-10 stays bound, to the certificate of now', {}, before, bound],
    ['is not bound for the certificate alone', {}, undefined, undefined],
    [
      'is not bound for the certificate alone, where the registration says no',
      { certificateBound: false },
      undefined,
      undefined,
    ],
    ['is not bound to it because it was bound to a key', {}, { jkt: 'x' }, undefined],
  ])('%s', (_, client, earlier, expected) => {
    expect(bindToCertificate(client, certificate, earlier)).toEqual(expected)
  })

  it('is refused without the certificate that it must be bound to', () => {
    expect(() => bindToCertificate({ certificateBound: true }, undefined)).toThrow('certificate_missing')
    expect(() => bindToCertificate({}, undefined, before)).toThrow('certificate_missing')
    expect(bindToCertificate({}, undefined)).toBeUndefined()
  })
})

describe('what a client proves itself with besides secrets', () => {
  const { jwk: key, thumbprint } = parseClientKey(jwk).key

  it.each([
    ['nothing', {}, []],
    ['its keys by thumbprint', { keys: { kind: 'inline', jwks: [key] } }, [`key_${thumbprint}`]],
    ['the URL of its keys', { keys: registeredAt }, [registeredAt.uri]],
    ['the name of its certificate', named, ['tls_client_auth_subject_dn=CN=billing']],
    ['both', { ...named, keys: registeredAt }, [registeredAt.uri, 'tls_client_auth_subject_dn=CN=billing']],
  ] as const)('is %s', (_, settings, names) => {
    expect(ownProofs(settings)).toEqual(names)
  })
})
