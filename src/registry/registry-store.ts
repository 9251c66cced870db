import type { ArgonCost } from '../client/imported-secret.ts'

/** What a store says of the registry as a whole, all read at one moment. */
export interface RegistryHead {
  /**
   * Moves with every change of what decisions read: clients, secrets, resources, keys, the issuer. One counter row,
   * set last in the transaction of each such change.
   */
  readonly sequence: number
  /** The issuer that this store's tokens name; absent before the first start. */
  readonly issuer?: string
  /** The one cost of all imported secrets, absent when there is none. */
  readonly importedCost?: ArgonCost
  /** Only tokens and refresh families of after this moment are alive, whoever's they are. */
  readonly tokensAfter?: number
}

export interface RegistryStore {
  /** @throws StoreUnavailable */
  readRegistryHead(): Promise<RegistryHead>
  /** Just the sequence: cheap enough for every refusal. @throws StoreUnavailable */
  readRegistrySequence(): Promise<number>
}
