/** The first second after a restart, with many clients and nothing in memory, beside the same server later. */
import { connections } from '../compare.ts'
import { cpuMicroseconds } from '../kernel.ts'
import { type LoadGenerator, type LoadRequest, requireSuccess } from '../load.ts'
import { Installation } from '../mayfly.ts'
import { atLeast, type Bench, type Scenario } from '../scenario.ts'
import type { Server } from '../stage.ts'
import { median } from '../statistics.ts'

const clients = 100_000
const asking = 32_000
const settleSeconds = 6

export const restart: Scenario = {
  name: 'restart',
  title: `the first second after a restart with ${clients} clients, requests of ${asking} random ones of them in turn`,
  byDefault: false,
  run: async (bench) => {
    const { stage, say, random, options } = bench
    const installation = await Installation.make(stage)
    say(`  registering ${clients} clients`)
    const requests = installation.fill(clients, asking, random)
    const generator = bench.startGenerator()
    const firsts: Part[] = []
    const steadies: Part[] = []
    for (let round = 0; round <= options.rounds; round += 1) {
      say(`  restart ${round} of ${options.rounds}`)
      const { first, steady } = await restartOnce(bench, installation, generator, requests)
      // The first round is the generator's own warm-up.
      if (round > 0) firsts.push(first)
      if (round > 0) steadies.push(steady)
    }
    await generator.end()
    const ratio = median(firsts.map(({ perSecond }, i) => perSecond / (steadies[i]?.perSecond ?? Number.NaN)))
    const cpu = median(firsts.map(({ cpu }, i) => (steadies[i]?.cpu ?? Number.NaN) / cpu))
    const row = (when: string, parts: readonly Part[]) => ({
      when,
      'requests/s': Math.round(median(parts.map(({ perSecond }) => perSecond))),
      'CPU µs/request': median(parts.map((part) => part.cpu)),
    })
    return {
      rows: [row('first second', firsts), row('steady', steadies)],
      goals: [atLeast('at least 0.9 of steady throughput in the first second', ratio, 0.9)],
      notes: [
        `By CPU per request ${cpu.toFixed(2)} of steady. A process that just started has not compiled its own code yet, which the first second has in it.`,
      ],
    }
  },
}

interface Part {
  readonly perSecond: number
  readonly cpu: number
}

async function restartOnce(
  bench: Bench,
  installation: Installation,
  generator: LoadGenerator,
  requests: readonly LoadRequest[],
): Promise<{ first: Part; steady: Part }> {
  const server = await installation.serve(bench.pinning?.server)
  const first = await measure(server, generator, requests, 1)
  await measure(server, generator, requests, settleSeconds)
  const steady = await measure(server, generator, requests, Math.max(1, bench.options.seconds))
  await server.end()
  return { first, steady }
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
