/** How often a node asks PostgreSQL for one request: each of these is justified in docs/scaling.md. */
import pg from 'pg'
import { describe, expect, it, vi } from 'vitest'
import { generateSecret } from '../../src/client/client-secret.ts'
import { systemClock } from '../../src/lib/clock.ts'
import { AssertionMaker, makeTestKey } from '../support/assertion.ts'
import { fleetIssuer, startFleet } from '../support/fleet.ts'
import { usePostgres } from '../support/postgres.ts'
import { addClient } from '../support/registry.ts'
import { basic, requestToken } from '../support/server.ts'

const postgres = usePostgres()
const tries = 10

/**
 * The names of the statements that an act sends, the least of some tries: what a node does by itself at the same moment comes on
 * top. Looks at the counters come by themselves, ten a second.
 */
async function statementsOf(act: () => Promise<unknown>): Promise<readonly string[]> {
  let least: readonly string[] | undefined
  for (let made = 0; made < tries; made += 1) {
    const query = vi.spyOn(pg.Client.prototype, 'query')
    await act()
    const names = query.mock.calls.map(([statement]) => nameOf(statement)).filter((name) => name !== 'look')
    query.mockRestore()
    if (least === undefined || names.length < least.length) least = names
  }
  return least ?? []
}

function nameOf(statement: unknown): string {
  const { name, text } = statement as { readonly name?: string; readonly text: string }
  return name ?? text
}

const grant = { grant_type: 'client_credentials' } as const

describe('a request to a node on PostgreSQL', () => {
  it('takes one statement for a token: its record, with the fence in it', async () => {
    const { one, nodes } = await startFleet(postgres())
    const plain = await addClient(one.store, 'plain')
    expect(await statementsOf(() => requestToken(one, grant, { authorization: plain.basic }))).toEqual(['record_alone'])
    expect(await statementsOf(() => nodes[0].begin())).toEqual(['record_with_acts'])
  })

  it('takes two for a refresh: the family, and the record that moves it', async () => {
    const { nodes } = await startFleet(postgres())
    let { refreshToken } = await nodes[0].begin()
    const refresh = async (): Promise<void> => {
      const { json } = await nodes[0].refresh(refreshToken)
      refreshToken = String(json.refresh_token)
    }
    expect(await statementsOf(refresh)).toEqual(['find_family', 'record_with_acts'])
  })

  it('takes none for a token that is asked about again', async () => {
    const { nodes } = await startFleet(postgres())
    const { accessToken } = await nodes[0].begin()
    expect(await statementsOf(() => nodes[0].isActive(accessToken))).toEqual([])
  })

  it('takes one more for an assertion: whether it was used, before it is recorded with the token', async () => {
    const { one } = await startFleet(postgres())
    const key = makeTestKey()
    await addClient(one.store, 'machine', {
      authMethods: ['private_key_jwt'],
      keys: { kind: 'inline', jwks: [key.publicKey.jwk] },
    })
    const maker = new AssertionMaker('machine', fleetIssuer, key, systemClock)
    expect(await statementsOf(() => requestToken(one, maker.form()))).toEqual(['find_used', 'record_with_acts'])
  })

  it('takes two for a refusal besides the look: a client read from the store, whether or not there is one, and its record', async () => {
    const { one, client } = await startFleet(postgres())
    for (const clientId of ['nobody', client.clientId]) {
      const wrong = () => requestToken(one, grant, { authorization: basic(clientId, generateSecret().secret.reveal()) })
      expect(await statementsOf(wrong)).toEqual(['find_client', 'write_event'])
    }
  })
})
