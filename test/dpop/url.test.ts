import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { normaliseUrl } from '../../src/dpop/url.ts'

const url = 'https://as.example/token'

describe('URLs that RFC 3986 holds for equal', () => {
  it.each([
    'HTTPS://AS.Example/token',
    'https://as.example:443/token',
    'https://as.example:/token',
    'https://as.example/%74oken',
    'https://as.example/%74%6F%6b%65n',
    'https://as.example/a/../token',
    'https://as.example/./token',
    'https://as.example/%2e/token',
    'https://as.example/a/%2E%2e/token',
    'https://as.example/../../token',
    'https://%61s.example/token',
    'https://as.example/token?x=1',
    'https://as.example/token#fragment',
    'https://as.example/token?#',
    'https://as.example/token?a=https://evil.test/x',
  ])('DP-11 C15 have one normal form: %s', (other) => {
    expect(normaliseUrl(other)).toBe(url)
  })

  it('have a slash for an empty path', () => {
    expect(normaliseUrl('http://[::1]:80')).toBe('http://[::1]/')
    expect(normaliseUrl('http://as.example?x')).toBe('http://as.example/')
  })

  it.each([
    ['%2f and a slash', 'https://as.example/a%2fb', 'https://as.example/a/b'],
    ['the case of a path', 'https://as.example/Token', url],
    ['a slash at the end', `${url}/`, url],
    ['two slashes', 'https://as.example//token', url],
    ['another scheme', 'http://as.example/token', url],
    ['another port', 'https://as.example:8443/token', url],
    ['the port of the other scheme', 'https://as.example:80/token', url],
    ['a dot behind the host', 'https://as.example./token', url],
    ['a number for an address', 'http://2130706433/token', 'http://127.0.0.1/token'],
    ['an escape with an escaped %', 'https://as.example/%2574oken', url],
    ['three dots', 'https://as.example/.../token', url],
    ['a path below', 'https://as.example/token/x', url],
  ])('are not those with %s', (_, one, other) => {
    expect(normaliseUrl(one)).not.toBe(normaliseUrl(other))
    expect(normaliseUrl(one)).toBeDefined()
  })

  it('keep an escape in upper case', () => {
    expect(normaliseUrl('https://as.example/a%2fb')).toBe('https://as.example/a%2Fb')
  })

  it.each([
    '',
    '/token',
    'token',
    '//as.example/token',
    'https:as.example/token',
    'https:/as.example/token',
    'https:///token',
    'https://:443/token',
    'xhttps://as.example/token',
    'ftp://as.example/token',
    'javascript:alert(1)',
    'https://user@as.example/token',
    'https://user:pass@as.example/token',
    'https://as.example@evil.test/token',
    'https://as.example:44x/token',
    'https://as.example\\token',
    'https://as.example/\ttoken',
    ' https://as.example/token',
    'https://as.example/token ',
    'https://as.example/%zz',
    'https://as.example/%4',
    'https://as.example/tökén',
    'https://ａｓ.example/token',
    'https://as.example/token\n',
    'https://[::1/token',
    'https://as.[example]/token',
  ])('C15 are not %j at all', (text) => {
    expect(normaliseUrl(text)).toBeUndefined()
  })

  it('have a normal form that is its own, and that the platform reads as the same', () => {
    const piece = fc.constantFrom(
      'a',
      'B',
      '.',
      '..',
      '%2e',
      '%2F',
      '%7e',
      '%7E',
      '~',
      '/',
      '//',
      ':',
      ';',
      '@',
      'x=1',
      '',
    )
    const texts = fc
      .tuple(
        fc.constantFrom('http', 'https', 'HTTPS'),
        fc.constantFrom('as.example', 'AS.example', '127.0.0.1', '[::1]'),
        fc.constantFrom('', ':80', ':443', ':', ':8443'),
        fc.array(piece, { maxLength: 8 }),
        fc.constantFrom('', '?q', '#f', '?q#f'),
      )
      .map(([scheme, host, port, path, rest]) => `${scheme}://${host}${port}/${path.join('/')}${rest}`)
    fc.assert(
      fc.property(texts, (text) => {
        const normal = normaliseUrl(text)
        if (normal === undefined) throw new Error(text)
        expect(normaliseUrl(normal)).toBe(normal)
        const { origin, pathname } = new URL(text)
        const plain = (path: string): string => path.replaceAll(/%7e/gi, '~').replaceAll(/%2f/g, '%2F')
        expect(normal).toBe(`${origin}${plain(pathname)}`)
      }),
      { seed: 20_261_201, numRuns: 2_000 },
    )
  })

  it('take no longer for what is built to take long', () => {
    const started = performance.now()
    for (const text of [
      `https://${'a.'.repeat(8_000)}`,
      `https://a/${'../'.repeat(5_000)}`,
      `https://a/${'%2e/'.repeat(4_000)}`,
    ])
      normaliseUrl(text)
    normaliseUrl(`https://${'@'.repeat(16_000)}`)
    normaliseUrl(`https://${':'.repeat(16_000)}`)
    expect(performance.now() - started).toBeLessThan(500)
  })
})
