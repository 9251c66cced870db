/** What a person waits for: the start of a server, a command; and what a server that does nothing takes. */
import { setTimeout as pause } from 'node:timers/promises'
import { memoryMb } from '../kernel.ts'
import { Installation } from '../mayfly.ts'
import { atMost, type Scenario } from '../scenario.ts'
import { median } from '../statistics.ts'

const times = 11
const idleMilliseconds = 2_000

export const start: Scenario = {
  name: 'start',
  title: `from the command to the line that says where it listens, a CLI command, idle memory; medians of ${times}`,
  byDefault: true,
  run: async ({ stage, say }) => {
    const installation = await Installation.make(stage)
    const starts: number[] = []
    const commands: number[] = []
    const memory: number[] = []
    for (let i = 0; i < times; i += 1) {
      say(`  start ${i + 1} of ${times}`)
      const server = await installation.serve(undefined)
      starts.push(server.startMilliseconds)
      // A tick for what a start leaves to the moment after it; the garbage of the start may stay.
      await pause(i === 0 ? idleMilliseconds : idleMilliseconds / 4)
      memory.push(memoryMb(server.pid).now)
      await server.end()
      const before = performance.now()
      await installation.run('resource', 'list')
      commands.push(performance.now() - before)
    }
    return {
      rows: [
        {
          what: 'start to listening, ms',
          median: median(starts),
          least: Math.min(...starts),
          most: Math.max(...starts),
        },
        {
          what: 'one command, ms',
          median: median(commands),
          least: Math.min(...commands),
          most: Math.max(...commands),
        },
        { what: 'memory idle, MB', median: median(memory), least: Math.min(...memory), most: Math.max(...memory) },
      ],
      goals: [
        atMost('start at most 500 ms', median(starts), 500),
        atMost('a command at most 350 ms', median(commands), 350),
        atMost('idle memory at most 110 MB', median(memory), 110),
      ],
      notes: [],
    }
  },
}
