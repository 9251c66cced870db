import { RegistryError } from '../../lib/store-error.ts'
import type { Resource, ResourceSettings } from '../../resource/resource.ts'
import type { ResourceStore } from '../../resource/resource-store.ts'
import { resourceInUse, toResource, toResourceRow, unknownResource } from '../rows/resource-rows.ts'
import { type Changed, type Connection, read } from './connection.ts'
import { and, asc, eq, ne, sql } from './drizzle.ts'
import { client, clientAudience, clientIntrospects, resource } from './schema.ts'

export function createResourceStore(connection: Connection): ResourceStore {
  const { db, clock } = connection
  const byUri = db
    .select()
    .from(resource)
    .where(eq(resource.uri, sql.placeholder('uri')))
    .prepare()

  const find = (uri: string): Resource | undefined => {
    const row = byUri.get({ uri })
    return row === undefined ? undefined : toResource(row)
  }

  const get = (uri: string): Resource => {
    const found = find(uri)
    if (found === undefined) throw unknownResource(uri)
    return found
  }

  const create = (uri: string, settings: ResourceSettings): Changed<Resource> => {
    if (find(uri) !== undefined)
      throw new RegistryError('exists', `resource ${uri} exists already: \`mayfly resource update\` changes it`)
    const now = clock.nowMilliseconds()
    const created: Resource = { uri, ...settings, createdAt: now, updatedAt: now }
    db.insert(resource).values(toResourceRow(created)).run()
    return { value: created, events: [{ type: 'resource.created', resource: uri, detail: { ...settings } }] }
  }

  const update = (uri: string, changes: Parameters<ResourceStore['updateResource']>[1]): Changed<Resource> => {
    const current = get(uri)
    const merged = Object.entries({ ...current, ...changes }).filter(([, value]) => value !== null)
    const updated = { ...(Object.fromEntries(merged) as unknown as Resource), updatedAt: clock.nowMilliseconds() }
    db.update(resource).set(toResourceRow(updated)).where(eq(resource.uri, uri)).run()
    return { value: updated, events: [{ type: 'resource.updated', resource: uri, detail: { ...changes } }] }
  }

  const remove = (uri: string): Changed<void> => {
    get(uri)
    for (const table of [clientAudience, clientIntrospects]) {
      const users = db
        .selectDistinct({ clientId: table.clientId })
        .from(table)
        .innerJoin(client, eq(client.clientId, table.clientId))
        .where(and(eq(table.uri, uri), ne(client.status, 'deleted')))
        .orderBy(asc(table.clientId))
        .limit(6)
        .all()
      if (users.length > 0)
        throw resourceInUse(
          uri,
          table === clientAudience ? 'an audience of' : 'introspected by',
          users.map((user) => user.clientId),
        )
    }
    db.delete(resource).where(eq(resource.uri, uri)).run()
    return { value: undefined, events: [{ type: 'resource.deleted', resource: uri }] }
  }

  return {
    findResource: (uri) =>
      read(() => {
        const sequence = connection.readSequence()
        return { sequence, value: find(uri) }
      }),
    listResources: () => read(() => db.select().from(resource).orderBy(asc(resource.uri)).all().map(toResource)),
    createResource: (uri, settings, by) => connection.change(by, () => create(uri, settings)),
    updateResource: (uri, changes, by) => connection.change(by, () => update(uri, changes)),
    deleteResource: (uri, by) => connection.change(by, () => remove(uri)),
  }
}
