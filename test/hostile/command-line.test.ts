import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { runCommandLine } from '../../src/cli/cli.ts'
import { commands } from '../../src/cli/commands.ts'
import { generateSecret } from '../../src/client/client-secret.ts'
import { canary, patience, runs, seed, watchForCrashes } from '../support/hostile.ts'
import { type Finished, mayfly } from '../support/process.ts'
import { api } from '../support/server.ts'

/** Typed in every wrong place. */
const secret = generateSecret().secret.reveal()
const token = `eyJhbGciOiJFUzI1NiJ9.${btoa(`{"sub":"${canary}"}`).replace(/=+$/, '')}.${'s1gnature'.repeat(9)}`

const home = process.cwd()
let folder = ''

watchForCrashes()
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'mayfly-command-line-'))
  process.chdir(folder)
  for (const name of Object.keys(process.env)) if (name.startsWith('MAYFLY_')) delete process.env[name]
  await runHere(['db', 'migrate'])
  await runHere(['resource', 'create', api, '--scope', 'read write'])
  await runHere(['client', 'create', 'billing', '--audience', api])
})
afterAll(() => {
  process.chdir(home)
  rmSync(folder, { recursive: true, force: true })
})

/** Runs a command line in this process, with what it prints and reads in place of the process's own. */
async function runHere(args: readonly string[], input: Buffer = Buffer.alloc(0)): Promise<Finished> {
  const printed = { stdout: '', stderr: '' }
  const { stdin } = process
  const writes = (['stdout', 'stderr'] as const).map((name) => {
    const stream = process[name]
    const { write } = stream
    const listeners = stream.listeners('error')
    stream.write = (text: string | Uint8Array, ...rest: unknown[]) => {
      printed[name] += typeof text === 'string' ? text : Buffer.from(text).toString()
      const done = rest.find((each) => typeof each === 'function')
      done?.()
      return true
    }
    return () => {
      stream.write = write
      for (const each of stream.listeners('error')) {
        if (!listeners.includes(each)) stream.off('error', each as () => void)
      }
    }
  })
  Object.defineProperty(process, 'stdin', { value: Readable.from([input]), configurable: true })
  try {
    return { code: await runCommandLine(args), signal: null, ...printed }
  } finally {
    for (const restore of writes) restore()
    Object.defineProperty(process, 'stdin', { value: stdin, configurable: true })
  }
}

/** What every end of a command must be, whatever was typed. */
function expectOrderlyEnd({ code, stdout, stderr }: Finished, args: readonly string[], json: boolean): void {
  const shown = JSON.stringify({ args, code, stdout, stderr })
  expect([0, 1, 2], shown).toContain(code)
  expect(stderr, shown).not.toMatch(/^ {4}at |node:internal|\bfault\b|the command failed/m)
  expect(stdout + stderr, shown).not.toMatch(/[^\P{Cc}\n]|\u202e/u)
  for (const each of [secret, token, token.slice(-40)]) expect(stdout + stderr, shown).not.toContain(each)
  // The doctor's findings are its answer, also when it is no.
  const isAnswered = code === 1 && stdout !== '' && args.includes('doctor')
  if (code !== 0 && !isAnswered) expect([stdout, stderr === ''], shown).toEqual(['', false])
  if (!json || stdout.startsWith('Usage: ') || /^[0-9.]+\n$/.test(stdout)) return
  const document = code === 0 || isAnswered ? stdout : stderr
  expect(() => JSON.parse(document), shown).not.toThrow()
  if (code !== 0 && !isAnswered) expect(Object.keys(JSON.parse(stderr) as object), shown).toEqual(['error', 'message'])
}

const junk = fc.oneof(
  fc.constantFrom(secret, token, `x${secret}`, `--${secret}`, `--secret=${secret}`, `${api}#${secret}`, 'billing'),
  fc.constantFrom('\u001b[2J', '\u009b2J', '\u202e', '\r\nactive true', '', '-', '--', '--json', '--help', '__proto__'),
  fc.constantFrom("' OR 1=1--", 'constructor', '0', '-1', '99999999999d', '1e3', '\u{1f511}', '\ud800', 'client'),
  fc.string({ unit: 'binary', maxLength: 20 }),
  fc.integer({ min: 100, max: 5_000 }).map((length) => 'x'.repeat(length)),
)

// Whoever runs this may be root: nothing that is typed here may be a path to elsewhere.
const fileName = fc.string({ unit: fc.constantFrom('a', 'b', ' ', '\u001b', '\u009b', '-'), maxLength: 12 })

const fitting = fc.oneof(
  { weight: 3, arbitrary: fc.constantFrom('billing', api, 'read', '5m', 'ES256', 'client_secret_post', '10', 'urn:x') },
  { weight: 2, arbitrary: junk },
)

