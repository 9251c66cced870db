/** Introspection of a token that is asked for again and again, and of tokens that are all new. */
import { type Contestant, compare, outcomeOf, runningServer, speedRatio, toNotes, toRows } from '../compare.ts'
import { memoryPeer, peerRequest, startPeer } from '../contestants.ts'
import type { LoadRequest } from '../load.ts'
import { apis, Installation, sendOnce } from '../mayfly.ts'
import { atLeast, type Scenario } from '../scenario.ts'

/** More than Mayfly remembers, asked for in turn: each is as good as new when it comes again. */
const distinct = 25_000
const connections = 50

const cached = 'Mayfly, one token'
const uncached = `Mayfly, ${distinct} tokens`
const peerCached = `${memoryPeer}, opaque, one token`
const peerUncached = `${memoryPeer}, opaque, ${distinct} tokens`

async function requestTokens(url: string, request: LoadRequest, count: number): Promise<string[]> {
  const tokens: string[] = []
  while (tokens.length < count) {
    const wanted = Math.min(connections, count - tokens.length)
    const replies = await Promise.all(Array.from({ length: wanted }, () => sendOnce(url, request)))
    for (const reply of replies) tokens.push(((await reply.json()) as { access_token: string }).access_token)
  }
  return tokens
}

async function prepare(
  url: string,
  { path, token, caller, count }: { path: string; token: LoadRequest; caller: LoadRequest; count: number },
): Promise<LoadRequest[]> {
  const tokens = await requestTokens(url, token, count)
  const requests = tokens.map((each) => ({ ...caller, path, body: new URLSearchParams({ token: each }).toString() }))
  const [first] = requests
  if (first === undefined) throw new Error('no token')
  const { active } = (await (await sendOnce(url, first)).json()) as { active: boolean }
  if (!active) throw new Error(`${url} says that its own token is not active`)
  return requests
}

function mayfly(name: string, count: number): Contestant {
  return {
    name,
    start: async (bench, generator) => {
      const installation = await Installation.make(bench.stage)
      const token = await installation.addClient('billing')
      const caller = await installation.addIntrospector('service', apis.ES256)
      const server = await installation.serve(bench.pinning?.server)
      const requests = await prepare(server.url, { path: '/introspect', token, caller, count })
      return runningServer(server, generator, requests, name)
    },
  }
}

function peer(name: string, count: number): Contestant {
  return {
    name,
    start: async (bench, generator) => {
      const server = await startPeer(bench, ['opaque'], 'one')
      const order = { path: '/token/introspection', token: peerRequest, caller: peerRequest, count }
      return runningServer(server, generator, await prepare(server.url, order), name)
    },
  }
}

export const introspection: Scenario = {
  name: 'introspection',
  title: 'introspection, one core each: of one token, and of many in turn',
  byDefault: true,
  run: async (bench) => {
    const outcomes = await compare(bench, [
      mayfly(cached, 1),
      mayfly(uncached, distinct),
      peer(peerCached, 1),
      peer(peerUncached, distinct),
    ])
    const ratio = (own: string, other: string): number =>
      speedRatio(outcomeOf(outcomes, own), outcomeOf(outcomes, other))
    return {
      rows: toRows(outcomes),
      goals: [
        atLeast('at least 4 × oidc-provider (opaque) when cached', ratio(cached, peerCached), 4),
        atLeast('no slower than oidc-provider (opaque) when not', ratio(uncached, peerUncached), 1),
      ],
      notes: toNotes(outcomes),
    }
  },
}
