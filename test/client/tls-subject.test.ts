import { describe, expect, it } from 'vitest'
import type { CertificateNames } from '../../src/client/certificate.ts'
import { type TlsSubject, tlsSubjectKinds } from '../../src/client/client.ts'
import { hasSubject, isTlsSubject, tlsSubjectForms } from '../../src/client/tls-subject.ts'
import { readCertificate } from '../../src/client/x509.ts'
import { type IdentityOptions, makeIdentity } from '../support/certificates.ts'

async function namesOf(options: IdentityOptions): Promise<CertificateNames> {
  return readCertificate(Buffer.from((await makeIdentity(options)).der, 'base64'))
}

const every = {
  dns: ['Billing.Example.test', '*.wild.test', 'second.test'],
  uris: ['spiffe://example.test/Billing'],
  ips: ['192.0.2.7', '2001:db8::1', '::1', '2001:db8::', '2001:db8:1:2:3:4:5:6'],
  emails: ['Billing@Example.test', 'second@example.test'],
}

describe('the registered name', () => {
  it.each<TlsSubject>([
    { kind: 'subject_dn', value: 'CN=billing' },
    { kind: 'san_dns', value: 'billing.example.TEST' },
    { kind: 'san_dns', value: 'second.test' },
    { kind: 'san_uri', value: 'spiffe://example.test/Billing' },
    { kind: 'san_ip', value: '192.0.2.7' },
    { kind: 'san_ip', value: '2001:DB8:0:0::0:1' },
    { kind: 'san_ip', value: '2001:db8::0.0.0.1' },
    { kind: 'san_ip', value: '::1' },
    { kind: 'san_ip', value: '2001:db8::' },
    { kind: 'san_ip', value: '2001:db8:1:2:3:4:5:6' },
    { kind: 'san_email', value: 'Billing@example.TEST' },
    { kind: 'san_email', value: 'second@example.test' },
  ])('TLS-05 matches as $kind $value', async (subject) => {
    expect(isTlsSubject(subject)).toBe(true)
    expect(hasSubject(await namesOf(every), subject)).toBe(true)
  })

  it.each<TlsSubject>([
    { kind: 'subject_dn', value: 'CN=other' },
    { kind: 'san_dns', value: 'billing' },
    { kind: 'san_dns', value: 'a.wild.test' },
    { kind: 'san_dns', value: 'wild.test' },
    { kind: 'san_dns', value: 'x.billing.example.test' },
    { kind: 'san_uri', value: 'spiffe://example.test/billing' },
    { kind: 'san_uri', value: 'SPIFFE://example.test/Billing' },
    { kind: 'san_uri', value: 'spiffe://example.test/Billing/' },
    { kind: 'san_ip', value: '192.0.2.70' },
    { kind: 'san_ip', value: '192.0.2.9' },
    { kind: 'san_ip', value: '::ffff:192.0.2.7' },
    { kind: 'san_email', value: 'billing@example.test' },
    { kind: 'san_email', value: 'Billing@mail.example.test' },
  ])('TLS-05 C13 does not match as $kind $value', async (subject) => {
    expect(isTlsSubject(subject)).toBe(true)
    expect(hasSubject(await namesOf(every), subject)).toBe(false)
  })

  it('C13 is looked for in names of its own kind alone', async () => {
    const value = 'billing.example.test'
    const elsewhere: IdentityOptions[] = [
      { subject: [{ CN: [value] }] },
      { subject: [{ CN: ['x'] }], uris: [`https://${value}`], emails: [`x@${value}`] },
      { subject: [{ CN: ['x'] }], dns: [`x, DNS:${value}`, `x\0DNS:${value}`, `${value}\0.evil.test`] },
    ]
    for (const options of elsewhere) {
      expect(hasSubject(await namesOf(options), { kind: 'san_dns', value })).toBe(false)
    }
  })

  it.each<TlsSubject>([
    { kind: 'subject_dn', value: 'billing' },
    { kind: 'san_dns', value: '*.example.test' },
    { kind: 'san_dns', value: 'example.test.' },
    { kind: 'san_dns', value: 'https://example.test' },
    { kind: 'san_dns', value: 'bücher.test' },
    { kind: 'san_dns', value: '' },
    { kind: 'san_uri', value: 'billing' },
    { kind: 'san_uri', value: 'spiffe://a b' },
    { kind: 'san_uri', value: '1x:a' },
    { kind: 'san_uri', value: `x:${'a'.repeat(1_023)}` },
    { kind: 'san_ip', value: '192.0.2.256' },
    { kind: 'san_ip', value: '192.0.2.0/24' },
    { kind: 'san_ip', value: 'fe80::1%eth0' },
    { kind: 'san_email', value: 'billing' },
    { kind: 'san_email', value: 'a@b@c.test' },
    { kind: 'san_email', value: 'a b@c.test' },
  ])('is refused as $kind $value', (subject) => {
    expect(isTlsSubject(subject)).toBe(false)
  })

  it('may be as long as 1,024 characters', () => {
    expect(isTlsSubject({ kind: 'san_uri', value: `x:${'a'.repeat(1_022)}` })).toBe(true)
  })

  it.each(tlsSubjectKinds)('has a form that people are told, with an example: %s', (kind) => {
    const [, value = ''] = / such as (\S+)$/.exec(tlsSubjectForms[kind]) ?? []
    expect(isTlsSubject({ kind, value })).toBe(true)
  })

  it.each<TlsSubject>([
    { kind: 'subject_dn', value: 'billing' },
    { kind: 'san_ip', value: 'billing' },
  ])('matches nothing as $kind where it is none', async (subject) => {
    expect(hasSubject(await namesOf(every), subject)).toBe(false)
  })
})
