/** Whether a refusal tells which clients exist: by its bytes, or by the time that it takes. */
import { randomBytes } from 'node:crypto'
import { generateSecret } from '../../../src/client/client-secret.ts'
import { defaultCost, hashImportedSecret } from '../../../src/client/imported-secret.ts'
import type { Load, LoadRequest } from '../load.ts'
import { apis, Installation, tokenRequest } from '../mayfly.ts'
import type { Goal, Scenario, ScenarioResult } from '../scenario.ts'
import { compareRanks, median, quantile, shuffle, sort } from '../statistics.ts'

/** Clients by how their authentication fails; one each, so that what is compared is the failure and not the client. */
const subjects = { unknown: 'nobody', disabled: 'retired', 'wrong secret': 'billing' } as const

type Subject = keyof typeof subjects

interface Presented {
  readonly name: string
  /** Requests of each subject. */
  readonly count: number
  make(): string
}

const classes: readonly Presented[] = [
  { name: 'mfs_ strings', count: 2_000, make: () => generateSecret().secret.reveal() },
  // Each costs an argon2id computation, so there are fewer.
  { name: 'other strings', count: 300, make: () => randomBytes(32).toString('base64url') },
]

/** Beyond this many standard deviations chance is no excuse: once in a thousand. */
const suspiciousZ = 3.3

export const enumeration: Scenario = {
  name: 'enumeration',
  title: 'unknown client, disabled client, wrong secret, one request at a time in random order',
  byDefault: true,
  run: async (bench) => {
    const installation = await Installation.make(bench.stage)
    const hash = await hashImportedSecret('a secret that a person chose', defaultCost)
    await installation.run('client', 'create', 'legacy', '--audience', apis.ES256, '--secret-hash', hash)
    await installation.addClient(subjects.disabled)
    await installation.run('client', 'disable', subjects.disabled)
    await installation.addClient(subjects['wrong secret'])
    // With the limit of failures out of the way: what is compared are the checks that it would put an end to.
    const server = await installation.serve(bench.pinning?.server, { MAYFLY_RATE_LIMIT_FAILURES: '1000000' })
    const generator = bench.startGenerator()
    const results: ScenarioResult[] = []
    for (const presented of classes) {
      bench.say(`  ${presented.name}`)
      const names = Object.keys(subjects) as Subject[]
      const order = shuffle(
        names.flatMap((name) => Array.from({ length: presented.count }, () => name)),
        bench.random,
      )
      const ask = (name: Subject): LoadRequest => tokenRequest(subjects[name], presented.make())
      // The first ones warm the code up, which would tell who was asked about early.
      await generator.run({ kind: 'sequential', url: server.url, requests: order.slice(0, presented.count).map(ask) })
      const load = await generator.run({ kind: 'sequential', url: server.url, requests: order.map(ask) })
      results.push(judge(presented.name, names, order, load))
    }
    await generator.end()
    await server.end()
    return {
      rows: results.flatMap(({ rows }) => rows),
      goals: results.flatMap(({ goals }) => goals),
      notes: [
        `z is that of a Mann-Whitney test against the row above it (the first against the last): beyond ±${suspiciousZ} once in a thousand by chance.`,
      ],
    }
  },
}

function judge(label: string, names: readonly Subject[], order: readonly Subject[], load: Load): ScenarioResult {
  const replies = load.replies ?? []
  const times = names.map((name) => replies.filter((_, i) => order[i] === name).map(({ milliseconds }) => milliseconds))
  const bodies = new Set(replies.map(({ reply }) => reply))
  const tests = times.map((own, i) => compareRanks(own, times.at(i - 1) ?? []))
  const rows = names.map((name, i) => ({
    request: `${label}, ${name}`,
    'median µs': median(times[i] ?? []) * 1000,
    'p10 µs': quantile(sort(times[i] ?? []), 0.1) * 1000,
    'p90 µs': quantile(sort(times[i] ?? []), 0.9) * 1000,
    'chance to be faster': tests[i]?.chanceBelow,
    z: tests[i]?.z,
    replies: times[i]?.length,
  }))
  const worst = Math.max(...tests.map(({ z }) => Math.abs(z)))
  const goals: Goal[] = [
    { goal: `${label}: one reply, byte for byte, for all three`, value: bodies.size, met: bodies.size === 1 },
    {
      goal: `${label}: timing does not tell them apart (|z| below ${suspiciousZ})`,
      value: worst,
      met: worst < suspiciousZ,
    },
  ]
  return { rows, goals, notes: [] }
}
