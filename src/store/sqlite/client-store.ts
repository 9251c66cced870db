import type { Change } from '../../audit/event.ts'
import type { Client, ClientSecret, ClientSettings, SecretFacts } from '../../client/client.ts'
import { maxSecretsPerClient } from '../../client/client.ts'
import type { SecretId } from '../../client/client-secret.ts'
import type { ClientChanges, ClientStore, ExpiringSecret, NewSecret, Offboarding } from '../../client/client-store.ts'
import { formatCost, isSameCost, parseArgonHash } from '../../client/imported-secret.ts'
import { ownProofs } from '../../client/own-proofs.ts'
import { findProofFault } from '../../client/proof-rules.ts'
import { RegistryError } from '../../lib/store-error.ts'
import { isAuthMethod } from '../../oauth/auth-method.ts'
import { isGrantType } from '../../oauth/grant-type.ts'
import { changeProof, emptiedProof, proofColumnsOf, toProof, withoutKeys } from './client-proof.ts'
import { parseStrings } from './columns.ts'
import { type Changed, type Connection, read } from './connection.ts'
import { and, asc, eq, gt, isNull, lt, ne, or, sql } from './drizzle.ts'
import { unknownResource } from './resource-store.ts'
import { client, clientAudience, clientHour, clientIntrospects, clientSecret, resource } from './schema.ts'

const deadMilliseconds = 90 * 86_400_000

type Row = typeof client.$inferSelect
type SecretRow = typeof clientSecret.$inferSelect
type Targets = Pick<ClientSettings, 'audiences' | 'introspects'>

