import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  canary,
  exchange,
  expectOrderly,
  type HostileServer,
  patience,
  runs,
  seed,
  serverOfFile,
  shortLimits,
} from '../support/hostile.ts'
import { bytes, encodedText } from './requests.ts'

const serverNow = serverOfFile({ limits: shortLimits })

const published = [
  '/token',
  '/.well-known/jwks.json',
  '/.well-known/oauth-authorization-server',
  '/.well-known/openid-configuration',
  '/authorize',
  '/livez',
  '/readyz',
  '/metrics',
]

const method = fc.oneof(
  { weight: 5, arbitrary: fc.constantFrom('GET', 'HEAD', 'POST', 'OPTIONS') },
  { weight: 3, arbitrary: fc.constantFrom('PUT', 'DELETE', 'PATCH', 'TRACE', 'QUERY', 'PROPFIND', 'M-SEARCH', 'PRI') },
  { weight: 1, arbitrary: fc.stringMatching(/^[A-Za-z!#$]{1,12}$/) },
)

const target = fc.oneof(
  { weight: 4, arbitrary: fc.constantFrom(...published) },
  {
    weight: 4,
    arbitrary: fc
      .tuple(fc.constantFrom(...published, '', '/'), encodedText, fc.constantFrom('', '/', '?', '#', '/..', ';', '//'))
      .map(([path, text, mark]) => `${path}${mark}${text}`),
  },
  {
    weight: 3,
    arbitrary: fc
      .tuple(
        fc.constantFrom('http://', 'https://', 'HTTP://', 'ftp://', '//', 'javascript:'),
        fc.constantFrom('evil.test', 'u:p@evil.test', '[::1]', '[', '', 'evil.test:99999', 'a b'),
        fc.constantFrom(...published, ''),
      )
      .map((parts) => parts.join('')),
  },
  { weight: 1, arbitrary: fc.constantFrom('*', '', 'evil.test:443', '/../token', '/%2e%2e/token', '/%74oken') },
  { weight: 1, arbitrary: bytes(40) },
  { weight: 1, arbitrary: fc.integer({ min: 1, max: 20_000 }).map((length) => `/${'p'.repeat(length)}`) },
)

/** The path of a target, as it was sent. */
function pathOf(target: string): string {
  return target.replace(/^https?:\/\/[^/?#]*/i, '').replace(/\?.*$/s, '')
}

async function readDocuments(server: HostileServer): Promise<Map<string, string>> {
  const documents = new Map<string, string>()
  for (const path of published.slice(1, 4)) {
    documents.set(path, await (await fetch(`${server.url}${path}`)).text())
  }
  return documents
}

describe('hostile targets and methods', () => {
  it(`H02 H07 H15 reach what is published by its own spelling, or nothing (FC_SEED=${seed})`, patience, async () => {
    const server = serverNow()
    const documents = await readDocuments(server)
    const before = server.state()
    let found = 0
    const expectFound = (method: string, target: string, body: string): void => {
      expect(published).toContain(pathOf(target))
      if (method === 'GET') expect(documents.get(pathOf(target)) ?? body).toBe(body)
      found += 1
    }
    const version = fc.constantFrom('HTTP/1.1', 'HTTP/1.0')
    const property = fc.asyncProperty(method, target, version, async (method, target, version) => {
      const bodiless = method === 'HEAD'
      const head = [`${method} ${target} ${version}`, 'Host: x', `X-Canary: ${canary}`, 'Connection: close', '', '']
      const { replies, rest } = await exchange(server.url, head.join('\r\n'), { bodiless })
      // What could not be parsed has no method yet: its refusal has a body, also where HEAD was meant.
      expect([replies.length, bodiless ? rest.replace(/^\{.*\}$/, '') : rest]).toEqual([1, ''])
      for (const reply of replies) {
        expectOrderly(reply, bodiless)
        if (reply.status < 400) expectFound(method, target, reply.body)
      }
      expect(server.takeLog()).not.toContain(canary)
    })
    await fc.assert(property, runs(300))
    expect(found).toBeGreaterThan(20)
    expect(server.state()).toEqual(before)
    await server.askHonestly()
  })
})
