import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { formatDuration, parseDuration } from '../../src/lib/duration.ts'

const run = { seed: 20_260_102, numRuns: 1_000 }

describe('a duration', () => {
  it.each([
    ['1s', 1],
    ['90s', 90],
    ['5m', 300],
    ['24h', 86_400],
    ['7d', 604_800],
    ['999999999s', 999_999_999],
  ])('reads %s as %i seconds', (text, seconds) => {
    expect(parseDuration(text)).toBe(seconds)
  })

  it.each([
    '',
    '5',
    'm',
    '0s',
    '05m',
    '-5m',
    '+5m',
    '5.5m',
    '5 m',
    ' 5m',
    '5m ',
    '5m\n',
    '5M',
    '5ms',
    '5w',
    '1h30m',
    '1e3s',
    '٥m',
    '5m5',
    '1000000000s',
    'PT5M',
  ])('refuses %j', (text) => {
    expect(parseDuration(text)).toBeUndefined()
  })

  it.each([
    [1, '1s'],
    [59, '59s'],
    [60, '1m'],
    [61, '61s'],
    [3_600, '1h'],
    [5_400, '90m'],
    [86_400, '1d'],
    [604_800, '7d'],
  ])('writes %i seconds as %s', (seconds, text) => {
    expect(formatDuration(seconds)).toBe(text)
  })

  it('writes what it reads back as the same number of seconds', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 999_999_999 }), (seconds) => {
        expect(parseDuration(formatDuration(seconds))).toBe(seconds)
      }),
      run,
    )
  })

  it('never gives anything but a whole number of seconds from 1 on, whatever the text', () => {
    const anyText = fc.oneof(fc.string({ unit: 'binary' }), fc.stringMatching(/^[0-9.eE+-]{0,12}[smhdw]?$/))
    fc.assert(
      fc.property(anyText, (text) => {
        const seconds = parseDuration(text)
        expect(seconds === undefined || (Number.isSafeInteger(seconds) && seconds >= 1)).toBe(true)
      }),
      run,
    )
  })
})
