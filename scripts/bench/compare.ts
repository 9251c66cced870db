/** Several programs on the same work, in turn: rounds in shuffled order, medians, and ratios between them. */
import { cpuMicroseconds, demandMicroseconds, memoryMb } from './kernel.ts'
import {
  type Asking,
  type ChainedJob,
  type LoadGenerator,
  type LoadJob,
  type LoadRequest,
  requireSuccess,
} from './load.ts'
import type { Bench, Cell } from './scenario.ts'
import type { Server } from './stage.ts'
import { median, shuffle } from './statistics.ts'

export const connections = 32
const warmUpRequests = 30_000

/** What one measurement of one program found. Processor time is per request. */
export interface Sample {
  readonly perSecond: number
  readonly p50Ms: number
  readonly p99Ms: number
  readonly cpuMicroseconds: number
  /** Share of the time in which it wanted a core; near 1 it was at its limit. */
  readonly serverBusy: number
  readonly generatorBusy: number
}

export interface Running {
  readonly pid: number
  measure(seconds: number): Promise<Sample>
  end(): Promise<void>
}

export interface Contestant {
  readonly name: string
  /** Starts it and makes sure that it does the work. @throws Error when it does not */
  start(bench: Bench, generator: LoadGenerator): Promise<Running>
}

/** Medians of one program. */
export interface Outcome extends Sample {
  readonly memoryMb: number
  readonly peakMemoryMb: number
  /** Whether the load generator was at its limit and the program was not: then requests per second say nothing of it. */
  readonly limitedByGenerator: boolean
}

export type Outcomes = ReadonlyMap<string, Outcome>

export async function compare(bench: Bench, contestants: readonly Contestant[]): Promise<Outcomes> {
  const { seconds, rounds } = bench.options
  const generator = bench.startGenerator()
  const running = new Map<string, Running>()
  const samples = new Map<string, Sample[]>(contestants.map(({ name }) => [name, []]))
  for (const { name, start } of contestants) {
    bench.say(`  starting ${name}`)
    running.set(name, await start(bench, generator))
  }
  for (const each of running.values()) await warmUp(each, seconds)
  for (let round = 1; round <= rounds; round += 1) {
    bench.say(`  round ${round} of ${rounds}`)
    for (const [name, each] of shuffle([...running], bench.random)) {
      samples.get(name)?.push(await each.measure(seconds))
    }
  }
  const outcomes = new Map<string, Outcome>()
  for (const [name, { pid }] of running) outcomes.set(name, summarise(samples.get(name) ?? [], pid))
  await Promise.all([...running.values()].map((each) => each.end()))
  await generator.end()
  return outcomes
}

// A server that has run for a while has compiled its code, and what is measured is that.
async function warmUp(running: Running, seconds: number): Promise<void> {
  let requests = 0
  for (let part = 0; part < 4 && requests < warmUpRequests; part += 1) {
    requests += (await running.measure(seconds)).perSecond * seconds
  }
}

function summarise(samples: readonly Sample[], pid: number): Outcome {
  const of = (member: keyof Sample): number => median(samples.map((sample) => sample[member]))
  const memory = memoryMb(pid)
  return {
    perSecond: of('perSecond'),
    p50Ms: of('p50Ms'),
    p99Ms: of('p99Ms'),
    cpuMicroseconds: of('cpuMicroseconds'),
    serverBusy: of('serverBusy'),
    generatorBusy: of('generatorBusy'),
    memoryMb: memory.now,
    peakMemoryMb: memory.highest,
    limitedByGenerator: of('generatorBusy') > 0.95 && of('serverBusy') < 0.95,
  }
}

/** A server under closed-loop load. */
export function runningServer(
  server: Server,
  generator: LoadGenerator,
  requests: readonly LoadRequest[],
  name: string,
): Running {
  const { url } = server
  return underLoad(server, generator, name, (seconds) => ({ kind: 'closed', url, requests, connections, seconds }))
}

/** A server under closed-loop load of one client, with all that it proves itself by. */
export function askedServer(server: Server, generator: LoadGenerator, asking: Asking, name: string): Running {
  const { url } = server
  const { request, fresh, tls } = asking
  const job = { kind: 'closed', url, requests: [request], fresh, tls, connections } as const
  return underLoad(server, generator, name, (seconds) => ({ ...job, seconds }))
}

/** A server whose clients each follow a chain of refresh tokens. */
export function refreshingServer(
  server: Server,
  generator: LoadGenerator,
  chain: Pick<ChainedJob, 'begin' | 'refresh'>,
  name: string,
): Running {
  const { url } = server
  return underLoad(server, generator, name, (seconds) => ({ kind: 'chained', url, ...chain, connections, seconds }))
}

function underLoad(
  server: Server,
  generator: LoadGenerator,
  name: string,
  toJob: (seconds: number) => LoadJob,
): Running {
  const { pid } = server
  return {
    pid,
    measure: async (seconds) => {
      const [cpu, demand] = [cpuMicroseconds(pid), demandMicroseconds(pid)]
      const load = await generator.run(toJob(seconds))
      const count = requireSuccess(load, name)
      return {
        perSecond: count / load.seconds,
        p50Ms: load.p50Ms,
        p99Ms: load.p99Ms,
        cpuMicroseconds: (cpuMicroseconds(pid) - cpu) / count,
        serverBusy: Math.min(1, (demandMicroseconds(pid) - demand) / (load.seconds * 1e6)),
        generatorBusy: load.busy,
      }
    },
    end: () => server.end(),
  }
}

/** How many times faster one is than another: by requests per second, by processor time where the generator was the limit. */
export function speedRatio(one: Outcome, other: Outcome): number {
  const byCpu = one.limitedByGenerator || other.limitedByGenerator
  return byCpu ? other.cpuMicroseconds / one.cpuMicroseconds : one.perSecond / other.perSecond
}

/** The table of a comparison; ratios are of the first program to each other. */
export function toRows(outcomes: Outcomes): Record<string, Cell>[] {
  const [first] = outcomes.values()
  return [...outcomes].map(([program, outcome]) => ({
    program,
    'requests/s': Math.round(outcome.perSecond),
    'p50 ms': outcome.p50Ms,
    'p99 ms': outcome.p99Ms,
    'CPU µs/request': outcome.cpuMicroseconds,
    'memory MB': outcome.memoryMb,
    'peak MB': outcome.peakMemoryMb,
    'server busy': outcome.serverBusy,
    'generator busy': outcome.generatorBusy,
    'Mayfly is × as fast': first === undefined || outcome === first ? undefined : speedRatio(first, outcome),
    'by CPU': first === undefined || outcome === first ? undefined : outcome.cpuMicroseconds / first.cpuMicroseconds,
  }))
}

export function toNotes(outcomes: Outcomes): string[] {
  const limited = [...outcomes].filter(([, { limitedByGenerator }]) => limitedByGenerator).map(([name]) => name)
  if (limited.length === 0) return []
  return [
    `The load generator was the bottleneck for ${limited.join(', ')}: requests per second and latency are the generator's there, CPU per request counts, and ratios are made of it.`,
  ]
}

/** One outcome by its name. @throws Error when there is none */
export function outcomeOf(outcomes: Outcomes, name: string): Outcome {
  const outcome = outcomes.get(name)
  if (outcome === undefined) throw new Error(`no outcome of ${name}`)
  return outcome
}
