import type { Actor } from '../audit/event.ts'
import type { WrappedRootKey } from './root-key.ts'
import type { StoredSigningKey } from './signing-key.ts'

/** All key material of a store. */
export interface KeyMaterial {
  readonly storeId: string
  readonly rootKeys: readonly WrappedRootKey[]
  /** Every key that is published: staged, active and retiring. */
  readonly signingKeys: readonly StoredSigningKey[]
}

/** Where key material lies. Private halves are encrypted before they get here. */
export interface KeyStore {
  /** What there is, `undefined` for a store that nobody has claimed. @throws StoreUnavailable */
  readKeys(): Promise<KeyMaterial | undefined>
  /**
   * Makes an unclaimed store this installation's, with its first root and signing keys, in one act. When somebody
   * else was first, nothing changes.
   *
   * @returns whether the keys given are now the store's
   * @throws StoreUnavailable
   */
  claimKeys(material: KeyMaterial, by: Actor): Promise<boolean>
}