export function createClientStore(connection: Connection): ClientStore {
  const { db, clock, acts } = connection
  const { placeholder } = sql
  const byId = db
    .select()
    .from(client)
    .where(eq(client.clientId, placeholder('clientId')))
    .prepare()
  const audiencesOf = db
    .select({ uri: clientAudience.uri })
    .from(clientAudience)
    .where(eq(clientAudience.clientId, placeholder('clientId')))
    .orderBy(asc(clientAudience.position))
    .prepare()
  const secretsOf = db
    .select()
    .from(clientSecret)
    .where(eq(clientSecret.clientId, placeholder('clientId')))
    .orderBy(asc(clientSecret.createdAt), asc(clientSecret.secretId))
    .prepare()
  const noteUse = db
    .update(clientSecret)
    .set({ lastUsedAt: sql`${placeholder('at')}` })
    .where(
      and(
        eq(clientSecret.secretId, placeholder('secretId')),
        or(isNull(clientSecret.lastUsedAt), lt(clientSecret.lastUsedAt, placeholder('at'))),
      ),
    )
    .prepare()

  const introspectsOf = db
    .select({ uri: clientIntrospects.uri })
    .from(clientIntrospects)
    .where(eq(clientIntrospects.clientId, placeholder('clientId')))
    .orderBy(asc(clientIntrospects.position))
    .prepare()

  const complete = (row: Row): Client => {
    const { clientId } = row
    return toClient(row, {
      audiences: audiencesOf.all({ clientId }).map(({ uri }) => uri),
      introspects: introspectsOf.all({ clientId }).map(({ uri }) => uri),
      secrets: secretsOf.all({ clientId }).map(toSecret),
    })
  }

  const listExpiring = ({ from, to, limit }: { from: number; to: number; limit: number }): ExpiringSecret[] =>
    db
      .select({ secretId: clientSecret.secretId, clientId: clientSecret.clientId, expiresAt: clientSecret.expiresAt })
      .from(clientSecret)
      .innerJoin(client, eq(client.clientId, clientSecret.clientId))
      .where(and(eq(client.status, 'active'), gt(clientSecret.expiresAt, from), lt(clientSecret.expiresAt, to)))
      .orderBy(asc(clientSecret.expiresAt))
      .limit(limit)
      .all()
      .map(({ secretId, clientId, expiresAt }) => {
        const others = secretsOf.all({ clientId }).filter((other) => other.secretId !== secretId)
        const isLast = others.every((other) => other.expiresAt !== null && other.expiresAt <= (expiresAt ?? 0))
        // The query leaves out what has no end.
        return { clientId, secretId: secretId as SecretId, expiresAt: expiresAt ?? 0, isLast }
      })

  const find = (clientId: string): Client | undefined => {
    const row = byId.get({ clientId })
    return row === undefined || row.status === 'deleted' ? undefined : complete(row)
  }

  const get = (clientId: string): Client => {
    const found = find(clientId)
    if (found === undefined) {
      throw new RegistryError('unknown', `there is no client ${clientId}: \`mayfly client list\` shows what there is`)
    }
    return found
  }

  const writeTargets = (clientId: string, { audiences, introspects = [] }: Targets): void => {
    for (const [table, uris] of [
      [clientAudience, audiences],
      [clientIntrospects, introspects],
    ] as const) {
      db.delete(table).where(eq(table.clientId, clientId)).run()
      if (uris.length === 0) continue
      db.insert(table)
        .values(uris.map((uri, position) => ({ clientId, position, uri })))
        .run()
    }
  }

  // Whoever registers a client shall hear at once of an audience or scope that can never be granted.
  const checkTargets = ({ audiences, introspects = [] }: Targets, scopes: readonly string[]): void => {
    const getScopes = (uri: string): readonly string[] => {
      const row = db.select().from(resource).where(eq(resource.uri, uri)).get()
      if (row === undefined) throw unknownResource(uri)
      return parseStrings(row.scopes)
    }
    const defined = new Set(audiences.flatMap(getScopes))
    introspects.forEach(getScopes)
    const unknown = scopes.find((scope) => !defined.has(scope))
    if (unknown === undefined) return
    const first = audiences[0] ?? 'URI'
    throw new RegistryError(
      'invalid',
      `no audience of the client defines the scope ${unknown}: \`mayfly resource update ${first} --scope "…"\` replaces the scopes of a resource`,
    )
  }

  const writeSecret = (clientId: string, secret: NewSecret): void => {
    if (secret.kind === 'imported') checkCost(connection, secret.argon2id)
    db.insert(clientSecret)
      .values({
        secretId: secret.secretId,
        clientId,
        sha256: secret.kind === 'generated' ? Buffer.from(secret.sha256) : null,
        argon2id: secret.kind === 'imported' ? secret.argon2id : null,
        createdAt: clock.nowMilliseconds(),
        expiresAt: secret.expiresAt ?? null,
      })
      .run()
  }

  const create = (clientId: string, settings: ClientSettings, secret: NewSecret | undefined): Changed<Client> => {
    const row = byId.get({ clientId })
    if (row?.status === 'deleted')
      throw new RegistryError(
        'exists',
        `client ${clientId} was deleted, and an id is never given again: choose another with \`--client-id\``,
      )
    if (row !== undefined)
      throw new RegistryError(
        'exists',
        `client ${clientId} exists already: choose another name or \`--client-id\`, or change it with \`mayfly client update\``,
      )
    checkTargets(settings, settings.scopes)
    checkProof(settings)
    const now = clock.nowMilliseconds()
    db.insert(client)
      .values({ ...columnsOf(settings), clientId, status: 'active', createdAt: now, updatedAt: now })
      .run()
    writeTargets(clientId, settings)
    if (secret !== undefined) writeSecret(clientId, secret)
    return {
      value: get(clientId),
      events: [
        { type: 'client.created', clientId, detail: { ...settings } },
        ...(secret === undefined ? [] : [secretAdded(clientId, secret)]),
      ],
    }
  }

  const update = (clientId: string, changes: ClientChanges): Changed<Client> => {
    const current = get(clientId)
    const { alsoAccept = [], ...named } = changes
    const { accessTokenTtlSeconds, authMethods, ...rest } = { ...current, ...named }
    const registered = alsoAccept.length > 0 ? authMethods.slice(0, 1) : authMethods
    const settings: ClientSettings = {
      name: rest.name,
      grantTypes: rest.grantTypes,
      scopes: rest.scopes,
      audiences: rest.audiences,
      introspects: rest.introspects,
      ...changeProof(current, changes),
      authMethods: [...new Set([...registered, ...alsoAccept])],
      ...(accessTokenTtlSeconds === null || accessTokenTtlSeconds === undefined ? {} : { accessTokenTtlSeconds }),
    }
    // Only what is new: a scope that its resource has given up meanwhile is never granted, and must not stand in the way.
    checkTargets(
      settings,
      settings.scopes.filter((scope) => !current.scopes.includes(scope)),
    )
    if (proofNames.some((name) => changes[name] !== undefined)) checkProof(settings)
    db.update(client)
      .set({ ...columnsOf(settings), updatedAt: clock.nowMilliseconds() })
      .where(eq(client.clientId, clientId))
      .run()
    writeTargets(clientId, settings)
    return { value: get(clientId), events: [{ type: 'client.updated', clientId, detail: { ...changes } }] }
  }

  const setStatus = (clientId: string, status: Client['status']): Changed<Client> => {
    const current = get(clientId)
    if (current.status === status) return { value: current, events: [] }
    const now = clock.nowMilliseconds()
    const disabledAt = status === 'disabled' ? now : null
    const ended = status === 'disabled' ? endTokens(clientId) : {}
    db.update(client)
      .set({ status, disabledAt, updatedAt: now, ...ended })
      .where(eq(client.clientId, clientId))
      .run()
    const type = status === 'disabled' ? 'client.disabled' : 'client.enabled'
    return { value: get(clientId), events: [{ type, clientId }] }
  }

  const offboard = (clientId: string): Changed<Offboarding> => {
    const current = get(clientId)
    const secrets = current.secrets.map((secret) => secret.secretId)
    const keys = ownProofs(current)
    const { disabledAt, tokensAfter: endedBefore = 0 } = current
    if (disabledAt !== undefined && secrets.length + keys.length === 0) {
      return { value: { client: current, secrets, keys, endedBefore, endedAt: disabledAt }, events: [] }
    }
    const now = clock.nowMilliseconds()
    db.delete(clientSecret).where(eq(clientSecret.clientId, clientId)).run()
    db.update(client)
      .set({
        ...withoutKeys,
        status: 'disabled',
        disabledAt: disabledAt ?? now,
        updatedAt: now,
        ...endTokens(clientId),
      })
      .where(eq(client.clientId, clientId))
      .run()
    const value = { client: get(clientId), secrets, keys, endedBefore, endedAt: now }
    return {
      value,
      events: [{ type: 'client.offboarded', clientId, detail: { secrets, ...(keys.length === 0 ? {} : { keys }) } }],
    }
  }

  const remove = (clientId: string): Changed<void> => {
    const current = get(clientId)
    db.delete(clientSecret).where(eq(clientSecret.clientId, clientId)).run()
    db.delete(clientHour).where(eq(clientHour.clientId, clientId)).run()
    writeTargets(clientId, { audiences: [] })
    const now = clock.nowMilliseconds()
    db.update(client)
      .set({ ...emptied, status: 'deleted', updatedAt: now, ...endTokens(clientId) })
      .where(eq(client.clientId, clientId))
      .run()
    const detail = { secrets: current.secrets.map((secret) => secret.secretId) }
    return { value: undefined, events: [{ type: 'client.deleted', clientId, detail }] }
  }

  const endTokens = (clientId: string) => ({
    tokensAfter: sql`max(coalesce(${client.tokensAfter}, 0), ${connection.endOfTokens(clientId)})`,
  })

  const createSecret = (clientId: string, secret: NewSecret): Changed<SecretFacts> => {
    const { secrets } = get(clientId)
    const now = clock.nowMilliseconds()
    const live = secrets.filter((other) => other.expiresAt === undefined || other.expiresAt > now)
    if (live.length >= maxSecretsPerClient) {
      throw new RegistryError(
        'limit',
        `client ${clientId} has ${live.length} live secrets, and no more are possible: \`mayfly secret revoke\` ends one`,
      )
    }
    dropDead(
      secrets.filter((other) => !live.includes(other)),
      now,
    )
    writeSecret(clientId, secret)
    const created = secretsOf.all({ clientId }).find((row) => row.secretId === secret.secretId)
    if (created === undefined) throw new Error('a secret that was just written is not there')
    const { secretId } = secret
    return {
      value: toSecret(created),
      events: [{ type: 'secret.created', clientId, secretId, ...expiryDetail(secret) }],
    }
  }

  // Expired secrets stay a while, so that a refusal can still say why; not for ever, and not many.
  const dropDead = (dead: readonly ClientSecret[], now: number): void => {
    const newestFirst = dead.toSorted((a, b) => (b.expiresAt ?? 0) - (a.expiresAt ?? 0))
    newestFirst.forEach(({ secretId, expiresAt }, i) => {
      if (i < maxSecretsPerClient && now - (expiresAt ?? 0) < deadMilliseconds) return
      db.delete(clientSecret).where(eq(clientSecret.secretId, secretId)).run()
    })
  }

  const revokeSecret = (clientId: string, secretId: SecretId): Changed<void> => {
    if (!get(clientId).secrets.some((secret) => secret.secretId === secretId)) {
      throw new RegistryError(
        'unknown',
        `client ${clientId} has no secret ${secretId}: \`mayfly secret list ${clientId}\` shows what it has`,
      )
    }
    db.delete(clientSecret).where(eq(clientSecret.secretId, secretId)).run()
    return { value: undefined, events: [{ type: 'secret.revoked', clientId, secretId }] }
  }

  // One look at one state of the database, and a fifth less work than as many looks as there are statements.
  const findAtSequence = connection.sqlite.transaction((clientId: string) => ({
    sequence: connection.readSequence(),
    value: find(clientId),
  }))

  return {
    findClient: (clientId) => read(() => findAtSequence(clientId)),
    listClients: ({ after, limit }) =>
      read(() =>
        db
          .select()
          .from(client)
          .where(and(ne(client.status, 'deleted'), after === undefined ? undefined : gt(client.clientId, after)))
          .orderBy(asc(client.clientId))
          .limit(limit)
          .all()
          .map(complete),
      ),
    listExpiringSecrets: (span) => read(() => listExpiring(span)),
    createClient: (clientId, settings, secret, by) => connection.change(by, () => create(clientId, settings, secret)),
    updateClient: (clientId, changes, by) => connection.change(by, () => update(clientId, changes)),
    setClientStatus: (clientId, status, by) => connection.change(by, () => setStatus(clientId, status)),
    deleteClient: (clientId, by) => connection.change(by, () => remove(clientId)),
    offboardClient: (clientId, by) => connection.change(by, () => offboard(clientId)),
    createSecret: (clientId, secret, by) => connection.change(by, () => createSecret(clientId, secret)),
    revokeSecret: (clientId, secretId, by) => connection.change(by, () => revokeSecret(clientId, secretId)),
    noteSecretUse: (lastUsedAt) =>
      acts.submit({
        single: false,
        run: () => {
          for (const [secretId, at] of lastUsedAt) noteUse.run({ secretId, at })
        },
      }),
  }
}

