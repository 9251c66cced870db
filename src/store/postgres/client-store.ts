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
import { columnsOf, isText, registrySequence } from './columns.ts'
import type { Changed, Connection, Transaction } from './connection.ts'
import type { Row } from './database.ts'
import { and, eq, inArray, sql } from './drizzle.ts'
import { client, clientAudience, clientHour, clientIntrospects, clientSecret, resource } from './schema.ts'

type SecretRow = typeof clientSecret.$inferSelect

// A client with its lists and secrets, in one row.
const selectClient = `SELECT ${columnsOf(client, 'c')},
    ARRAY(SELECT uri FROM client_audience a WHERE a.client_id = c.client_id ORDER BY position) AS audiences,
    ARRAY(SELECT uri FROM client_introspects i WHERE i.client_id = c.client_id ORDER BY position) AS introspects,
    (SELECT json_agg(json_build_object('secretId', secret_id, 'clientId', client_id, 'sha256', encode(sha256, 'base64'),
         'argon2id', argon2id, 'createdAt', created_at, 'expiresAt', expires_at, 'lastUsedAt', last_used_at)
       ORDER BY created_at, secret_id)
     FROM client_secret s WHERE s.client_id = c.client_id) AS secrets
  FROM client c`
const findClient = `${selectClient} WHERE c.client_id = $1 AND c.status <> 'deleted'`
const findAtSequence = `SELECT ${registrySequence} AS sequence, found.*
  FROM (SELECT 1) AS one LEFT JOIN (${findClient}) AS found ON true`
const listClients = `${selectClient}
  WHERE c.status <> 'deleted' AND ($1::text IS NULL OR c.client_id > $1) ORDER BY c.client_id LIMIT $2`
const listExpiring = `SELECT s.secret_id AS "secretId", s.client_id AS "clientId", s.expires_at AS "expiresAt",
    (SELECT json_agg(json_build_object('secretId', o.secret_id, 'expiresAt', o.expires_at))
     FROM client_secret o WHERE o.client_id = s.client_id) AS others
  FROM client_secret s JOIN client c USING (client_id)
  WHERE c.status = 'active' AND s.expires_at > $1 AND s.expires_at < $2 ORDER BY s.expires_at LIMIT $3`
const noteUse = `UPDATE client_secret s SET last_used_at = u.at
  FROM unnest($1::text[], $2::bigint[]) AS u(secret_id, at)
  WHERE s.secret_id = u.secret_id AND (s.last_used_at IS NULL OR s.last_used_at < u.at)`

