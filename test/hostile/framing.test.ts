import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  exchange,
  expectOrderly,
  type HostileServer,
  patience,
  runs,
  seed,
  serverOfFile,
  shortLimits,
} from '../support/hostile.ts'
import { bytes, formType, frame } from './requests.ts'

const serverNow = serverOfFile({ limits: shortLimits })
const body = 'grant_type=client_credentials'

const framing = fc.array(
  fc.oneof(
    fc.constantFrom('Transfer-Encoding: chunked', 'Content-Length: 29', 'Content-Length: 0', 'Content-Length: 5'),
    fc.constantFrom(
      'Content-Length: 029',
      'Content-Length: +29',
      'Content-Length: 29, 29',
      'Content-Length: 2 9',
      'Content-Length: -1',
      'Content-Length: 0x1d',
      'Content-Length: 99999999999999999999',
      'Content-Length: 200',
      'Content-Length:',
      'Content-Length : 29',
      'Content-Length:\t29',
    ),
    fc.constantFrom(
      'Transfer-Encoding: CHUNKED',
      'Transfer-Encoding: xchunked',
      'Transfer-Encoding: identity',
      'Transfer-Encoding: gzip, chunked',
      'Transfer-Encoding: chunked, identity',
      'Transfer-Encoding:\x0bchunked',
      'Transfer-Encoding : chunked',
      'X: y\nTransfer-Encoding: chunked',
      ' Transfer-Encoding: chunked',
    ),
  ),
  { minLength: 1, maxLength: 3 },
)

const payload = fc.oneof(
  fc.constantFrom(body, `1d\r\n${body}\r\n0\r\n\r\n`, `1D;x=y\r\n${body}\r\n0\r\nX: y\r\n\r\n`, '0\r\n\r\n', ''),
  fc.constantFrom(
    `1d\n${body}\n0\n\n`,
    `+1d\r\n${body}\r\n0\r\n\r\n`,
    `0x1d\r\n${body}\r\n0\r\n\r\n`,
    'fffffffffffffffff\r\n',
  ),
  fc.integer({ min: 1, max: 20_000 }).map((length) => `1d;${'x'.repeat(length)}\r\n${body}\r\n0\r\n\r\n`),
  bytes(60),
)

/** Whether two readers could disagree where the body ends (RFC 9112 section 6). */
function isAmbiguous(lines: readonly string[]): boolean {
  const plain = lines.every((line) =>
    /^(?:Content-Length:[ \t]*[0-9]+|Transfer-Encoding: (?:gzip, )?chunked)$/i.test(line),
  )
  return !plain || lines.length > 1
}

interface Framing {
  readonly framing: readonly string[]
  readonly payload: string
  /** Whether a good request follows, as whoever smuggles one would write it. */
  readonly behind: boolean
}

/** Sends one and looks at what came back. Resolves with how many tokens there were in it. */
async function attempt(server: HostileServer, request: Framing): Promise<number> {
  const good = ['POST /token HTTP/1.1', 'Host: x', `Content-Type: ${formType}`, `Authorization: ${server.basic.basic}`]
  const sent = [...good, ...request.framing, '', request.payload].join('\r\n')
  const { replies, rest } = await exchange(server.url, sent + (request.behind ? frame({ head: good, body }) : ''))
  for (const reply of replies) expectOrderly(reply)
  const shown = JSON.stringify(request)
  expect(rest, shown).toBe('')
  const issued = replies.filter(({ status }) => status === 200).length
  if (isAmbiguous(request.framing)) expect(issued, shown).toBe(0)
  if (request.framing.some((line) => line.includes('gzip'))) expect(replies[0]?.status, shown).toBe(400)
  return issued
}

describe('hostile framing', () => {
  it(`H07 gets no token when two readers could see different ends (FC_SEED=${seed})`, patience, async () => {
    const server = serverNow()
    let found = 0
    const request = fc.record({ framing, payload, behind: fc.boolean() })
    // Many at a time: one that never ends is ended by the server only after a while.
    const property = fc.asyncProperty(fc.array(request, { minLength: 20, maxLength: 40 }), async (requests) => {
      const before = server.state()
      const tokens = await Promise.all(requests.map((request) => attempt(server, request)))
      const issued = tokens.reduce((sum, each) => sum + each, 0)
      expect(server.state()).toEqual({ ...before, issued: before.issued + issued })
      found += issued
      await server.askHonestly()
    })
    await fc.assert(property, runs(8))
    expect(found).toBeGreaterThan(5)
  })

  it('H07 does nothing without an answer that is asked for behind a request whose refusal closes the connection', async () => {
    const server = serverNow()
    const before = server.state()
    const coded = { framing: ['Transfer-Encoding: gzip, chunked'], behind: true }
    const ask = (length: number): Promise<number> =>
      attempt(server, { ...coded, payload: `1d;${'x'.repeat(length)}\r\n${body}\r\n0\r\n\r\n` })
    // Refusals that come so fast are no longer recorded one by one: they are answered before the rest of a body has come.
    let answered = 0
    for (const [times, length] of [
      [60, 10],
      [30, 14_800],
    ] as const) {
      const counts = await Promise.all(Array.from({ length: times }, () => ask(length)))
      answered += counts.reduce((sum, each) => sum + each, 0)
    }
    expect(server.state()).toEqual({ ...before, issued: before.issued + answered })
  })

  it('H07 refuses a body in a coding that is not undone here', async () => {
    const server = serverNow()
    const before = server.state()
    for (const coding of ['gzip, chunked', 'identity, chunked', 'chunked, chunked']) {
      const payload = `1d\r\n${body}\r\n0\r\n\r\n`
      expect(await attempt(server, { framing: [`Transfer-Encoding: ${coding}`], payload, behind: false })).toBe(0)
    }
    expect(server.state()).toEqual(before)
  })
})
