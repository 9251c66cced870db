/**
 * Loaded into a command before it begins (`node --import`): ends it by SIGKILL at one of its statements, where nobody who
 * watches it from outside can aim. `KILLED_AT` says at which one, as JSON; `STATEMENTS_FILE` is where all are written down.
 */
import { appendFileSync } from 'node:fs'
import { env, kill, pid } from 'node:process'
import Database from 'better-sqlite3'
import pg from 'pg'

/** Where a command is to be killed. */
export interface Aim {
  /** A part of the statement that counting begins at; empty for the first of all. */
  readonly from: string
  /** How many statements later. */
  readonly later: number
  /** Once it is sent, or before. */
  readonly isSent: boolean
}

const aim = env.KILLED_AT === undefined ? undefined : (JSON.parse(env.KILLED_AT) as Aim)
let left = Number.NaN

function count(text: string): void {
  if (env.STATEMENTS_FILE !== undefined) appendFileSync(env.STATEMENTS_FILE, `${text.replaceAll('\n', ' ')}\n`)
  left -= 1
  if (aim !== undefined && Number.isNaN(left) && text.includes(aim.from)) left = aim.later
}

function meet<T>(text: string, run: () => T): T {
  count(text)
  if (left !== 0) return run()
  if (aim?.isSent === true) run()
  kill(pid, 'SIGKILL')
  throw new Error('is dead')
}

type Method = (this: never, ...args: never[]) => unknown

/** Has a method of a prototype counted, whose statement is what `textOf` makes of `this` and the first argument. */
function watch(prototype: object, name: string, textOf: (self: never, first: never) => string): void {
  const original = Reflect.get(prototype, name) as Method
  const watched: Method = function (...args) {
    return meet(textOf(this, args[0] as never), () => original.apply(this, args))
  }
  Object.defineProperty(prototype, name, { value: watched, configurable: true, writable: true })
}

const statement = Object.getPrototypeOf(new Database(':memory:').prepare('SELECT 1')) as object
for (const name of ['run', 'get', 'all']) watch(statement, name, (self: Database.Statement) => self.source)
watch(Database.prototype, 'exec', (_, text: string) => text)
watch(pg.Client.prototype, 'query', (_, first: string | { readonly text: string }) =>
  typeof first === 'string' ? first : first.text,
)
