import { describe, expect, it } from 'vitest'
import type { Claim } from '../../src/client/authenticate.ts'
import { generateSecret } from '../../src/client/client-secret.ts'
import { FailureCounts } from '../../src/http/failure-counts.ts'
import { type Attempt, FailureThrottle } from '../../src/http/failure-throttle.ts'
import { Secret } from '../../src/lib/secret.ts'
import { ManualClock } from '../support/clock.ts'

const limit = 100

function start(keys?: number) {
  const clock = new ManualClock()
  const counts = new FailureCounts(clock, limit, keys)
  return { clock, counts, throttle: new FailureThrottle(counts) }
}

function claim(clientId: string, secret: string): Claim {
  return { kind: 'secret', clientId, secret: new Secret(secret), method: 'client_secret_basic', checked: new Map() }
}

const guess = (clientId = 'legacy', secret = 'guess'): Claim => claim(clientId, secret)
const generated = (clientId = 'billing'): Claim => claim(clientId, generateSecret().secret.reveal())
const from = (address: string, presented: Claim | undefined): Attempt => ({ address, claim: presented })

/** Tries as the endpoints do: what is admitted fails. Returns what it is told. */
async function fail(throttle: FailureThrottle, attempt: Attempt): Promise<'checked' | 'told' | 'refused'> {
  if ((await throttle.admit(attempt)) !== undefined) {
    await throttle.noteFailure(attempt)
    return 'refused'
  }
  return (await throttle.noteFailure(attempt)) === undefined ? 'checked' : 'told'
}

async function failMany(throttle: FailureThrottle, count: number, attempt: (i: number) => Attempt) {
  const outcomes: string[] = []
  for (let i = 0; i < count; i += 1) outcomes.push(await fail(throttle, attempt(i)))
  return outcomes
}

