/** What an honest client feels while somebody guesses secrets. Both send at fixed rates, whatever the server does. */
import { randomBytes } from 'node:crypto'
import { generateSecret } from '../../../src/client/client-secret.ts'
import { defaultCost, hashImportedSecret } from '../../../src/client/imported-secret.ts'
import { connections } from '../compare.ts'
import type { Load, LoadGenerator, LoadRequest } from '../load.ts'
import { requireSuccess } from '../load.ts'
import { apis, Installation, tokenRequest } from '../mayfly.ts'
import { atMost, type Scenario } from '../scenario.ts'
import type { Server } from '../stage.ts'
import { median, shuffle } from '../statistics.ts'

const floodPerSecond = 500
const honestPerSecond = 200

/** What is guessed. Strings of our form cost a hash; others an argon2id check, or 503 when too many wait. */
const floods = {
  idle: undefined,
  'mfs_ strings': () => generateSecret().secret.reveal(),
  'other strings': () => randomBytes(16).toString('base64url'),
} as const

type Flood = keyof typeof floods

export const flood: Scenario = {
  name: 'flood',
  title: `${floodPerSecond} wrong secrets a second; an honest client that asks ${honestPerSecond} times a second`,
  byDefault: true,
  run: async (bench) => {
    const installation = await Installation.make(bench.stage)
    const honest = await installation.addClient('billing')
    const hash = await hashImportedSecret('a secret that a person chose', defaultCost)
    await installation.run('client', 'create', 'legacy', '--audience', apis.ES256, '--secret-hash', hash)
    const server = await installation.serve(undefined)
    const [calm, rough] = [bench.startGenerator(), bench.startGenerator()]
    await calm.run({ kind: 'closed', url: server.url, requests: [honest], connections, seconds: bench.options.seconds })
    const loads = new Map<Flood, { honest: Load; flood?: Load }[]>()
    for (let round = 1; round <= bench.options.rounds; round += 1) {
      bench.say(`  round ${round} of ${bench.options.rounds}`)
      for (const name of shuffle(Object.keys(floods) as Flood[], bench.random)) {
        const earlier = loads.get(name) ?? []
        loads.set(name, [
          ...earlier,
          await measure({ server, calm, rough, honest, seconds: 2 * bench.options.seconds }, floods[name]),
        ])
      }
    }
    await Promise.all([calm.end(), rough.end(), server.end()])
    return toResult(loads)
  },
}

interface Setting {
  readonly server: Server
  readonly calm: LoadGenerator
  readonly rough: LoadGenerator
  readonly honest: LoadRequest
  readonly seconds: number
}

async function measure(
  { server: { url }, calm, rough, honest, seconds }: Setting,
  guess: (() => string) | undefined,
): Promise<{ honest: Load; flood?: Load }> {
  const calmJob = { kind: 'paced', url, requests: [honest], perSecond: honestPerSecond, seconds } as const
  if (guess === undefined) return { honest: await calm.run(calmJob) }
  const names = ['billing', 'legacy', 'nobody']
  const requests = Array.from({ length: 300 }, (_, i) => tokenRequest(names[i % names.length] ?? '', guess()))
  const [honestLoad, floodLoad] = await Promise.all([
    calm.run(calmJob),
    rough.run({ kind: 'paced', url, requests, perSecond: floodPerSecond, seconds }),
  ])
  if (Object.keys(floodLoad.statuses).some((status) => !['400', '401', '429', '503'].includes(status)))
    throw new Error(`a wrong secret was answered with ${JSON.stringify(floodLoad.statuses)}`)
  return { honest: honestLoad, flood: floodLoad }
}

function toResult(loads: ReadonlyMap<Flood, readonly { honest: Load; flood?: Load }[]>) {
  const of = (name: Flood, pick: (one: { honest: Load; flood?: Load }) => number | undefined): number =>
    median((loads.get(name) ?? []).map((one) => pick(one) ?? Number.NaN))
  const p99 = (name: Flood): number => of(name, ({ honest }) => honest.p99Ms)
  for (const { honest } of [...loads.values()].flat()) requireSuccess(honest, 'Mayfly')
  const rows = (Object.keys(floods) as Flood[]).map((name) => ({
    flood: name,
    'honest p50 ms': of(name, ({ honest }) => honest.p50Ms),
    'honest p99 ms': p99(name),
    'sent late by, p99 ms': of(name, ({ honest }) => honest.lateP99Ms),
    'guesses answered 401': of(name, (one) => share(one.flood, '401')),
    'guesses answered 503': of(name, (one) => share(one.flood, '503')),
    'guess p99 ms': of(name, (one) => one.flood?.p99Ms),
  }))
  return {
    rows,
    goals: [
      atMost('honest p99 at most 1.2 × idle, mfs_ strings', p99('mfs_ strings') / p99('idle'), 1.2),
      atMost('honest p99 at most 1.2 × idle, other strings', p99('other strings') / p99('idle'), 1.2),
    ],
    notes: [
      'Latency counts from when a request was due, so a stall counts for all that should have been asked in it; how late the generator itself sent is part of it, and shown.',
      'The server is not kept on one core here: argon2id runs on threads beside the event loop, and has the cores that there are.',
    ],
  }
}

function share(load: Load | undefined, status: string): number | undefined {
  if (load === undefined) return undefined
  const all = Object.values(load.statuses).reduce((sum, count) => sum + count, 0)
  return (load.statuses[status] ?? 0) / all
}