/** A command of the table with its arguments, some of its options and values for them. `serve` would not end by itself. */
const tabled = fc.constantFrom(...commands).chain((command) => {
  const options = (command.options ?? []).map(({ flags }) => {
    const [name = '', value] = flags.split(' ')
    if (value === undefined) return fc.constant([name])
    return (value === '<file>' ? fileName : fitting).map((text) => [name, text])
  })
  const args = (command.arguments ?? []).map(({ name }) => (name === '<file>' ? fileName : fitting))
  const some = options.length === 0 ? fc.constant([]) : fc.array(fc.oneof(...options), { maxLength: 4 })
  return fc.tuple(fc.tuple(...args), some, fc.array(junk, { maxLength: 1 })).map(([args, options, rest]) => {
    const isServe = command.name === 'serve'
    const behind = command.name === 'db backup' ? [] : [...options.flat(), ...rest]
    return { words: command.name.split(' '), behind: isServe ? ['--none', ...behind] : [...args, ...behind] }
  })
})

const typed = fc
  .array(fc.oneof(junk, fc.constantFrom('client', 'show', 'resource', 'list', 'db', 'check', 'token', 'inspect')), {
    maxLength: 5,
  })
  .filter((words) => !words.includes('serve') && !words.includes('backup'))
  .map((words) => ({ words, behind: [] }))

const line = fc
  .tuple(fc.oneof({ weight: 4, arbitrary: tabled }, { weight: 1, arbitrary: typed }), fc.boolean())
  .map(([{ words, behind }, json]) => ({ json, args: [...words, ...(json ? ['--json'] : []), ...behind] }))

const input = fc.oneof(
  fc.uint8Array({ maxLength: 80 }).map((bytes) => Buffer.from(bytes)),
  fc.string({ maxLength: 40 }).map((text) => Buffer.from(text)),
  fc.constantFrom(Buffer.from(secret), Buffer.from(token), Buffer.alloc(70_000, 'x')),
)

describe('a hostile command line', () => {
  it(
    `I21 C07 CA-13 ends with 0, 1 or 2 and one document, and tells no secret (FC_SEED=${seed})`,
    patience,
    async () => {
      const seen = new Map<number | null, number>()
      const property = fc.asyncProperty(line, input, async ({ args, json }, input) => {
        const ended = await runHere(args, input)
        expectOrderlyEnd(ended, args, json)
        seen.set(ended.code, (seen.get(ended.code) ?? 0) + 1)
      })
      await fc.assert(property, runs(500))
      for (const code of [0, 1, 2]) expect(seen.get(code), `exit code ${code}`).toBeGreaterThan(10)
      expect(JSON.parse((await runHere(['db', 'check', '--json'])).stdout)).toMatchObject({ ok: true })
    },
  )

  it.each([
    ['a name', ['client', 'create', secret, '--client-id', 'x', '--audience', api]],
    ['a scope', ['resource', 'update', api, '--scope', `read ${secret}`]],
    ['a URI', ['resource', 'create', `https://${secret}@x.test`]],
    ['a URI', ['resource', 'create', `urn:${token}`]],
    ['a word too many', ['client', 'show', 'billing', `x${secret}`]],
    ['a verb', ['token', token]],
  ])('CA-13 keeps and tells no secret that stands in the place of %s', async (_, args) => {
    const ended = await runHere(args)
    expectOrderlyEnd(ended, args, false)
    expect(ended.code).toBe(2)
  })

  it('C07 escapes in JSON what a terminal obeys and JSON allows', async () => {
    const { code, stdout } = await runHere(['db', 'backup', '--json', 'a\u009b2J\u202eb'])
    expect(code).toBe(0)
    expect(stdout).toMatch(/^[ -~\n]+$/)
    expect(JSON.parse(stdout)).toMatchObject({ backup: join(folder, 'a\u009b2J\u202eb') })
  })

  it(`does so as a process too (FC_SEED=${seed})`, { timeout: 2 * patience.timeout }, async () => {
    const cases = fc.sample(fc.tuple(line, input), { seed, numRuns: runs(18).numRuns ?? 18 })
    // A process takes no NUL among its arguments, and half a surrogate pair not as it was.
    const possible = cases.filter(([{ args }]) => args.every((arg) => !arg.includes('\0') && arg.isWellFormed()))
    expect(possible.length).toBeGreaterThan(10)
    while (possible.length > 0) {
      const some = possible.splice(0, 4).map(async ([{ args, json }, input]) => {
        expectOrderlyEnd(await mayfly(args, { cwd: folder, input }), args, json)
      })
      await Promise.all(some)
    }
    expect((await mayfly(['db', 'check'], { cwd: folder })).code).toBe(0)
  })
})
