/** Whether a server with a million clients is slower than one with a thousand. */
import { statSync } from 'node:fs'
import { join } from 'node:path'
import { type Contestant, compare, outcomeOf, runningServer, speedRatio, toNotes, toRows } from '../compare.ts'
import { Installation, sendOnce } from '../mayfly.ts'
import { atLeast, type Scenario } from '../scenario.ts'

const few = 1_000
const many = 1_000_000
/** How many of them ask: more than Mayfly keeps in memory. */
const asking = 40_000

function withClients(name: string, count: number, starts: Map<string, number>): Contestant {
  return {
    name,
    start: async (bench, generator) => {
      const installation = await Installation.make(bench.stage)
      const requests = installation.fill(count, asking, bench.random)
      const bytes = statSync(join(installation.folder, 'data/mayfly.db')).size
      bench.say(`  ${count} clients in ${(bytes / 1e6).toFixed(1)} MB`)
      const server = await installation.serve(bench.pinning?.server)
      starts.set(name, server.startMilliseconds)
      const [first] = requests
      if (first !== undefined) await sendOnce(server.url, first)
      return runningServer(server, generator, requests, name)
    },
  }
}

export const clients: Scenario = {
  name: 'clients',
  title: `client_credentials, ES256, one core: ${few} and ${many} clients, requests of up to ${asking} random ones in turn`,
  byDefault: false,
  run: async (bench) => {
    const names = { many: `${many} clients`, few: `${few} clients` }
    const starts = new Map<string, number>()
    const outcomes = await compare(bench, [withClients(names.many, many, starts), withClients(names.few, few, starts)])
    const ratio = speedRatio(outcomeOf(outcomes, names.many), outcomeOf(outcomes, names.few))
    const rows = toRows(outcomes).map(({ 'Mayfly is × as fast': faster, program, ...rest }) => ({
      clients: program,
      ...rest,
      'the first is × as fast': faster,
      'start ms': starts.get(String(program)),
    }))
    return {
      rows,
      goals: [atLeast('at most 10 % less throughput with a million clients', ratio, 0.9)],
      notes: [
        ...toNotes(outcomes),
        `The thousand all fit into memory; of the million, ${asking} ask in turn, twice as many as memory holds, so that each request reads its client from the database, and notes the first use of its secret there: the worst order there is.`,
      ],
    }
  },
}
