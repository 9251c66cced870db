/** From the command line to a command, and from what it did to output and exit code: 0 done, 1 refused or failed, 2 wrong use. */
import { userInfo } from 'node:os'
import { createInterface } from 'node:readline/promises'
import { CommanderError, Option, Command as Program } from 'commander'
import type { Actor } from '../audit/event.ts'
import { ConfigError } from '../config/setting.ts'
import { parseSettings, readEnvironment } from '../config/settings.ts'
import { systemClock } from '../lib/clock.ts'
import { RegistryError, StoreUnavailable } from '../lib/store-error.ts'
import type { Store } from '../store/store.ts'
import { type Command, type CommandContext, CommandFailure, type OptionValues, UsageError } from './command.ts'
import { commands, nouns } from './commands.ts'
import { program, readVersion } from './program.ts'
import { maskSecrets } from './values.ts'

const maxStdinBytes = 64 * 1024

// Sentences and examples are written with `mayfly`, which no shell finds unless it was installed for the whole machine.
function asCalled(text: string): string {
  return text.replace(/(?<=^|`)mayfly (?=[a-z])/g, `${program} `)
}

/** Builds the parser from the table of commands. `run` is called with the command that was named. */
export function buildProgram(
  run: (command: Command, args: readonly string[], options: OptionValues) => Promise<void>,
): Program {
  const root = new Program('mayfly')
    .description('Short-lived access tokens for workloads.')
    .showHelpAfterError('(`--help` says more)')
    .helpCommand(false)
    .version(readVersion(), '--version', 'print the version')
  const groups = new Map<string, Program>()
  for (const command of commands) {
    const [first = '', verb] = command.name.split(' ')
    const parent = verb === undefined ? root : (groups.get(first) ?? addNoun(root, first))
    if (verb !== undefined) groups.set(first, parent)
    addCommand(parent.command(verb ?? first), command, run)
  }
  for (const each of [
    root,
    ...groups.values(),
    ...[...groups.values()].flatMap((group) => [...group.commands]),
    ...root.commands,
  ]) {
    each.exitOverride().configureHelp({ showGlobalOptions: false })
  }
  return root
}

function addNoun(root: Program, noun: string): Program {
  return root
    .command(noun)
    .description(nouns[noun] ?? noun)
    .helpCommand(false)
}

function addCommand(
  parser: Program,
  command: Command,
  run: (command: Command, args: readonly string[], options: OptionValues) => Promise<void>,
): void {
  parser.description(command.summary).addHelpText('after', `\nExample:\n  ${asCalled(command.example)}`)
  for (const { name, description } of command.arguments ?? []) parser.argument(name, description)
  for (const { flags, description, repeats } of command.options ?? []) {
    const option = new Option(flags, repeats ? `${description}; repeats` : description)
    if (repeats)
      option.argParser((value: string, earlier: readonly string[] | undefined) => [...(earlier ?? []), value])
    parser.addOption(option)
  }
  if (command.destroys) parser.option('--yes', 'do not ask')
  parser.option('--json', 'print one JSON document')
  parser.action((...all: unknown[]) => {
    const args = all.slice(0, -2).filter((value) => typeof value === 'string')
    return run(command, args, parser.opts<OptionValues>())
  })
}

/** A command has printed its answer, and it is no. */
class Answered extends Error {}

async function execute(command: Command, args: readonly string[], options: OptionValues): Promise<void> {
  const opened: Store[] = []
  const context = createContext(command, options, opened)
  try {
    const printed = await command.run(context, args, options)
    if (printed !== undefined) {
      await writeOut(`${options.json ? toJson(printed.json) : printed.text}\n`, printed.secretOf)
    }
    if (changes(command, options)) for (const store of opened) context.note(`Changed ${store.location}`)
    if (printed?.failed === true) throw new Answered()
  } catch (error) {
    if (!(error instanceof StoreUnavailable)) throw error
    const { explainFailure } = await import('../store/open-store.ts')
    throw explainFailure(error, context.settings)
  } finally {
    for (const store of opened) await store.close()
  }
}

function changes(command: Command, options: OptionValues): boolean {
  return typeof command.changes === 'function' ? command.changes(options) : command.changes === true
}

function createContext(command: Command, options: OptionValues, opened: Store[]): CommandContext {
  const settings = parseSettings(readEnvironment(process.env, process.cwd()), process.cwd())
  const note = (line: string): void => void process.stderr.write(`${line}\n`)
  return {
    settings,
    actor: actorName(),
    program,
    note,
    // What a command dates or judges, servers on other machines go by.
    now: () => (opened[0]?.clock ?? systemClock).nowMilliseconds(),
    readStdin: () => readStdin(),
    confirm: (question) => confirm(question, command.destroys === true && options.yes !== true),
    openStore: async ({ create } = { create: false }) => {
      const { openStoreAt } = await import('../store/open-store.ts')
      const witness = { file: settings.witnessFile, tolerant: !changes(command, options) }
      const store = await openStoreAt(settings, { create, examine: false, witness })
      opened.push(store)
      if (store.doubt !== undefined) note(harmless(asCalled(`Warning: ${store.doubt}`)))
      return store
    },
  }
}

// Who made a change is part of its record: the user that the operating system knows, whatever the environment says.
function actorName(): Actor {
  try {
    return `cli:${userInfo().username}`
  } catch {
    return `cli:uid-${process.getuid?.() ?? 'unknown'}`
  }
}

async function readStdin(): Promise<string> {
  const chunks: Buffer[] = []
  let length = 0
  for await (const chunk of process.stdin) {
    const bytes = Buffer.from(chunk as Uint8Array)
    length += bytes.length
    if (length > maxStdinBytes) throw new UsageError('stdin is too long: it takes at most 64 KiB')
    chunks.push(bytes)
  }
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(Buffer.concat(chunks))
  } catch {
    throw new UsageError('stdin is not UTF-8: it takes text')
  }
}

// JSON escapes the controls of ASCII alone; a terminal obeys others too, and may write backwards.
function toJson(document: unknown): string {
  const escapeUnits = (found: string): string =>
    found.replace(/./gs, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)
  return JSON.stringify(document, null, 2).replace(/[^\P{Cc}\n]|[\p{Cf}\p{Zl}\p{Zp}]/gu, escapeUnits)
}

// A secret that nobody saw must not look as if it had been shown.
async function writeOut(text: string, secretOf: string | undefined): Promise<void> {
  const failed = await new Promise<Error | null | undefined>((resolve) => process.stdout.write(text, resolve))
  if (!failed || (secretOf === undefined && 'code' in failed && failed.code === 'EPIPE')) return
  throw new CommandFailure(
    secretOf === undefined
      ? `it is done, but its output could not be written (${failed.message})`
      : `it is done, but the secret could not be shown (${failed.message}): \`mayfly secret create ${secretOf}\` makes another`,
  )
}

async function confirm(question: string, ask: boolean): Promise<void> {
  if (!ask || !process.stdin.isTTY || !process.stderr.isTTY) return
  const prompt = createInterface({ input: process.stdin, output: process.stderr })
  const answer = await prompt.question(`${question} [y/N] `)
  prompt.close()
  if (!/^y(?:es)?$/i.test(answer.trim())) throw new CommandFailure('not confirmed: nothing was changed')
}

/** Errors whose message is a sentence for the user, and what `--json` calls them; any other error is a bug. */
const codes: Readonly<Record<string, string>> = {
  UsageError: 'usage',
  ConfigError: 'config',
  CommandFailure: 'refused',
  StoreOpenError: 'database',
  KeyMaterialError: 'key_material',
  IssuerMismatch: 'issuer',
  ListenError: 'listen',
  TlsFileError: 'tls',
}

function codeOf(error: unknown): string | undefined {
  if (error instanceof RegistryError) return error.code
  return error instanceof Error ? codes[error.name] : undefined
}

function report(error: unknown, json: boolean, say: Say): number {
  if (error instanceof CommanderError) return reportParseError(error, json, say)
  if (error instanceof Answered) return 1
  const code = codeOf(error)
  const isUse = error instanceof UsageError || error instanceof ConfigError
  const message = error instanceof Error && code !== undefined ? error.message : describeFault(error)
  writeError(code ?? 'fault', message, json, say)
  return isUse ? 2 : 1
}

// The commander writes its own message, and help counts as an error without being one.
function reportParseError(error: CommanderError, json: boolean, say: Say): number {
  if (error.exitCode === 0) return 0
  if (json) writeError('usage', error.message.replace(/^error: /, ''), true, say)
  return 2
}

function describeFault(error: unknown): string {
  const cause = error instanceof Error ? (error.cause ?? error) : error
  const detail = cause instanceof Error ? `${cause.name}: ${cause.message}` : typeof cause
  return `the command failed and changed nothing that it did not report (${detail}): \`mayfly db check\` looks at the database`
}

function writeError(code: string, message: string, json: boolean, say: Say): void {
  const line = harmless(asCalled(message)).replaceAll('\n', '?')
  say(json ? `${JSON.stringify({ error: code, message: line })}\n` : `error: ${line}\n`)
}

// What was typed comes back in errors: without what could move a cursor, and without a secret typed in the wrong place.
function harmless(text: string): string {
  return maskSecrets(text.replace(/[^\P{C}\n]/gu, '?'))
}

/** How the sentence of a failure is written. */
type Say = (text: string) => void

/** Runs one command line. @returns the exit code */
export async function runCommandLine(
  args: readonly string[],
  say: Say = (text) => void process.stderr.write(text),
): Promise<number> {
  const json = args.includes('--json')
  process.stdout.on('error', ignore)
  process.stderr.on('error', ignore)
  try {
    const root = buildProgram(execute)
    redirectErrors(root, json)
    if (args.length === 0) {
      root.outputHelp({ error: true })
      return 2
    }
    await root.parseAsync([...args], { from: 'user' })
    return 0
  } catch (error) {
    return report(error, json, say)
  }
}

// With --json an error is one JSON document, so commander keeps its own sentence to itself.
function redirectErrors(parser: Program, json: boolean): void {
  parser.configureOutput({ writeErr: (text) => void (json || process.stderr.write(harmless(text))) })
  for (const command of parser.commands) redirectErrors(command, json)
}

// The callback of each write has the error; without a listener it would also be thrown.
function ignore(): void {}
