import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { clientSecretBasic } from '../../src/client/client-secret-basic.ts'
import { parseForm } from '../../src/http/form.ts'
import { OAuthError } from '../../src/oauth/errors.ts'
import { basic, secretOf } from '../support/credentials.ts'
import { anyText } from '../support/text.ts'

const seed = 20_260_102
const form = parseForm('')

function parse(authorization: string): { clientId: string; secret: string } {
  const presented = clientSecretBasic.parse({ authorization, form })
  return { clientId: presented.clientId, secret: secretOf(presented) }
}

function encode(text: string): string {
  return Buffer.from(text, 'latin1').toString('base64')
}

describe('client_secret_basic', () => {
  it('CA-01 reads the vector of RFC 6749 section 2.3.1 and appendix B', () => {
    const header =
      'Basic MVBwRyUyRlErMTp6JTJGdFo5VndGWnFBcG1JUSUyQlpIMUk1cExrJTJGdUI0dWQlM0FYMiUyRjhiTCUyQndmRlR0MXJGdyUzRA=='
    const credentials = { clientId: '1PpG/Q 1', secret: 'z/tZ9VwFZqApmIQ+ZH1I5pLk/uB4ud:X2/8bL+wfFTt1rFw=' }
    expect(parse(header)).toEqual(credentials)
    expect(basic(credentials.clientId, credentials.secret)).toBe(header)
  })

  it.each([
    ['a colon', 'a:b', 'x:y:z'],
    ['a plus', 'a+b', '+'],
    ['a percent sign', '100%', '%zz'],
    ['a space', 'a b', ' '],
    ['letters that are not ASCII', 'é€', 'ключ🔑'],
    ['every printable character', 'id', String.fromCharCode(...Array.from({ length: 95 }, (_, i) => i + 32))],
  ])('CA-02 reads %s, form-encoded', (_, clientId, secret) => {
    expect(parse(basic(clientId, secret))).toEqual({ clientId, secret })
  })

  it('CA-02 reads back what any client wrote that encodes by the standard', () => {
    const text = fc.string({ unit: 'grapheme', minLength: 1, maxLength: 40 }).filter((value) => !value.includes('\0'))
    fc.assert(
      fc.property(text, text, (clientId, secret) => {
        expect(parse(basic(clientId, secret))).toEqual({ clientId, secret })
      }),
      { seed, numRuns: 500 },
    )
  })

  it('CA-02 reads a raw plus as a space, and colons after the first as part of the secret', () => {
    expect(parse(`Basic ${encode('id:a+b:c')}`)).toEqual({ clientId: 'id', secret: 'a b:c' })
  })

  it('C02 splits at the first colon', () => {
    expect(parse(`Basic ${encode('id::')}`)).toEqual({ clientId: 'id', secret: ':' })
  })

  it.each(['basic', 'BASIC', 'bAsIc'])('CA-05 takes the scheme as %s', (scheme) => {
    expect(clientSecretBasic.isUsed({ authorization: `${scheme} x`, form })).toBe(true)
    expect(parse(`${scheme} ${encode('id:secret')}`)).toEqual({ clientId: 'id', secret: 'secret' })
  })

  it('takes more than one space behind the scheme, as RFC 9110 section 11.4 lets a client send', () => {
    expect(parse(`Basic   ${encode('id:secret')}`)).toEqual({ clientId: 'id', secret: 'secret' })
  })

  it('takes base64 without its padding', () => {
    expect(parse(`Basic ${encode('id:secre').replace(/=+$/, '')}`)).toEqual({ clientId: 'id', secret: 'secre' })
  })

  const malformed: readonly (readonly [string, string])[] = [
    ['the scheme alone', 'Basic'],
    ['the scheme and a space', 'Basic '],
    ['text that is not base64', 'Basic !!!!'],
    ['base64 with a character that is none', `Basic ${encode('id:secret').replace('c', '*')}`],
    ['base64url', `Basic ${encode('id:>>>???~~~').replaceAll('+', '-').replaceAll('/', '_')}`],
    ['base64 with a line break inside', `Basic ${encode('id:a-long-secret').replace(/^.{8}/, '$&\n')}`],
    ['base64 with a space inside', `Basic ${encode('id:secret').replace(/^.{4}/, '$& ')}`],
    ['base64 with padding in the middle', 'Basic aWQ=OnNlY3JldA=='],
    ['base64 with too much padding', 'Basic aWQ6c2VjcmV0==='],
    ['base64 whose last bits are not zero', 'Basic aWQ6eA='.replace('eA', 'eB')],
    ['one character of base64', 'Basic a'],
    ['nothing, encoded', `Basic ${encode('')}`.concat('=')],
    ['no colon', `Basic ${encode('id')}`],
    ['a colon alone', `Basic ${encode(':')}`],
    ['an empty id', `Basic ${encode(':secret')}`],
    ['an empty secret', `Basic ${encode('id:')}`],
    ['a bad escape in the id', `Basic ${encode('%ZZ:secret')}`],
    ['a bad escape in the secret', `Basic ${encode('id:%ZZ')}`],
    ['an escape cut short', `Basic ${encode('id:%2')}`],
    ['a truncated UTF-8 sequence', `Basic ${encode('id:%E2%82')}`],
    ['an overlong UTF-8 sequence', `Basic ${encode('id:%C0%AF')}`],
    ['a surrogate in UTF-8', `Basic ${encode('id:%ED%A0%80')}`],
    ['a byte that is not UTF-8', `Basic ${encode('id:%FF')}`],
    ['a NUL in the id', `Basic ${encode('a%00b:secret')}`],
    ['a NUL in the secret', `Basic ${encode('id:a%00b')}`],
    ['a raw NUL', `Basic ${encode('id:a\0b')}`],
    ['a raw line break', `Basic ${encode('id:a\r\nb')}`],
    ['raw UTF-8', `Basic ${Buffer.from('id:é').toString('base64')}`],
    ['raw latin-1', `Basic ${encode('id:\xe9')}`],
    ['DEL', `Basic ${encode('id:\x7f')}`],
    ['another scheme before', `Digest Basic ${encode('a:b')}`],
    ['two credentials', `Basic ${encode('a:b')}, Basic ${encode('a:b')}`],
    ['another scheme behind', `Basic ${encode('a:b')}, Bearer x`],
    ['a parameter behind', `Basic ${encode('a:b')}; charset=utf-8`],
    ['a tab between', `Basic\t${encode('a:b')}`],
    ['a space behind', `Basic ${encode('a:b')} `],
  ]

  it.each(malformed)('CA-05 C02 rejects %s', (_, authorization) => {
    expect(() => parse(authorization)).toThrow(expect.objectContaining({ reason: 'authentication_malformed' }))
  })

  it.each(malformed)('CA-13 I12 tells nothing of the credentials in the refusal of %s', (_, authorization) => {
    try {
      parse(authorization)
      expect.fail('it was accepted')
    } catch (error) {
      expect(error).toMatchObject({ message: 'authentication_malformed' })
      expect(error).not.toHaveProperty('cause')
    }
  })

  it('I21 reads or rejects any header, and throws nothing else', () => {
    const headers = fc.oneof(
      anyText().map((text) => `Basic ${text}`),
      fc.uint8Array({ maxLength: 40 }).map((bytes) => `Basic ${Buffer.from(bytes).toString('base64')}`),
      fc.stringMatching(/^[a-z%0-9A-F+:]{0,20}$/).map((text) => `Basic ${encode(text)}`),
    )
    fc.assert(
      fc.property(headers, (authorization) => {
        try {
          const { clientId, secret } = parse(authorization)
          expect(clientId.length * secret.length).toBeGreaterThan(0)
        } catch (error) {
          expect(error).toBeInstanceOf(OAuthError)
        }
      }),
      { seed, numRuns: 1_000 },
    )
  })

  it.each([undefined, '', 'Bearer x', 'Basically x', 'BasicX', ' Basic x', 'DPoP Basic x'])(
    'C03 is not what %j tries to use',
    (authorization) => {
      expect(clientSecretBasic.isUsed({ authorization, form })).toBe(false)
    },
  )
})
