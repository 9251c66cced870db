/**
 * Mutation testing: changes the code in one place, runs the tests of that room, and counts what no test noticed.
 *
 *   npm run mutation                      every room, then writes docs/mutation.md
 *   npm run mutation -- client grant      these rooms alone, and writes nothing
 *   npm run mutation -- --incremental     tests again only what changed since the last such run
 *
 * Ends with 1 when a room scores below 85 %, or a mutant survives for which `mutation-survivors.ts` has no reason.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { setPriority } from 'node:os'
import { join, relative } from 'node:path'
import { Stryker } from '@stryker-mutator/core'
import { mutationRooms } from './mutation-rooms.ts'
import { tolerated } from './mutation-survivors.ts'

const root = join(import.meta.dirname, '..')
const leastScore = 85

type MutantResult = Awaited<ReturnType<Stryker['runMutationTest']>>[number]

interface Score {
  readonly room: string
  readonly noticed: number
  readonly all: number
  readonly seconds: number
}

interface Survivor {
  readonly file: string
  readonly line: number
  /** `the code → what it was changed to`, each on one line. */
  readonly mutant: string
}

const options = process.argv.slice(2)
const named = options.filter((option) => !option.startsWith('-'))
for (const room of named) if (!(room in mutationRooms)) throw new Error(`no room is called ${room}`)
// Hours of work for one core that nobody waits for.
setPriority(10)

const scores: Score[] = []
const survivors: Survivor[] = []
for (const room of named.length === 0 ? Object.keys(mutationRooms) : named) {
  const begin = performance.now()
  const counted = (await mutate(room)).filter(({ status }) => status !== 'Ignored' && status !== 'CompileError')
  const survived = counted.filter(({ status }) => status !== 'Killed' && status !== 'Timeout')
  const seconds = Math.round((performance.now() - begin) / 1000)
  scores.push({ room, noticed: counted.length - survived.length, all: counted.length, seconds })
  survivors.push(...survived.map(describe))
}
report()

function mutate(room: string): Promise<MutantResult[]> {
  process.env.MUTATION_ROOM = room
  const name = room.replace('/', '-')
  return new Stryker({
    testRunner: 'vitest',
    vitest: { configFile: 'vitest.mutation.config.ts' },
    plugins: ['@stryker-mutator/vitest-runner'],
    // TypeScript 7 has no API that Stryker could read a configuration with; there is nothing in it to rewrite.
    tsconfigFile: 'no-such-tsconfig.json',
    mutate: [mutationRooms[room]?.mutate ?? ''],
    ignorePatterns: ['/.ci', '/bench', '/data', '/dist', '/docs', '/examples', '/keys', '/*.md'],
    coverageAnalysis: 'perTest',
    concurrency: 2,
    timeoutMS: 30_000,
    reporters: ['json', 'progress-append-only'],
    jsonReporter: { fileName: `reports/mutation/${name}.json` },
    incremental: options.includes('--incremental'),
    incrementalFile: `reports/mutation/${name}-incremental.json`,
  }).runMutationTest()
}

function describe({ fileName, location, replacement = '' }: MutantResult): Survivor {
  const { start, end } = location
  const file = relative(root, fileName)
  const lines = readFileSync(fileName, 'utf8')
    .split('\n')
    .slice(start.line - 1, end.line)
  lines.push((lines.pop() ?? '').slice(0, end.column - 1))
  lines.unshift((lines.shift() ?? '').slice(start.column - 1))
  return { file, line: start.line, mutant: `${flatten(lines.join('\n'))} → ${flatten(replacement)}` }
}

function flatten(code: string): string {
  return code.replace(/\s+/g, ' ').trim()
}

function reasonOf({ file, mutant }: Survivor): string | undefined {
  return tolerated.find(({ mutants }) => mutants[file]?.includes(mutant))?.reason
}

function report(): void {
  for (const { room, noticed, all, seconds } of scores) {
    console.log(`${room}: ${percent(noticed, all)} (${noticed} of ${all}), ${seconds} s`)
  }
  const low = scores.filter(({ noticed, all }) => noticed * 100 < leastScore * all)
  for (const { room } of low) console.error(`${room} scores below ${leastScore} %`)
  const unexplained = survivors.filter((survivor) => reasonOf(survivor) === undefined)
  for (const { file, line, mutant } of unexplained)
    console.error(`survives without a reason: ${file}:${line}\t${mutant}`)
  if (named.length === 0) writeFileSync(join(root, 'docs/mutation.md'), page())
  if (low.length + unexplained.length > 0) process.exitCode = 1
}

function page(): string {
  const noticed = scores.reduce((sum, score) => sum + score.noticed, 0)
  const all = scores.reduce((sum, score) => sum + score.all, 0)
  const seconds = scores.reduce((sum, score) => sum + score.seconds, 0)
  const rows = scores.map((score) => `| \`src/${score.room}\` | ${score.all} | ${percent(score.noticed, score.all)} |`)
  const explained = tolerated
    .map(({ reason }) => ({ reason, mutants: survivors.filter((survivor) => reasonOf(survivor) === reason) }))
    .filter(({ mutants }) => mutants.length > 0)
    .map(({ reason, mutants }) => {
      const list = mutants.map(({ file, mutant }) => `| \`${file}\` | ${cell(mutant)} |`)
      return `### ${reason}\n\n| file | mutant |\n|---|---|\n${[...new Set(list)].join('\n')}\n`
    })
  return `# Mutation testing

Written by \`npm run mutation\`, ${new Date().toISOString().slice(0, 10)}: ${Math.ceil(seconds / 60)} minutes on two cores.

The code is changed in one place at a time (a condition turned round, a text emptied, a block removed), and the tests of
that room must notice. A room is judged by its own tests alone; what the flows over HTTP would notice besides does not
count. The command fails when a room scores below ${leastScore} %, or a mutant survives that is not explained below.

| room | mutants | noticed |
|---|---|---|
${rows.join('\n')}
| all | ${all} | ${percent(noticed, all)} |

## What survives, and why

${explained.join('\n')}`
}

function percent(part: number, whole: number): string {
  return `${((100 * part) / Math.max(1, whole)).toFixed(1)} %`
}

function cell(mutant: string): string {
  const [code = '', replacement = ''] = mutant.split(' → ')
  const quote = (text: string): string => (text === '' ? 'nothing' : `\`\`${` ${text} `.replaceAll('|', '\\|')}\`\``)
  return `${quote(code)} → ${quote(replacement)}`
}
