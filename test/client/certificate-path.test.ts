import { describe, expect, it } from 'vitest'
import { vouchedUntil } from '../../src/client/certificate-path.ts'
import { type Certificate, readCertificate } from '../../src/client/x509.ts'
import {
  clientAuth,
  type Identity,
  makeAuthority,
  makeIdentity,
  makeKeys,
  makeRsaKeys,
  serverAuth,
  x509,
} from '../support/certificates.ts'

const now = Date.now()
const hour = 3_600_000

function read({ der }: Identity): Certificate {
  return readCertificate(Buffer.from(der, 'base64'))
}

interface Path {
  readonly leaf: Identity
  readonly with?: readonly Identity[]
  readonly to: readonly Identity[]
  readonly at?: number
}

function vouches({ leaf, with: intermediates = [], to, at = now }: Path): boolean {
  const chain = { leaf: read(leaf), intermediates: intermediates.map(read) }
  return vouchedUntil(chain, to.map(read), at) !== undefined
}

const { keyCertSign, digitalSignature, keyAgreement, cRLSign } = x509.KeyUsageFlags

describe('an authority', () => {
  it('vouches for what it has signed, directly or by others that come along in any order', async () => {
    const root = await makeAuthority()
    const one = await makeAuthority({ by: root, subject: 'CN=One' })
    const two = await makeAuthority({ by: one, subject: 'CN=Two' })
    const direct = await makeIdentity({ by: root })
    const leaf = await makeIdentity({ by: two })
    expect(vouches({ leaf: direct, to: [root] })).toBe(true)
    expect(vouches({ leaf, with: [two, one], to: [root] })).toBe(true)
    expect(vouches({ leaf, with: [one, two], to: [root] })).toBe(true)
    expect(vouches({ leaf, with: [], to: [two] })).toBe(true)
    expect(vouches({ leaf, with: [two], to: [one] })).toBe(true)
    expect(vouches({ leaf, with: [two], to: [root] })).toBe(false)
    expect(vouches({ leaf, with: [two, one], to: [] })).toBe(false)
  })

  it('C13 does not vouch for a certificate of another with its name, or one that signs itself', async () => {
    const root = await makeAuthority()
    const impostor = await makeAuthority()
    const leaf = await makeIdentity({ by: impostor })
    expect(vouches({ leaf, to: [root] })).toBe(false)
    expect(vouches({ leaf, with: [impostor], to: [root] })).toBe(false)
    expect(vouches({ leaf: await makeIdentity(), to: [root] })).toBe(false)
    expect(vouches({ leaf, to: [root, impostor] })).toBe(true)
  })

  it('C13 does not vouch before or after the time of any certificate of the path', async () => {
    const root = await makeAuthority({ notBefore: now - 10 * hour, notAfter: now + 10 * hour })
    const one = await makeAuthority({
      by: root,
      subject: 'CN=One',
      notBefore: now - 4 * hour,
      notAfter: now + 4 * hour,
    })
    const leaf = await makeIdentity({ by: one, notBefore: now - 8 * hour, notAfter: now + 8 * hour })
    const direct = await makeIdentity({ by: root, notBefore: now - 20 * hour, notAfter: now + 20 * hour })
    const at = (hours: number) => ({ at: now + hours * hour })
    expect(vouches({ leaf, with: [one], to: [root], ...at(3) })).toBe(true)
    expect(vouches({ leaf, with: [one], to: [root], ...at(5) })).toBe(false)
    expect(vouches({ leaf, with: [one], to: [root], ...at(-5) })).toBe(false)
    expect(vouches({ leaf, to: [one], ...at(5) })).toBe(false)
    expect(vouches({ leaf: direct, to: [root], ...at(11) })).toBe(false)
    expect(vouches({ leaf: direct, to: [root], ...at(-11) })).toBe(false)
  })

  it('says until when it vouches: the first end of the path', async () => {
    const root = await makeAuthority({ notAfter: now + 10 * hour })
    const one = await makeAuthority({ by: root, subject: 'CN=One', notAfter: now + 4 * hour })
    const leaf = await makeIdentity({ by: one, notAfter: now + 8 * hour })
    const chain = { leaf: read(leaf), intermediates: [read(one)] }
    expect(vouchedUntil(chain, [read(root)], now)).toBe(read(one).notAfter)
  })

  it('takes an old and a new certificate of one authority, whichever is valid', async () => {
    const keys = await makeKeys()
    const old = await makeAuthority({ keys, notAfter: now - hour })
    const renewed = await makeAuthority({ keys })
    const leaf = await makeIdentity({ by: renewed })
    expect(vouches({ leaf, to: [old, renewed] })).toBe(true)
    expect(vouches({ leaf, with: [renewed], to: [old] })).toBe(false)
  })

  it.each([
    { usages: [], good: true },
    { usages: [clientAuth, serverAuth], good: true },
    { usages: [serverAuth], good: false },
    { usages: ['2.5.29.37.0'], good: false },
  ])('TLS-03 vouches for a client with the extended key usages $usages: $good', async ({ usages, good }) => {
    const root = await makeAuthority()
    expect(vouches({ leaf: await makeIdentity({ by: root, usages }), to: [root] })).toBe(good)
    const limited = await makeAuthority({ by: root, subject: 'CN=One', usages })
    const leaf = await makeIdentity({ by: limited })
    expect(vouches({ leaf, with: [limited], to: [root] })).toBe(good)
  })

  it.each([
    { keyUsage: digitalSignature, good: true },
    { keyUsage: keyAgreement, good: true },
    { keyUsage: cRLSign, good: false },
  ])('vouches for a client with the key usage $keyUsage: $good', async ({ keyUsage, good }) => {
    const root = await makeAuthority()
    expect(vouches({ leaf: await makeIdentity({ by: root, keyUsage }), to: [root] })).toBe(good)
  })

  it('C13 is none without the basic constraint and the key usage of one', async () => {
    const root = await makeAuthority()
    const client = await makeIdentity({ by: root, subject: 'CN=client' })
    const leaf = await makeIdentity({ by: client })
    expect(vouches({ leaf, with: [client], to: [root] })).toBe(false)
    expect(vouches({ leaf, to: [client] })).toBe(false)
    const silent = await makeAuthority({ by: root, subject: 'CN=One', keyUsage: digitalSignature })
    expect(vouches({ leaf: await makeIdentity({ by: silent }), with: [silent], to: [root] })).toBe(false)
    const able = await makeAuthority({ by: root, subject: 'CN=One', keyUsage: keyCertSign | cRLSign })
    expect(vouches({ leaf: await makeIdentity({ by: able }), with: [able], to: [root] })).toBe(true)
  })

  it('stands above no more authorities than it says', async () => {
    const root = await makeAuthority({ pathLength: 1 })
    const one = await makeAuthority({ by: root, subject: 'CN=One' })
    const two = await makeAuthority({ by: one, subject: 'CN=Two' })
    expect(vouches({ leaf: await makeIdentity({ by: one }), with: [one], to: [root] })).toBe(true)
    expect(vouches({ leaf: await makeIdentity({ by: two }), with: [two, one], to: [root] })).toBe(false)
    const closed = await makeAuthority({ by: root, subject: 'CN=Closed', pathLength: 0 })
    const below = await makeAuthority({ by: closed, subject: 'CN=Below' })
    expect(vouches({ leaf: await makeIdentity({ by: closed }), with: [closed], to: [root] })).toBe(true)
    expect(vouches({ leaf: await makeIdentity({ by: below }), with: [below], to: [closed] })).toBe(false)
  })

  it('does not vouch where a constraint or a critical extension is not understood', async () => {
    const root = await makeAuthority()
    const raw = new Uint8Array([0x30, 0x00])
    const critical = new x509.Extension('1.2.3.4', true, raw)
    const harmless = new x509.Extension('1.2.3.4', false, raw)
    const names = new x509.Extension('2.5.29.30', false, raw)
    const leafWith = (extension: x509.Extension) => makeIdentity({ by: root, extensions: [extension] })
    expect(vouches({ leaf: await leafWith(harmless), to: [root] })).toBe(true)
    expect(vouches({ leaf: await leafWith(critical), to: [root] })).toBe(false)
    for (const extension of [critical, names]) {
      const limited = await makeAuthority({ by: root, subject: 'CN=One', extensions: [extension] })
      const leaf = await makeIdentity({ by: limited })
      expect(vouches({ leaf, with: [limited], to: [root] })).toBe(false)
      expect(vouches({ leaf, to: [limited] })).toBe(false)
    }
  })

  it('signs with keys and digests that nobody can forge', async () => {
    const elliptic = await makeAuthority()
    const cases = [
      { by: await makeAuthority({ keys: await makeRsaKeys(2048) }), good: true },
      { by: await makeAuthority({ keys: await makeRsaKeys(1024) }), good: false },
      { by: elliptic, hash: 'SHA-384', good: true },
      { by: elliptic, hash: 'SHA-1', good: false },
      { by: elliptic, keys: await makeRsaKeys(1024), good: false },
    ]
    for (const { by, good, ...options } of cases) {
      expect(vouches({ leaf: await makeIdentity({ by, ...options }), to: [by] })).toBe(good)
    }
  })

  it('is looked for with bounded work among many that have its name', async () => {
    const root = await makeAuthority({ subject: 'CN=Top' })
    const many = await Promise.all(Array.from({ length: 8 }, () => makeAuthority({ subject: 'CN=Same' })))
    const keys = await makeKeys()
    const loop = await makeAuthority({ subject: 'CN=Same', keys })
    const leaf = await makeIdentity({ by: loop })
    expect(vouches({ leaf, with: [...many, loop], to: [root] })).toBe(false)
    expect(vouches({ leaf, with: Array.from({ length: 8 }, () => loop), to: [root] })).toBe(false)
  })
})

