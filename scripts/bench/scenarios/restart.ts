/**
 * The first second after a restart, with many clients and nothing in memory, beside the same server later. A process that
 * just started has not compiled its own code yet: what the clients add to that is seen beside an installation with few.
 */
import { connections } from '../compare.ts'
import { cpuMicroseconds } from '../kernel.ts'
import { type LoadGenerator, type LoadRequest, requireSuccess } from '../load.ts'
import { Installation } from '../mayfly.ts'
import { atLeast, type Bench, type Scenario } from '../scenario.ts'
import type { Server } from '../stage.ts'
import { median, shuffle } from '../statistics.ts'

const few = 1_000
const many = 100_000
const asking = 32_000
const settleSeconds = 6

export const restart: Scenario = {
  name: 'restart',
  title: `the first second after a restart, requests of up to ${asking} random clients in turn`,
  byDefault: false,
  run: async (bench) => {
    const { say, random, options } = bench
    say(`  registering ${many} and ${few} clients`)
    const sides = [await makeSide(bench, many), await makeSide(bench, few)]
    const generator = bench.startGenerator()
    for (let round = 0; round <= options.rounds; round += 1) {
      say(`  restart ${round} of ${options.rounds}`)
      for (const side of shuffle(sides, random)) {
        const parts = await restartOnce(bench, side, generator)
        // The first round is the generator's own warm-up.
        if (round > 0) side.rounds.push(parts)
      }
    }
    await generator.end()
    const [full, empty] = sides.map(({ rounds }) => rounds)
    return toResult(full ?? [], empty ?? [])
  },
}

interface Part {
  readonly perSecond: number
  /** Processor time per request, microseconds. */
  readonly cpu: number
}

interface Round {
  readonly startMilliseconds: number
  readonly first: Part
  readonly steady: Part
}

interface Side {
  readonly installation: Installation
  readonly requests: readonly LoadRequest[]
  readonly rounds: Round[]
}

async function makeSide({ stage, random }: Bench, count: number): Promise<Side> {
  const installation = await Installation.make(stage)
  return { installation, requests: installation.fill(count, asking, random), rounds: [] }
}

async function restartOnce(bench: Bench, { installation, requests }: Side, generator: LoadGenerator): Promise<Round> {
  const server = await installation.serve(bench.pinning?.server)
  const first = await measure(server, generator, requests, 1)
  await measure(server, generator, requests, settleSeconds)
  const steady = await measure(server, generator, requests, Math.max(1, bench.options.seconds))
  await server.end()
  return { startMilliseconds: server.startMilliseconds, first, steady }
}

async function measure(
  { pid, url }: Server,
  generator: LoadGenerator,
  requests: readonly LoadRequest[],
  seconds: number,
): Promise<Part> {
  const before = cpuMicroseconds(pid)
  const load = await generator.run({ kind: 'closed', url, requests, connections, seconds })
  const count = requireSuccess(load, 'Mayfly')
  return { perSecond: count / load.seconds, cpu: (cpuMicroseconds(pid) - before) / count }
}

function toResult(full: readonly Round[], empty: readonly Round[]) {
  const of = (rounds: readonly Round[], pick: (round: Round) => number): number => median(rounds.map(pick))
  const row = (clients: number, rounds: readonly Round[], when: 'first' | 'steady') => ({
    clients: String(clients),
    when: when === 'first' ? 'first second' : 'steady',
    'requests/s': Math.round(of(rounds, (round) => round[when].perSecond)),
    'CPU µs/request': of(rounds, (round) => round[when].cpu),
    'start ms': when === 'first' ? of(rounds, (round) => round.startMilliseconds) : undefined,
  })
  const ratio = of(full, ({ first, steady }) => first.perSecond / steady.perSecond)
  const beside = of(full, ({ first }) => first.perSecond) / of(empty, ({ first }) => first.perSecond)
  const cpu = of(full, ({ first, steady }) => steady.cpu / first.cpu)
  return {
    rows: [row(many, full, 'first'), row(many, full, 'steady'), row(few, empty, 'first'), row(few, empty, 'steady')],
    goals: [
      atLeast('at least 0.9 of steady throughput in the first second', ratio, 0.9),
      atLeast(`at least 0.9 of the first second with ${few} clients`, beside, 0.9),
    ],
    notes: [
      `By CPU per request ${cpu.toFixed(2)} of steady. A process that just started has not compiled its own code yet, which the first second has in it.`,
    ],
  }
}
