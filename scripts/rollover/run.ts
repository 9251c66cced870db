/** One run: servers, verifiers, load and faults, until the rollovers are done and every token is dead; then the judgement. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type RigDatabase, usePostgres, useSqlite } from '../rig-database.ts'
import { checkHistory } from './check.ts'
import { FastClock, TimeKeeper } from './fast-clock.ts'
import { type FaultFigures, makeFaults } from './faults.ts'
import { Front, type FrontFigures } from './front.ts'
import { Governor } from './governor.ts'
import { readHistory } from './history.ts'
import { install } from './installation.ts'
import { Load, type LoadFigures } from './load.ts'
import { type Plan, rules, serverEnvironment } from './plan.ts'
import { createRandom } from './random.ts'
import { Recorder } from './recorder.ts'
import { Servers } from './servers.ts'
import { type VerifierFigures, Verifiers } from './verifiers.ts'
import { Watch } from './watch.ts'

/** What a run has shown. */
export interface RunResult {
  readonly rollovers: number
  readonly realSeconds: number
  /** How long it was by the clock of the servers. */
  readonly hours: number
  /** Time was slowed down to this. */
  readonly leastSpeed: number
  readonly faults: FaultFigures
  readonly load: LoadFigures
  readonly front: FrontFigures
  readonly verifiers: VerifierFigures
  readonly snapshots: number
  /** Answers with a status of 500 or above. */
  readonly serverErrors: number
  /** Broken rules, a sentence each. */
  readonly violations: readonly string[]
  /** What servers wrote to stderr. */
  readonly serverLog: string
}

const sabotagedRingFactor = 4
const progressMilliseconds = 50
const warmUpMilliseconds = 500

/** Whether nothing that was promised has been broken. */
export function isGood({ verifiers, serverErrors, violations, load, front }: RunResult): boolean {
  return (
    verifiers.failures.length === 0 &&
    serverErrors === 0 &&
    violations.length === 0 &&
    Object.keys(load.refused).length === 0 &&
    front.unanswered === 0
  )
}

/** @param onProgress hears how many rollovers are done */
export async function run(plan: Plan, onProgress: (rollovers: number) => void = () => {}): Promise<RunResult> {
  const folder = mkdtempSync(join(tmpdir(), 'mayfly-rollover-'))
  const database = plan.database === 'postgres' ? await usePostgres() : useSqlite(folder)
  try {
    const parts = await prepare(plan, folder, database)
    try {
      return await runIn(parts, onProgress)
    } finally {
      parts.front.close()
      await Promise.all([parts.servers.end(), parts.verifiers.end()])
      parts.time.close()
    }
  } finally {
    await database.close()
    rmSync(folder, { recursive: true, force: true })
  }
}

interface Parts {
  readonly plan: Plan
  readonly time: TimeKeeper
  readonly clock: FastClock
  readonly front: Front
  readonly servers: Servers
  readonly verifiers: Verifiers
  readonly database: RigDatabase
  readonly watch: Watch
  readonly secret: string
}

async function prepare(plan: Plan, folder: string, database: RigDatabase): Promise<Parts> {
  const front = new Front(createRandom(plan.seed).fork('front'))
  const issuer = await front.listen()
  const file = join(folder, 'time')
  // Nothing happens while everybody starts.
  const time = new TimeKeeper(file, 1)
  const clock = new FastClock(file)
  const environment = { ...serverEnvironment(issuer), ...database.environment }
  const secret = await install(folder, environment, { clock, database })
  const ringFactor = plan.sabotage === 'lead' ? sabotagedRingFactor : 1
  const servers = new Servers({ folder, environment, time: file, ringFactor }, front)
  const verifiers = new Verifiers(plan, issuer, file)
  return { plan, time, clock, front, servers, verifiers, database, watch: new Watch(database), secret }
}

async function runIn(parts: Parts, onProgress: (rollovers: number) => void): Promise<RunResult> {
  const { plan, time, clock, front, servers, verifiers, database, watch, secret } = parts
  const random = createRandom(plan.seed)
  const governor = new Governor(time, plan.speed)
  await Promise.all([verifiers.ready(), ...Array.from({ length: plan.servers }, () => servers.start())])
  const recorder = new Recorder(watch, servers.running)
  const load = new Load({
    plan,
    front,
    random: random.fork('load'),
    secret,
    places: verifiers.places,
    onLatency: (milliseconds) => governor.note(milliseconds),
    deliver: (process, delivery) => verifiers.deliver(process, delivery),
  })
  const started = performance.now()
  const isOver = (): boolean => performance.now() - started > plan.maxMinutes * 60_000
  const first = await watch.activations()
  recorder.start()
  load.start()
  // Everybody has been asked once before time runs.
  await new Promise((resolve) => setTimeout(resolve, warmUpMilliseconds))
  time.setSpeed(plan.speed / 2)
  governor.start()
  const [faults] = await Promise.all([
    makeFaults({ plan, servers, watch, clock, random: random.fork('faults'), isOver }),
    reach(plan.rollovers, async () => (await watch.activations()) - first, isOver, onProgress),
  ])
  const rollovers = (await watch.activations()) - first
  const loaded = await load.stop()
  const verified = await verifiers.finish()
  await recorder.stop()
  governor.stop()
  await servers.stop()
  const { snapshots } = recorder
  const history = { ...(await readHistory(database)), snapshots, received: loaded.received }
  return {
    rollovers,
    realSeconds: (performance.now() - started) / 1000,
    hours: clock.monotonicMilliseconds() / 3_600_000,
    leastSpeed: governor.least,
    faults,
    load: loaded,
    front: front.figures,
    verifiers: verified,
    snapshots: snapshots.length,
    serverErrors: countServerErrors(front.figures),
    violations: checkHistory(history, rules),
    serverLog: servers.errors,
  }
}

async function reach(
  wanted: number,
  count: () => Promise<number>,
  isOver: () => boolean,
  onProgress: (count: number) => void,
): Promise<void> {
  for (let reached = await count(); reached < wanted && !isOver(); reached = await count()) {
    onProgress(reached)
    await new Promise((resolve) => setTimeout(resolve, progressMilliseconds))
  }
}

function countServerErrors({ answers }: FrontFigures): number {
  return Object.entries(answers)
    .filter(([status]) => Number(status) >= 500)
    .reduce((sum, [, count]) => sum + count, 0)
}
