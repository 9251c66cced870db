import type { Actor } from '../audit/event.ts'
import type { Settings } from '../config/settings.ts'
import type { Store } from '../store/store.ts'

/** A command was used wrongly: exit code 2. The message is one sentence. */
export class UsageError extends Error {
  constructor(message: string) {
    super(message)
    this.name = 'UsageError'
  }
}

/** A command did what it was asked and the answer is no: exit code 1. The message is one sentence. */
export class CommandFailure extends Error {
  constructor(message: string) {
    super(message)
    this.name = 'CommandFailure'
  }
}

/** What is read from an option on the command line: a text, a list for one that repeats, `true` for a flag. */
export type OptionValues = Readonly<Record<string, string | readonly string[] | boolean | undefined>>

/** What a command prints: a document for `--json`, and lines for people. */
export interface Printed {
  readonly json: unknown
  readonly text: string
  /** The client whose new secret stands in it. */
  readonly secretOf?: string
  /** The answer is no: it is printed, and the exit code is 1. */
  readonly failed?: boolean
}

/** What a command works with. The only way from it to the process. */
export interface CommandContext {
  readonly settings: Settings
  readonly actor: Actor
  /** How this program is called here: `mayfly`, or `npx --no mayfly` in a checkout. */
  readonly program: string
  /** Opens the database; it is closed when the command is done. @throws StoreOpenError */
  openStore(options?: { create: boolean }): Promise<Store>
  /** Asks before something is destroyed; without a terminal, or with `--yes`, it does not ask. @throws CommandFailure when the answer is no */
  confirm(question: string): Promise<void>
  /** Whatever is on stdin, at most 64 KiB. @throws UsageError above that */
  readStdin(): Promise<string>
  /** Milliseconds since the epoch, by the clock of the store once it is open. */
  now(): number
  /** A line for people, on stderr. */
  note(line: string): void
}

/** One command. A new one is a file and a line in `commands.ts`; help and reference come from here. */
export interface Command {
  /** `resource create`, or one word. */
  readonly name: string
  readonly summary: string
  /** As in `--help`: `<uri>`, `[file]`. */
  readonly arguments?: readonly { readonly name: string; readonly description: string }[]
  readonly options?: readonly CommandOption[]
  readonly example: string
  /** Whether it changes the database, which it then names on stderr; with which options, if not with all. */
  readonly changes?: boolean | ((options: OptionValues) => boolean)
  /** Whether it destroys something, and so takes `--yes`. */
  readonly destroys?: boolean
  /** @returns what to print; nothing when the command printed by itself */
  run(context: CommandContext, args: readonly string[], options: OptionValues): Promise<Printed | undefined>
}

export interface CommandOption {
  /** As in `--help`: `--scope <scopes>`. */
  readonly flags: string
  readonly description: string
  /** Whether it may be given several times. */
  readonly repeats?: boolean
}
