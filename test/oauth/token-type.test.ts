import { describe, expect, it } from 'vitest'
import type { Confirmation } from '../../src/oauth/confirmation.ts'
import { type TokenType, tokenTypeOf } from '../../src/oauth/token-type.ts'

const thumbprint = '0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I'

describe('the type of a token', () => {
  it.each<[TokenType, string, Confirmation | undefined]>([
    ['Bearer', 'RFC 6750 when it is bound to nothing', undefined],
    ['Bearer', 'TLS-08 RFC 8705 section 3 when it is bound to a certificate', { 'x5t#S256': thumbprint }],
    ['DPoP', 'DP-18 RFC 9449 section 5 when it is bound to a key', { jkt: thumbprint }],
    ['DPoP', 'when it is bound to a key and a certificate', { jkt: thumbprint, 'x5t#S256': thumbprint }],
  ])('is %s, by %s', (type, _, confirmation) => {
    expect(tokenTypeOf(confirmation)).toBe(type)
  })
})
