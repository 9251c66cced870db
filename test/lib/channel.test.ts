import { describe, expect, it } from 'vitest'
import { Channel, NoAnswer } from '../../src/lib/channel.ts'

interface Talk extends Record<string, readonly [unknown, unknown]> {
  readonly double: readonly [number, number]
  readonly news: readonly [string, null]
}

/** Two ends, with messages as JSON makes them. `isCut` loses what is sent. */
function connect() {
  const line = { isCut: false }
  const carry = (to: () => Channel<Talk, Talk>) => (message: object) => {
    if (!line.isCut) to().receive(JSON.parse(JSON.stringify(message)))
  }
  const one: Channel<Talk, Talk> = new Channel(carry(() => other))
  const other: Channel<Talk, Talk> = new Channel(carry(() => one))
  return { one, other, line }
}

describe('a channel', () => {
  it('answers many questions at once, each with its own answer', async () => {
    const { one, other } = connect()
    const gates = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
    other.on('double', async (n) => {
      await gates[n]?.promise
      return 2 * n
    })
    const asked = [one.ask('double', 0, 1_000), one.ask('double', 1, 1_000)]
    gates[1]?.resolve()
    expect(await asked[1]).toBe(2)
    gates[0]?.resolve()
    expect(await asked[0]).toBe(0)
  })

  it('asks in both directions, and tells without an answer', async () => {
    const { one, other } = connect()
    const heard: string[] = []
    one.on('double', (n) => n * 2)
    other.on('news', (text) => {
      heard.push(text)
      return null
    })
    one.tell('news', 'it rains')
    expect(await other.ask('double', 21, 1_000)).toBe(42)
    expect(heard).toEqual(['it rains'])
  })

  it('does not wait for ever for one that is silent', async () => {
    const { one, line } = connect()
    line.isCut = true
    await expect(one.ask('double', 1, 5)).rejects.toThrow(NoAnswer)
  })

  it('fails for those who wait when the other end is gone, and for those who come then', async () => {
    const { one, line } = connect()
    line.isCut = true
    const waiting = one.ask('double', 1, 60_000)
    one.close()
    await expect(waiting).rejects.toThrow('the other end is gone')
    await expect(one.ask('double', 1, 60_000)).rejects.toThrow('the other end is gone')
  })

  it('believes nothing that comes after the end', () => {
    const { one, other } = connect()
    const heard: string[] = []
    one.on('news', (text) => {
      heard.push(text)
      return null
    })
    one.close()
    other.tell('news', 'it rains')
    expect(heard).toEqual([])
  })

  it('says that the other end failed, without what it failed of', async () => {
    const { one, other } = connect()
    other.on('double', () => {
      throw new Error('a secret')
    })
    const error = await one.ask('double', 1, 1_000).catch((found: unknown) => found)
    expect(String(error)).toBe('NoAnswer: no answer to double: it failed')
  })

  it('ignores what is none of its messages, answers nobody asked for, and subjects nobody takes', async () => {
    const { one, other } = connect()
    for (const message of [null, 'x', 7, [], {}, { subject: 'unknown', id: 1 }, { to: 99, body: 1 }, { cmd: 'NODE_X' }])
      other.receive(message)
    other.on('double', (n) => n * 2)
    expect(await one.ask('double', 4, 1_000)).toBe(8)
  })
})
