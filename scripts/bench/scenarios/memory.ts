/** Memory under load, over time: how much, and whether it grows. */
import { setTimeout as pause } from 'node:timers/promises'
import { connections } from '../compare.ts'
import { memoryMb } from '../kernel.ts'
import { requireSuccess } from '../load.ts'
import { Installation } from '../mayfly.ts'
import { atMost, type Scenario } from '../scenario.ts'
import { slope } from '../statistics.ts'

const sampleMilliseconds = 1_000
/** What the highest memory of the last third may lie above that of the middle third. */
const flatMb = 10

type Sample = { readonly x: number; readonly y: number }

export const memory: Scenario = {
  name: 'memory',
  title: 'memory under load: as many tokens as it can for ten minutes, or --minutes N',
  byDefault: false,
  run: async (bench) => {
    const installation = await Installation.make(bench.stage)
    const request = await installation.addClient('billing')
    const server = await installation.serve(bench.pinning?.server)
    const generator = bench.startGenerator()
    const samples: Sample[] = []
    let requests = 0
    let over = false
    const watch = (async () => {
      const started = performance.now()
      for (; !over; await pause(sampleMilliseconds)) {
        samples.push({ x: (performance.now() - started) / 3_600_000, y: memoryMb(server.pid).now })
      }
    })()
    const end = performance.now() + bench.options.minutes * 60_000
    try {
      // In parts, so that the generator's own lists stay short.
      while (performance.now() < end) {
        const seconds = Math.min(10, Math.max(0.1, (end - performance.now()) / 1000))
        const job = { kind: 'closed', url: server.url, requests: [request], connections, seconds } as const
        requests += requireSuccess(await generator.run(job), 'Mayfly')
        bench.say(
          `  ${Math.max(0, Math.round((end - performance.now()) / 1000))} s left, ${samples.at(-1)?.y.toFixed(0)} MB`,
        )
      }
    } finally {
      over = true
      await watch
    }
    const { highest } = memoryMb(server.pid)
    await server.end()
    await generator.end()
    const third = Math.ceil(samples.length / 3)
    const highestOf = (part: readonly Sample[]): number => Math.max(...part.map(({ y }) => y))
    const [middle, last] = [samples.slice(third, 2 * third), samples.slice(2 * third)]
    return {
      rows: [
        {
          minutes: bench.options.minutes,
          tokens: requests,
          'highest MB': highest,
          'highest in middle third, MB': highestOf(middle),
          'highest in last third, MB': highestOf(last),
          'slope of last two thirds, MB/h': slope([...middle, ...last]),
        },
      ],
      goals: [
        atMost('memory under load at most 220 MB', highest, 220),
        atMost(
          `flat: the last third at most ${flatMb} MB above the middle one`,
          highestOf(last) - highestOf(middle),
          flatMb,
        ),
      ],
      notes: ['Ten minutes are not an hour: the slope of a short run is that of the garbage collector.'],
    }
  },
}
