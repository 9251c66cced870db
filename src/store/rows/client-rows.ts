/** Clients and secrets as rows, and the rules of their changes that no database has to know. */
import type { Change } from '../../audit/event.ts'
import type { Client, ClientSecret, ClientSettings, SecretFacts } from '../../client/client.ts'
import { maxSecretsPerClient } from '../../client/client.ts'
import type { SecretId } from '../../client/client-secret.ts'
import type { ClientChanges, NewSecret } from '../../client/client-store.ts'
import { formatCost, isSameCost, parseArgonHash } from '../../client/imported-secret.ts'
import { findProofFault } from '../../client/proof-rules.ts'
import { RegistryError } from '../../lib/store-error.ts'
import { isAuthMethod } from '../../oauth/auth-method.ts'
import { isGrantType } from '../../oauth/grant-type.ts'
import type { client, clientSecret } from '../sqlite/schema.ts'
import { changeProof, emptiedProof, proofColumnsOf, toProof } from './client-proof.ts'
import { parseStrings } from './columns.ts'

const deadMilliseconds = 90 * 86_400_000

type Row = typeof client.$inferSelect
type SecretRow = typeof clientSecret.$inferSelect

/** The audiences and introspected resources of a client. */
export type ClientTargets = Pick<ClientSettings, 'audiences' | 'introspects'>

/** There is no such client. */
export function unknownClient(clientId: string): RegistryError {
  return new RegistryError('unknown', `there is no client ${clientId}: \`mayfly client list\` shows what there is`)
}

/** The id is taken, or was. */
export function takenClientId(clientId: string, status: string): RegistryError {
  return status === 'deleted'
    ? new RegistryError(
        'exists',
        `client ${clientId} was deleted, and an id is never given again: choose another with \`--client-id\``,
      )
    : new RegistryError(
        'exists',
        `client ${clientId} exists already: choose another name or \`--client-id\`, or change it with \`mayfly client update\``,
      )
}

/** The client has no such secret. */
export function unknownSecret(clientId: string, secretId: SecretId): RegistryError {
  return new RegistryError(
    'unknown',
    `client ${clientId} has no secret ${secretId}: \`mayfly secret list ${clientId}\` shows what it has`,
  )
}

/**
 * Whoever registers a client shall hear at once of a scope that can never be granted.
 *
 * @param defined the scopes of its audiences
 * @throws RegistryError `invalid`
 */
export function requireScopes(
  scopes: readonly string[],
  defined: ReadonlySet<string>,
  audiences: readonly string[],
): void {
  const unknown = scopes.find((scope) => !defined.has(scope))
  if (unknown === undefined) return
  const first = audiences[0] ?? 'URI'
  throw new RegistryError(
    'invalid',
    `no audience of the client defines the scope ${unknown}: \`mayfly resource update ${first} --scope "…"\` replaces the scopes of a resource`,
  )
}

// What an offboarded client lacks must not stand in the way of a change that has nothing to do with it.
const proofNames = ['authMethods', 'alsoAccept', 'keys', 'assertionAlg'] as const

/** Whether changes say how a client proves itself. */
export function changesProof(changes: ClientChanges): boolean {
  return proofNames.some((name) => changes[name] !== undefined)
}

/** @throws RegistryError `invalid` when a client could not prove itself as it is to */
export function requireProof(settings: ClientSettings): void {
  const fault = findProofFault(settings)
  if (fault !== undefined) throw new RegistryError('invalid', fault)
}

/**
 * All imported secrets of a store cost the same to check, or the time of a refusal would tell clients apart.
 *
 * @throws RegistryError `invalid`
 */
export function requireCost(stored: string | null | undefined, argon2id: string): void {
  const present = parseArgonHash(stored ?? '')
  const added = parseArgonHash(argon2id)
  if (added === undefined) throw new RegistryError('invalid', 'the hash is not argon2id in PHC form')
  if (present === undefined || isSameCost(present, added)) return
  throw new RegistryError(
    'invalid',
    `imported secrets of one database all cost the same to check, so that a refusal tells nothing: they have ${formatCost(present)}, this one ${formatCost(added)}. Import the secret itself with \`--secret-stdin\`, or let Mayfly generate one`,
  )
}

/** The settings of a client as changes leave them. */
export function changeSettings(current: Client, changes: ClientChanges): ClientSettings {
  const { alsoAccept = [], ...named } = changes
  const { accessTokenTtlSeconds, authMethods, ...rest } = { ...current, ...named }
  const registered = alsoAccept.length > 0 ? authMethods.slice(0, 1) : authMethods
  return {
    name: rest.name,
    grantTypes: rest.grantTypes,
    scopes: rest.scopes,
    audiences: rest.audiences,
    introspects: rest.introspects,
    ...changeProof(current, changes),
    authMethods: [...new Set([...registered, ...alsoAccept])],
    ...(accessTokenTtlSeconds === null || accessTokenTtlSeconds === undefined ? {} : { accessTokenTtlSeconds }),
  }
}

