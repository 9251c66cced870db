import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  canary,
  exchange,
  expectOrderly,
  type HostileReply,
  type HostileServer,
  patience,
  runs,
  seed,
  serverOfFile,
} from '../support/hostile.ts'
import { bytes, chunking, encodedText, formType, frame, headerBytes } from './requests.ts'

const serverNow = serverOfFile()

const contentType = fc.oneof(
  { weight: 8, arbitrary: fc.constant<string | undefined>(formType) },
  {
    weight: 1,
    arbitrary: fc.constantFrom(
      `${formType}; charset=utf-8`,
      `${formType};charset=utf-16`,
      `${formType}, ${formType}`,
      'APPLICATION/X-WWW-FORM-URLENCODED',
      'application/json',
      'multipart/form-data; boundary=x',
      'text/plain',
      undefined,
    ),
  },
  { weight: 1, arbitrary: headerBytes(40) },
)

const credentials = fc.constantFrom('basic', 'basic', 'basic', 'post', 'both', 'wrong', 'none')

const parameter = fc.tuple(
  fc.oneof(
    fc.constantFrom('grant_type', 'client_id', 'client_secret', 'scope', 'resource', 'audience', 'client_assertion'),
    encodedText,
  ),
  fc.oneof(
    fc.constantFrom('client_credentials', 'billing', 'poster', 'read', 'write', '', 'https%3A%2F%2Fapi.example.test'),
    encodedText,
    fc.integer({ min: 1, max: 70_000 }).map((length) => 'x'.repeat(length)),
  ),
)

const grant = 'grant_type=client_credentials'

const body = fc.oneof(
  { weight: 2, arbitrary: fc.constant(grant) },
  { weight: 2, arbitrary: bytes(200) },
  {
    weight: 6,
    arbitrary: fc.tuple(fc.boolean(), fc.array(parameter, { maxLength: 6 })).map(([honest, pairs]) => {
      const more = pairs.map(([name, value]) => `${name}=${value}`)
      return [...(honest ? [grant] : []), ...more].join('&')
    }),
  },
  { weight: 1, arbitrary: bytes(60).map((text) => `${grant}&${text}`) },
  {
    weight: 1,
    arbitrary: fc
      .integer({ min: 0, max: 150 })
      .map((count) => [grant, ...Array.from({ length: count }, (_, i) => `p${i}=${canary}`)].join('&')),
  },
)

const request = fc.record({ contentType, credentials, body, chunks: chunking })
type Request = typeof request extends fc.Arbitrary<infer T> ? T : never

function write({ basic, poster }: HostileServer, request: Request): { bytes: string; body: string } {
  const { credentials, contentType } = request
  const headers: string[] = contentType === undefined ? [] : [`Content-Type: ${contentType}`]
  if (credentials === 'basic' || credentials === 'both') headers.push(`Authorization: ${basic.basic}`)
  if (credentials === 'wrong') headers.push(`Authorization: Basic ${btoa(`billing:${canary}`)}`)
  const posted = credentials === 'post' || credentials === 'both'
  const body = posted ? `${request.body}&client_id=poster&client_secret=${poster.secret}` : request.body
  const head = ['POST /token HTTP/1.1', 'Host: x', ...headers]
  return { bytes: frame({ head, body, chunks: request.chunks }), body }
}

/**
 * Whether a reader that is not ours could take the form for one that asks for a token: what he would refuse must never
 * be given one.
 */
function isArguablyHonest({ contentType, credentials }: Request, body: string): boolean {
  const form = new URLSearchParams(body)
  const once = (name: string, value: string): boolean => form.getAll(name).join() === value
  const clientId = credentials === 'basic' ? 'billing' : 'poster'
  return (
    /^application\/x-www-form-urlencoded/i.test(contentType ?? '') &&
    (credentials === 'basic' || credentials === 'post') &&
    once('grant_type', 'client_credentials') &&
    [clientId, ''].includes(form.getAll('client_id').join()) &&
    (form.get('scope') ?? '').split(' ').every((scope) => ['read', 'write', ''].includes(scope)) &&
    form.getAll('resource').every((uri) => ['https://api.example.test', ''].includes(uri))
  )
}

async function expectToken(server: HostileServer, reply: HostileReply): Promise<void> {
  const { access_token: token, ...rest } = JSON.parse(reply.body) as Record<string, unknown>
  expect(rest).toMatchObject({ token_type: 'Bearer', expires_in: 300 })
  const claims = await server.verify(String(token))
  expect(['billing', 'poster']).toContain(claims.sub)
  for (const scope of String(claims.scope).split(' ')) expect(['read', 'write']).toContain(scope)
}

describe('a hostile form', () => {
  it(`I21 H01 H03 H04 gets a refusal, or a token that it asked for honestly (FC_SEED=${seed})`, patience, async () => {
    const server = serverNow()
    const seen = { issued: 0, refused: 0 }
    const property = fc.asyncProperty(request, async (request) => {
      const before = server.state()
      const { bytes: sent, body } = write(server, request)
      const { replies, rest } = await exchange(server.url, sent, { replies: 1 })
      const [reply] = replies
      if (reply === undefined) throw new Error('no reply')
      expect([replies.length, rest]).toEqual([1, ''])
      expectOrderly(reply)
      expect(reply.body).not.toContain(server.poster.secret)
      const issued = reply.status === 200
      expect(server.state()).toEqual({ ...before, issued: before.issued + Number(issued) })
      if (issued) {
        expect(isArguablyHonest(request, body)).toBe(true)
        await expectToken(server, reply)
      } else {
        expect(reply.status).toBeGreaterThanOrEqual(400)
        await server.askHonestly()
      }
      seen[issued ? 'issued' : 'refused'] += 1
      const log = server.takeLog()
      for (const secret of [canary, server.poster.secret, server.basic.secret]) expect(log).not.toContain(secret)
      expect(log).not.toContain('"fault"')
    })
    await fc.assert(property, runs(200))
    // Neither of the two ways was missed by all cases.
    expect(Math.min(seen.issued, seen.refused)).toBeGreaterThan(20)
  })

  it('takes the honest form in every framing', async () => {
    const server = serverNow()
    for (const chunks of [undefined, [], [1], [5, 9, 20]]) {
      const { bytes: sent } = write(server, { contentType: formType, credentials: 'post', body: grant, chunks })
      const { replies } = await exchange(server.url, sent, { replies: 1 })
      expect(replies.map(({ status }) => status)).toEqual([200])
    }
  })
})
