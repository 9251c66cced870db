/**
 * Kills and pauses servers, at moments that the seed draws: half of them around the moment that the next rotation is due,
 * the others anywhere. One at a time, so that somebody is there to answer.
 *
 * SQLite's write lock belongs to a process: one that is stopped inside a transaction stops all writers, which no server can
 * change. So a pause that caught one is lifted at once and tried again; the figures say how often.
 */

import type { FastClock } from './fast-clock.ts'
import { type Plan, rules } from './plan.ts'
import type { Random } from './random.ts'
import type { RunningServer, Servers } from './servers.ts'
import type { Watch } from './watch.ts'

export interface FaultParts {
  readonly plan: Plan
  readonly servers: Servers
  readonly watch: Watch
  readonly clock: FastClock
  readonly random: Random
  /** Whether the run ends before its rollovers are done. */
  isOver(): boolean
}

export interface FaultFigures {
  kills: number
  pauses: number
  /** Pauses during which another server rotated. */
  pausesAcrossRotation: number
  /** Pauses that caught a process with the write lock, and were lifted. */
  pausesLifted: number
}

const retryMilliseconds = 7
const maxRestartMilliseconds = 300

/** Makes all faults of a plan; resolves when the last is over. */
export async function makeFaults(parts: FaultParts): Promise<FaultFigures> {
  const { plan, random, watch } = parts
  const figures: FaultFigures = { kills: 0, pauses: 0, pausesAcrossRotation: 0, pausesLifted: 0 }
  const faults = [...Array<typeof kill>(plan.kills).fill(kill), ...Array<typeof pause>(plan.pauses).fill(pause)]
  const first = await watch.activations()
  for (const [i, fault] of random.shuffle(faults).entries()) {
    const after = Math.floor((plan.rollovers * i) / faults.length)
    while ((await watch.activations()) - first < after && !parts.isOver()) await wait(20)
    if (parts.isOver()) return figures
    await wait(await momentOf(parts))
    await fault(parts, figures)
  }
  return figures
}

async function momentOf({ random, watch, clock }: FaultParts): Promise<number> {
  const interval = clock.toRealMilliseconds(rules.intervalSeconds * 1000)
  if (random.unit() < 0.5) return random.between(0, interval)
  await watch.activations()
  const dueIn = clock.toRealMilliseconds(watch.lastActivation + rules.intervalSeconds * 1000 - clock.nowMilliseconds())
  return Math.max(0, dueIn + random.between(-40, 60))
}

async function kill({ servers, random }: FaultParts, figures: FaultFigures): Promise<void> {
  await servers.kill(random.pick([...servers.running]))
  figures.kills += 1
  await wait(random.between(0, maxRestartMilliseconds))
  await servers.start()
}

async function pause(parts: FaultParts, figures: FaultFigures): Promise<void> {
  const { clock, servers, random, watch } = parts
  const victim = random.pick([...servers.running])
  await stopOutsideTransaction(victim, parts, figures)
  const before = await watch.activations()
  await wait(clock.toRealMilliseconds(random.between(0.6, 3.5) * rules.intervalSeconds * 1000))
  figures.pauses += 1
  if ((await watch.activations()) > before) figures.pausesAcrossRotation += 1
  victim.process.signal('SIGCONT')
}

async function stopOutsideTransaction(
  { process }: RunningServer,
  { watch }: FaultParts,
  figures: FaultFigures,
): Promise<void> {
  for (;;) {
    process.signal('SIGSTOP')
    if (await watch.canWrite()) return
    process.signal('SIGCONT')
    figures.pausesLifted += 1
    await wait(retryMilliseconds)
  }
}

function wait(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds))
}
