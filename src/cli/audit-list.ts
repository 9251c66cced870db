import type { AuditEntry, AuditQuery } from '../audit/audit-store.ts'
import { type AuditType, auditTypes } from '../audit/event.ts'
import { formatTimestamp } from '../lib/clock.ts'
import { type Command, type CommandContext, type OptionValues, UsageError } from './command.ts'
import { printList } from './print.ts'
import { parseSpan, quote, textOption } from './values.ts'

const defaultLimit = 100
const maxLimit = 10_000

export const auditList: Command = {
  name: 'audit list',
  summary: 'what was issued, refused and changed, newest first',
  options: [
    { flags: '--client <id>', description: 'only what concerns this client' },
    { flags: '--since <duration>', description: 'only the last 30s, 5m, 24h, 7d' },
    { flags: '--type <type>', description: `only this: ${auditTypes.join(', ')}` },
    { flags: '--limit <n>', description: `at most this many (default: ${defaultLimit}, at most ${maxLimit})` },
  ],
  example: 'mayfly audit list --client billing --since 1h --json',
  async run(context, _, options) {
    const query = parseQuery(context, options)
    const store = await context.openStore()
    const rows = (await store.listAudit(query)).map(describeEntry)
    const shown = rows.map((row) => ({ ...row, what: describeRest(row) }))
    const printed = printList(shown, ['at', 'type', 'client_id', 'what'], 'nothing in the audit trail')
    return { json: rows, text: printed.text }
  },
}

function parseQuery(context: CommandContext, options: OptionValues): AuditQuery {
  const clientId = textOption(options, 'client')
  const since = textOption(options, 'since')
  const type = textOption(options, 'type')
  const limit = textOption(options, 'limit') ?? String(defaultLimit)
  if (!/^[1-9][0-9]{0,4}$/.test(limit) || Number(limit) > maxLimit)
    throw new UsageError(`--limit is ${quote(limit)}: it takes a number from 1 to ${maxLimit}`)
  return {
    limit: Number(limit),
    ...(clientId === undefined ? {} : { clientId }),
    ...(since === undefined ? {} : { since: context.now() - parseSpan(since, 'a time span') * 1000 }),
    ...(type === undefined ? {} : { type: parseType(type) }),
  }
}

function parseType(text: string): AuditType {
  const type = auditTypes.find((candidate) => candidate === text)
  if (type !== undefined) return type
  throw new UsageError(`--type is ${quote(text)}: it takes ${auditTypes.join(', ')}`)
}

type Described = Readonly<Record<string, unknown>>

/** An entry with the wire's names: `camelCase` members in `snake_case`, times as everywhere on the command line. */
export function describeEntry({ at, id, ...entry }: AuditEntry): Described {
  const members = Object.entries(entry).map(([name, value]) => [toSnakeCase(name), value])
  const { expires_at: exp, ...rest } = Object.fromEntries(members) as Described
  return { id, at: formatTimestamp(at), ...rest, ...(typeof exp === 'number' ? { exp } : {}) }
}

function toSnakeCase(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)
}

/** The members that a table has no column for, as `name=value`. */
export function describeRest({ at: _, id: __, type: ___, client_id: ____, ...rest }: Described): string {
  return Object.entries(rest)
    .map(([name, value]) => `${name}=${typeof value === 'string' ? value : JSON.stringify(value)}`)
    .join(' ')
}
