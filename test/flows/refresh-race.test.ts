/** One refresh token, presented by many at once to two processes. `REFRESH_ROUNDS=1000` for the long run. */
import { describe, expect, it } from 'vitest'
import { parseSettings } from '../../src/config.ts'
import { openStore } from '../../src/store/open-store.ts'
import { makeInstallation } from '../support/installation.ts'
import { serve } from '../support/process.ts'
import { repetitions } from '../support/seed.ts'
import { addClient, claimsOf, requestToken } from '../support/server.ts'

const rounds = repetitions('REFRESH_ROUNDS', 10)
const many = 32

describe('a refresh token that 32 present at once to two processes', () => {
  it(`G05 RT-03 I1 has one successor, for all of them, in each of ${rounds} rounds`, {
    timeout: 60_000 + rounds * 2_000,
  }, async () => {
    const { cwd, env } = await makeInstallation()
    const store = openStore(parseSettings(env, cwd).databasePath, { create: false, examine: false })
    const client = await addClient(store, 'fleet', { grantTypes: ['client_credentials', 'refresh_token'] })
    const issuer = { MAYFLY_ISSUER: 'http://127.0.0.1:9' }
    const servers = [await serve({ cwd, env: { ...env, ...issuer } }), await serve({ cwd, env: { ...env, ...issuer } })]
    const headers = { authorization: client.basic }
    const ask = (at: number, form: Record<string, string>) =>
      requestToken(servers[at % 2] ?? { url: '' }, form, headers)
    const begun = await ask(0, { grant_type: 'client_credentials' })
    const familyId = String(claimsOf(String(begun.json.access_token)).sid)
    let current = String(begun.json.refresh_token)
    for (let round = 1; round <= rounds; round += 1) {
      const form = { grant_type: 'refresh_token', refresh_token: current }
      const replies = await Promise.all(Array.from({ length: many }, (_, i) => ask(i, form)))
      expect(new Set(replies.map(({ status }) => status)), `round ${round}`).toEqual(new Set([200]))
      const successors = new Set(replies.map(({ json }) => String(json.refresh_token)))
      expect(successors.size, `round ${round}`).toBe(1)
      current = [...successors][0] ?? ''
      expect((await store.findFamily(familyId))?.generation).toBe(round)
    }
    expect(await store.listAudit({ type: 'family.ended', limit: 1 })).toEqual([])
    await store.close()
  })
})
