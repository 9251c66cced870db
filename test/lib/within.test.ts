import { stat } from 'node:fs/promises'
import { describe, expect, it } from 'vitest'
import { within } from '../../src/lib/within.ts'

const late = () => new Error('late')

describe('what is waited for', () => {
  it('comes as it is when it comes in time', async () => {
    expect(await within(Promise.resolve(7), 1_000, late)).toBe(7)
    await expect(within(Promise.reject(new Error('broken')), 1_000, late)).rejects.toThrow('broken')
  })

  it('is given up when it does not', async () => {
    const never = new Promise<never>(() => {})
    const began = performance.now()
    await expect(within(never, 20, late)).rejects.toThrow('late')
    expect(performance.now() - began).toBeGreaterThanOrEqual(19)
  })

  it('is waited for once more after a pause, and once only', async () => {
    const began = performance.now()
    const waited = within(new Promise<never>(() => {}), 20, late)
    const end = began + 200
    while (performance.now() < end);
    await expect(waited).rejects.toThrow('late')
    expect(performance.now() - began).toBeGreaterThanOrEqual(219)
  })

  it('counts when it is there before anybody could look, however late that was', async () => {
    const waited = within(stat('/'), 5, late)
    // The process does nothing for a while: the time is over when it goes on, and the answer is there.
    const end = performance.now() + 50
    while (performance.now() < end);
    expect((await waited).isDirectory()).toBe(true)
  })
})
