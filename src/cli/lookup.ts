import type { Client } from '../client/client.ts'
import { RegistryError } from '../lib/store-error.ts'
import type { Resource } from '../resource/resource.ts'
import type { Store } from '../store/store.ts'
import { quote } from './values.ts'

/** @throws RegistryError `unknown` */
export async function getClient(store: Store, clientId: string): Promise<Client> {
  const { value } = await store.findClient(clientId)
  if (value !== undefined) return value
  throw new RegistryError(
    'unknown',
    `there is no client ${quote(clientId)}: \`mayfly client list\` shows what there is`,
  )
}

/** @throws RegistryError `unknown` */
export async function getResource(store: Store, uri: string): Promise<Resource> {
  const { value } = await store.findResource(uri)
  if (value !== undefined) return value
  throw new RegistryError('unknown', `there is no resource ${quote(uri)}: \`mayfly resource list\` shows what there is`)
}
