/** The command line of the benchmark. */
import { randomInt } from 'node:crypto'
import { parseArgs } from 'node:util'
import type { BenchOptions, Scenario } from './scenario.ts'

/** Wrong use; the message is one sentence. */
export class UsageError extends Error {}

export interface Arguments extends BenchOptions {
  readonly json: boolean
  readonly scenarios: readonly Scenario[]
}

const usage = `npm run bench -- [--only NAME]… [--json] [--seconds N] [--rounds N] [--minutes N] [--seed N]`

/** @throws UsageError */
export function parseArguments(args: readonly string[], scenarios: readonly Scenario[]): Arguments {
  const { values } = parse(args)
  return {
    json: values.json ?? false,
    seconds: parseNumber('--seconds', values.seconds ?? '2', 0.1, 60),
    rounds: Math.floor(parseNumber('--rounds', values.rounds ?? '5', 1, 50)),
    minutes: parseNumber('--minutes', values.minutes ?? '10', 0.1, 120),
    seed: Math.floor(parseNumber('--seed', values.seed ?? String(randomInt(2 ** 32)), 0, 2 ** 32 - 1)),
    scenarios: choose(values.only, scenarios),
  }
}

function parse(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      options: {
        json: { type: 'boolean' },
        only: { type: 'string', multiple: true },
        seconds: { type: 'string' },
        rounds: { type: 'string' },
        minutes: { type: 'string' },
        seed: { type: 'string' },
      },
    })
  } catch (error) {
    const reason = error instanceof Error ? error.message.split('. ')[0] : String(error)
    throw new UsageError(`${reason}: ${usage}`)
  }
}

function parseNumber(name: string, text: string, least: number, most: number): number {
  const value = text.trim() === '' ? Number.NaN : Number(text)
  if (value >= least && value <= most) return value
  throw new UsageError(`${name} takes a number from ${least} to ${most}, not '${text}'`)
}

function choose(only: readonly string[] | undefined, scenarios: readonly Scenario[]): readonly Scenario[] {
  if (only === undefined) return scenarios.filter(({ byDefault }) => byDefault)
  const names = only.flatMap((part) => part.split(','))
  const known = scenarios.map(({ name }) => name)
  const unknown = names.find((name) => name !== 'all' && !known.includes(name))
  if (unknown !== undefined) {
    throw new UsageError(`there is no scenario '${unknown}': --only takes ${known.join(', ')}, or all`)
  }
  return scenarios.filter(({ name }) => names.includes('all') || names.includes(name))
}
