/**
 * Tortures servers with everything that clients, thieves, operators and the machine do, and replays what was answered against
 * a model: `npm run torture -- --cycles N --seed S`. With `--history FILE` it keeps what happened, with `--check FILE` it
 * judges what was kept. With `--postgres` the servers share a PostgreSQL that the rig starts, and kills now and then. A seed brings back who does what and when servers are killed, not the machine's own timing.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { checkHistory } from './torture/check.ts'
import type { History } from './torture/history.ts'
import type { Plan } from './torture/plan.ts'
import { run } from './torture/run.ts'

const usage = 'npm run torture -- [--cycles N] [--seed TEXT] [--minutes M] [--history FILE] [--postgres] | --check FILE'
const shown = 20

const { values } = parseArgs({
  options: {
    cycles: { type: 'string', default: '100' },
    seed: { type: 'string', default: String(Date.now()) },
    minutes: { type: 'string', default: '120' },
    history: { type: 'string' },
    check: { type: 'string' },
    postgres: { type: 'boolean', default: false },
  },
})

function wholeNumber(text: string): number {
  if (!/^[1-9][0-9]{0,5}$/.test(text)) throw new Error(`${text} is not a whole number above zero: ${usage}`)
  return Number(text)
}

function report(history: History): void {
  const { calls } = history
  const count = (kind: string, outcome?: string): number =>
    calls.filter((call) => call.kind === kind && (outcome === undefined || call.outcome === outcome)).length
  for (const kind of ['begin', 'refresh', 'revoke', 'introspect', 'disable', 'offboard', 'enable']) {
    const outcomes = ['ok', 'fail', 'unknown'].map((outcome) => `${count(kind, outcome)} ${outcome}`)
    console.log(`  ${kind.padEnd(10)} ${String(count(kind)).padStart(7)}: ${outcomes.join(', ')}`)
  }
  const ends = new Map<string, number>()
  for (const { reason } of history.final.ended) ends.set(reason, (ends.get(reason) ?? 0) + 1)
  console.log(
    `  families   ${String(history.final.families.length).padStart(7)}: ${JSON.stringify(Object.fromEntries(ends))}`,
  )
  const problems = checkHistory(history)
  for (const problem of problems.slice(0, shown)) console.log(problem)
  console.log(`${problems.length} broken rules`)
  if (problems.length > 0) process.exitCode = 1
}

async function main(): Promise<void> {
  if (values.check !== undefined) {
    report(JSON.parse(readFileSync(values.check, 'utf8')) as History)
    return
  }
  const plan: Plan = {
    seed: values.seed,
    cycles: wholeNumber(values.cycles),
    maxMinutes: wholeNumber(values.minutes),
    database: values.postgres ? 'postgres' : 'sqlite',
    servers: 2,
    clients: 6,
    actors: 12,
  }
  console.log(`seed ${plan.seed}; ${plan.cycles} kills`)
  const result = await run(plan, (cycle) => {
    if (cycle % 50 === 0) console.log(`${cycle} kills`)
  })
  if (values.history !== undefined) writeFileSync(values.history, JSON.stringify(result.history))
  console.log(`${result.kills} servers killed in ${result.seconds.toFixed(0)} s`)
  report(result.history)
  if (result.kills < plan.cycles) {
    console.log(`ended after ${plan.maxMinutes} minutes, ${plan.cycles - result.kills} kills before its aim`)
    process.exitCode = 1
  }
  if (process.exitCode === 1) console.log(result.serverLog)
}

await main()
