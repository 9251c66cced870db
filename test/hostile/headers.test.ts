import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { canary, exchange, expectOrderly, patience, runs, seed, serverOfFile, shortLimits } from '../support/hostile.ts'
import { bytes, formType, frame, headerBytes } from './requests.ts'

const serverNow = serverOfFile({ limits: shortLimits })
const body = 'grant_type=client_credentials'

const knownNames = fc.constantFrom(
  'Host',
  'Authorization',
  'DPoP',
  'Content-Type',
  'Content-Encoding',
  'Connection',
  'Expect',
  'Upgrade',
  'X-Forwarded-For',
  'X-Forwarded-Host',
  'X-Forwarded-Proto',
  'Forwarded',
  'Origin',
  'If-None-Match',
  'Range',
  'TE',
  'Trailer',
  'X-Request-Id',
  'X-HTTP-Method-Override',
  'Cookie',
  '__proto__',
)

const name = fc.oneof(
  { weight: 6, arbitrary: knownNames },
  { weight: 2, arbitrary: fc.stringMatching(/^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,20}$/) },
)

const value = fc.oneof(
  headerBytes(40),
  fc.constantFrom('evil.test', 'x', '', canary, `Bearer ${canary}`, '100-continue', 'h2c', 'keep-alive', 'upgrade'),
  fc.constantFrom('127.0.0.1', '::ffff:127.0.0.1, 10.0.0.1', '"', '*', 'bytes=0-1', 'gzip', 'close, Host'),
  fc.integer({ min: 1, max: 17_000 }).map((length) => 'v'.repeat(length)),
)

const line = fc.oneof(
  { weight: 12, arbitrary: fc.tuple(name, value).map(([name, value]) => `${name}: ${value}`) },
  { weight: 1, arbitrary: fc.tuple(name, bytes(30)).map(([name, value]) => `${name}:${value}`) },
  { weight: 1, arbitrary: bytes(30) },
  { weight: 1, arbitrary: fc.constantFrom(' folded', '\tfolded', 'Host : x', ': x', 'X', 'X: a\0b', 'X: a\rb') },
)

const lines = fc.oneof(
  { weight: 9, arbitrary: fc.array(line, { maxLength: 5 }) },
  {
    weight: 1,
    arbitrary: fc.integer({ min: 1, max: 3_000 }).map((count) => Array.from({ length: count }, () => 'a:')),
  },
)

const single = ['host', 'authorization', 'content-type', 'dpop']

function repeats(lines: readonly string[]): boolean {
  const names = lines.map((line) => line.split(':')[0]?.toLowerCase() ?? '')
  return single.some((name) => names.filter((each) => each === name).length > 1)
}

describe('hostile headers', () => {
  it(`I21 C03 H07 H09 change nothing but who is refused (FC_SEED=${seed})`, patience, async () => {
    const server = serverNow()
    const seen = { issued: 0, refused: 0 }
    const property = fc.asyncProperty(lines, fc.boolean(), async (more, inFront) => {
      const good = ['Host: x', `Content-Type: ${formType}`, `Authorization: ${server.basic.basic}`]
      const all = inFront ? [...more, ...good] : [...good, ...more]
      const before = server.state()
      const sent = frame({ head: ['POST /token HTTP/1.1', ...all], body })
      const { replies } = await exchange(server.url, sent, { replies: 1 })
      const [reply] = replies
      if (reply === undefined) throw new Error('no reply')
      expectOrderly(reply)
      const issued = reply.status === 200
      expect(server.state()).toEqual({ ...before, issued: before.issued + Number(issued) })
      seen[issued ? 'issued' : 'refused'] += 1
      if (issued) {
        expect(repeats(all)).toBe(false)
        const token = JSON.parse(reply.body) as { access_token: string }
        expect(await server.verify(token.access_token)).toMatchObject({ sub: 'billing', iss: server.issuer })
      } else {
        await server.askHonestly()
      }
      expect(server.takeLog()).not.toContain(canary)
    })
    await fc.assert(property, runs(200))
    expect(Math.min(seen.issued, seen.refused)).toBeGreaterThan(20)
  })

  it(`H09 do not reach the metadata (FC_SEED=${seed})`, patience, async () => {
    const server = serverNow()
    const path = '/.well-known/oauth-authorization-server'
    const published = await (await fetch(`${server.url}${path}`)).text()
    const evil = fc.oneof(fc.constantFrom('evil.test', 'evil.test:443', 'a@b', '[::1', canary), headerBytes(30))
    const names = fc.constantFrom('X-Forwarded-Host', 'X-Forwarded-Proto', 'X-Forwarded-Prefix', 'Forwarded', 'X-Host')
    const property = fc.asyncProperty(evil, names, evil, async (host, name, value) => {
      const sent = `GET ${path} HTTP/1.1\r\nHost: ${host}\r\n${name}: ${value}\r\n\r\n`
      const { replies } = await exchange(server.url, sent, { replies: 1 })
      for (const reply of replies) {
        expectOrderly(reply)
        if (reply.status === 200) expect(reply.body).toBe(published)
        else expect(reply.status).toBe(400)
      }
      expect(replies).toHaveLength(1)
    })
    await fc.assert(property, runs(80))
  })
})
