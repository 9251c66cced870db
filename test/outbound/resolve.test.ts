import { lookup } from 'node:dns/promises'
import { expect, it, vi } from 'vitest'
import { DocumentFetcher } from '../../src/outbound/document-fetcher.ts'
import { failureOf, json, keysHost, keysUrl, startOutside, testRoot } from '../support/outside.ts'

vi.mock('node:dns/promises', () => ({ lookup: vi.fn() }))

it('S01 asks the machine\u2019s resolver once, for all addresses, and goes to none of a name that leads inside', async () => {
  const outside = await startOutside(json({ keys: [] }))
  const addresses = [
    { address: '1.1.1.1', family: 4 },
    { address: '127.0.0.1', family: 4 },
  ]
  vi.mocked(lookup).mockResolvedValue(addresses as never)
  const fetcher = new DocumentFetcher({ ca: testRoot().certificate, dialPort: outside.port })
  expect(await failureOf(fetcher.fetch(keysUrl))).toBe('address_refused')
  expect(vi.mocked(lookup).mock.calls).toEqual([[keysHost, { all: true, order: 'verbatim' }]])
  expect(outside.connections()).toBe(0)
})
