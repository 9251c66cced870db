import type { Client, ClientSettings, SecretFacts } from '../../client/client.ts'
import type { SecretId } from '../../client/client-secret.ts'
import type { ClientChanges, ClientStore, ExpiringSecret, NewSecret, Offboarding } from '../../client/client-store.ts'
import { ownProofs } from '../../client/own-proofs.ts'
import { withoutKeys } from '../rows/client-proof.ts'
import {
  type ClientTargets,
  changeSettings,
  changesProof,
  emptiedClient,
  expiryDetail,
  isLastSecret,
  requireCost,
  requireProof,
  requireScopes,
  secretAdded,
  secretsToForget,
  takenClientId,
  toClient,
  toClientColumns,
  toSecret,
  toSecretRow,
  unknownClient,
  unknownSecret,
} from '../rows/client-rows.ts'
import { parseStrings } from '../rows/columns.ts'
import { unknownResource } from '../rows/resource-rows.ts'
import { type Changed, type Connection, read } from './connection.ts'
import { and, asc, eq, gt, inArray, isNull, lt, ne, or, sql } from './drizzle.ts'
import { client, clientAudience, clientHour, clientIntrospects, clientSecret, resource } from './schema.ts'

type Row = typeof client.$inferSelect

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
  const findImported = db
    .select({ argon2id: clientSecret.argon2id })
    .from(clientSecret)
    .where(sql`${clientSecret.argon2id} IS NOT NULL`)
    .limit(1)
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
        const isLast = isLastSecret({ secretId, expiresAt }, secretsOf.all({ clientId }))
        // The query leaves out what has no end.
        return { clientId, secretId: secretId as SecretId, expiresAt: expiresAt ?? 0, isLast }
      })

  const find = (clientId: string): Client | undefined => {
    const row = byId.get({ clientId })
    return row === undefined || row.status === 'deleted' ? undefined : complete(row)
  }

  const get = (clientId: string): Client => {
    const found = find(clientId)
    if (found === undefined) throw unknownClient(clientId)
    return found
  }

  const writeTargets = (clientId: string, { audiences, introspects = [] }: ClientTargets): void => {
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

  const checkTargets = ({ audiences, introspects = [] }: ClientTargets, scopes: readonly string[]): void => {
    const getScopes = (uri: string): readonly string[] => {
      const row = db.select().from(resource).where(eq(resource.uri, uri)).get()
      if (row === undefined) throw unknownResource(uri)
      return parseStrings(row.scopes)
    }
    const defined = new Set(audiences.flatMap(getScopes))
    introspects.forEach(getScopes)
    requireScopes(scopes, defined, audiences)
  }

  const writeSecret = (clientId: string, secret: NewSecret): void => {
    if (secret.kind === 'imported') requireCost(findImported.get()?.argon2id, secret.argon2id)
    db.insert(clientSecret)
      .values(toSecretRow(clientId, secret, clock.nowMilliseconds()))
      .run()
  }

  const create = (clientId: string, settings: ClientSettings, secret: NewSecret | undefined): Changed<Client> => {
    const row = byId.get({ clientId })
    if (row !== undefined) throw takenClientId(clientId, row.status)
    checkTargets(settings, settings.scopes)
    requireProof(settings)
    const now = clock.nowMilliseconds()
    db.insert(client)
      .values({ ...toClientColumns(settings), clientId, status: 'active', createdAt: now, updatedAt: now })
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
    const settings = changeSettings(current, changes)
    // Only what is new: a scope that its resource has given up meanwhile is never granted, and must not stand in the way.
    checkTargets(
      settings,
      settings.scopes.filter((scope) => !current.scopes.includes(scope)),
    )
    if (changesProof(changes)) requireProof(settings)
    db.update(client)
      .set({ ...toClientColumns(settings), updatedAt: clock.nowMilliseconds() })
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
      .set({ ...emptiedClient, status: 'deleted', updatedAt: now, ...endTokens(clientId) })
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
    const forgotten = secretsToForget(clientId, secrets, now)
    db.delete(clientSecret).where(inArray(clientSecret.secretId, forgotten)).run()
    writeSecret(clientId, secret)
    const created = secretsOf.all({ clientId }).find((row) => row.secretId === secret.secretId)
    if (created === undefined) throw new Error('a secret that was just written is not there')
    const { secretId } = secret
    return {
      value: toSecret(created),
      events: [{ type: 'secret.created', clientId, secretId, ...expiryDetail(secret) }],
    }
  }

  const revokeSecret = (clientId: string, secretId: SecretId): Changed<void> => {
    if (!get(clientId).secrets.some((secret) => secret.secretId === secretId)) throw unknownSecret(clientId, secretId)
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
