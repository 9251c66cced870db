/**
 * Rolls keys over, under load, while servers are killed and paused, in compressed time, and looks whether anybody notices:
 * `npm run rollover -- --rollovers N --seed S [--speed X] [--postgres]`. What a run consists of is told in `rollover/run.ts`, what is
 * compressed and what is not in `rollover/fast-clock.ts`.
 */
import { parseArgs } from 'node:util'
import { type Plan, rules, type Sabotage, sabotages, safeSpeed } from './rollover/plan.ts'
import { isGood, type RunResult, run } from './rollover/run.ts'

const usage = `npm run rollover -- [--rollovers N] [--seed TEXT] [--speed X] [--minutes M] [--postgres] [--sabotage ${sabotages.join('|')}]`
const shown = 10

function parsePlan(): Plan {
  const { values } = parseArgs({
    options: {
      rollovers: { type: 'string', default: '500' },
      seed: { type: 'string', default: String(Date.now()) },
      speed: { type: 'string', default: String(safeSpeed) },
      minutes: { type: 'string', default: '60' },
      sabotage: { type: 'string' },
      postgres: { type: 'boolean', default: false },
    },
  })
  const rollovers = wholeNumber(values.rollovers)
  return {
    seed: values.seed,
    rollovers,
    maxMinutes: wholeNumber(values.minutes),
    speed: wholeNumber(values.speed),
    database: values.postgres ? 'postgres' : 'sqlite',
    servers: 3,
    verifierProcesses: 4,
    verifiers: 50,
    tokensPerSecond: 40,
    kills: Math.max(1, Math.round(rollovers / 25)),
    pauses: Math.max(1, Math.round(rollovers / 25)),
    ...(values.sabotage === undefined ? {} : { sabotage: sabotageOf(values.sabotage) }),
  }
}

function wholeNumber(text: string): number {
  if (!/^[1-9][0-9]{0,5}$/.test(text)) throw new Error(`${text} is not a whole number above zero: ${usage}`)
  return Number(text)
}

function sabotageOf(text: string): Sabotage {
  const found = sabotages.find((sabotage) => sabotage === text)
  if (found === undefined) throw new Error(`there is no sabotage ${text}: ${usage}`)
  return found
}

function describe(plan: Plan, result: RunResult): readonly string[] {
  const { faults, front, verifiers, load } = result
  const sum = Object.values(verifiers.verified).reduce((a, b) => a + b, 0)
  return [
    `seed ${plan.seed}: ${result.realSeconds.toFixed(0)} s of the machine, ${result.hours.toFixed(1)} h of the servers: ${((result.hours * 3600) / result.realSeconds).toFixed(0)} times faster, at the least ${result.leastSpeed.toFixed(0)}`,
    `${result.rollovers} rollovers, ${load.received.size} tokens received, ${sum} verifications of live tokens by ${plan.verifiers} verifiers:`,
    ...Object.entries(verifiers.verified).map(([kind, count]) => `  ${kind.padEnd(42)} ${count}`),
    `  came too late to a dead token${' '.repeat(13)} ${verifiers.tooLate}`,
    `${faults.kills} servers killed, ${faults.pauses} paused, ${faults.pausesAcrossRotation} of them across a rotation (${faults.pausesLifted} lifted at once: they held the write lock)`,
    `answers ${JSON.stringify(front.answers)}, ${front.late} of them late; ${front.broken} connections broken, ${front.unanswered} requests unanswered`,
    `${result.snapshots} JWKS looked at`,
    '',
    `live tokens that failed to verify   ${verifiers.failures.length}`,
    `requests answered 5xx               ${result.serverErrors}`,
    `requests without a token            ${Object.values(load.refused).reduce((a, b) => a + b, 0)}`,
    `broken rules                        ${result.violations.length}`,
  ]
}

async function main(): Promise<void> {
  const plan = parsePlan()
  console.log(
    `seed ${plan.seed}; ${plan.rollovers} rollovers of keys that sign for ${rules.intervalSeconds} s, at most ${plan.speed} times faster`,
  )
  let told = 0
  const result = await run(plan, (rollovers) => {
    if (rollovers < told + 50) return
    told = rollovers
    console.log(`${rollovers} rollovers`)
  })
  console.log(describe(plan, result).join('\n'))
  for (const failure of result.verifiers.failures.slice(0, shown)) console.log(JSON.stringify(failure))
  for (const violation of result.violations.slice(0, shown)) console.log(violation)
  const missing = plan.rollovers - result.rollovers
  if (missing > 0) console.log(`ended after ${plan.maxMinutes} minutes, ${missing} rollovers before its aim`)
  if (isGood(result) && missing <= 0) return
  console.log(result.serverLog)
  process.exitCode = 1
}

await main()
