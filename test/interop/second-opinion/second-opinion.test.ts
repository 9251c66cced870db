import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { startTestServer } from '../../support/server.ts'
import { agreements } from './agreements.ts'
import { differences } from './differences.ts'
import { pagePath, renderPage } from './page.ts'
import { startPeer } from './peer.ts'
import { makeClients, register } from './registry.ts'
import { type Row, rows } from './requests.ts'
import { send } from './send.ts'

const listed = Object.values(differences).flat()

/** What the tables expect of each request, as `Mayfly | oidc-provider`. */
function expected(): Record<string, string> {
  return Object.fromEntries([
    ...Object.entries(agreements).flatMap(([answer, ids]) => ids.map((id) => [id, `${answer} | ${answer}`])),
    ...listed.flatMap(({ mayfly, peer, ids }) => ids.map((id) => [id, `${mayfly} | ${peer}`])),
  ])
}

async function ask(): Promise<Record<string, string>> {
  const clients = makeClients()
  const server = await startTestServer()
  await register(server.store, clients)
  const peer = await startPeer(clients)
  const secrets = new Map(clients.map(({ clientId, secret }) => [clientId, secret]))
  const answers: [string, string][] = []
  for (let i = 0; i < rows.length; i += 16)
    for (const answer of await Promise.all(rows.slice(i, i + 16).map(both))) answers.push(answer)
  return Object.fromEntries(answers)

  async function both(row: Row): Promise<[string, string]> {
    return [row.id, (await Promise.all([server.url, peer].map((url) => send(url, row, secrets)))).join(' | ')]
  }
}

describe('the same requests to Mayfly and to oidc-provider', () => {
  it('get the answers that the tables have, and differ where they say so', async () => {
    expect(await ask()).toEqual(expected())
  }, 120_000)

  it('are many, each with an id of its own and in one table', () => {
    const ids = [...Object.values(agreements).flat(), ...listed.flatMap((difference) => difference.ids)]
    expect(rows.length).toBeGreaterThan(350)
    expect(ids.toSorted()).toEqual(rows.map(({ id }) => id).toSorted())
    expect(new Set(ids).size).toBe(ids.length)
  })

  it('differ for a reason that is given, with its section', () => {
    for (const { mayfly, peer, reason, see, ids } of listed) {
      expect(mayfly, ids[0]).not.toBe(peer)
      expect(reason.length, ids[0]).toBeGreaterThan(7)
      expect(see, ids[0]).toMatch(/^(?:RFC [0-9]{4} (?:§|app\. )|Fetch standard$|–$)/)
    }
  })

  it('never end in a fault', () => {
    for (const answer of [...Object.keys(agreements), ...listed.map(({ mayfly }) => mayfly)])
      expect(answer).not.toMatch(/^5|server_error/)
  })

  it('are told to people as the tables have them', () => {
    expect(readFileSync(pagePath, 'utf8')).toBe(renderPage())
  })
})