/**
 * Which secrets go when another one comes. Those that have expired stay a while, so that a refusal can still say why; not
 * for ever, and not many.
 *
 * @throws RegistryError `limit` when too many are alive
 */
export function secretsToForget(clientId: string, secrets: readonly ClientSecret[], now: number): readonly SecretId[] {
  const isLive = ({ expiresAt }: ClientSecret): boolean => expiresAt === undefined || expiresAt > now
  const live = secrets.filter(isLive)
  if (live.length >= maxSecretsPerClient) {
    throw new RegistryError(
      'limit',
      `client ${clientId} has ${live.length} live secrets, and no more are possible: \`mayfly secret revoke\` ends one`,
    )
  }
  return secrets
    .filter((secret) => !isLive(secret))
    .toSorted((a, b) => (b.expiresAt ?? 0) - (a.expiresAt ?? 0))
    .filter(({ expiresAt }, i) => i >= maxSecretsPerClient || now - (expiresAt ?? 0) >= deadMilliseconds)
    .map(({ secretId }) => secretId)
}

/** Whether no other secret of a client lives longer than one. */
export function isLastSecret(
  secret: { readonly secretId: string; readonly expiresAt: number | null },
  all: readonly { readonly secretId: string; readonly expiresAt: number | null }[],
): boolean {
  return all
    .filter((other) => other.secretId !== secret.secretId)
    .every((other) => other.expiresAt !== null && other.expiresAt <= (secret.expiresAt ?? 0))
}

/** A secret as a row. */
export function toSecretRow(clientId: string, secret: NewSecret, createdAt: number) {
  return {
    secretId: secret.secretId,
    clientId,
    sha256: secret.kind === 'generated' ? Buffer.from(secret.sha256) : null,
    argon2id: secret.kind === 'imported' ? secret.argon2id : null,
    createdAt,
    expiresAt: secret.expiresAt ?? null,
  }
}

/** What the trail says of a new client's first secret. */
export function secretAdded(clientId: string, secret: NewSecret): Change & { detail?: { expiresAt: number } } {
  const type = secret.kind === 'imported' ? 'secret.imported' : 'secret.created'
  return { type, clientId, secretId: secret.secretId, ...expiryDetail(secret) }
}

/** When a secret ends, if it does. */
export function expiryDetail(secret: NewSecret): { detail?: { expiresAt: number } } {
  return secret.expiresAt === undefined ? {} : { detail: { expiresAt: secret.expiresAt } }
}

/** What a deleted client keeps. */
export const emptiedClient = {
  name: '',
  grantTypes: '[]',
  authMethods: '[]',
  scopes: '[]',
  accessTokenTtlSeconds: null,
  ...emptiedProof,
} as const

/** The settings of a client as columns. */
export function toClientColumns(settings: ClientSettings) {
  return {
    name: settings.name,
    grantTypes: JSON.stringify(settings.grantTypes),
    authMethods: JSON.stringify(settings.authMethods),
    scopes: JSON.stringify(settings.scopes),
    accessTokenTtlSeconds: settings.accessTokenTtlSeconds ?? null,
    ...proofColumnsOf(settings),
  }
}

/** A client from its rows. */
export function toClient(row: Row, lists: Pick<Client, 'audiences' | 'introspects' | 'secrets'>): Client {
  return {
    clientId: row.clientId,
    name: row.name,
    // Whatever is not active does not get in.
    status: row.status === 'active' ? 'active' : 'disabled',
    grantTypes: parseStrings(row.grantTypes).filter(isGrantType),
    authMethods: parseStrings(row.authMethods).filter(isAuthMethod),
    scopes: parseStrings(row.scopes),
    ...lists,
    createdAt: row.createdAt,
    updatedAt: row.updatedAt,
    ...(row.accessTokenTtlSeconds === null ? {} : { accessTokenTtlSeconds: row.accessTokenTtlSeconds }),
    ...(row.disabledAt === null ? {} : { disabledAt: row.disabledAt }),
    ...(row.tokensAfter === null ? {} : { tokensAfter: row.tokensAfter }),
    ...toProof(row),
  }
}

/** A secret from its row. */
export function toSecret(row: SecretRow): ClientSecret {
  const facts: SecretFacts = {
    secretId: toSecretId(row.secretId),
    createdAt: row.createdAt,
    ...(row.expiresAt === null ? {} : { expiresAt: row.expiresAt }),
    ...(row.lastUsedAt === null ? {} : { lastUsedAt: row.lastUsedAt }),
  }
  if (row.argon2id !== null) return { ...facts, kind: 'imported', argon2id: row.argon2id }
  if (row.sha256 !== null) return { ...facts, kind: 'generated', sha256: row.sha256 }
  throw new Error('a secret without a hash')
}

function toSecretId(text: string): SecretId {
  return `sec_${text.replace(/^sec_/, '')}`
}
