/** A server process of the rig: the program that `mayfly serve` runs, with compressed time. */
import { openLog } from '../../src/cli/operator-log.ts'
import { parseSettings } from '../../src/config/settings.ts'
import { systemClock } from '../../src/lib/clock.ts'
import { startServer } from '../../src/main.ts'
import { FastClock } from './fast-clock.ts'
import type { ServerOrder } from './plan.ts'
import { receive, send } from './process.ts'

/** What a server tells the rig. */
export interface ServerReport {
  readonly type: 'listening'
  readonly url: string
}

const keyTickMilliseconds = 15

const order = JSON.parse(process.argv[2] ?? '{}') as ServerOrder
const settings = parseSettings(order.environment, order.folder)
const clock = new FastClock(order.time)
const server = await startServer(settings, {
  // A second that a request may wait is a second of the machine.
  clock: {
    nowMilliseconds: () => clock.nowMilliseconds(),
    monotonicMilliseconds: () => systemClock.monotonicMilliseconds(),
  },
  ringClock: new FastClock(order.time, { factor: order.ringFactor }),
  keyTickMilliseconds,
  // That of the database runs as the machine's does.
  comparesClocks: false,
  drainIdleMilliseconds: 10,
  ...openLog(settings.logLevel),
})
receive<'stop'>(async () => {
  await server.stop()
  process.exit()
})
send({ type: 'listening', url: server.url })
