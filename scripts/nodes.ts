/**
 * Measures how soon nodes on one PostgreSQL know of a token that was revoked and of a client that was disabled, by another node
 * or at the command line: `npm run nodes -- [--trials N] [--nodes N] [--seed S] [--only ENDING]… [--minutes M] [--deaf]`.
 * Ends with 1 when anything was issued after a disable, an answer was older than the bound, or trials are missing.
 */
import { parseArgs } from 'node:util'
import { recentMilliseconds } from '../src/store/postgres/horizon.ts'
import { run } from './nodes/run.ts'
import { type Ending, endings, type TrialResult } from './nodes/trial.ts'

const usage = `npm run nodes -- [--trials N] [--nodes N] [--seed TEXT] [--only ${endings.join('|')}]… [--minutes M] [--deaf]`

const { values } = parseArgs({
  options: {
    trials: { type: 'string', default: '500' },
    nodes: { type: 'string', default: '2' },
    seed: { type: 'string', default: String(Date.now()) },
    minutes: { type: 'string', default: '120' },
    only: { type: 'string', multiple: true, default: [] },
    deaf: { type: 'boolean', default: false },
  },
})

function wholeNumber(text: string): number {
  if (!/^[1-9][0-9]{0,4}$/.test(text)) throw new Error(`${text} is not a whole number above zero: ${usage}`)
  return Number(text)
}

function endingsOf(only: readonly string[]): readonly Ending[] {
  const unknown = only.find((name) => !endings.some((ending) => ending === name))
  if (unknown !== undefined) throw new Error(`${unknown} is no ending: ${usage}`)
  return endings.filter((ending) => only.length === 0 || only.includes(ending))
}

function describe(name: string, milliseconds: readonly number[]): string {
  const sorted = milliseconds.toSorted((a, b) => a - b)
  const at = (share: number): string =>
    (sorted[Math.min(sorted.length - 1, Math.ceil(share * sorted.length) - 1)] ?? 0).toFixed(1)
  return `  ${name.padEnd(24)} p50 ${at(0.5)}, p99 ${at(0.99)}, p99.9 ${at(0.999)}, at most ${at(1)} ms`
}

function report(results: readonly TrialResult[]): void {
  for (const ending of plan.endings) {
    const own = results.filter((result) => result.ending === ending)
    const from = ending.startsWith('command-') ? 'the end of the command' : 'its answer'
    console.log(`${own.length} times ${ending}: from ${from} to the last request that was answered as before`)
    const of = (kind: 'introspect' | 'verify') => own.map((result) => result[kind])
    console.log(describe('/introspect', of('introspect')))
    console.log(describe('/verify', of('verify')))
  }
  const sum = (count: (result: TrialResult) => number): number => results.reduce((all, each) => all + count(each), 0)
  const issued = sum(({ issuedAfter }) => issuedAfter)
  const tooLate = results.filter(({ introspect, verify }) => Math.max(introspect, verify) >= recentMilliseconds).length
  console.log(`${issued} tokens issued to requests that began after a disable was answered, or its command had ended`)
  console.log(`${tooLate} answers older than ${recentMilliseconds} ms, of ${sum(({ asked }) => asked)} requests`)
  const alive = sum(({ alive: { introspect, verify } }) => introspect + verify)
  console.log(`${alive} answers as before while it was so`)
  console.log(`${sum(({ others }) => others.length)} requests without an answer`)
  if (issued > 0 || tooLate > 0) process.exitCode = 1
}

const plan = {
  seed: values.seed,
  endings: endingsOf(values.only),
  trials: wholeNumber(values.trials),
  nodes: wholeNumber(values.nodes),
  maxMinutes: wholeNumber(values.minutes),
  deaf: values.deaf,
}
if (plan.nodes < 2) throw new Error(`one node has nobody to tell: ${usage}`)
console.log(`seed ${plan.seed}; ${plan.nodes} nodes${plan.deaf ? ', which hear no notifications' : ''}`)
const results = await run(plan, (done) => {
  if (done % 100 === 0) console.log(`${done} trials`)
})
report(results)
const missing = plan.trials * plan.endings.length - results.length
if (missing > 0) {
  console.log(`ended after ${plan.maxMinutes} minutes, ${missing} trials before its aim`)
  process.exitCode = 1
}
