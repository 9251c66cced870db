/** Refresh rotation, durable here, beside oidc-provider and beside Mayfly's own client_credentials. */
import { statSync } from 'node:fs'
import { join } from 'node:path'
import {
  type Contestant,
  compare,
  outcomeOf,
  refreshingServer,
  runningServer,
  speedRatio,
  toNotes,
  toRows,
} from '../compare.ts'
import { memoryPeer, peerBegin, peerRefresh, sqlitePeer, startPeer } from '../contestants.ts'
import type { LoadRequest } from '../load.ts'
import { apis, Installation, refreshForm, sendOnce } from '../mayfly.ts'
import { atLeast, atMost, type Bench, type Scenario } from '../scenario.ts'

const ownRefresh = 'Mayfly'
const ownCredentials = 'Mayfly, client_credentials'
const scope = 'invoices:read'

async function makeAgent(installation: Installation): Promise<{ begin: LoadRequest; refresh: LoadRequest }> {
  const grants = ['--grant-type', 'client_credentials', '--grant-type', 'refresh_token']
  const begin = await installation.addClient('agent', 'ES256', grants)
  return { begin, refresh: { ...begin, body: refreshForm } }
}

const mayfly: Contestant = {
  name: ownRefresh,
  start: async (bench, generator) => {
    const installation = await Installation.make(bench.stage)
    const agent = await makeAgent(installation)
    const server = await installation.serve(bench.pinning?.server)
    return refreshingServer(server, generator, agent, ownRefresh)
  },
}

const credentials: Contestant = {
  name: ownCredentials,
  start: async (bench, generator) => {
    const installation = await Installation.make(bench.stage)
    const request = await installation.addClient('billing')
    const server = await installation.serve(bench.pinning?.server)
    await sendOnce(server.url, request)
    return runningServer(server, generator, [request], ownCredentials)
  },
}

function peer(name: string, args: (bench: Bench) => readonly string[]): Contestant {
  return {
    name,
    start: async (bench, generator) => {
      const server = await startPeer(bench, args(bench), 'one')
      return refreshingServer(server, generator, { begin: peerBegin, refresh: peerRefresh }, name)
    },
  }
}

export const refresh: Scenario = {
  name: 'refresh',
  title: 'refresh rotation, ES256, one core each; Mayfly durable, with an audit record a token',
  byDefault: true,
  run: async (bench) => {
    const outcomes = await compare(bench, [
      mayfly,
      credentials,
      peer(memoryPeer, () => ['memory', 'ES256']),
      peer(sqlitePeer, ({ stage }) => ['sqlite', join(stage.folder(), 'peer.db')]),
    ])
    const own = outcomeOf(outcomes, ownRefresh)
    return {
      rows: toRows(outcomes),
      goals: [
        atLeast('at least 4 × oidc-provider in memory', speedRatio(own, outcomeOf(outcomes, memoryPeer)), 4),
        atLeast('at least 7 × oidc-provider on SQLite', speedRatio(own, outcomeOf(outcomes, sqlitePeer)), 7),
        atLeast('at least 0.8 of own client_credentials', speedRatio(own, outcomeOf(outcomes, ownCredentials)), 0.8),
      ],
      notes: toNotes(outcomes),
    }
  },
}

const few = 1_000
const many = 1_000_000

function withFamilies(name: string, count: number, sizes: Map<string, number>): Contestant {
  return {
    name,
    start: async (bench, generator) => {
      const installation = await Installation.make(bench.stage)
      const agent = await makeAgent(installation)
      const file = join(installation.folder, 'data/mayfly.db')
      const before = statSync(file).size
      installation.fillFamilies('agent', count, { audience: apis.ES256, scope })
      sizes.set(name, (statSync(file).size - before) / count)
      const server = await installation.serve(bench.pinning?.server)
      return refreshingServer(server, generator, agent, name)
    },
  }
}

export const families: Scenario = {
  name: 'families',
  title: `refresh rotation, ES256, one core: beside ${few} and ${many} other families`,
  byDefault: false,
  run: async (bench) => {
    const sizes = new Map<string, number>()
    const names = { many: `${many} families`, few: `${few} families` }
    const contestants = [withFamilies(names.many, many, sizes), withFamilies(names.few, few, sizes)]
    const outcomes = await compare(bench, contestants)
    const ratio = speedRatio(outcomeOf(outcomes, names.many), outcomeOf(outcomes, names.few))
    const bytes = sizes.get(names.many) ?? Number.NaN
    return {
      rows: toRows(outcomes),
      goals: [
        atLeast('at most 10 % less throughput with a million families', ratio, 0.9),
        atMost('at most 250 bytes a family', bytes, 250),
      ],
      notes: [...toNotes(outcomes), `A family takes ${bytes.toFixed(0)} bytes of the database.`],
    }
  },
}
