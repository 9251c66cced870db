/** Lives and windows of refresh tokens on a machine whose clock is stepped. */
import { setTimeout as pause } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import {
  addClient,
  addResource,
  ManualClock,
  type Reply,
  requestToken,
  startTestServer,
  type TestClient,
  type TestServer,
} from '../support/server.ts'

const hour = 3_600
const day = 24 * hour
const env = { MAYFLY_ISSUER: 'http://127.0.0.1:9' }

interface Machine {
  readonly clock: ManualClock
  start(): Promise<TestServer>
  begin(server: TestServer): Promise<unknown>
  refresh(server: TestServer, token: unknown): Promise<Reply>
}

/** A machine with one clock, on which processes are started and stopped. */
async function makeMachine(): Promise<Machine> {
  // Not behind the calendar of the installation, which was made now.
  const clock = new ManualClock(Date.now())
  let folder: string | undefined
  let client: TestClient | undefined
  const ask = (server: TestServer, form: Record<string, string>): Promise<Reply> =>
    requestToken(server, form, { authorization: client?.basic ?? '' })
  return {
    clock,
    start: async () => {
      const place = folder === undefined ? {} : { folder }
      const server = await startTestServer({ clock, env, keyTickMilliseconds: 10, ...place })
      if (folder === undefined) {
        folder = server.folder
        await addResource(server.store)
        client = await addClient(server.store, 'billing', { grantTypes: ['client_credentials', 'refresh_token'] })
      }
      return server
    },
    begin: async (server) => (await ask(server, { grant_type: 'client_credentials' })).json.refresh_token,
    refresh: (server, token) => ask(server, { grant_type: 'refresh_token', refresh_token: String(token) }),
  }
}

describe('a refresh token, when the clock steps', () => {
  it('I26 F15 is not revived by a clock that steps back, and by a restart after that', async () => {
    const { clock, start, begin, refresh } = await makeMachine()
    const server = await start()
    const token = await begin(server)
    clock.step(-hour)
    clock.advance(hour)
    expect((await refresh(server, token)).json.error).toBe('invalid_grant')
    await server.stop()
    const again = await start()
    expect((await refresh(again, token)).json.error).toBe('invalid_grant')
  })

  it('F15 has no window that is open again after a step forward, a step back and a restart', async () => {
    const { clock, start, begin, refresh } = await makeMachine()
    const server = await start()
    const token = await begin(server)
    clock.step(hour / 2)
    expect((await refresh(server, token)).status).toBe(200)
    clock.step(-hour / 2)
    clock.advance(59)
    expect((await refresh(server, token)).status).toBe(200)
    await server.stop()
    const again = await start()
    clock.advance(1)
    expect((await refresh(again, token)).json.error).toBe('invalid_grant')
    expect(await again.store.listAudit({ type: 'family.ended', limit: 1 })).toMatchObject([
      { reason: 'retry_too_late' },
    ])
  })

  it('F15 that was begun after a step forward and back is as good in a process that had nothing to do meanwhile', async () => {
    const { clock, start, begin, refresh } = await makeMachine()
    const [busy, idle] = [await start(), await start()]
    clock.step(30 * day)
    await begin(busy)
    await pause(100)
    clock.step(-30 * day)
    const token = await begin(idle)
    expect((await refresh(busy, token)).status).toBe(200)
  })

  it('RT-08 that was begun while the clock was ahead lives no longer for it', async () => {
    const { clock, start, begin, refresh } = await makeMachine()
    const server = await start()
    clock.step(30 * day)
    let token = await begin(server)
    clock.step(-30 * day)
    await server.stop()
    const again = await start()
    for (let i = 0; i < 25; i += 1) {
      clock.advance(hour - 1)
      token = (await refresh(again, token)).json.refresh_token ?? token
    }
    expect((await refresh(again, token)).json.error).toBe('invalid_grant')
  })
})
