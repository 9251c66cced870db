import { hash } from 'node:crypto'
import type { AuditEntry } from '../audit/audit-store.ts'
import type { AuditType } from '../audit/event.ts'
import { formatDuration } from '../lib/duration.ts'
import { isUlid, ulidMilliseconds } from '../lib/id.ts'
import { refusalOf } from '../oauth/errors.ts'
import type { Store } from '../store/store.ts'
import { describeEntry, describeRest } from './audit-list.ts'
import { type Command, type CommandContext, CommandFailure, UsageError } from './command.ts'
import { printList, printObject, timestamp } from './print.ts'
import { refusalHelp } from './refusal-help.ts'
import { quote } from './values.ts'

type Of<Type extends AuditEntry['type']> = Extract<AuditEntry, { readonly type: Type }>

/** A refusal, or a token, with what belongs to it. */
interface Explanation {
  readonly outcome: string
  readonly facts: Readonly<Record<string, unknown>>
  /** What may have led to it, or has happened to it since; oldest first. */
  readonly related: readonly AuditEntry[]
}

// One request has few records: a token and a warning of its quota, a refusal and the end of a family.
const maxRecords = 100
/** Of each type of change so many are looked through, and so many shown on each side of the request. */
const maxLookedAt = 1_000
const maxShown = 3

const tokenEndings: readonly AuditType[] = [
  'token.revoked',
  'family.ended',
  'client.disabled',
  'client.offboarded',
  'client.tokens_ended',
  'client.deleted',
  'key.compromised',
  'store.restored',
]

export const auditExplain: Command = {
  name: 'audit explain',
  summary: 'say of one request what came of it and why, and what to do',
  arguments: [
    { name: '<request-id>', description: 'from the X-Request-Id of the reply or from the log; or the jti of a token' },
  ],
  example: 'mayfly audit explain req_01M894BFW56ZZ0VM234ZMN5PCW',
  async run(context, [argument = '']) {
    const ulid = argument.replace(/^req_/, '')
    if (!isUlid(ulid)) {
      throw new UsageError(`${quote(argument)} is no request id: it is req_ and 26 characters, as X-Request-Id has it`)
    }
    const store = await context.openStore()
    const requestId = argument === ulid ? await findRequest(store, ulid) : argument
    const records = (await store.listAudit({ requestId, limit: maxRecords })).toReversed()
    const [first] = records
    if (first === undefined) throw new CommandFailure(explainAbsence(context, requestId))
    const { outcome, facts, related } = await explain(context, store, records, first)
    const head = {
      request_id: requestId,
      received_at: timestamp(ulidMilliseconds(requestId.slice(4))),
      outcome,
      ...facts,
    }
    const json = { ...head, records: records.map(describeEntry), related: related.map(describeEntry) }
    const text = [
      printObject(head).text,
      ...section('records of this request', records),
      ...section('what else is on record', related),
    ]
    return { json, text: text.join('\n') }
  },
}

// A text without the prefix may be a request id that lost it, or the jti of a token, which knows its request.
async function findRequest(store: Store, ulid: string): Promise<string> {
  return (await store.findIssuance(ulid))?.requestId ?? `req_${ulid}`
}

function explainAbsence({ settings }: CommandContext, requestId: string): string {
  const [ofTokens, ofOthers] = [settings.auditIssuanceRetentionSeconds, settings.auditRetentionSeconds].map(
    formatDuration,
  )
  return [
    `nothing is on record of ${requestId}, which came in at ${timestamp(ulidMilliseconds(requestId.slice(4)))}`,
    'what only looks (JWKS, metadata, /verify, /introspect when it answers) leaves no record, nor do faults of the server',
    'refusals that come too fast are counted, not recorded one by one (`mayfly audit list --type token.refusals_sampled`)',
    `records of tokens are kept for ${ofTokens}, others for ${ofOthers}`,
    'the log may have it',
  ].join('; ')
}

async function explain(
  context: CommandContext,
  store: Store,
  records: readonly AuditEntry[],
  first: AuditEntry,
): Promise<Explanation> {
  const refused = records.find((record): record is Of<'token.refused'> => record.type === 'token.refused')
  if (refused !== undefined) return explainRefusal(store, refused)
  const issued = records.find((record): record is Of<'token.issued'> => record.type === 'token.issued')
  if (issued !== undefined) return explainToken(context, store, issued)
  return { outcome: first.type, facts: {}, related: [] }
}

