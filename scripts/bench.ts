/**
 * The benchmark: Mayfly beside its peers and beside the limits of the machine, on the same work, in turn, in one run.
 * docs/benchmark.md says what each figure means. Everything it starts ends with it, and everything it writes goes.
 */
import { parseArguments, UsageError } from './bench/arguments.ts'
import { describeMachine, findPinning } from './bench/kernel.ts'
import { LoadGenerator } from './bench/load.ts'
import { formatResult } from './bench/report.ts'
import type { Bench, ScenarioResult } from './bench/scenario.ts'
import { scenarios } from './bench/scenarios.ts'
import { Stage } from './bench/stage.ts'
import { randomFrom } from './bench/statistics.ts'

const stage = new Stage()

function say(text: string): void {
  process.stderr.write(`${text}\n`)
}

async function run(args: readonly string[]): Promise<void> {
  const { json, scenarios: chosen, ...options } = parseArguments(args, scenarios)
  if (process.platform !== 'linux')
    throw new UsageError('the benchmark reads what Linux books on processes: run it there')
  const pinning = findPinning()
  const machine = { ...describeMachine(), serverCore: pinning?.server, loadCore: pinning?.load }
  say(`seed ${options.seed}, ${JSON.stringify(machine)}`)
  if (pinning === undefined) say('servers and load share the cores: there is one, or no taskset')
  const bench: Bench = {
    options,
    stage,
    pinning,
    random: randomFrom(options.seed),
    startGenerator: () => new LoadGenerator(stage, pinning?.load),
    say,
  }
  const results: ({ scenario: string; title: string } & ScenarioResult)[] = []
  for (const scenario of chosen) {
    say(scenario.name)
    const result = await scenario.run(bench)
    results.push({ scenario: scenario.name, title: scenario.title, ...result })
    if (!json) process.stdout.write(`${formatResult(scenario, result)}\n`)
  }
  if (json) process.stdout.write(`${JSON.stringify({ ...options, machine, results }, undefined, 2)}\n`)
}

for (const [signal, code] of [
  ['SIGINT', 130],
  ['SIGTERM', 143],
  ['SIGHUP', 129],
] as const) {
  process.once(signal, () => {
    stage.close()
    process.exit(code)
  })
}
process.once('exit', () => stage.close())

try {
  await run(process.argv.slice(2))
} catch (error) {
  const isUsage = error instanceof UsageError
  say(isUsage ? error.message : `the benchmark failed: ${error instanceof Error ? error.stack : String(error)}`)
  process.exitCode = isUsage ? 2 : 1
} finally {
  stage.close()
}
