/**
 * Runs the command beside each promise in docs/guarantees.md, one after the other, and says which promises hold. Words on
 * the command line choose the promises that hold one of them. Ends with 1 when a promise does not hold or was not proved.
 */
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'

const root = join(import.meta.dirname, '..')

export interface Guarantee {
  readonly promise: string
  readonly command: string
  readonly needsRoot: boolean
}

/** The rows of the table. @throws Error when there is none, or one without a command */
export function parseGuarantees(page: string): readonly Guarantee[] {
  const rows = page.split('\n').filter((line) => line.startsWith('| ') && !line.startsWith('| promise'))
  if (rows.length === 0) throw new Error('docs/guarantees.md has no table')
  return rows.map((row) => {
    const [, promise = '', proof = ''] = row.split(' | ').join('|').split('|')
    const command = /`([^`]+)`/.exec(proof)?.[1]
    if (command === undefined) throw new Error(`there is no command beside: ${promise}`)
    return { promise: promise.trim(), command, needsRoot: /needs root/.test(proof) }
  })
}

/** Whether a command proved something: a filter that finds no test ends with 0 as well. */
export function isProof(command: string, exitCode: number | null, output: string): boolean {
  if (exitCode !== 0) return false
  const passed = Number(/^\s*Tests\s.*?\b(\d+) passed/m.exec(output)?.[1] ?? 0)
  return passed > 0 || !/vitest|npm test|test:/.test(command)
}

function prove({ command, needsRoot }: Guarantee): string {
  if (needsRoot && process.getuid?.() !== 0) return 'not proved: it needs root'
  const env = { ...process.env, NO_COLOR: '1' }
  const ended = spawnSync('bash', ['-c', command], { cwd: root, env, encoding: 'utf8', maxBuffer: 64 * 1024 * 1024 })
  if (isProof(command, ended.status, ended.stdout)) return 'holds'
  process.stdout.write(ended.stdout + ended.stderr)
  return ended.status === 0 ? 'not proved: no test ran' : `not proved: exit code ${ended.status}, see above`
}

function main(words: readonly string[]): number {
  const all = parseGuarantees(readFileSync(join(root, 'docs/guarantees.md'), 'utf8'))
  const chosen = all.filter(({ promise }) => words.length === 0 || words.some((word) => promise.includes(word)))
  const outcomes = new Map<string, string>()
  for (const guarantee of chosen) {
    const outcome = outcomes.get(guarantee.command) ?? prove(guarantee)
    outcomes.set(guarantee.command, outcome)
    console.log(`${outcome.padEnd(7)} ${guarantee.promise}\n        ${guarantee.command}`)
  }
  const held = chosen.filter(({ command }) => outcomes.get(command) === 'holds').length
  console.log(`\n${held} of ${chosen.length} hold`)
  return held === chosen.length && held > 0 ? 0 : 1
}

if (import.meta.main) process.exitCode = main(process.argv.slice(2))
