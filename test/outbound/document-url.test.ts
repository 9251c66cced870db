import { describe, expect, it } from 'vitest'
import { isDocumentUrl, parseDocumentUrl } from '../../src/outbound/document-url.ts'
import { OutboundError } from '../../src/outbound/outbound-error.ts'

describe('the URL of a document', () => {
  it.each([
    ['https://keys.example.test/jwks.json', 'https://keys.example.test/jwks.json'],
    ['https://keys.example.test', 'https://keys.example.test/'],
    ['https://keys.example.test:443/', 'https://keys.example.test/'],
    ['https://Keys.Example.Test/a?b=c&d=%20', 'https://keys.example.test/a?b=c&d=%20'],
    ['https://keys.example.test:8443/x', 'https://keys.example.test:8443/x'],
    ['https://keys.example.test:10443/x', 'https://keys.example.test:10443/x'],
    ['https://xn--bcher-kva.example/x', 'https://xn--bcher-kva.example/x'],
    ['https://a.b/../c', 'https://a.b/c'],
  ])('may be %s', (text, href) => {
    expect(parseDocumentUrl(text).href).toBe(href)
  })

  it.each([
    [
      'another scheme',
      ['http://a.example/', 'ftp://a.example/', 'file:///etc/passwd', 'data:,{}', 'HTTPS://a.example/'],
    ],
    [
      'credentials',
      ['https://u@a.example/', 'https://u:p@a.example/', 'https://@a.example/', 'https://good.example@evil/'],
    ],
    ['a fragment', ['https://a.example/#x', 'https://a.example#x']],
    [
      'what the parser forgives',
      ['https:/a.example/', 'https:a.example', 'https:\\\\a.example', 'https://a.example\\@b/'],
    ],
    [
      'spaces and controls',
      [' https://a.example/', 'https://a.example/ ', 'https://a.example/\tx', 'https://a\n.example/'],
    ],
    ['no host name', ['https://', 'https:///x', 'https://localhost/', 'https://intranet/', 'https://localhost./']],
    ['a dot at the end', ['https://a.example./', 'https://localhost.localdomain./']],
    ['what is no label', ['https://a_b.example/', 'https://-a.example/', 'https://a-.example/', 'https://a..example/']],
    [
      'letters that are not ASCII',
      ['https://b\u00fccher.example/', 'https://\u0430.example/', 'https://a.example/\u00e9'],
    ],
    ['nothing', ['', 'https', '//a.example/']],
    ['too much', [`https://a.example/${'x'.repeat(2_048)}`, `https://${'a.'.repeat(130)}example/`]],
  ])('may not have %s', (_name, texts) => {
    for (const text of texts) {
      expect(() => parseDocumentUrl(text), text).toThrow(OutboundError)
      expect(isDocumentUrl(text), text).toBe(false)
    }
  })

  it.each([
    '127.0.0.1',
    '127.1',
    '2130706433',
    '0x7f000001',
    '0177.0.0.1',
    '0.0.0.0',
    '169.254.169.254',
    '10.0.0.1',
    '8.8.8.8',
    '[::1]',
    '[::ffff:127.0.0.1]',
    '[fd00::1]',
    '[2606:4700:4700::1111]',
  ])('S01 may not name an address: %s', (host) => {
    expect(isDocumentUrl(`https://${host}/jwks.json`)).toBe(false)
  })

  it.each(['22', '25', '80', '444', '843', '1024', '3306', '5432', '6379', '8080', '8444', '11211', '65535'])(
    'S01 may have no port but those of HTTPS: %s',
    (port) => {
      expect(isDocumentUrl(`https://a.example:${port}/`)).toBe(false)
    },
  )

  it.each(['443', '1443', '8443', '9443', '65443'])('may have a port of HTTPS: %s', (port) => {
    expect(isDocumentUrl(`https://a.example:${port}/`)).toBe(true)
  })

  it.each(['', '0', '0443', '08443', '70443', '100443', '443 ', '-443', '4e3', '0x1bb'])(
    'has a port in its one spelling: %j',
    (port) => {
      expect(isDocumentUrl(`https://a.example:${port}/`)).toBe(false)
    },
  )
})
