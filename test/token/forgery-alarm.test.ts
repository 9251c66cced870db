import { hash } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import type { AuditEvent } from '../../src/audit/event.ts'
import { ForgeryAlarm } from '../../src/token/forgery-alarm.ts'

const origin = { requestId: 'req_x', address: '192.0.2.1' } as const
const told = 'forged token: somebody else may hold the signing key; docs/forged-token.md says what to do'

function start() {
  const events: AuditEvent[] = []
  const lines: [fields: object, message: string][] = []
  const write = (fields: object, message: string): void => void lines.push([fields, message])
  const state = { fails: false, counted: 0 }
  const alarm = new ForgeryAlarm({
    audit: {
      recordRefusal: async (event) => {
        if (state.fails) throw new Error('no store')
        events.push(event)
      },
    },
    log: { debug: write, info: write, warn: write, error: write },
    onForged: () => {
      state.counted += 1
    },
  })
  const raise = (kid: string, token = 'a.b.c') => alarm.raise({ token, kid, fault: 'unrecorded' }, origin)
  return { events, lines, state, raise }
}

describe('the alarm about forged tokens', () => {
  it('tells where the token came from and of which key it is, and never what it was', async () => {
    const { events, lines, raise } = start()
    await raise('k1', 'header.payload.signature')
    const sha256 = hash('sha256', 'header.payload.signature', 'hex').slice(0, 12)
    expect(events).toEqual([
      { type: 'token.forged', kid: 'k1', detail: { fault: 'unrecorded', tokenSha256: sha256 }, ...origin },
    ])
    const fields = { request_id: 'req_x', address: '192.0.2.1', kid: 'k1', fault: 'unrecorded', token_sha256: sha256 }
    expect(lines).toEqual([[fields, told]])
    expect(JSON.stringify([events, lines])).not.toContain('payload')
  })

  it('counts each token, and tells of each key once', async () => {
    const { events, lines, state, raise } = start()
    for (const kid of ['k1', 'k1', 'k2', 'k1', 'k2']) await raise(kid)
    expect(state.counted).toBe(5)
    expect(events.map((event) => 'kid' in event && event.kid)).toEqual(['k1', 'k2'])
    expect(lines).toHaveLength(2)
  })

  it('tells once of those that come at the same time', async () => {
    const { events, state, raise } = start()
    await Promise.all(Array.from({ length: 10 }, () => raise('k1')))
    expect([events.length, state.counted]).toEqual([1, 10])
  })

  it('never fails: what could not be recorded stands in the log, and the next token is told of again', async () => {
    const { events, lines, state, raise } = start()
    state.fails = true
    await expect(raise('k1')).resolves.toBeUndefined()
    expect(events).toEqual([])
    expect(lines.map(([, message]) => message)).toEqual([told, 'forged token not recorded'])
    expect(lines[1]?.[0]).toMatchObject({ request_id: 'req_x', err: { message: 'no store' } })
    state.fails = false
    await raise('k1')
    await raise('k1')
    expect(events).toHaveLength(1)
  })
})
