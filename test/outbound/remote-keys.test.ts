import type { RequestListener } from 'node:http'
import { describe, expect, it } from 'vitest'
import { type FetchOutcome, maxSources, parseKeySet, RemoteKeys } from '../../src/outbound/remote-keys.ts'
import { ManualClock } from '../support/clock.ts'
import { failureOf, fetcherTo, json, keysUrl, startOutside } from '../support/outside.ts'

interface Key {
  readonly name: string
  readonly kty: string
}

/** Stands for a parser of keys: whoever has a private part is none. */
function parseKey(member: unknown): Key | undefined {
  const { kid, kty, d } = member as { kid?: string; kty?: string; d?: string }
  return kty === undefined || kid === undefined || d !== undefined ? undefined : { kty, name: kid }
}

const ec = (kid: string) => ({ kty: 'EC', kid })
const setOf = (...kids: string[]) => ({ keys: kids.map(ec) })
const named =
  (kid: string) =>
  (key: Key): boolean =>
    key.name === kid

const day = 24 * 3_600

async function start(first: RequestListener = json(setOf('a'))) {
  let answer = first
  const clock = new ManualClock()
  const outcomes: FetchOutcome[] = []
  const outside = await startOutside((request, response) => answer(request, response))
  const keys = new RemoteKeys<Key>({
    fetcher: fetcherTo(outside, { deadlineMilliseconds: 2_000 }),
    clock,
    parseKey,
    onFetch: (outcome) => outcomes.push(outcome),
  })
  return {
    clock,
    outside,
    outcomes,
    keys,
    publish: (next: RequestListener) => {
      answer = next
    },
    find: async (kid: string, url = keysUrl) => (await keys.find(url, named(kid))).map((key) => key.name),
    fetches: () => outside.requests.length,
  }
}

const down: RequestListener = (_request, response) => void response.writeHead(503).end()

