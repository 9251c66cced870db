import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { OAuthError } from '../../src/oauth/errors.ts'
import { formatScope, isScopeToken, parseScope } from '../../src/oauth/scope.ts'
import { anyText } from '../support/text.ts'

const run = { seed: 20_260_102, numRuns: 500 }

describe('a scope parameter', () => {
  it.each([
    ['read', ['read']],
    ['read write', ['read', 'write']],
    ['write read', ['write', 'read']],
    ['a a', ['a']],
    ["invoices:read https://api.example/x !#$%&'()*+,-./:;<=>?@[]^_`{|}~", null],
  ])('CC-04 reads %j as a set', (parameter, tokens) => {
    expect([...parseScope(parameter)]).toEqual(tokens ?? parameter.split(' '))
  })

  it.each([
    ['nothing', ''],
    ['a space alone', ' '],
    ['two spaces between tokens', 'a  b'],
    ['a space before', ' a'],
    ['a space behind', 'a '],
    ['a quote', 'a"b'],
    ['a backslash', 'a\\b'],
    ['a tab', 'a\tb'],
    ['a line break', 'a\nb'],
    ['a line break at the end', 'a\n'],
    ['a NUL', 'a\0'],
    ['DEL', 'a\x7f'],
    ['a letter that is not ASCII', 'lire é'],
    ['a no-break space', 'a\u00a0b'],
    ['a token of 129 characters', 'x'.repeat(129)],
    ['257 tokens', Array.from({ length: 257 }, (_, i) => `s${i}`).join(' ')],
  ])('CC-04 rejects %s', (_, parameter) => {
    expect(() => parseScope(parameter)).toThrow(expect.objectContaining({ reason: 'scope_malformed' }))
  })

  it('takes 256 tokens of 128 characters', () => {
    const tokens = Array.from({ length: 256 }, (_, i) => String(i).padStart(128, 'x'))
    expect(parseScope(tokens.join(' ')).size).toBe(256)
  })

  it('is parsed or refused as scope_malformed, whatever the text, and is written as it was read', () => {
    fc.assert(
      fc.property(fc.oneof(anyText(), fc.stringMatching(/^[a-c "\\é]{0,12}$/)), (text) => {
        try {
          const scope = parseScope(text)
          expect([...scope].every(isScopeToken)).toBe(true)
          expect(new Set(formatScope(scope)?.split(' '))).toEqual(new Set(text.split(' ')))
        } catch (error) {
          expect(error).toBeInstanceOf(OAuthError)
          expect(error).toMatchObject({ reason: 'scope_malformed' })
        }
      }),
      run,
    )
  })
})

describe('a scope', () => {
  it('is absent rather than empty', () => {
    expect(formatScope([])).toBeUndefined()
    expect(formatScope(new Set<string>())).toBeUndefined()
  })

  it('is its tokens with one space between them', () => {
    expect(formatScope(new Set(['a', 'b']))).toBe('a b')
  })
})