describe('a certificate', () => {
  it('is refused with anything before, behind or around it', async () => {
    const der = Buffer.from((await makeIdentity()).der, 'base64')
    expect(readCertificate(der).thumbprint).toHaveLength(43)
    const pem = Buffer.from((await makeIdentity()).cert)
    for (const bad of [
      Buffer.concat([der, Buffer.alloc(1)]),
      der.subarray(1),
      der.subarray(0, -1),
      pem,
      Buffer.alloc(0),
    ]) {
      expect(() => readCertificate(bad)).toThrow(/certificate/)
    }
    expect(() => readCertificate(Buffer.alloc(13 * 1024))).toThrow(/longer than 12 KiB/)
  })

  // Whoever connects chooses what stands in it, and may send along five more.
  it('costs no more when there are thousands of parts in an extension that nobody looks into', async () => {
    const parts = Buffer.alloc(11_500, Buffer.from([4, 2, 5, 0]))
    const value = Buffer.concat([Buffer.from([0x30, 0x82, parts.length >> 8, parts.length & 255]), parts])
    const wide = await makeIdentity({ extensions: [new x509.Extension('1.2.3.4', false, value)] })
    expect(read(wide).extensions).toContain('1.2.3.4')
    const before = process.cpuUsage()
    for (let i = 0; i < 20; i += 1) read(wide)
    const { user, system } = process.cpuUsage(before)
    expect((user + system) / 20_000).toBeLessThan(10)
  })

  it('is refused with more names than anybody has', async () => {
    const named = (count: number) => makeIdentity({ dns: Array.from({ length: count }, (_, i) => `n${i}`) })
    expect(read(await named(500)).dns).toHaveLength(500)
    const many = await named(1_000)
    expect(() => read(many)).toThrow(/it is no certificate/)
  })

  it('is read or refused, and nothing else, whichever of its bytes is changed', async () => {
    const der = Buffer.from((await makeIdentity({ dns: ['a.test'], ips: ['192.0.2.1'] })).der, 'base64')
    for (let i = 0; i < der.length; i += 1) {
      const changed = Buffer.from(der)
      changed[i] = (changed[i] ?? 0) ^ 0x15
      try {
        expect(readCertificate(changed).der).toBe(changed.toString('base64'))
      } catch (error) {
        expect(error).toHaveProperty('name', 'CertificateError')
      }
    }
  })
})