export function createClientStore(connection: Connection): ClientStore {
  const { clock } = connection

  const find = async (tx: Transaction, clientId: string): Promise<Client | undefined> => {
    const [row] = await tx.query({ text: findClient, values: [clientId] })
    return row === undefined ? undefined : fromRow(row)
  }

  const get = async (tx: Transaction, clientId: string): Promise<Client> => {
    const found = isText(clientId) ? await find(tx, clientId) : undefined
    if (found === undefined) throw unknownClient(clientId)
    return found
  }

  const writeTargets = async (
    tx: Transaction,
    clientId: string,
    { audiences, introspects = [] }: ClientTargets,
  ): Promise<void> => {
    for (const [table, uris] of [
      [clientAudience, audiences],
      [clientIntrospects, introspects],
    ] as const) {
      await tx.db.delete(table).where(eq(table.clientId, clientId))
      if (uris.length === 0) continue
      await tx.db.insert(table).values(uris.map((uri, position) => ({ clientId, position, uri })))
    }
  }

  const checkTargets = async (
    tx: Transaction,
    { audiences, introspects = [] }: ClientTargets,
    scopes: readonly string[],
  ): Promise<void> => {
    const uris = [...audiences, ...introspects]
    const rows = uris.length === 0 ? [] : await tx.db.select().from(resource).where(inArray(resource.uri, uris))
    const known = new Map(rows.map((row) => [row.uri, parseStrings(row.scopes)]))
    const unknown = uris.find((uri) => !known.has(uri))
    if (unknown !== undefined) throw unknownResource(unknown)
    requireScopes(scopes, new Set(audiences.flatMap((uri) => known.get(uri) ?? [])), audiences)
  }

  const writeSecret = async (tx: Transaction, clientId: string, secret: NewSecret): Promise<void> => {
    if (secret.kind === 'imported') {
      const [other] = await tx.query({ text: 'SELECT argon2id FROM client_secret WHERE argon2id IS NOT NULL LIMIT 1' })
      requireCost(other?.argon2id as string | undefined, secret.argon2id)
    }
    await tx.db.insert(clientSecret).values(toSecretRow(clientId, secret, clock.nowMilliseconds()))
  }

  const create = async (
    tx: Transaction,
    clientId: string,
    settings: ClientSettings,
    secret: NewSecret | undefined,
  ): Promise<Changed<Client>> => {
    const [row] = await tx.query({ text: 'SELECT status FROM client WHERE client_id = $1', values: [clientId] })
    if (row !== undefined) throw takenClientId(clientId, row.status as string)
    await checkTargets(tx, settings, settings.scopes)
    requireProof(settings)
    const now = clock.nowMilliseconds()
    await tx.db
      .insert(client)
      .values({ ...toClientColumns(settings), clientId, status: 'active', createdAt: now, updatedAt: now })
    await writeTargets(tx, clientId, settings)
    if (secret !== undefined) await writeSecret(tx, clientId, secret)
    return {
      value: await get(tx, clientId),
      events: [
        { type: 'client.created', clientId, detail: { ...settings } },
        ...(secret === undefined ? [] : [secretAdded(clientId, secret)]),
      ],
    }
  }

  const update = async (tx: Transaction, clientId: string, changes: ClientChanges): Promise<Changed<Client>> => {
    const current = await get(tx, clientId)
    const settings = changeSettings(current, changes)
    // Only what is new: a scope that its resource has given up meanwhile is never granted, and must not stand in the way.
    const added = settings.scopes.filter((scope) => !current.scopes.includes(scope))
    await checkTargets(tx, settings, added)
    if (changesProof(changes)) requireProof(settings)
    await tx.db
      .update(client)
      .set({ ...toClientColumns(settings), updatedAt: clock.nowMilliseconds() })
      .where(eq(client.clientId, clientId))
    await writeTargets(tx, clientId, settings)
    return { value: await get(tx, clientId), events: [{ type: 'client.updated', clientId, detail: { ...changes } }] }
  }

  // With the gate closed nobody issues, so the newest token is the newest: no other comes before the commit.
  const endTokens = async (tx: Transaction, clientId: string) => {
    await tx.closeGate()
    const moment = await tx.endOfTokens(clientId)
    return { tokensAfter: sql`greatest(coalesce(${client.tokensAfter}, 0), ${moment}::bigint)` }
  }

  const setStatus = async (tx: Transaction, clientId: string, status: Client['status']): Promise<Changed<Client>> => {
    const current = await get(tx, clientId)
    if (current.status === status) return { value: current, events: [] }
    const now = clock.nowMilliseconds()
    const disabledAt = status === 'disabled' ? now : null
    const ended = status === 'disabled' ? await endTokens(tx, clientId) : {}
    await tx.db
      .update(client)
      .set({ status, disabledAt, updatedAt: now, ...ended })
      .where(eq(client.clientId, clientId))
    const type = status === 'disabled' ? 'client.disabled' : 'client.enabled'
    return { value: await get(tx, clientId), events: [{ type, clientId }] }
  }

  const offboard = async (tx: Transaction, clientId: string): Promise<Changed<Offboarding>> => {
    const current = await get(tx, clientId)
    const secrets = current.secrets.map((secret) => secret.secretId)
    const keys = ownProofs(current)
    const { disabledAt, tokensAfter: endedBefore = 0 } = current
    if (disabledAt !== undefined && secrets.length + keys.length === 0) {
      return { value: { client: current, secrets, keys, endedBefore, endedAt: disabledAt }, events: [] }
    }
    const now = clock.nowMilliseconds()
    const ended = await endTokens(tx, clientId)
    await tx.db.delete(clientSecret).where(eq(clientSecret.clientId, clientId))
    await tx.db
      .update(client)
      .set({ ...withoutKeys, status: 'disabled', disabledAt: disabledAt ?? now, updatedAt: now, ...ended })
      .where(eq(client.clientId, clientId))
    const value = { client: await get(tx, clientId), secrets, keys, endedBefore, endedAt: now }
    const detail = { secrets, ...(keys.length === 0 ? {} : { keys }) }
    return { value, events: [{ type: 'client.offboarded', clientId, detail }] }
  }

  const remove = async (tx: Transaction, clientId: string): Promise<Changed<void>> => {
    const current = await get(tx, clientId)
    const ended = await endTokens(tx, clientId)
    await tx.db.delete(clientSecret).where(eq(clientSecret.clientId, clientId))
    await tx.db.delete(clientHour).where(eq(clientHour.clientId, clientId))
    await writeTargets(tx, clientId, { audiences: [] })
    await tx.db
      .update(client)
      .set({ ...emptiedClient, status: 'deleted', updatedAt: clock.nowMilliseconds(), ...ended })
      .where(eq(client.clientId, clientId))
    const detail = { secrets: current.secrets.map((secret) => secret.secretId) }
    return { value: undefined, events: [{ type: 'client.deleted', clientId, detail }] }
  }

  const createSecret = async (tx: Transaction, clientId: string, secret: NewSecret): Promise<Changed<SecretFacts>> => {
    const { secrets } = await get(tx, clientId)
    const forgotten = secretsToForget(clientId, secrets, clock.nowMilliseconds())
    if (forgotten.length > 0) await tx.db.delete(clientSecret).where(inArray(clientSecret.secretId, [...forgotten]))
    await writeSecret(tx, clientId, secret)
    const { secretId } = secret
    const created = (await get(tx, clientId)).secrets.find((other) => other.secretId === secretId)
    if (created === undefined) throw new Error('a secret that was just written is not there')
    return { value: created, events: [{ type: 'secret.created', clientId, secretId, ...expiryDetail(secret) }] }
  }

  const revokeSecret = async (tx: Transaction, clientId: string, secretId: SecretId): Promise<Changed<void>> => {
    const { secrets } = await get(tx, clientId)
    if (!secrets.some((secret) => secret.secretId === secretId)) throw unknownSecret(clientId, secretId)
    await tx.db
      .delete(clientSecret)
      .where(and(eq(clientSecret.secretId, secretId), eq(clientSecret.clientId, clientId)))
    return { value: undefined, events: [{ type: 'secret.revoked', clientId, secretId }] }
  }

  return {
    findClient: async (clientId) => {
      const values = [isText(clientId) ? clientId : '']
      const [row] = await connection.read({ name: 'find_client', text: findAtSequence, values })
      const { sequence, ...found } = row as Row
      return { sequence: sequence as number, value: found.clientId === null ? undefined : fromRow(found) }
    },
    listClients: async ({ after = null, limit }) =>
      (await connection.read({ text: listClients, values: [after, limit] })).map(fromRow),
    listExpiringSecrets: async ({ from, to, limit }) =>
      (await connection.read({ text: listExpiring, values: [from, to, limit] })).map(toExpiring),
    createClient: (clientId, settings, secret, by) =>
      connection.change(by, (tx) => create(tx, clientId, settings, secret)),
    updateClient: (clientId, changes, by) => connection.change(by, (tx) => update(tx, clientId, changes)),
    setClientStatus: (clientId, status, by) => connection.change(by, (tx) => setStatus(tx, clientId, status)),
    deleteClient: (clientId, by) => connection.change(by, (tx) => remove(tx, clientId)),
    offboardClient: (clientId, by) => connection.change(by, (tx) => offboard(tx, clientId)),
    createSecret: (clientId, secret, by) => connection.change(by, (tx) => createSecret(tx, clientId, secret)),
    revokeSecret: (clientId, secretId, by) => connection.change(by, (tx) => revokeSecret(tx, clientId, secretId)),
    noteSecretUse: async (lastUsedAt) => {
      // Two processes that take the same rows in the same order wait for each other, and not in a circle.
      const used = [...lastUsedAt].toSorted(([a], [b]) => (a < b ? -1 : 1))
      const values = [used.map(([secretId]) => secretId), used.map(([, at]) => at)]
      await connection.persist(() => ({ text: noteUse, values }))
    },
  }
}

function fromRow({ audiences, introspects, secrets, ...row }: Row): Client {
  return toClient(row as typeof client.$inferSelect, {
    audiences: audiences as string[],
    introspects: introspects as string[],
    secrets: ((secrets ?? []) as (Omit<SecretRow, 'sha256'> & { sha256: string | null })[]).map((secret) =>
      toSecret({ ...secret, sha256: secret.sha256 === null ? null : Buffer.from(secret.sha256, 'base64') }),
    ),
  })
}

function toExpiring({ clientId, secretId, expiresAt, others }: Row): ExpiringSecret {
  const secret = { secretId: secretId as SecretId, expiresAt: expiresAt as number }
  return { clientId: clientId as string, ...secret, isLast: isLastSecret(secret, others as SecretRow[]) }
}
