/** What is read from certificates that no tool would make. */
import { describe, expect, it } from 'vitest'
import { CertificateError } from '../../src/client/certificate.ts'
import { type Certificate, readCertificate } from '../../src/client/x509.ts'
import {
  bits,
  type CertificateParts,
  certificateOf,
  commonName,
  extension,
  integer,
  nameOf,
  oid,
  sequence,
  tagged,
} from '../support/der-certificate.ts'

const yes = Buffer.from([1, 1, 255])
const no = Buffer.from([1, 1, 0])
const unknown = '1.2.3.4'
const ids = { keyUsage: '2.5.29.15', alternatives: '2.5.29.17', constraints: '2.5.29.19' }
const nothing = { emails: [], dns: [], uris: [], ips: [] }

function read(parts: CertificateParts = {}): Certificate {
  return readCertificate(certificateOf(parts))
}

function withExtension(id: string, value: Buffer): CertificateParts {
  return { extensions: [extension(id, value)] }
}

/** The subject's one value, of a type of ASN.1. */
function inSubject(tag: number, ...bytes: readonly number[]): CertificateParts {
  return { subject: nameOf('2.5.4.3', tagged(tag, Buffer.from(bytes))) }
}

function errorOf(parts: CertificateParts): unknown {
  try {
    return read(parts)
  } catch (error) {
    return error
  }
}

describe('a certificate', () => {
  it('has the names, the time and the extensions that stand in it', () => {
    expect(read()).toMatchObject({
      ...nothing,
      subject: [[{ type: '2.5.4.3', text: 'billing', der: '0c0762696c6c696e67' }]],
      notBefore: Date.UTC(2020, 0),
      notAfter: Date.UTC(2060, 0),
      extensions: new Set([unknown]),
      criticalExtensions: new Set(),
    })
    expect(read()).not.toHaveProperty('keyUsage')
    expect(read()).not.toHaveProperty('pathLength')
  })

  it('may be of the first version, which has no place for extensions, and have identifiers that nobody uses', () => {
    const plain = { ...nothing, subject: [[{ text: 'billing' }]] }
    expect(read({ extensions: undefined })).toMatchObject({ ...plain, extensions: new Set() })
    const identifiers = [1, 2].map((tag) => tagged(0x80 + tag, Buffer.from([0, 1])))
    expect(read({ identifiers })).toMatchObject({ ...plain, extensions: new Set([unknown]) })
  })

  it('may be 12 KiB long, and no longer', () => {
    const padded = (length: number) => certificateOf(withExtension(unknown, tagged(4, Buffer.alloc(length))))
    const rest = padded(12_000).length - 12_000
    expect(readCertificate(padded(12_288 - rest)).extensions).toContain(unknown)
    expect(() => readCertificate(padded(12_289 - rest))).toThrow(/^it is longer than 12 KiB$/)
  })

  it.each([
    { critical: [], isCritical: false },
    { critical: [no], isCritical: false },
    { critical: [yes], isCritical: true },
  ])('has a critical extension where it says so: $isCritical', ({ critical, isCritical }) => {
    const { extensions, criticalExtensions } = read({ extensions: [extension(unknown, sequence(), ...critical)] })
    expect(extensions).toEqual(new Set([unknown]))
    expect(criticalExtensions).toEqual(new Set(isCritical ? [unknown] : []))
  })

  it.each([
    { bytes: [7, 0x80], keyUsage: 0x80 },
    { bytes: [3, 0x08], keyUsage: 0x08 },
    { bytes: [0], keyUsage: 0 },
  ])('has the key usage $keyUsage', ({ bytes, keyUsage }) => {
    expect(read(withExtension(ids.keyUsage, bits(...bytes)))).toMatchObject({ keyUsage })
  })

  it.each([
    { length: integer(0), pathLength: 0 },
    { length: tagged(2), pathLength: 0 },
    { length: integer(127), pathLength: 127 },
    { length: integer(300), pathLength: Number.POSITIVE_INFINITY },
  ])('has the path length $pathLength', ({ length, pathLength }) => {
    expect(read(withExtension(ids.constraints, sequence(yes, length)))).toMatchObject({ pathLength })
  })

  it('has no path length where none stands, or something else does', () => {
    for (const parts of [[], [yes], [yes, tagged(0x82, Buffer.from([1]))]])
      expect(read(withExtension(ids.constraints, sequence(...parts)))).not.toHaveProperty('pathLength')
  })
})

