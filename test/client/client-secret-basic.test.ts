import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { clientSecretBasic } from '../../src/client/client-secret-basic.ts'
import { parseForm } from '../../src/http/form.ts'
import { OAuthError } from '../../src/oauth/errors.ts'
import { basic, secretOf } from '../support/credentials.ts'

const form = parseForm('')

function parse(authorization: string): [string, string] {
  const presented = clientSecretBasic.parse({ authorization, form })
  return [presented.clientId, secretOf(presented)]
}

describe('client_secret_basic', () => {
  it('CA-01 decodes the vector of RFC 6749 appendix B', () => {
    const header =
      'Basic MVBwRyUyRlErMTp6JTJGdFo5VndGWnFBcG1JUSUyQlpIMUk1cExrJTJGdUI0dWQlM0FYMiUyRjhiTCUyQndmRlR0MXJGdyUzRA=='
    expect(parse(header)).toEqual(['1PpG/Q 1', 'z/tZ9VwFZqApmIQ+ZH1I5pLk/uB4ud:X2/8bL+wfFTt1rFw='])
  })

  it('splits at the first colon', () => {
    expect(parse(`Basic ${Buffer.from('a:b:c').toString('base64')}`)).toEqual(['a', 'b:c'])
  })

  it('accepts base64 without padding', () => {
    expect(parse(`Basic ${Buffer.from('a:bc').toString('base64').replace(/=+$/, '')}`)).toEqual(['a', 'bc'])
  })

  it('reads back whatever a client encodes (seed 20260202)', () => {
    const text = fc
      .string({ unit: 'grapheme', minLength: 1 })
      .filter((value) => value.isWellFormed() && !value.includes('\0'))
    fc.assert(
      fc.property(text, text, (id, secret) => {
        expect(parse(basic(id, secret))).toEqual([id, secret])
      }),
      { seed: 20_260_202, numRuns: 1_000 },
    )
  })

  it('refuses or parses any header, and quotes nothing of it (seed 20260203)', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.base64String().map((text) => `Basic ${text}`),
        ),
        (header) => {
          try {
            parse(header)
          } catch (error) {
            expect(error).toBeInstanceOf(OAuthError)
            expect((error as OAuthError).message).toBe('authentication_malformed')
            expect((error as OAuthError).cause).toBeUndefined()
          }
        },
      ),
      { seed: 20_260_203, numRuns: 3_000 },
    )
  })

  it.each(['Basic', 'Basic ', 'basic x', 'BASIC x'])('knows that %j tries to use it', (authorization) => {
    expect(clientSecretBasic.isUsed({ authorization, form })).toBe(true)
  })

  it.each(['Basicx y', 'Bearer x', '', undefined])('knows that %j does not', (authorization) => {
    expect(clientSecretBasic.isUsed({ authorization, form })).toBe(false)
  })
})
