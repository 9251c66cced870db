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
    `CN=${'a'.repeat(1_100)}`,
  ])('is not %j', (text) => {
    expect(parseDistinguishedName(text)).toBeUndefined()
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
