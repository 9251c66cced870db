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

/**
 * The counters of a store that everything moves which ends or begins access: the registry's, and that of the marks on single
 * tokens and families. Where neither has moved, nothing has changed.
 */
export interface Sequences {
  readonly registry: number
  readonly mark: number
}

export interface RegistryStore {
  /** @throws StoreUnavailable */
  readRegistryHead(): Promise<RegistryHead>
  /** Just the sequence: cheap enough for every refusal. @throws StoreUnavailable */
  readRegistrySequence(): Promise<number>
  /** Both counters as of one moment of the call. @throws StoreUnavailable */
  readSequences(): Promise<Sequences>
  /**
   * Both counters as of one moment that lies so little back that answers may go by it which nothing is committed for; what this
   * process itself has changed is in them. `undefined` where nobody can tell without waiting: then they must be read.
   */
  recentSequences(): Sequences | undefined
}
