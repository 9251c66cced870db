/** `mayfly db copy`, run by its user and killed by SIGKILL, and what lies in both places then. */
import { spawn } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import Database from 'better-sqlite3'
import type { CopyState } from '../../src/store/copy/sides.ts'
import type { StorePlace } from '../../src/store/open-store.ts'
import type { Aim } from './killed-at.ts'
import { connect } from './postgres.ts'
import { cleanEnvironment, type Finished, finish, launcher, root } from './process.ts'
import type { Random } from './seed.ts'

export interface CopyCommand {
  readonly cwd: string
  readonly from: string
  readonly to: string
}

/** From what it does on, in this order, until the next. */
const phases = [
  '',
  'INTO copy_state',
  `(1, 'leaving'`,
  `SET state = 'filling'`,
  `SET state = 'arrived'`,
  `SET state = 'left'`,
] as const

const preload = pathToFileURL(join(root, 'test/support/killed-at.ts')).href

function run({ cwd, from, to }: CopyCommand, more: Readonly<Record<string, string>>, afterMilliseconds?: number) {
  const env = cleanEnvironment({ MAYFLY_DATABASE_URL: from, NODE_OPTIONS: `--import ${preload}`, ...more })
  const args = [launcher, 'db', 'copy', '--to', to, '--json']
  const child = spawn(process.execPath, args, { cwd, env, stdio: 'pipe' })
  const timer = setTimeout(() => child.kill('SIGKILL'), afterMilliseconds ?? 120_000)
  return finish(child).finally(() => clearTimeout(timer))
}

/** What a run that nobody kills sends, and how long it takes. */
export interface Course {
  readonly statements: readonly string[]
  readonly milliseconds: number
}

/** Runs it to its end. */
export async function runWhole(command: CopyCommand): Promise<Course & { readonly finished: Finished }> {
  const file = join(command.cwd, 'statements')
  const began = performance.now()
  const finished = await run(command, { STATEMENTS_FILE: file })
  const milliseconds = performance.now() - began
  return { finished, statements: readFileSync(file, 'utf8').split('\n').slice(0, -1), milliseconds }
}

/** Where a run is killed: at a statement, or after some time. */
export type Kill = Aim | { readonly afterMilliseconds: number }

/** One kill of many: each phase in turn, somewhere in it, those first that matter most, and every seventh after some time. */
export function chooseKill(number: number, { statements, milliseconds }: Course, random: Random): Kill {
  const from = phases[(number * 2 + 3) % (phases.length + 1)]
  // Node.js itself takes the first part of it.
  if (from === undefined) return { afterMilliseconds: milliseconds * (0.4 + random.next() * 0.6) }
  const begin = statements.findIndex((text) => text.includes(from))
  const next = phases[phases.indexOf(from) + 1]
  const end = next === undefined ? statements.length : statements.findIndex((text) => text.includes(next))
  return { from, later: random.between(0, end - begin), isSent: random.chance(0.5) }
}

export function runKilled(command: CopyCommand, kill: Kill): Promise<Finished> {
  if ('afterMilliseconds' in kill) return run(command, {}, kill.afterMilliseconds)
  return run(command, { KILLED_AT: JSON.stringify(kill) })
}

/** `absent`: no tables, `empty`: nothing but tables, `live`: a store and no mark. */
export type Found = 'absent' | 'empty' | 'live' | CopyState['state']

/** What lies in a place, once nobody copies there any more. */
export function look({ databasePath, postgresUrl }: StorePlace): Promise<Found> {
  return postgresUrl === undefined ? Promise.resolve(lookAtFile(databasePath)) : lookAtDatabase(postgresUrl.reveal())
}

const mark = 'SELECT state FROM copy_state'
const claim = 'SELECT store_id FROM installation'

function lookAtFile(path: string): Found {
  if (!existsSync(path)) return 'absent'
  const sqlite = new Database(path, { readonly: true })
  try {
    const isMade = sqlite.prepare(`SELECT 1 FROM sqlite_schema WHERE name = 'copy_state'`).get() !== undefined
    if (!isMade) return 'absent'
    const state = sqlite.prepare(mark).pluck().get() as CopyState['state'] | undefined
    return state ?? (sqlite.prepare(claim).get() === undefined ? 'empty' : 'live')
  } finally {
    sqlite.close()
  }
}

const copiers = `SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'mayfly copy'`

async function lookAtDatabase(url: string): Promise<Found> {
  const client = await connect(url)
  try {
    // A server process goes on with what it was sent, though nobody waits for the answer.
    const isBusy = async () => (await client.query(copiers)).rows.length > 0
    while (await isBusy()) await new Promise((resolve) => setTimeout(resolve, 10))
    const { rows } = await client.query(`SELECT to_regclass('copy_state') IS NOT NULL AS made`)
    if (rows[0]?.made !== true) return 'absent'
    const state = (await client.query(mark)).rows[0]?.state as CopyState['state'] | undefined
    return state ?? ((await client.query(claim)).rows.length === 0 ? 'empty' : 'live')
  } finally {
    await client.end()
  }
}
