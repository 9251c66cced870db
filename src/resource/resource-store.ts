import type { Actor } from '../audit/event.ts'
import type { Read } from '../lib/read.ts'
import type { Resource, ResourceSettings } from './resource.ts'

/** Where resources are registered. Each change is one act with its audit record, and moves the registry sequence. */
export interface ResourceStore {
  /** @throws StoreUnavailable */
  findResource(uri: string): Promise<Read<Resource | undefined>>
  /** By URI. @throws StoreUnavailable */
  listResources(): Promise<readonly Resource[]>
  /** @throws RegistryError `exists`; StoreUnavailable */
  createResource(uri: string, settings: ResourceSettings, by: Actor): Promise<Resource>
  /** Sets every member that is present; `null` removes an optional one. @throws RegistryError `unknown`; StoreUnavailable */
  updateResource(uri: string, changes: ResourceChanges, by: Actor): Promise<Resource>
  /** @throws RegistryError `unknown`, or `in_use` with the clients whose audience it is; StoreUnavailable */
  deleteResource(uri: string, by: Actor): Promise<void>
}

export type ResourceChanges = { readonly [K in keyof ResourceSettings]?: ResourceSettings[K] | null }
