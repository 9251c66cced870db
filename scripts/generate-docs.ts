/** Writes the references of settings, commands and refusals from the code; with `--check`, says which page differs and ends with 1. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Command } from '../src/cli/command.ts'
import { commands, nouns } from '../src/cli/commands.ts'
import { refusalHelp } from '../src/cli/refusal-help.ts'
import { settingDescriptions } from '../src/config/settings.ts'
import { reasons, refusalOf } from '../src/oauth/errors.ts'

const root = join(import.meta.dirname, '..')
const written = 'Written by `node scripts/generate-docs.ts` from the code; change it there.'

/** `docs/configuration.md` as the code has it. */
export function configurationPage(): string {
  const rows = settingDescriptions.map(
    ({ variable, default: value, takes, meaning }) =>
      `| \`${variable}\` | ${value === undefined ? 'none' : `\`${value}\``} | ${cell(takes)} | ${cell(meaning)} |`,
  )
  return `# Settings

${written}

Settings are environment variables, or lines \`NAME=value\` in a file \`.env\` in the current folder; the environment wins.
An empty variable counts as absent. Durations are a whole number and a unit: \`30s\`, \`5m\`, \`24h\`, \`7d\`. A setting that
cannot be used ends the start with exit code 2 and one sentence that names it, what it got and what it takes. A variable
that begins with \`MAYFLY_\` and is none of these is reported in the log.

| variable | default | takes | meaning |
|---|---|---|---|
${rows.join('\n')}
`
}

/** `docs/cli.md` as the code has it. */
export function commandsPage(): string {
  const groups = Object.entries(nouns).map(([noun, meaning]) => {
    const mine = commands.filter(({ name }) => name.startsWith(`${noun} `))
    return [`## ${noun}: ${meaning}`, ...mine.map(describe)].join('\n\n')
  })
  const alone = commands.filter(({ name }) => !name.includes(' ')).map(describe)
  return `# Commands

${written}

\`mayfly NOUN VERB\`, in a checkout \`npx --no mayfly NOUN VERB\`. Every command takes \`--help\` and \`--json\`. With \`--json\` it
prints one document on stdout, and an error as \`{"error","message"}\` on stderr; everything else goes to stderr. Exit codes:
0 done, 1 refused or failed, 2 wrong use. A command that changes something says on stderr which database it changed; one
that destroys something asks on a terminal unless \`--yes\` is given. All work on the same database as a running server, and
count from its next request on.

\`mayfly --help\` lists the commands and \`mayfly --version\` prints the version. In a checkout these two are
\`npx --no -- mayfly --help\` and \`npx --no -- mayfly --version\`: without the dashes npx takes the option for its own.

${[...alone, ...groups].join('\n\n')}
`
}

/** `docs/refusals.md` as the code has it. */
export function refusalsPage(): string {
  const rows = reasons.map((reason) => {
    const { error, description } = refusalOf(reason)
    const { meaning, advice = '' } = refusalHelp[reason]
    return `| \`${reason}\` | ${cell(meaning)} | ${cell(linkPages(advice.replaceAll('CLIENT', 'ID')))} | \`${error}\`: ${cell(description)} |`
  })
  return `# Refusals

${written}

A caller that is refused hears the standard's error code and one public sentence, the same for whatever nobody should be able
to tell apart. The precise reason stands in the audit trail (\`mayfly audit list --type token.refused\`), in the log line
\`refused\`, and in the label \`reason\` of the metrics. Each reply names its request in \`X-Request-Id\`, and
\`mayfly audit explain REQUEST_ID\` says of that one what came of it, why, what has been changed before and since, and what
to do. Refusals at \`/verify\`, faults of the server and what is refused before an endpoint is reached are in log and metrics
alone.

| reason | what it means | what to do | what the caller hears |
|---|---|---|---|
${rows.join('\n')}
`
}

// Pages are named from the root of the repository, and this one lies among them.
function linkPages(text: string): string {
  return text.replace(/docs\/([a-z-]+)\.md/g, '[$1]($1.md)')
}

function describe(command: Command): string {
  const words = [command.name, ...(command.arguments ?? []).map(({ name }) => name)].join(' ')
  const rows = [
    ...(command.arguments ?? []).map(({ name, description }) => `| \`${name}\` | ${cell(description)} |`),
    ...(command.options ?? []).map(
      ({ flags, description, repeats }) => `| \`${cell(flags)}\` | ${cell(description)}${repeats ? '; repeats' : ''} |`,
    ),
    ...(command.destroys ? ['| `--yes` | do not ask |'] : []),
  ]
  const table = rows.length === 0 ? [] : [['| | |', '|---|---|', ...rows].join('\n')]
  const heading = command.name.includes(' ') ? '###' : '##'
  return [
    `${heading} \`mayfly ${words}\``,
    `${capitalise(command.summary)}.`,
    ...table,
    `\`\`\`sh\n${command.example}\n\`\`\``,
  ].join('\n\n')
}

function cell(text: string): string {
  return text.replaceAll('|', '\\|')
}

function capitalise(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1)
}

/** Every generated page, by its path in the repository. */
export const pages: Readonly<Record<string, () => string>> = {
  'docs/configuration.md': configurationPage,
  'docs/cli.md': commandsPage,
  'docs/refusals.md': refusalsPage,
}

/** The pages that are not as the code has them. */
export function stalePages(): readonly string[] {
  return Object.entries(pages)
    .filter(([path, make]) => !existsSync(join(root, path)) || readFileSync(join(root, path), 'utf8') !== make())
    .map(([path]) => path)
}

if (import.meta.main) {
  if (process.argv.includes('--check')) {
    for (const path of stalePages())
      console.error(`${path} differs from the code: run \`node scripts/generate-docs.ts\``)
    process.exitCode = stalePages().length === 0 ? 0 : 1
  } else {
    for (const [path, make] of Object.entries(pages)) writeFileSync(join(root, path), make())
  }
}
