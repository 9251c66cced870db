import { describe, expect, it } from 'vitest'
import { formatConfirmation, mergeConfirmations, readConfirmation } from '../../src/oauth/confirmation.ts'

const jkt = '0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I'
const x5t = 'bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg2'

describe('a confirmation', () => {
  it.each([[{ jkt }], [{ 'x5t#S256': x5t }], [{ jkt, 'x5t#S256': x5t }]])(
    '%j is read back as it was written',
    (cnf) => {
      expect(readConfirmation(JSON.parse(formatConfirmation(cnf) ?? ''))).toEqual(cnf)
    },
  )

  it('has one text, in whatever order it was made', () => {
    expect(formatConfirmation({ 'x5t#S256': x5t, jkt })).toBe(formatConfirmation({ jkt, 'x5t#S256': x5t }))
  })

  it('is of everything that was proved, or nothing', () => {
    expect(mergeConfirmations({ jkt }, { 'x5t#S256': x5t })).toEqual({ jkt, 'x5t#S256': x5t })
    expect(mergeConfirmations(undefined, { jkt })).toEqual({ jkt })
    expect(mergeConfirmations(undefined, undefined)).toBeUndefined()
    expect(mergeConfirmations()).toBeUndefined()
  })

  it('is nothing when there is none', () => {
    expect(formatConfirmation(undefined)).toBeUndefined()
    expect(formatConfirmation({})).toBeUndefined()
  })

  it.each([
    [undefined],
    [null],
    ['jkt'],
    [7],
    [{}],
    [{ jkt: 'short' }],
    [{ jkt: `${jkt}A` }],
    [{ jkt: `A${jkt}` }],
    [{ jkt: `${jkt.slice(0, 42)}=` }],
    [{ jkt: `${jkt}\n` }],
    [{ jkt: 7 }],
    [{ jkt: null }],
    [{ jkt: [jkt] }],
    [{ jkt, jwk: {} }],
    [{ jkt, 'x5t#S256': '' }],
    [{ jkt, 'x5t#S256': [x5t] }],
  ])('is not read from %j', (value) => {
    expect(readConfirmation(value)).toBeUndefined()
  })
})