describe('a name in a certificate', () => {
  it.each([
    { kind: 'UTF8String', parts: inSubject(12, 0xc3, 0xa9), text: 'é' },
    { kind: 'NumericString', parts: inSubject(18, 0x31, 0x32), text: '12' },
    { kind: 'PrintableString', parts: inSubject(19, 0x61, 0x62), text: 'ab' },
    { kind: 'IA5String', parts: inSubject(22, 0x61, 0x40), text: 'a@' },
    { kind: 'BMPString', parts: inSubject(30, 0, 0xe9, 0x20, 0xac), text: 'é€' },
    { kind: 'BMPString that begins with what others skip', parts: inSubject(30, 0xfe, 0xff, 0, 0x61), text: '\uFEFFa' },
  ])('is read as $kind', ({ parts, text }) => {
    expect(read(parts).subject).toMatchObject([[{ text }]])
  })

  it.each([
    ['TeletexString', inSubject(20, 0x61)],
    ['UniversalString', inSubject(28, 0, 0, 0, 0x61)],
    ['PrintableString that begins with what is not printable', inSubject(19, 0xe9, 0x61)],
    ['PrintableString that ends with what is not printable', inSubject(19, 0x61, 0xe9)],
    ['IA5String with a NUL in it', inSubject(22, 0x61, 0, 0x62)],
  ])('C13 has no text as %s', (_, parts) => {
    const [[attribute] = []] = read(parts).subject
    expect(attribute).toHaveProperty('der')
    expect(attribute).not.toHaveProperty('text')
  })

  it('has each attribute of each part, and may be empty', () => {
    const attribute = (type: string, text: string) => sequence(oid(type), tagged(12, text))
    const subject = sequence(
      tagged(0x31, attribute('2.5.4.10', 'Example')),
      tagged(0x31, attribute('1.2.840.113549.1.9.1', 'a@b'), attribute('2.5.4.3', 'a')),
    )
    expect(read({ subject }).subject).toMatchObject([
      [{ type: '2.5.4.10', text: 'Example' }],
      [
        { type: '1.2.840.113549.1.9.1', text: 'a@b' },
        { type: '2.5.4.3', text: 'a' },
      ],
    ])
    expect(read({ subject: sequence() }).subject).toEqual([])
  })

  it('C13 is an alternative by its tag alone, and in printable ASCII', () => {
    const names = [
      tagged(0x81, 'a@b.test'),
      tagged(0x82, 'a.test'),
      tagged(0x86, 'urn:a'),
      tagged(0x87, Buffer.from([192, 0, 2, 1])),
      tagged(0x82, Buffer.from([0x61, 0xe9])),
      tagged(0x88, Buffer.from([0x2a, 3])),
      // The same numbers in other classes.
      tagged(0x02, 'integer.test'),
      tagged(0x42, 'application.test'),
      tagged(0xc2, 'private.test'),
    ]
    expect(read(withExtension(ids.alternatives, sequence(...names)))).toMatchObject({
      emails: ['a@b.test'],
      dns: ['a.test'],
      uris: ['urn:a'],
      ips: ['c0000201'],
    })
  })
})

describe('what is no certificate', () => {
  const hugeType = tagged(6, Buffer.from([0x55, ...Array.from({ length: 12 }, () => 255), 1]))
  const swallowing = sequence(oid('2.5.4.3'), tagged(0x30, Buffer.from([0x61, 98])))

  it.each<[string, CertificateParts]>([
    [
      'alternative names with something behind them',
      withExtension(ids.alternatives, Buffer.concat([sequence(), sequence()])),
    ],
    ['alternative names that are none', withExtension(ids.alternatives, integer(5))],
    ['alternative names in a text', withExtension(ids.alternatives, tagged(4, 'a.test'))],
    ['no alternative names where some should stand', withExtension(ids.alternatives, Buffer.alloc(0))],
    [
      'alternative names that go on behind their end',
      withExtension(ids.alternatives, Buffer.concat([Buffer.from([0x30, 1, 0x82, 1]), Buffer.from('a')])),
    ],
    ['an indefinite length', withExtension(ids.alternatives, Buffer.from([0x30, 0x80, 0x82, 1, 0x61, 0, 0]))],
    ['a type with a number that nobody uses', { subject: sequence(tagged(0x31, sequence(hugeType, tagged(12, 'a')))) }],
    // OpenSSL ends it after two bytes, and reads on with the key and the extensions.
    ['C13 a subject that swallows its extensions', { subject: sequence(tagged(0x31, swallowing)) }],
    ['C13 an issuer that swallows what follows', { issuer: sequence(tagged(0x31, swallowing)) }],
  ])('is %s', (_, parts) => {
    const error = errorOf(parts)
    expect(error).toBeInstanceOf(CertificateError)
    expect(error).toHaveProperty('message', 'it is no certificate')
    expect(error).not.toHaveProperty('cause')
  })

  it('C13 has an extension twice: readers differ in which of them counts', () => {
    const [one, other] = ['a.test', 'b.test'].map((name) => extension(ids.alternatives, sequence(tagged(0x82, name))))
    expect(() => read({ extensions: [one, other] as Buffer[] })).toThrow(/^an extension is repeated in it$/)
  })

  it.each(['20601301000000Z', '20600231000000Z'])(
    'C13 has a date that there is not, of which Node makes any moment: %s',
    (date) => {
      const [good, bad] = [tagged(0x18, '20200101000000Z'), tagged(0x18, date)]
      for (const validity of [sequence(good, bad), sequence(bad, good)])
        expect(() => read({ validity })).toThrow(/^its dates are none$/)
    },
  )

  it('keeps what OpenSSL or the parser said of it', () => {
    for (const make of [
      () => readCertificate(Buffer.from([0x30])),
      () => read(withExtension(ids.alternatives, sequence(tagged(0x18, 'never')))),
    ])
      expect(make).toThrow(
        expect.objectContaining({
          name: 'CertificateError',
          message: 'it is no certificate',
          cause: expect.any(Error),
        }),
      )
  })

  it('is one with anything behind it', () => {
    const der = Buffer.concat([certificateOf({ subject: commonName('a') }), Buffer.alloc(1)])
    expect(() => readCertificate(der)).toThrow(/^there is more than a certificate in it, or it is not DER$/)
  })
})
