import { isSigningAlg } from '../../key/signer.ts'
import { RegistryError } from '../../lib/store-error.ts'
import type { Resource } from '../../resource/resource.ts'
import type { resource } from '../sqlite/schema.ts'
import { parseStrings } from './columns.ts'

type Row = typeof resource.$inferSelect

/** The refusal that names the command which would have made the resource. */
export function unknownResource(uri: string): RegistryError {
  return new RegistryError(
    'unknown',
    `there is no resource ${uri}: \`mayfly resource create ${uri}\` makes it, \`mayfly resource list\` shows what there is`,
  )
}

/** The refusal to delete what clients have. */
export function resourceInUse(uri: string, how: string, clients: readonly string[]): RegistryError {
  const named = clients.slice(0, 5).join(', ') + (clients.length > 5 ? ' and others' : '')
  return new RegistryError(
    'in_use',
    `resource ${uri} is ${how} ${named}: give them others with \`mayfly client update\`, or delete them, first`,
  )
}

/** A resource as a row. */
export function toResourceRow(value: Resource): Row {
  return {
    uri: value.uri,
    name: value.name ?? null,
    scopes: JSON.stringify(value.scopes),
    alg: value.alg ?? null,
    accessTokenTtlSeconds: value.accessTokenTtlSeconds ?? null,
    createdAt: value.createdAt,
    updatedAt: value.updatedAt,
  }
}

/** A resource from its row. */
export function toResource(row: Row): Resource {
  return {
    uri: row.uri,
    scopes: parseStrings(row.scopes),
    createdAt: row.createdAt,
    updatedAt: row.updatedAt,
    ...(row.name === null ? {} : { name: row.name }),
    ...(row.alg !== null && isSigningAlg(row.alg) ? { alg: row.alg } : {}),
    ...(row.accessTokenTtlSeconds === null ? {} : { accessTokenTtlSeconds: row.accessTokenTtlSeconds }),
  }
}
