/**
 * Nodes in processes of their own on one PostgreSQL. `REFRESH_ROUNDS=1000` and `IN_DOUBT_ROUNDS=300` for the long runs.
 */
import { describe, expect, it } from 'vitest'
import { systemClock } from '../../src/lib/clock.ts'
import { pause } from '../../src/lib/pause.ts'
import { serveFleet, startFleet } from '../support/fleet.ts'
import { usePostgres } from '../support/postgres.ts'
import { mayflyJson } from '../support/process.ts'
import { ReplyDropper } from '../support/reply-dropper.ts'
import { createRandom, repetitions, seed } from '../support/seed.ts'
import { addClient, api, claimsOf, headerOf, type Reply, request, requestToken } from '../support/server.ts'

const postgres = usePostgres()
const rounds = repetitions('REFRESH_ROUNDS', 8)
const doubts = repetitions('IN_DOUBT_ROUNDS', 12)
const many = 32
const grant = { grant_type: 'client_credentials' }

describe('a refresh token that 32 present at once', () => {
  it.each([[2, [{}, {}]] as const, [3, [{}, {}, {}]] as const])(
    `G05 I1 to %d nodes has one successor, for all of them, in each of ${rounds} rounds`,
    {
      timeout: 60_000 + rounds * 2_000,
    },
    async (count, each) => {
      const { nodes, store } = await serveFleet(postgres(), each)
      expect(nodes).toHaveLength(count)
      const begun = await nodes[0].begin()
      const familyId = String(claimsOf(begun.accessToken).sid)
      let current = begun.refreshToken
      for (let round = 1; round <= rounds; round += 1) {
        const presented = Array.from({ length: many }, (_, i) => (nodes[i % count] ?? nodes[0]).refresh(current))
        const replies = await Promise.all(presented)
        expect(new Set(replies.map(({ status }) => status)), `round ${round}`).toEqual(new Set([200]))
        const successors = new Set(replies.map(({ json }) => String(json.refresh_token)))
        expect(successors.size, `round ${round}`).toBe(1)
        current = [...successors][0] ?? ''
        expect((await store.findFamily(familyId))?.generation).toBe(round)
      }
      expect(await store.listAudit({ type: 'family.ended', limit: 1 })).toEqual([])
    },
  )
})

describe('F20 a node whose answers from PostgreSQL are lost', () => {
  it(`I1 I3 takes nobody for a thief and forks nothing, ${doubts} times (seed ${seed})`, {
    timeout: 60_000 + doubts * 3_000,
  }, async () => {
    const random = createRandom()
    let dropper: ReplyDropper | undefined
    const { nodes, one, two, client } = await startFleet(postgres(), {}, async (url) => {
      const before = await ReplyDropper.before(url)
      dropper = before.dropper
      return before.url
    })
    if (dropper === undefined) throw new Error('nothing is dropped')
    const [doubtful, sure] = nodes
    const begun = await doubtful.begin()
    const familyId = String(claimsOf(begun.accessToken).sid)
    let current = begun.refreshToken
    for (let round = 1; round <= doubts; round += 1) {
      const copies = random.between(1, 5)
      dropper.dropNext(/record_with_acts/)
      const asked = Array.from({ length: copies }, (_, i) => (i === 3 ? sure : doubtful).refresh(current))
      const replies = await Promise.all(asked)
      expect(replies.map(({ status }) => status)).toEqual(replies.map(() => 200))
      const again = await sure.refresh(current)
      const successors = new Set([...replies, again].map(({ json }) => json.refresh_token))
      expect(successors.size, `round ${round}`).toBe(1)
      expect((await two.store.findFamily(familyId))?.generation).toBe(round)
      current = String(again.json.refresh_token)
      // And what ends a token: it has ended, whatever became of the answer to COMMIT.
      const token = String(again.json.access_token)
      dropper.dropNext(/COMMIT/)
      expect((await doubtful.revoke(token)).status).toBe(200)
      expect(await doubtful.isActive(token)).toBe(false)
    }
    expect(dropper.dropped).toBe(2 * doubts)
    expect(await one.store.listAudit({ type: 'family.ended', limit: 1 })).toEqual([])
    expect(await one.store.listAudit({ type: 'token.revoked', limit: 1_000 })).toHaveLength(doubts)
    expect((await requestToken(one, grant, { authorization: client.basic })).status).toBe(200)
  })
})