async function explainRefusal(store: Store, refused: Of<'token.refused'>): Promise<Explanation> {
  const { error, description } = refusalOf(refused.reason)
  const { meaning, advice, changes = [] } = refusalHelp[refused.reason]
  const former = refused.clientIdHash === undefined ? undefined : await findDeleted(store, refused.clientIdHash)
  const clientId = refused.clientId ?? former?.clientId
  return {
    outcome: 'refused',
    facts: {
      endpoint: refused.endpoint ?? 'token',
      client_id: clientId,
      reason: refused.reason,
      meaning: former === undefined ? meaning : `${meaning}: this one was deleted`,
      error,
      error_description: description,
      advice: advice?.replaceAll('CLIENT', clientId ?? 'ID'),
    },
    related: former ? [former] : await findRelated(store, refused, changes),
  }
}

// A deleted client is one that nobody has, and only its hash was written down.
async function findDeleted(store: Store, clientIdHash: string) {
  const deleted = await store.listAudit({ type: 'client.deleted', limit: maxLookedAt })
  return deleted.find(
    (entry): entry is AuditEntry & { readonly clientId: string } =>
      'clientId' in entry && hash('sha256', entry.clientId ?? '', 'hex').startsWith(clientIdHash),
  )
}

async function explainToken(context: CommandContext, store: Store, issued: Of<'token.issued'>): Promise<Explanation> {
  const { inspectIssuance } = await import('../token/inspect.ts')
  const { active, reason } = await inspectIssuance(issued, store, context.now())
  const proof = issued.secretId ?? issued.credentialId
  return {
    outcome: 'issued',
    facts: {
      endpoint: 'token',
      client_id: issued.clientId,
      jti: issued.jti,
      meaning: `${issued.clientId} proved itself by ${proof} and got a token for ${issued.audience}`,
      active,
      inactive_because: reason ?? undefined,
      expires_at: timestamp(issued.expiresAt * 1000),
      advice: active ? `\`mayfly token revoke ${issued.jti}\` ends it` : undefined,
    },
    related: active ? [] : await findRelated(store, issued, tokenEndings),
  }
}

async function findRelated(
  store: Store,
  record: Of<'token.refused'> | Of<'token.issued'>,
  types: readonly AuditType[],
): Promise<readonly AuditEntry[]> {
  const lists = await Promise.all(
    types.map((type) => store.listAudit({ ...concerning(record, type), limit: maxLookedAt })),
  )
  const mine = lists
    .flat()
    .filter((entry) => isAbout(record, entry))
    .sort((a, b) => a.at - b.at)
  const before = mine.filter(({ at }) => at <= record.at)
  const after = mine.filter(({ at }) => at > record.at)
  return [...before.slice(-maxShown), ...after.slice(0, maxShown)]
}

// What is changed of resources, keys and the store has no client.
function concerning({ clientId }: { readonly clientId?: string }, type: AuditType) {
  const isOfClient = /^(?:client|secret|token|family|quota)\./.test(type)
  return isOfClient && clientId !== undefined ? { type, clientId } : { type }
}

function isAbout(record: Of<'token.refused'> | Of<'token.issued'>, entry: AuditEntry): boolean {
  if ('requestId' in entry && entry.requestId === record.requestId) return false
  if ('clientId' in entry && entry.clientId !== record.clientId) return false
  if (record.type === 'token.refused') {
    return !('secretId' in entry) || record.secretId === undefined || entry.secretId === record.secretId
  }
  if (entry.type === 'token.revoked') return entry.jti === record.jti
  if (entry.type === 'family.ended') return entry.familyId === record.familyId
  if (entry.type === 'key.compromised') return 'kid' in entry && entry.kid === record.kid
  return entry.at >= record.at
}

function section(title: string, entries: readonly AuditEntry[]): readonly string[] {
  if (entries.length === 0) return []
  const rows = entries.map((entry) => {
    const { request_id: _, ...row } = describeEntry(entry)
    return { ...row, what: describeRest(row) }
  })
  return ['', `${title}:`, printList(rows, ['at', 'type', 'client_id', 'what'], '').text]
}
