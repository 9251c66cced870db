import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { isSameName, parseDistinguishedName } from '../../src/client/distinguished-name.ts'
import { readCertificate } from '../../src/client/x509.ts'
import { makeIdentity } from '../support/certificates.ts'

/** Whether a registered text is the name in a certificate, which is written most general part first. */
async function matches(registered: string, subject: Parameters<typeof makeIdentity>[0]): Promise<boolean> {
  const { der } = await makeIdentity(subject)
  const name = parseDistinguishedName(registered)
  if (name === undefined) throw new Error(`no name: ${registered}`)
  return isSameName(name, readCertificate(Buffer.from(der, 'base64')).subject)
}

const subject = [{ C: ['DE'] }, { O: ['Example, Inc.'] }, { CN: ['Billing'], OU: ['Money'] }]

describe('a distinguished name', () => {
  it.each([
    'CN=Billing+OU=Money,O=Example\\, Inc.,C=DE',
    'OU=Money+CN=Billing,O=Example\\2C Inc.,C=DE',
    'cn=billing+ou=MONEY, o=example\\,  INC., c=de',
    ' CN = Billing + OU = Money , O = Example\\, Inc. , C = DE ',
    '2.5.4.3=Billing+2.5.4.11=Money,2.5.4.10=Example\\, Inc.,2.5.4.6=DE',
    'CN=\\42illing+OU=Mone\\79,O=Example\\, Inc.,C=DE',
  ])('TLS-05 is the one of the certificate, however it is spelt: %s', async (registered) => {
    expect(await matches(registered, { subject })).toBe(true)
  })

  it.each([
    'CN=Billing,O=Example\\, Inc.,C=DE',
    'CN=Billing+OU=Money,O=Example\\, Inc.',
    'CN=Billing+OU=Money,C=DE,O=Example\\, Inc.',
    'CN=Billing,OU=Money,O=Example\\, Inc.,C=DE',
    'C=DE,O=Example\\, Inc.,CN=Billing+OU=Money',
    'CN=Billing+CN=Billing,O=Example\\, Inc.,C=DE',
    'CN=Bill ing+OU=Money,O=Example\\, Inc.,C=DE',
    'CN=Billing+O=Money,O=Example\\, Inc.,C=DE',
    'CN=Billing+OU=Money,O=Example,C=DE',
  ])('TLS-05 is another one with another part, order or grouping: %s', async (registered) => {
    expect(await matches(registered, { subject })).toBe(false)
  })

  it('C13 is not that of a certificate whose common name reads like it', async () => {
    for (const crafted of ['Billing, O=Bank', 'Billing,O=Bank', 'Billing\\,O=Bank', 'x\nO=Bank', 'Billing\0']) {
      const holder = { subject: [{ CN: [{ utf8String: crafted }] }] }
      expect(await matches('CN=Billing,O=Bank', holder), crafted).toBe(false)
      expect(await matches('O=Bank', holder), crafted).toBe(false)
      expect(await matches('CN=Billing', holder), crafted).toBe(false)
    }
  })

  it.each([
    { registered: 'CN=Jos\\C3\\A9', value: { utf8String: 'José' }, same: true },
    { registered: 'CN=José', value: { bmpString: 'José' }, same: true },
    { registered: 'CN=José', value: { utf8String: 'Jose\u0301' }, same: true },
    { registered: 'CN=ABC', value: { printableString: 'abc' }, same: true },
    { registered: 'CN=STRASSE', value: { utf8String: 'straße' }, same: false },
    { registered: 'CN=K', value: { utf8String: '\u212A' }, same: true },
    { registered: 'CN=José', value: { universalString: 'José' }, same: false },
    { registered: 'CN=a b', value: { utf8String: 'a  b ' }, same: true },
    { registered: 'CN=\\ a', value: { utf8String: 'a' }, same: true },
    { registered: 'CN=ab', value: { utf8String: 'a\u00ADb' }, same: false },
    { registered: 'CN=#0c0161', value: { utf8String: 'a' }, same: true },
    { registered: 'CN=#0c0161', value: { utf8String: 'A' }, same: false },
    { registered: 'CN=#130161', value: { utf8String: 'a' }, same: false },
  ])('TLS-05 $registered and $value are the same: $same', async ({ registered, value, same }) => {
    expect(await matches(registered, { subject: [{ CN: [value] }] })).toBe(same)
  })

  it('TLS-05 has attributes of other types, which are compared as they are spelt', async () => {
    const other = { subject: [{ '1.2.3.4': [{ utf8String: 'Value' }] }] }
    expect(await matches('1.2.3.4=Value', other)).toBe(true)
    expect(await matches('1.2.3.4=value', other)).toBe(false)
    expect(await matches('1.2.3.5=Value', other)).toBe(false)
  })

  it('TLS-05 compares domain components, user ids and addresses without case', async () => {
    const parts = [
      { DC: [{ ia5String: 'test' }] },
      { DC: [{ ia5String: 'Example' }] },
      { E: [{ ia5String: 'A@b.test' }] },
    ]
    expect(await matches('emailAddress=a@B.test,DC=example,dc=TEST', { subject: parts })).toBe(true)
    expect(await matches('DC=example,dc=TEST', { subject: parts })).toBe(false)
  })

  it.each([
    '',
    ' ',
    'CN',
    'CN=',
    '=x',
    'CN=a,',
    ',CN=a',
    'CN=a,,O=b',
    'CN=a+',
    'CN="a"',
    'CN=a;O=b',
    'CN=a<b',
    'CN=a\\',
    'CN=a\\q',
    'CN=a\\FF',
    'CN=#',
    'CN=#0',
    'CN=#zz',
    'NOSUCH=a',
    '/CN=a/O=b',
    'CN=a\0b',
    '01.2=a',
    `CN=${'a'.repeat(1_022)}`,
    'CN=\\4g',
    'X509=a',
    'CN=#0c',
    'CN=#0c016',
    'CN=#zz0c0161',
    'CN=#0c0161zz',
  ])('is not %j', (text) => {
    expect(parseDistinguishedName(text)).toBeUndefined()
  })

  it.each([
    ['CN', '2.5.4.3'],
    ['SN', '2.5.4.4'],
    ['serialNumber', '2.5.4.5'],
    ['C', '2.5.4.6'],
    ['L', '2.5.4.7'],
    ['ST', '2.5.4.8'],
    ['street', '2.5.4.9'],
    ['O', '2.5.4.10'],
    ['OU', '2.5.4.11'],
    ['title', '2.5.4.12'],
    ['businessCategory', '2.5.4.15'],
    ['postalCode', '2.5.4.17'],
    ['GN', '2.5.4.42'],
    ['dnQualifier', '2.5.4.46'],
    ['organizationIdentifier', '2.5.4.97'],
    ['UID', '0.9.2342.19200300.100.1.1'],
    ['DC', '0.9.2342.19200300.100.1.25'],
    ['emailAddress', '1.2.840.113549.1.9.1'],
  ])('knows %s, which is %s and has no case', (short, type) => {
    const name = parseDistinguishedName(`${short}=a`)
    expect(name).toEqual([[{ type, text: 'a' }]])
    expect(isSameName(name ?? [], [[{ type, text: 'A' }]])).toBe(true)
  })

  it('may be as long as 1,024 characters', () => {
    expect(parseDistinguishedName(`CN=${'a'.repeat(1_021)}`)).toBeDefined()
  })

  it.each([
    ['a  ', 'a'],
    ['a\\ ', 'a '],
    ['\\ ', ' '],
    ['a\\  ', 'a '],
    ['a\\\\ ', 'a\\'],
    ['a\\,b  ', 'a,b'],
    ['\\ef\\bb\\bfa', '\uFEFFa'],
  ])('has the value of %j without the spaces behind, unless they are escaped: %j', (value, text) => {
    expect(parseDistinguishedName(`1.2.3=${value}`)).toEqual([[{ type: '1.2.3', text }]])
  })

  it('C13 is another one with a value that has no text, unless its bytes are the same', () => {
    const type = '2.5.4.3'
    const [teletex, other] = [
      { type, der: '140120' },
      { type, der: '140161' },
    ]
    for (const one of [other, { type, text: ' ' }, { type, text: 'a' }]) {
      expect(isSameName([[one]], [[teletex]])).toBe(false)
      expect(isSameName([[teletex]], [[one]])).toBe(false)
    }
    expect(isSameName([[teletex]], [[{ ...teletex }]])).toBe(true)
    expect(isSameName([[{ type, text: 'a' }]], [[{ type, text: 'b' }]])).toBe(false)
  })

  it('keeps every character that is escaped, whatever it is', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme', minLength: 1, maxLength: 20 }), (value) => {
        const escaped = [...Buffer.from(value)].map((byte) => `\\${byte.toString(16).padStart(2, '0')}`).join('')
        expect(parseDistinguishedName(`1.2.3=${escaped}`)).toEqual([[{ type: '1.2.3', text: value }]])
      }),
      { seed: 20_261_201 },
    )
  })

  it('never throws on what people type', () => {
    const piece = fc.constantFrom('CN', 'O', '=', ',', '+', '\\', '#', ' ', 'a', '2c', '"', '1.2.3', '\0', 'é')
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 12 }), (pieces) => {
        const name = parseDistinguishedName(pieces.join(''))
        if (name !== undefined) expect(isSameName(name, name)).toBe(true)
      }),
      { seed: 20_261_202, numRuns: 2_000 },
    )
  })
})