// What an offboarded client lacks must not stand in the way of a change that has nothing to do with it.
const proofNames = ['authMethods', 'alsoAccept', 'keys', 'assertionAlg'] as const

function checkProof(settings: ClientSettings): void {
  const fault = findProofFault(settings)
  if (fault !== undefined) throw new RegistryError('invalid', fault)
}

// All imported secrets of a store cost the same to check, or the time of a refusal would tell clients apart.
function checkCost({ db }: Connection, argon2id: string): void {
  const other = db
    .select({ argon2id: clientSecret.argon2id })
    .from(clientSecret)
    .where(sql`${clientSecret.argon2id} IS NOT NULL`)
    .limit(1)
    .get()
  const present = parseArgonHash(other?.argon2id ?? '')
  const added = parseArgonHash(argon2id)
  if (added === undefined) throw new RegistryError('invalid', 'the hash is not argon2id in PHC form')
  if (present === undefined || isSameCost(present, added)) return
  throw new RegistryError(
    'invalid',
    `imported secrets of one database all cost the same to check, so that a refusal tells nothing: they have ${formatCost(present)}, this one ${formatCost(added)}. Import the secret itself with \`--secret-stdin\`, or let Mayfly generate one`,
  )
}

function secretAdded(clientId: string, secret: NewSecret): Change & { detail?: { expiresAt: number } } {
  const type = secret.kind === 'imported' ? 'secret.imported' : 'secret.created'
  return { type, clientId, secretId: secret.secretId, ...expiryDetail(secret) }
}

function expiryDetail(secret: NewSecret): { detail?: { expiresAt: number } } {
  return secret.expiresAt === undefined ? {} : { detail: { expiresAt: secret.expiresAt } }
}

const emptied = {
  name: '',
  grantTypes: '[]',
  authMethods: '[]',
  scopes: '[]',
  accessTokenTtlSeconds: null,
  ...emptiedProof,
} as const

function columnsOf(settings: ClientSettings) {
  return {
    name: settings.name,
    grantTypes: JSON.stringify(settings.grantTypes),
    authMethods: JSON.stringify(settings.authMethods),
    scopes: JSON.stringify(settings.scopes),
    accessTokenTtlSeconds: settings.accessTokenTtlSeconds ?? null,
    ...proofColumnsOf(settings),
  }
}

function toClient(row: Row, lists: Pick<Client, 'audiences' | 'introspects' | 'secrets'>): Client {
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

function toSecret(row: SecretRow): ClientSecret {
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
