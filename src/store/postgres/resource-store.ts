import { RegistryError } from '../../lib/store-error.ts'
import type { Resource, ResourceSettings } from '../../resource/resource.ts'
import type { ResourceStore } from '../../resource/resource-store.ts'
import { resourceInUse, toResource, toResourceRow, unknownResource } from '../rows/resource-rows.ts'
import { columnsOf, isText, registrySequence } from './columns.ts'
import type { Changed, Connection, Transaction } from './connection.ts'
import type { Row } from './database.ts'
import { and, asc, eq, ne } from './drizzle.ts'
import { client, clientAudience, clientIntrospects, resource } from './schema.ts'

const mostUsersShown = 6

export function createResourceStore(connection: Connection): ResourceStore {
  const { clock } = connection
  const columns = columnsOf(resource)
  const byUri = `SELECT ${columns} FROM resource WHERE uri = $1`
  const bySequence = `SELECT ${registrySequence} AS sequence, found.*
    FROM (SELECT 1) AS one LEFT JOIN (${byUri}) AS found ON true`

  const get = async (tx: Transaction, uri: string): Promise<Resource> => {
    const [row] = await tx.query({ text: byUri, values: [uri] })
    if (row === undefined) throw unknownResource(uri)
    return toResource(row as typeof resource.$inferSelect)
  }

  const create = async (tx: Transaction, uri: string, settings: ResourceSettings): Promise<Changed<Resource>> => {
    const [present] = await tx.query({ text: byUri, values: [uri] })
    if (present !== undefined)
      throw new RegistryError('exists', `resource ${uri} exists already: \`mayfly resource update\` changes it`)
    const now = clock.nowMilliseconds()
    const created: Resource = { uri, ...settings, createdAt: now, updatedAt: now }
    await tx.db.insert(resource).values(toResourceRow(created))
    return { value: created, events: [{ type: 'resource.created', resource: uri, detail: { ...settings } }] }
  }

  const update = async (
    tx: Transaction,
    uri: string,
    changes: Parameters<ResourceStore['updateResource']>[1],
  ): Promise<Changed<Resource>> => {
    const current = await get(tx, uri)
    const merged = Object.entries({ ...current, ...changes }).filter(([, value]) => value !== null)
    const updated = { ...(Object.fromEntries(merged) as unknown as Resource), updatedAt: clock.nowMilliseconds() }
    await tx.db.update(resource).set(toResourceRow(updated)).where(eq(resource.uri, uri))
    return { value: updated, events: [{ type: 'resource.updated', resource: uri, detail: { ...changes } }] }
  }

  const remove = async (tx: Transaction, uri: string): Promise<Changed<void>> => {
    await get(tx, uri)
    for (const table of [clientAudience, clientIntrospects]) {
      const users = await tx.db
        .selectDistinct({ clientId: table.clientId })
        .from(table)
        .innerJoin(client, eq(client.clientId, table.clientId))
        .where(and(eq(table.uri, uri), ne(client.status, 'deleted')))
        .orderBy(asc(table.clientId))
        .limit(mostUsersShown)
      if (users.length === 0) continue
      const how = table === clientAudience ? 'an audience of' : 'introspected by'
      throw resourceInUse(
        uri,
        how,
        users.map((user) => user.clientId),
      )
    }
    await tx.db.delete(resource).where(eq(resource.uri, uri))
    return { value: undefined, events: [{ type: 'resource.deleted', resource: uri }] }
  }

  return {
    findResource: async (uri) => {
      const [row] = await connection.read({ name: 'find_resource', text: bySequence, values: [isText(uri) ? uri : ''] })
      const { sequence, ...found } = row as Row
      const value = found.uri === null ? undefined : toResource(found as typeof resource.$inferSelect)
      return { sequence: sequence as number, value }
    },
    listResources: async () => {
      const rows = await connection.read({ text: `SELECT ${columns} FROM resource ORDER BY uri` })
      return rows.map((row) => toResource(row as typeof resource.$inferSelect))
    },
    createResource: (uri, settings, by) => connection.change(by, (tx) => create(tx, uri, settings)),
    updateResource: (uri, changes, by) => connection.change(by, (tx) => update(tx, uri, changes)),
    deleteResource: (uri, by) => connection.change(by, (tx) => remove(tx, uri)),
  }
}
