/** Refresh requests that are held up between the look at their ticket and what follows from it. */
import { setTimeout as pause } from 'node:timers/promises'
import Database from 'better-sqlite3'
import { describe, expect, it } from 'vitest'
import { createGate, gatedSigners } from '../support/gate.ts'
import {
  addClient,
  addResource,
  claimsOf,
  ManualClock,
  type Reply,
  requestToken,
  startTestServer,
  type TestServer,
} from '../support/server.ts'

interface Setting {
  readonly server: TestServer
  readonly clock: ManualClock
  begin(): Promise<Reply>
  refresh(token: unknown): Promise<Reply>
  /** Sends a request that waits before its signature until it is let go; those that follow do not wait. */
  hold(token: unknown): Promise<{ finish(): Promise<Reply> }>
}

async function start(): Promise<Setting> {
  // Not behind the calendar of the installation, which was made now.
  const clock = new ManualClock(Date.now())
  const signers = gatedSigners()
  const server = await startTestServer({ clock, signerHook: signers.hook })
  await addResource(server.store)
  const client = await addClient(server.store, 'billing', { grantTypes: ['client_credentials', 'refresh_token'] })
  const headers = { authorization: client.basic }
  const refresh = (token: unknown): Promise<Reply> =>
    requestToken(server, { grant_type: 'refresh_token', refresh_token: String(token) }, headers)
  return {
    server,
    clock,
    begin: () => requestToken(server, { grant_type: 'client_credentials' }, headers),
    refresh,
    hold: async (token) => {
      const gate = createGate()
      signers.hold(gate)
      const pending = refresh(token)
      await gate.arrived
      signers.hold(undefined)
      return {
        finish: () => {
          gate.open()
          return pending
        },
      }
    },
  }
}

const invalidGrant = { error: 'invalid_grant', error_description: 'the refresh token is not valid' }

describe('a refresh request that is held up', () => {
  it('I3 ends nothing when its client has asked again and gone on meanwhile', async () => {
    const { server, begin, refresh, hold } = await start()
    const { json } = await begin()
    const held = await hold(json.refresh_token)
    const second = await refresh(json.refresh_token)
    const third = await refresh(second.json.refresh_token)
    expect((await held.finish()).json).toEqual(invalidGrant)
    expect(await server.store.listAudit({ type: 'family.ended', limit: 1 })).toEqual([])
    expect((await refresh(third.json.refresh_token)).status).toBe(200)
  })

  it('I3 ends nothing when its client has asked again and the window is over since', async () => {
    const { server, clock, begin, refresh, hold } = await start()
    const { json } = await begin()
    const held = await hold(json.refresh_token)
    const second = await refresh(json.refresh_token)
    clock.advance(60)
    expect((await held.finish()).json).toEqual(invalidGrant)
    expect(await server.store.listAudit({ type: 'family.ended', limit: 1 })).toEqual([])
    expect((await refresh(second.json.refresh_token)).status).toBe(200)
  })

  it('I3 ends nothing when it is a retry and the window is over since', async () => {
    const { server, clock, begin, refresh, hold } = await start()
    const { json } = await begin()
    const second = await refresh(json.refresh_token)
    clock.advance(59)
    const held = await hold(json.refresh_token)
    clock.advance(1)
    expect((await held.finish()).json).toEqual(invalidGrant)
    expect(await server.store.listAudit({ type: 'family.ended', limit: 1 })).toEqual([])
    expect((await refresh(second.json.refresh_token)).status).toBe(200)
  })

  it('RT-03 can be sent again for the whole window from its use on', async () => {
    const { clock, begin, refresh, hold } = await start()
    const { json } = await begin()
    const held = await hold(json.refresh_token)
    clock.advance(70)
    const used = await held.finish()
    clock.advance(59)
    const again = await refresh(json.refresh_token)
    expect(again.status).toBe(200)
    expect(again.json.refresh_token).toBe(used.json.refresh_token)
  })

  it('RT-02 ends its family as ever when it comes with a ticket that was no good when it came', async () => {
    const { server, begin, refresh, hold } = await start()
    const first = await begin()
    const second = await refresh(first.json.refresh_token)
    const third = await refresh(second.json.refresh_token)
    const held = await hold(third.json.refresh_token)
    expect((await refresh(first.json.refresh_token)).json).toEqual(invalidGrant)
    expect((await held.finish()).json).toEqual(invalidGrant)
    expect(await server.store.listAudit({ type: 'family.ended', limit: 5 })).toMatchObject([
      { reason: 'reused', familyId: claimsOf(String(first.json.access_token)).sid },
    ])
  })

  it('RT-02 ends its family although that is used while the end waits for the store', async () => {
    const { server, begin, refresh } = await start()
    const first = await begin()
    const second = await refresh(first.json.refresh_token)
    const third = await refresh(second.json.refresh_token)
    const other = new Database(server.settings.databasePath)
    other.exec('BEGIN IMMEDIATE')
    const reuse = refresh(first.json.refresh_token)
    // So long it has looked at the family, and tries to write.
    await pause(200)
    other.prepare('UPDATE refresh_family SET generation = generation + 1').run()
    other.exec('COMMIT')
    other.close()
    expect((await reuse).json).toEqual(invalidGrant)
    expect(await server.store.listAudit({ type: 'family.ended', limit: 5 })).toMatchObject([{ reason: 'reused' }])
    expect((await refresh(third.json.refresh_token)).json).toEqual(invalidGrant)
  })
})