describe('the throttle of failed authentications', () => {
  it('HTTP-17 lets a hundred failures of an address pass, and refuses the next guess unchecked', async () => {
    const { throttle } = start()
    const outcomes = await failMany(throttle, 103, () => from('a', guess()))
    expect(outcomes.slice(0, 100)).toEqual(Array.from({ length: 100 }, () => 'checked'))
    expect(outcomes.slice(100)).toEqual(['refused', 'refused', 'refused'])
  })

  it('counts by address over all clients, and credentials that could not be read', async () => {
    const { throttle } = start()
    await failMany(throttle, 50, (i) => from('a', guess(`client ${i}`)))
    await failMany(throttle, 50, () => from('a', undefined))
    expect(await fail(throttle, from('a', guess('another')))).toBe('refused')
    expect(await throttle.noteFailure(from('a', undefined))).toMatchObject({ by: 'address' })
  })

  it('answers a generated secret over the limit after its check, which may be right', async () => {
    const { throttle } = start()
    await failMany(throttle, 100, () => from('a', guess()))
    expect(await throttle.admit(from('a', generated()))).toBeUndefined()
    expect(await throttle.noteFailure(from('a', generated()))).toMatchObject({ by: 'address' })
  })

  it('counts by client over all addresses, and refuses those that have failed for it', async () => {
    const { throttle } = start()
    await failMany(throttle, 100, (i) => from(`bot ${i % 50}`, guess('legacy')))
    expect(await fail(throttle, from('bot 7', guess('legacy')))).toBe('refused')
    expect(await fail(throttle, from('bot 7', guess('other')))).toBe('checked')
  })

  it('I18 checks the first try of an address that has not failed, however many others fail for that client', async () => {
    const { throttle } = start()
    await failMany(throttle, 500, (i) => from(`bot ${i % 50}`, guess('legacy')))
    expect(await throttle.admit(from('home', guess('legacy', 'right')))).toBeUndefined()
    expect(await fail(throttle, from('new bot', guess('legacy')))).toBe('checked')
    expect(await fail(throttle, from('new bot', guess('legacy')))).toBe('refused')
  })

  it('I18 checks an imported secret that was right before, wherever the flood comes from', async () => {
    const { throttle } = start()
    const right = from('shared', guess('legacy', 'correct horse'))
    expect(await throttle.admit(right)).toBeUndefined()
    await throttle.noteSuccess(right)
    await failMany(throttle, 500, (i) => from('shared', guess(i % 2 === 0 ? 'legacy' : 'nobody')))
    expect(await throttle.admit(right)).toBeUndefined()
    expect(await fail(throttle, from('shared', guess('legacy', 'correct horsf')))).toBe('refused')
    expect(await fail(throttle, from('shared', guess('other', 'correct horse')))).toBe('refused')
  })

  it.each([
    ['unknown', 'unknown'],
    ['known', 'legacy'],
    ['of a prototype', '__proto__'],
    ['as long as a request', 'x'.repeat(60_000)],
  ])('I19 does not look at whether there is a client: an id that is %s', async (_, clientId) => {
    const { throttle } = start()
    const outcomes = await failMany(throttle, 102, () => from('a', guess(clientId)))
    expect(outcomes.slice(99)).toEqual(['checked', 'refused', 'refused'])
    expect(await throttle.admit(from('a', guess(clientId)))).toEqual({
      by: 'address',
      state: { name: 'failures', quota: 100, windowSeconds: 60, remaining: 0, resetSeconds: 60 },
    })
  })

  it('checks again when the minute is over', async () => {
    const { clock, throttle } = start()
    await failMany(throttle, 150, () => from('a', guess()))
    clock.advance(59.2)
    expect(await throttle.admit(from('a', guess()))).toMatchObject({ state: { resetSeconds: 1 } })
    clock.advance(0.8)
    expect(await fail(throttle, from('a', guess()))).toBe('checked')
  })

  it('gives no fresh allowance to whoever goes on regardless', async () => {
    const { clock, throttle } = start()
    const checked: number[] = []
    for (let minute = 0; minute < 4; minute += 1) {
      const outcomes = await failMany(throttle, 600, () => from('a', guess()))
      checked.push(outcomes.filter((outcome) => outcome === 'checked').length)
      clock.advance(60)
    }
    expect(checked).toEqual([100, 0, 0, 0])
  })

  it('takes a failure back when the same client succeeds from there within seconds', async () => {
    const { clock, throttle } = start()
    for (let i = 0; i < 300; i += 1) {
      expect(await fail(throttle, from('a', guess('go', 'read another way')))).toBe('checked')
      clock.advance(1)
      await throttle.noteSuccess(from('a', guess('go', 'right')))
    }
  })

  it('C09 takes no more back in a minute than fail in one: a right secret buys no checks without end', async () => {
    const { throttle } = start()
    const outcomes: string[] = []
    for (let i = 0; i < 300; i += 1) {
      outcomes.push(await fail(throttle, from('a', guess('go', `guess ${i}`))))
      await throttle.noteSuccess(from('a', generated('go')))
    }
    expect(outcomes.filter((outcome) => outcome === 'checked')).toHaveLength(2 * limit)
  })

  it('C09 counts for its address what found the line of checks full, and not for the client', async () => {
    const { throttle } = start()
    for (let i = 0; i < 100; i += 1) expect(await throttle.noteBusy(from('a', guess()))).toBeUndefined()
    expect(await throttle.noteBusy(from('a', guess()))).toMatchObject({ by: 'address' })
    expect(await fail(throttle, from('a', guess()))).toBe('refused')
    expect(await fail(throttle, from('b', guess()))).toBe('checked')
    expect(await fail(throttle, from('b', guess()))).toBe('checked')
  })

  it('does not count what found the line of checks full, and was right before', async () => {
    const { throttle } = start()
    const right = from('a', guess('legacy', 'right'))
    await throttle.noteSuccess(right)
    for (let i = 0; i < 150; i += 1) {
      await throttle.admit(right)
      expect(await throttle.noteBusy(right)).toBeUndefined()
    }
    expect(await fail(throttle, from('a', guess()))).toBe('checked')
  })

  it('C09 forgets that a secret was right when it is right no more', async () => {
    const { throttle } = start()
    const revoked = from('a', guess('legacy', 'correct horse'))
    await throttle.noteSuccess(revoked)
    await failMany(throttle, 100, () => from('a', guess('nobody')))
    expect(await fail(throttle, revoked)).toBe('told')
    expect(await fail(throttle, revoked)).toBe('refused')
  })

  it.each([
    ['another client succeeds', from('a', guess('another', 'right')), 0],
    ['the client succeeds elsewhere', from('b', guess('legacy', 'right')), 0],
    ['it succeeds much later', from('a', guess('legacy', 'right')), 5.1],
  ])('does not take a failure back when %s', async (_, success, seconds) => {
    const { clock, throttle } = start()
    for (let i = 0; i < 100; i += 1) await fail(throttle, from('a', guess()))
    clock.advance(seconds)
    await throttle.noteSuccess(success)
    expect(await fail(throttle, from('a', guess()))).toBe('refused')
  })

  it('takes one failure back for one success, not all of them', async () => {
    const { throttle } = start()
    await failMany(throttle, 100, () => from('a', guess()))
    await throttle.noteSuccess(from('a', guess('legacy', 'right')))
    await throttle.noteSuccess(from('a', guess('legacy', 'right')))
    expect(await fail(throttle, from('a', guess()))).toBe('checked')
    expect(await fail(throttle, from('a', guess()))).toBe('refused')
  })

  it('C11 remembers a bounded number of addresses and clients, however many there are', async () => {
    const { throttle, counts } = start(50)
    for (let i = 0; i < 2_000; i += 1) await fail(throttle, from(`address ${i}`, guess(`client ${i}`)))
    expect([counts.size, throttle.size]).toEqual([4 * 50, 0])
  })

  it('C11 remembers no more clients of one address than its failures that count', async () => {
    const { throttle, counts } = start()
    await failMany(throttle, 5_000, (i) => from('one address', guess(`client ${i}`)))
    expect(counts.size).toBe(1 + 3 * limit)
  })

  it('of many at a time counts exactly so many', async () => {
    const { throttle } = start()
    const told = await Promise.all(Array.from({ length: 300 }, () => throttle.noteFailure(from('a', generated()))))
    expect(told.filter((passed) => passed === undefined)).toHaveLength(100)
  })
})
