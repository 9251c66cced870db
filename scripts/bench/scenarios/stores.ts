/**
 * The same work on SQLite, on PostgreSQL, and by two nodes on one PostgreSQL. Servers, database and load share all cores, so
 * what counts is the processor time of a request: that of the nodes, and that of the database, which all nodes share.
 */
import { join } from 'node:path'
import { PostgresServer } from '../../postgres-server.ts'
import {
  type Contestant,
  compare,
  type Outcomes,
  outcomeOf,
  type Running,
  refreshingServer,
  runningServer,
  type Sample,
} from '../compare.ts'
import { familyMicroseconds } from '../kernel.ts'
import type { LoadGenerator, LoadRequest } from '../load.ts'
import { apis, Installation, refreshForm, sendOnce } from '../mayfly.ts'
import type { Bench, Cell, Scenario } from '../scenario.ts'
import type { Server } from '../stage.ts'
import { median } from '../statistics.ts'

const kinds = ['client_credentials', 'refresh', 'introspection'] as const
type Kind = (typeof kinds)[number]

const places = ['SQLite', 'PostgreSQL', 'PostgreSQL, two nodes'] as const
type Place = (typeof places)[number]

const nameOf = (kind: Kind, place: Place): string => `${kind}: ${place}`

/** What one of its workloads asks. */
interface Workload {
  readonly begin: LoadRequest
  readonly caller: LoadRequest
}

async function register(installation: Installation): Promise<Workload> {
  const grants = ['--grant-type', 'client_credentials', '--grant-type', 'refresh_token']
  return {
    begin: await installation.addClient('agent', 'ES256', grants),
    caller: await installation.addIntrospector('service', apis.ES256),
  }
}

async function load(kind: Kind, { begin, caller }: Workload, server: Server, generator: LoadGenerator, name: string) {
  if (kind === 'refresh')
    return refreshingServer(server, generator, { begin, refresh: { ...begin, body: refreshForm } }, name)
  if (kind === 'client_credentials') {
    await sendOnce(server.url, begin)
    return runningServer(server, generator, [begin], name)
  }
  const { access_token: token = '' } = (await (await sendOnce(server.url, begin)).json()) as { access_token?: string }
  const request = { ...caller, path: '/introspect', body: new URLSearchParams({ token }).toString() }
  const { active } = (await (await sendOnce(server.url, request)).json()) as { active: boolean }
  if (!active) throw new Error(`${name} says that its own token is not active`)
  return runningServer(server, generator, [request], name)
}

function onSqlite(kind: Kind): Contestant {
  const name = nameOf(kind, 'SQLite')
  return {
    name,
    start: async (bench, generator) => {
      const installation = await Installation.make(bench.stage)
      const workload = await register(installation)
      return load(kind, workload, await installation.serve(undefined), generator, name)
    },
  }
}

/** What the database worked for each request, in microseconds, by contestant. */
type DatabaseWork = Map<string, number[]>

function onPostgres(
  kind: Kind,
  place: Exclude<Place, 'SQLite'>,
  postgres: PostgresServer,
  work: DatabaseWork,
): Contestant {
  const name = nameOf(kind, place)
  return {
    name,
    start: async (bench, generator) => {
      const database = `bench_${kinds.indexOf(kind)}_${places.indexOf(place)}`
      await postgres.query('postgres', `CREATE DATABASE ${database}`)
      const env = { MAYFLY_DATABASE_URL: postgres.urlOf(database), MAYFLY_ISSUER: 'https://mayfly.example.com' }
      const installation = await Installation.make(bench.stage, env)
      const workload = await register(installation)
      const generators = place === 'PostgreSQL' ? [generator] : [generator, bench.startGenerator()]
      const nodes: Running[] = []
      for (const [i, each] of generators.entries()) {
        const own = { MAYFLY_WITNESS_FILE: join(installation.folder, `witness-${i}`) }
        nodes.push(await load(kind, workload, await installation.serve(undefined, own), each, name))
      }
      const more = generators.slice(1)
      return withDatabase(
        together(nodes, () => Promise.all(more.map((each) => each.end()))),
        postgres,
        (each) => work.set(name, [...(work.get(name) ?? []), each]),
      )
    },
  }
}

