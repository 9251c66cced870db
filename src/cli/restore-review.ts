/** What somebody should look at again after a database has gone back to an earlier state. */
import type { AuditEntry } from '../audit/audit-store.ts'
import type { Client } from '../client/client.ts'
import { ownProofs } from '../client/own-proofs.ts'
import { isPublished, type SigningKeyFacts } from '../key/signing-key.ts'
import type { Store } from '../store/store.ts'
import { readAllClients } from './client-list.ts'
import type { CommandContext } from './command.ts'
import { printList, timestamp } from './print.ts'
import { shellWord } from './values.ts'

/** `lost_changes`: the types of the changes that are gone; `null` when nobody can tell. */
type Row = Readonly<Record<string, unknown>> & { readonly lost_changes: readonly string[] | null }

export interface Review {
  readonly clients: readonly Row[]
  readonly signing_keys: readonly Row[]
  readonly resources: readonly Row[]
  /** Commands that make again what is gone and matters most. */
  readonly advice: readonly string[]
  readonly text: string
}

type Lost = readonly AuditEntry[] | undefined

/**
 * @param lost the changes that the store lacks, `undefined` when nobody can tell
 * @throws StoreUnavailable
 */
export async function reviewStore(store: Store, lost: Lost, context: CommandContext): Promise<Review> {
  const [allClients, allKeys] = [await readAllClients(store), await store.listKeys()]
  const clients = reviewClients(allClients, lost, context.now())
  const keys = reviewKeys(allKeys, lost)
  const resources = await reviewResources(store, lost)
  const advice = advise(lost, allClients, allKeys).map((line) => `${context.program} ${line}`)
  const tables = [
    printList(
      clients,
      ['client_id', 'status', 'live_secrets', 'keys', 'updated_at', 'lost_changes'],
      'no client can prove itself',
    ),
    printList(keys, ['kid', 'alg', 'state', 'lost_changes'], 'no signing keys'),
    printList(resources, ['resource', 'scope', 'lost_changes'], 'no resources'),
  ]
  const again =
    advice.length === 0 ? [] : [['To make again what is gone:', ...advice.map((line) => `  ${line}`)].join('\n')]
  const text = [...tables.map((table) => table.text), ...again].join('\n\n')
  return { clients, signing_keys: keys, resources, advice, text }
}

function member(entry: AuditEntry, name: 'clientId' | 'kid' | 'resource'): unknown {
  return Object.entries(entry).find(([key]) => key === name)?.[1]
}

/** The lost changes of each thing that has some, by its id. */
function groupBy(lost: Lost, name: 'clientId' | 'kid' | 'resource'): ReadonlyMap<string, readonly string[]> {
  const groups = new Map<string, string[]>()
  for (const entry of lost ?? []) {
    const id = member(entry, name)
    if (typeof id === 'string') groups.set(id, [...(groups.get(id) ?? []), entry.type])
  }
  return groups
}

function reviewClients(clients: readonly Client[], lost: Lost, now: number): readonly Row[] {
  const changes = groupBy(lost, 'clientId')
  const liveSecrets = ({ secrets }: Client): readonly string[] =>
    secrets.filter(({ expiresAt }) => expiresAt === undefined || expiresAt > now).map(({ secretId }) => secretId)
  const canProveItself = (client: Client): boolean => liveSecrets(client).length + ownProofs(client).length > 0
  const present = clients
    .filter((client) => changes.has(client.clientId) || (client.status === 'active' && canProveItself(client)))
    .map((client) => ({
      client_id: client.clientId,
      status: client.status,
      live_secrets: liveSecrets(client),
      keys: ownProofs(client),
      updated_at: timestamp(client.updatedAt),
      lost_changes: lost === undefined ? null : (changes.get(client.clientId) ?? []),
    }))
  const known = new Set(clients.map(({ clientId }) => clientId))
  const absent = [...changes]
    .filter(([clientId]) => !known.has(clientId))
    .map(([clientId, types]) => ({
      client_id: clientId,
      status: 'absent',
      live_secrets: [],
      keys: [],
      updated_at: null,
      lost_changes: types,
    }))
  return [...present, ...absent]
}

function reviewKeys(keys: readonly SigningKeyFacts[], lost: Lost): readonly Row[] {
  const changes = groupBy(lost, 'kid')
  const present = keys
    .filter(({ kid, state }) => isPublished(state) || changes.has(kid))
    .map(({ kid, alg, state }) => ({
      kid,
      alg,
      state,
      lost_changes: lost === undefined ? null : (changes.get(kid) ?? []),
    }))
  const absent = [...changes]
    .filter(([kid]) => keys.every((key) => key.kid !== kid))
    .map(([kid, types]) => ({ kid, alg: null, state: 'absent', lost_changes: types }))
  return [...present, ...absent]
}

async function reviewResources(store: Store, lost: Lost): Promise<readonly Row[]> {
  const changes = groupBy(lost, 'resource')
  const resources = await store.listResources()
  const present = resources.map(({ uri, scopes }) => ({
    resource: uri,
    scope: scopes.join(' '),
    lost_changes: lost === undefined ? null : (changes.get(uri) ?? []),
  }))
  const absent = [...changes]
    .filter(([uri]) => resources.every((resource) => resource.uri !== uri))
    .map(([resource, types]) => ({ resource, scope: null, lost_changes: types }))
  return [...present, ...absent]
}

const ends = {
  'client.disabled': 'disable',
  'client.offboarded': 'offboard',
  'client.deleted': 'delete',
} as const

// What was taken away and is there again: the last word on each thing counts, and only where the thing is.
function advise(lost: Lost, clients: readonly Client[], keys: readonly SigningKeyFacts[]): readonly string[] {
  const ofClients = clients.flatMap(({ clientId, secrets }) => {
    const own = (lost ?? []).filter((entry) => member(entry, 'clientId') === clientId)
    const last = own.findLast(({ type }) => type === 'client.enabled' || type in ends)?.type
    const end = Object.entries(ends).find(([type]) => type === last)?.[1]
    if (end !== undefined) return [`client ${end} ${shellWord(clientId)}`]
    const revoked = own.flatMap((entry) => (entry.type === 'secret.revoked' ? [entry.secretId] : []))
    const live = revoked.filter((secretId) => secrets.some((secret) => secret.secretId === secretId))
    return live.map((secretId) => `secret revoke ${shellWord(clientId)} ${secretId}`)
  })
  const bad = (lost ?? []).flatMap((entry) => (entry.type === 'key.compromised' ? [entry.kid] : []))
  const trusted = keys.filter(({ kid, state }) => bad.includes(kid) && isPublished(state))
  return [...trusted.map(({ kid }) => `key revoke ${kid}`), ...ofClients]
}
