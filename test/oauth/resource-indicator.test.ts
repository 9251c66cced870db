import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { isResourceIndicator } from '../../src/oauth/resource-indicator.ts'
import { anyText } from '../support/text.ts'

describe('a resource indicator', () => {
  it.each([
    'https://api.example.com',
    'https://api.example.com/',
    'https://api.example.com:8443/v1/invoices',
    'https://api.example.com/v1?tenant=a%20b',
    'https://[2001:db8::1]/x',
    'http://localhost:3000',
    'urn:example:billing',
    'api://billing',
    'spiffe://example.org/ns/a/sa/b',
    'urn:mirror:https:api.example.com',
    'https://api.example.com/users/a@b.example',
    `https://api.example.com/${'x'.repeat(488)}`,
  ])('RI-01 is %s', (uri) => {
    expect(isResourceIndicator(uri)).toBe(true)
  })

  it.each([
    ['nothing', ''],
    ['a word', 'billing'],
    ['a path', '/v1'],
    ['a relative path', '../v1'],
    ['a network path', '//api.example.com'],
    ['a host', 'api.example.com'],
    ['a scheme alone', 'https:'],
    ['a scheme and slashes alone', 'https://'],
    ['a fragment', 'https://api.example.com#x'],
    ['an empty fragment', 'https://api.example.com#'],
    ['a scheme that begins with a digit', '1https://api.example.com'],
    ['a space before', ' https://api.example.com'],
    ['a space inside', 'https://api.example.com/a b'],
    ['a space behind', 'https://api.example.com '],
    ['a line break behind', 'https://api.example.com\n'],
    ['a tab inside', 'https://api.exa\tmple.com'],
    ['a NUL', 'https://api.example.com/\0'],
    ['a quote', 'https://api.example.com/"'],
    ['angle brackets', 'https://api.example.com/<x>'],
    ['a backslash', 'https:\\\\api.example.com'],
    ['braces', 'https://api.example.com/{id}'],
    ['a letter that is not ASCII', 'https://münchen.example'],
    ['an escape that is none', 'https://api.example.com/%zz'],
    ['an escape cut short', 'https://api.example.com/%2'],
    ['a host that cannot be', 'https://[::1'],
    ['a port that cannot be', 'https://api.example.com:99999'],
    ['a host behind a user', 'https://api.example.com@evil.example'],
    ['a host behind a user and a password', 'http://user:word@api.example.com/v1'],
    ['a host behind a user, whatever the case of the scheme', 'HTTPS://user@api.example.com'],
    ['one slash', 'https:/api.example.com'],
    ['no slash, and a whole one behind', 'https:x?https://api.example.com'],
    ['no host before the path', 'https:///v1'],
    ['no host before the query', 'http://?v1'],
    ['513 characters', `https://api.example.com/${'x'.repeat(489)}`],
  ])('RI-02 is not %s', (_, text) => {
    expect(isResourceIndicator(text)).toBe(false)
  })

  it('throws for no text at all', () => {
    const parts = fc.constantFrom(
      'https:',
      'urn:',
      '//',
      '/',
      'a',
      '.example',
      '@',
      '#',
      '?',
      '%',
      '%41',
      '[::1]',
      ':8443',
      ' ',
    )
    const urls = fc.array(parts, { maxLength: 12 }).map((list) => list.join(''))
    fc.assert(
      fc.property(fc.oneof(anyText(), urls), (text) => {
        const indicates = isResourceIndicator(text)
        expect(indicates && (text.includes('#') || !URL.canParse(text))).toBe(false)
      }),
      { seed: 20_260_102, numRuns: 2_000 },
    )
  })
})