describe('remote keys', () => {
  it('are fetched once, and then used for as long as the source said', async () => {
    const { clock, find, fetches } = await start(json(setOf('a'), { 'cache-control': 'public, max-age=600' }))
    expect(await find('a')).toEqual(['a'])
    clock.advance(599)
    expect(await find('a')).toEqual(['a'])
    expect(fetches()).toBe(1)
    clock.advance(1)
    expect(await find('a')).toEqual(['a'])
    expect(fetches()).toBe(2)
  })

  it.each([
    [undefined, 300],
    ['public', 300],
    ['max-age=x', 300],
    ['s-maxage=900', 300],
    ['max-age=600', 600],
    ['Max-Age="600"', 600],
    ['max-age=0', 60],
    ['max-age=600, no-cache', 60],
    ['no-store', 60],
    ['max-age=3600', 3_600],
    ['max-age=31536000', 3_600],
    ['max-age=99999999999', 300],
  ])('are fresh, with Cache-Control: %s, for %i s', async (cacheControl, seconds) => {
    const headers: Record<string, string> = cacheControl === undefined ? {} : { 'cache-control': cacheControl }
    const { clock, find, fetches } = await start(json(setOf('a'), headers))
    await find('a')
    clock.advance(seconds - 1)
    await find('a')
    expect(fetches()).toBe(1)
    clock.advance(1)
    await find('a')
    expect(fetches()).toBe(2)
  })

  it('are replaced, not merged: a key that was withdrawn is not believed', async () => {
    const { clock, find, publish } = await start(json(setOf('a', 'b')))
    expect(await find('a')).toEqual(['a'])
    publish(json(setOf('b', 'c')))
    clock.advance(300)
    expect(await find('c')).toEqual(['c'])
    expect(await find('a')).toEqual([])
    expect(await find('b')).toEqual(['b'])
  })

  it('are none when the source publishes none', async () => {
    const { clock, find, publish } = await start()
    expect(await find('a')).toEqual(['a'])
    publish(json({ keys: [] }))
    clock.advance(300)
    expect(await find('a')).toEqual([])
  })

  it('are fetched by one request for all who want them at the same time', async () => {
    const { keys, fetches } = await start()
    const all = await Promise.all(Array.from({ length: 50 }, () => keys.find(keysUrl, named('a'))))
    expect(all.every((found) => found.length === 1)).toBe(true)
    expect(fetches()).toBe(1)
  })

  it('are asked for again when one is not among them: a rollover needs no waiting', async () => {
    const { clock, find, publish, fetches } = await start()
    await find('a')
    publish(json(setOf('a', 'b')))
    clock.advance(30)
    expect(await find('b')).toEqual(['b'])
    expect(fetches()).toBe(2)
  })

  it('S07 are asked for once in 30 s, however many unknown keys are named', async () => {
    const { clock, find, fetches } = await start()
    await find('a')
    for (let i = 0; i < 5_000; i += 1) expect(await find(`x${i}`)).toEqual([])
    expect(fetches()).toBe(1)
    clock.advance(29)
    await find('x')
    expect(fetches()).toBe(1)
    clock.advance(1)
    await Promise.all(Array.from({ length: 5_000 }, (_, i) => find(`y${i}`)))
    expect(fetches()).toBe(2)
    expect(await find('a')).toEqual(['a'])
  })

  it('S07 of one URL do not suffer from those of another', async () => {
    const { find, fetches } = await start()
    await find('x')
    await find('x')
    expect(await find('a', 'https://keys.example.test/other.json')).toEqual(['a'])
    expect(fetches()).toBe(2)
  })

  it('F28 are the last good ones while the source is down, for a day', async () => {
    const { clock, find, publish, outcomes, fetches } = await start()
    await find('a')
    publish(down)
    clock.advance(300)
    expect(await find('a')).toEqual(['a'])
    expect(outcomes).toEqual(['fetched', 'status'])
    expect(await find('a')).toEqual(['a'])
    expect(fetches()).toBe(2)
    clock.advance(day - 301)
    expect(await find('a')).toEqual(['a'])
    // One that cannot go on without it waits for the request that is under way.
    expect(await find('x')).toEqual([])
    expect(fetches()).toBe(3)
    clock.advance(5)
    expect(await failureOf(find('a'))).toBe('status')
    publish(json(setOf('b')))
    clock.advance(5)
    expect(await find('b')).toEqual(['b'])
    expect(await find('a')).toEqual([])
  })

  it('F44 do not wait for a source that was down, and are new again soon after it is back', async () => {
    const { clock, find, publish, outside } = await start()
    await find('a')
    publish(down)
    clock.advance(300)
    await find('a')
    const held = Promise.withResolvers<void>()
    publish(async (request, response) => {
      await held.promise
      json(setOf('b'))(request, response)
    })
    clock.advance(30)
    const arrived = outside.nextRequest()
    for (let i = 0; i < 20; i += 1) expect(await find('a')).toEqual(['a'])
    await arrived
    held.resolve()
    expect(await find('b')).toEqual(['b'])
    expect(await find('a')).toEqual([])
    expect(outside.requests).toHaveLength(3)
  })

  it.each([
    ['text', 'x'],
    ['a list', []],
    ['no keys', {}],
    ['keys that are no list', { keys: {} }],
    ['null', null],
    ['too many', { keys: Array.from({ length: 51 }, (_, i) => ec(`k${i}`)) }],
  ])('are the last good ones while the source has a document that is no key set: %s', async (_name, document) => {
    const { clock, find, publish, fetches } = await start()
    await find('a')
    publish(json(document))
    clock.advance(300)
    expect(await find('a')).toEqual(['a'])
    expect(fetches()).toBe(2)
  })

  it('are not to be had when there never was a set, and the source is asked again soon', async () => {
    const { clock, find, publish, fetches } = await start(down)
    expect(await failureOf(find('a'))).toBe('status')
    expect(await failureOf(find('a'))).toBe('status')
    expect(fetches()).toBe(1)
    publish(json(setOf('a')))
    clock.advance(4)
    expect(await failureOf(find('a'))).toBe('status')
    clock.advance(1)
    expect(await find('a')).toEqual(['a'])
  })

  it('grow old by either clock', async () => {
    const { clock, find, fetches } = await start()
    await find('a')
    // The machine slept: no monotonic time went by.
    clock.step(300)
    await find('a')
    expect(fetches()).toBe(2)
    // The clock was set back.
    clock.step(-100_000)
    clock.advance(300)
    await find('a')
    expect(fetches()).toBe(3)
  })

  it('are kept for so many URLs and no more', async () => {
    const document = JSON.stringify(setOf('a'))
    const fetched: string[] = []
    const fetcher = {
      fetch: async (url: string) => {
        fetched.push(url)
        return { text: document, cacheControl: undefined }
      },
    }
    const keys = new RemoteKeys<Key>({ fetcher, clock: new ManualClock(), parseKey })
    for (let i = 0; i <= maxSources; i += 1) await keys.find(`https://k${i}.test/`, named('a'))
    await keys.find(`https://k${maxSources}.test/`, named('a'))
    expect(fetched).toHaveLength(maxSources + 1)
    await keys.find('https://k0.test/', named('a'))
    expect(fetched).toHaveLength(maxSources + 2)
  })

  it('pass on what is no failure of a source', async () => {
    const broken = { fetch: () => Promise.reject(new TypeError('bug')) }
    const keys = new RemoteKeys<Key>({ fetcher: broken, clock: new ManualClock(), parseKey })
    await expect(keys.find(keysUrl, named('a'))).rejects.toThrow(TypeError)
  })
})

describe('a key set', () => {
  const names = (document: unknown) => parseKeySet(JSON.stringify(document), parseKey).map(({ name }) => name)

  it('has the keys that are usable, and those alone', () => {
    const members = [ec('a'), { kty: 'EC', kid: 'private', d: 'x' }, { kid: 'unknown' }, {}, { kty: 'RSA', kid: 'b' }]
    expect(names({ keys: members })).toEqual(['a', 'b'])
  })

  it('J12 has none of those that share a name, whatever their type', () => {
    expect(names({ keys: [ec('a'), { kty: 'RSA', kid: 'a' }, ec('b')] })).toEqual(['b'])
    expect(names({ keys: [ec('a'), ec('a')] })).toEqual([])
  })

  it('TLS-04 has one key several times, each with a certificate: the old one and the renewed', () => {
    const member = (kid: string, identity: string) => ({ kid, identity })
    const parse = (value: unknown) => {
      const { kid, identity } = value as ReturnType<typeof member>
      return { name: kid, identity }
    }
    const read = (...keys: object[]) => parseKeySet(JSON.stringify({ keys }), parse).map(({ name }) => name)
    expect(read(member('a', 'one'), member('a', 'one'), member('b', 'two'))).toEqual(['a', 'a', 'b'])
    expect(read(member('a', 'one'), member('a', 'two'), member('b', 'two'))).toEqual(['b'])
  })

  it('JA-17 is none when a name stands in it twice', () => {
    const text = '{"keys":[{"kty":"EC","kid":"a","kid":"b"}]}'
    expect(() => parseKeySet(text, parseKey)).toThrow('malformed')
  })

  it('has at most 50', () => {
    const keys = Array.from({ length: 50 }, (_, i) => ec(`k${i}`))
    expect(names({ keys })).toHaveLength(50)
  })
})