describe('F32 a node that was paused', () => {
  it('lets nothing out of before, across a rotation and a disable, and answers by what is so when it wakes', {
    timeout: 60_000,
  }, async () => {
    const { nodes, one, two, store, client, folders, env, service } = await serveFleet(postgres())
    const disabled = await addClient(store, 'gone', { grantTypes: ['client_credentials', 'refresh_token'] })
    const [awake, asleep] = nodes
    const mine = await asleep.begin()
    const theirs = await asleep.begin(disabled)
    const tokens = [mine.accessToken, theirs.accessToken]
    for (const token of tokens) expect(await asleep.isActive(token)).toBe(true)
    const oldKid = headerOf(mine.accessToken).kid

    // Requests that it has begun with, or has in its socket, when it stops.
    let goes = true
    const before: Promise<Reply>[] = []
    const feed = (async () => {
      while (goes) {
        for (const { basic } of [client, disabled]) before.push(requestToken(two, grant, { authorization: basic }))
        await pause(3)
      }
    })()
    await pause(60)
    two.child.kill('SIGSTOP')
    goes = false
    await feed

    await mayflyJson(['key', 'revoke', String(oldKid)], { cwd: folders[0], env })
    await store.setClientStatus('gone', 'disabled', 'cli:test')
    const returned = systemClock.nowMilliseconds()
    const fresh = await awake.begin()
    expect(headerOf(fresh.accessToken).kid).not.toBe(oldKid)
    // Asked while it sleeps, so all of it after both changes returned.
    const late = {
      issued: [client, disabled].map(({ basic }) => requestToken(two, grant, { authorization: basic })),
      refreshed: asleep.refresh(theirs.refreshToken, disabled),
      introspected: [...tokens, fresh.accessToken].map((token) => asleep.introspect(token)),
      verified: [...tokens, fresh.accessToken].map((token) => asleep.verify(token)),
      jwks: request(`${two.url}/.well-known/jwks.json`),
    }
    await pause(500)
    two.child.kill('SIGCONT')

    const [served, refused] = await Promise.all(late.issued)
    expect([served?.status, refused?.status]).toEqual([200, 401])
    expect(headerOf(String(served?.json.access_token)).kid).not.toBe(oldKid)
    expect((await late.refreshed).status).toBe(401)
    const active = (await Promise.all(late.introspected)).map(({ json }) => json.active)
    expect(active).toEqual([false, false, true])
    expect((await Promise.all(late.verified)).map(({ status }) => status)).toEqual([401, 401, 200])
    expect((await late.jwks).text).not.toContain(String(oldKid))

    // What it had begun: recorded before the changes, or not at all, or decided again after them.
    const issued = (await Promise.all(before)).filter(({ status }) => status === 200)
    expect(issued.length).toBeGreaterThan(0)
    for (const { json } of issued) {
      const token = String(json.access_token)
      const isOld = headerOf(token).kid === oldKid
      if (isOld) expect(Number(claimsOf(token).iat) * 1000).toBeLessThan(returned)
      else expect(claimsOf(token).client_id).toBe('billing')
      expect((await awake.introspect(token, service)).json.active).toBe(!isOld)
    }
    expect((await fetch(`${one.url}/readyz`)).status).toBe(200)
    expect((await fetch(`${two.url}/readyz`)).status).toBe(200)
  })
})

describe('a caller that was given the right to ask about tokens, at another node', () => {
  it('IN-02 IN-05 hears of an active one at the next request', async () => {
    const { nodes, two } = await startFleet(postgres())
    const { accessToken } = await nodes[0].begin()
    for (let round = 1; round <= 5; round += 1) {
      await two.store.updateClient('service', { introspects: [] }, 'cli:test')
      // Until it goes by memory of that.
      while (await nodes[0].isActive(accessToken)) await pause(5)
      await two.store.updateClient('service', { introspects: [api] }, 'cli:test')
      expect(await nodes[0].isActive(accessToken), `round ${round}`).toBe(true)
    }
  })
})