// Nodes that are asked at the same time, each by a generator of its own.
function together(nodes: readonly Running[], end: () => Promise<unknown>): Running {
  const [first] = nodes
  if (first === undefined) throw new Error('no node')
  return {
    pid: first.pid,
    measure: async (seconds) => sumUp(await Promise.all(nodes.map((node) => node.measure(seconds)))),
    end: async () => {
      await Promise.all(nodes.map((node) => node.end()))
      await end()
    },
  }
}

function sumUp(samples: readonly Sample[]): Sample {
  const most = (member: keyof Sample): number => Math.max(...samples.map((sample) => sample[member]))
  const perSecond = samples.reduce((sum, sample) => sum + sample.perSecond, 0)
  const work = samples.reduce((sum, sample) => sum + sample.cpuMicroseconds * sample.perSecond, 0)
  return {
    perSecond,
    p50Ms: most('p50Ms'),
    p99Ms: most('p99Ms'),
    cpuMicroseconds: work / perSecond,
    serverBusy: most('serverBusy'),
    generatorBusy: most('generatorBusy'),
  }
}

function withDatabase(running: Running, { pid }: PostgresServer, tell: (microseconds: number) => void): Running {
  return {
    ...running,
    measure: async (seconds) => {
      const before = familyMicroseconds(pid)
      const sample = await running.measure(seconds)
      tell((familyMicroseconds(pid) - before) / (sample.perSecond * seconds))
      return sample
    },
  }
}

function toRow(kind: Kind, place: Place, outcomes: Outcomes, samples: readonly number[]): Record<string, Cell> {
  const own = outcomeOf(outcomes, nameOf(kind, place))
  const sqlite = outcomeOf(outcomes, nameOf(kind, 'SQLite'))
  return {
    work: kind,
    store: place,
    'requests/s': Math.round(own.perSecond),
    'p50 ms': own.p50Ms,
    'p99 ms': own.p99Ms,
    'node µs/request': own.cpuMicroseconds,
    'database µs/request': samples.length === 0 ? undefined : median(samples),
    'rate of SQLite': own === sqlite ? undefined : own.perSecond / sqlite.perSecond,
  }
}

export const stores: Scenario = {
  name: 'stores',
  title: 'SQLite, PostgreSQL, and two nodes on one PostgreSQL; ES256, all on the same cores',
  byDefault: false,
  run: async (bench: Bench) => {
    const postgres = await PostgresServer.make()
    try {
      const work: DatabaseWork = new Map()
      const outcomes = await compare(
        bench,
        kinds.flatMap((kind) => [
          onSqlite(kind),
          onPostgres(kind, 'PostgreSQL', postgres, work),
          onPostgres(kind, 'PostgreSQL, two nodes', postgres, work),
        ]),
      )
      // Without those of the warm-up.
      const measured = (kind: Kind, place: Place): readonly number[] =>
        work.get(nameOf(kind, place))?.slice(-bench.options.rounds) ?? []
      const ratio = (kind: Kind, one: Place, other: Place): number =>
        outcomeOf(outcomes, nameOf(kind, one)).perSecond / outcomeOf(outcomes, nameOf(kind, other)).perSecond
      return {
        rows: kinds.flatMap((kind) => places.map((place) => toRow(kind, place, outcomes, measured(kind, place)))),
        goals: [],
        notes: [
          ...kinds.map((kind) => {
            const times = ratio(kind, 'PostgreSQL, two nodes', 'PostgreSQL').toFixed(2)
            return `${kind}: two nodes answer ${times} times as many requests a second as one.`
          }),
          'Two nodes are asked by two generators with 32 connections each. All of it shares the cores of this machine, so requests a second say what the machine can do, and processor time what a node or a database with a core of its own could.',
          'Processor time of the database is that of all its processes, those that write and vacuum included.',
        ],
      }
    } finally {
      await postgres.destroy()
    }
  },
}
