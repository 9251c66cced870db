/**
 * Mutation testing: changes the code in one place, runs the tests of that room, and counts what no test noticed.
 *
 *   npm run mutation                      every room
 *   npm run mutation -- client grant      these rooms; what is known of the others is kept
 *   npm run mutation -- --incremental     tests again only what code or tests have changed since the last run
 *   npm run mutation -- --report          runs nothing: looks at the last results again
 *
 * Results lie in `reports/mutation/`, and each call writes docs/mutation.md from all of them. Ends with 1 when a room
 * scores below 85 % or has no result, or a mutant survives for which `mutation-survivors.ts` has no reason.
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { setPriority } from 'node:os'
import { join, relative } from 'node:path'
import { Stryker } from '@stryker-mutator/core'
import { mutationRooms } from './mutation-rooms.ts'
import { tolerated } from './mutation-survivors.ts'

const root = join(import.meta.dirname, '..')
const leastScore = 85

type MutantResult = Awaited<ReturnType<Stryker['runMutationTest']>>[number]

interface Survivor {
  readonly file: string
  readonly line: number
  /** `the code → what it was changed to`, each on one line. */
  readonly mutant: string
}

interface RoomResult {
  readonly room: string
  readonly date: string
  readonly seconds: number
  readonly noticed: number
  readonly all: number
  readonly survivors: readonly Survivor[]
}

const rooms = Object.keys(mutationRooms)
const options = process.argv.slice(2)
const named = options.filter((option) => !option.startsWith('-'))
for (const room of named) if (!rooms.includes(room)) throw new Error(`no room is called ${room}`)
// Minutes of work for every core, that nobody waits for.
setPriority(10)

if (!options.includes('--report')) {
  for (const room of named.length === 0 ? rooms : named)
    writeFileSync(resultPath(room), JSON.stringify(await run(room)))
}
report(rooms.filter((room) => existsSync(resultPath(room))).map(readResult))

function resultPath(room: string): string {
  return join(root, 'reports/mutation', `${fileName(room)}.json`)
}

function fileName(room: string): string {
  return room.replace('/', '-')
}

function readResult(room: string): RoomResult {
  return JSON.parse(readFileSync(resultPath(room), 'utf8')) as RoomResult
}

async function run(room: string): Promise<RoomResult> {
  const begin = performance.now()
  const results = await mutate(room)
  // What would not compile or load is no mutant; one that makes a test run for ever was noticed.
  const counted = results.filter(({ status }) => !['Ignored', 'CompileError', 'RuntimeError'].includes(status))
  const survived = counted.filter(({ status }) => status !== 'Killed' && status !== 'Timeout')
  return {
    room,
    date: new Date().toISOString().slice(0, 10),
    seconds: Math.round((performance.now() - begin) / 1000),
    noticed: counted.length - survived.length,
    all: counted.length,
    survivors: survived.map(describe),
  }
}

function mutate(room: string): Promise<MutantResult[]> {
  process.env.MUTATION_ROOM = room
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
    jsonReporter: { fileName: `reports/mutation/${fileName(room)}-stryker.json` },
    // A whole run uses nothing of the last one, and leaves what the next may use.
    incremental: true,
    force: !options.includes('--incremental'),
    incrementalFile: `reports/mutation/${fileName(room)}-incremental.json`,
  }).runMutationTest()
}

function describe({ fileName: path, location, replacement = '' }: MutantResult): Survivor {
  const { start, end } = location
  const lines = readFileSync(path, 'utf8')
    .split('\n')
    .slice(start.line - 1, end.line)
  lines.push((lines.pop() ?? '').slice(0, end.column - 1))
  lines.unshift((lines.shift() ?? '').slice(start.column - 1))
  const mutant = `${flatten(lines.join('\n'))} → ${flatten(replacement)}`
  return { file: relative(root, path), line: start.line, mutant }
}

function flatten(code: string): string {
  return code.replace(/\s+/g, ' ').trim()
}

function report(results: readonly RoomResult[]): void {
  for (const result of results) {
    const { room, noticed, all, seconds, survivors } = result
    console.log(`${room}: ${percent(noticed, all)} (${noticed} of ${all}), ${seconds} s`)
    if (noticed * 100 < leastScore * all) fail(`${room} scores below ${leastScore} %`)
    for (const { file, line, mutant } of survivors.filter((survivor) => reasonOf(survivor) === undefined))
      fail(`survives without a reason: ${file}:${line}: ${mutant}`)
  }
  for (const room of rooms.filter((name) => !results.some((result) => result.room === name)))
    fail(`${room} has no result`)
  writeFileSync(join(root, 'docs/mutation.md'), page(results))
}

function fail(sentence: string): void {
  console.error(sentence)
  process.exitCode = 1
}

function reasonOf({ file, mutant }: Survivor): string | undefined {
  return tolerated.find(({ mutants }) => mutants[file]?.includes(mutant))?.reason
}

function page(results: readonly RoomResult[]): string {
  const rows = rooms.map((name) => {
    const result = results.find(({ room }) => room === name)
    if (result === undefined) return `| \`${pathOf(name)}\` | | no result | |`
    const { noticed, all, date } = result
    return `| \`${pathOf(name)}\` | ${all} | ${percent(noticed, all)} | ${date} |`
  })
  const survivors = results.flatMap((result) => result.survivors)
  const groups = tolerated.flatMap(({ reason }) => {
    const mine = survivors.filter((survivor) => reasonOf(survivor) === reason)
    if (mine.length === 0) return []
    const lines = new Set(mine.map(({ file, mutant }) => `| \`${file}\` | ${cell(mutant)} |`))
    return [`### ${reason}\n\n| file | mutant |\n|---|---|\n${[...lines].join('\n')}\n`]
  })
  groups.push(...unexplained(survivors.filter((survivor) => reasonOf(survivor) === undefined)))
  return `# Mutation testing

Written by \`npm run mutation\`; the reasons stand in \`scripts/mutation-survivors.ts\`.

The code is changed in one place at a time (a condition turned round, a text emptied, a block removed), and a test must
fail. A room is judged by its own tests alone: what the flows over HTTP would notice besides does not count. The command
fails when a room scores below ${leastScore} %, or a mutant survives that is not explained below.

| room | mutants | noticed | run |
|---|---|---|---|
${rows.join('\n')}

## What survives, and why

${groups.join('\n')}`
}

// How many there are of a file is enough here: the command names each of them.
function unexplained(survivors: readonly Survivor[]): readonly string[] {
  const counts = new Map<string, number>()
  for (const { file } of survivors) counts.set(file, (counts.get(file) ?? 0) + 1)
  const lines = [...counts].map(([file, count]) => `| \`${file}\` | ${count} |`)
  return lines.length === 0 ? [] : [`### No reason yet\n\n| file | mutants |\n|---|---|\n${lines.join('\n')}\n`]
}

function pathOf(room: string): string {
  return mutationRooms[room]?.mutate.replace('/**/*.ts', '') ?? room
}

function percent(part: number, whole: number): string {
  return `${((100 * part) / Math.max(1, whole)).toFixed(1)} %`
}

function cell(mutant: string): string {
  const [code = '', replacement = ''] = mutant.split(' → ')
  const quote = (text: string): string => (text === '' ? 'nothing' : `\`\`${` ${text} `.replaceAll('|', '\\|')}\`\``)
  return `${quote(code)} → ${quote(replacement)}`
}
