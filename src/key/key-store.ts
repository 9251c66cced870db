import type { Actor } from '../audit/event.ts'
import type { RingMark, RingMoment } from './ring-clock.ts'
import type { WrappedRootKey } from './root-key.ts'
import type { KeyState, NewSigningKey, SigningKeyFacts, StoredSigningKey } from './signing-key.ts'
import type { KeyTiming } from './timing.ts'

/** What makes a store an installation: its id, its root and its published keys. */
export interface FirstKeys {
  readonly storeId: string
  readonly rootKeys: readonly WrappedRootKey[]
  readonly signingKeys: readonly StoredSigningKey[]
}

/** All key material of a store. */
export interface KeyMaterial extends FirstKeys {
  /** Every key that is published: staged, active and retiring. */
  readonly signingKeys: readonly StoredSigningKey[]
  readonly ringMark: RingMark
}

/** What keys must remember of the settings of the processes that publish and sign with them. */
export type RememberedTiming = Pick<KeyTiming, 'accessTokenMaxTtlSeconds' | 'jwksMaxAgeSeconds'>

/** One change of the ring: it happens as a whole, or not at all. */
export interface RingChange {
  /** Keys that go from the state that they were seen in to another, in this order. */
  readonly moves: readonly { readonly kid: string; readonly from: KeyState; readonly to: KeyState }[]
  readonly adds: readonly (NewSigningKey & { readonly state: 'staged' | 'active' })[]
  readonly at: RingMoment
  readonly timing: RememberedTiming
  /** Why, for the audit trail. */
  readonly reason: RingChangeReason
}

export type RingChangeReason = 'schedule' | 'command' | 'emergency' | 'emergency_fresh'

/**
 * Where key material lies. Private halves are encrypted before they get here, and erased when a key is retired or
 * compromised. Every change has its audit record and moves the registry sequence.
 */
export interface KeyStore {
  /** What there is, `undefined` for a store that nobody has claimed. @throws StoreUnavailable */
  readKeys(): Promise<KeyMaterial | undefined>
  /** Every key that there ever was, the oldest first. @throws StoreUnavailable */
  listKeys(): Promise<readonly SigningKeyFacts[]>
  /**
   * Makes an unclaimed store this installation's, with its first root and signing keys, in one act. When somebody
   * else was first, nothing changes.
   *
   * @returns whether the keys given are now the store's
   * @throws StoreUnavailable
   */
  claimKeys(keys: FirstKeys, by: Actor): Promise<boolean>
  /**
   * Changes the ring, in one act. When a key is not in the state that its move names, or the result would have two
   * active or two staged keys of one algorithm, nothing changes: somebody else was first. Nor does it when the calendar
   * was reset since `at`, or the act had to wait for longer than a second: `at` is no longer now.
   *
   * @returns whether it happened
   * @throws StoreUnavailable
   */
  changeRing(change: RingChange, by: Actor): Promise<boolean>
  /** Asks that an active key be rotated as soon as the staged one may sign. @returns whether it is active. @throws StoreUnavailable */
  requestRotation(kid: string, at: RingMoment, by: Actor): Promise<boolean>
  /** Lets every published key remember these settings where they are longer than what it remembers. @throws StoreUnavailable */
  rememberTiming(timing: RememberedTiming, by: Actor): Promise<void>
  /** Stores both clocks of the ring, unless it has to wait, where they are further than what is stored. @returns what is now stored. @throws StoreUnavailable */
  noteRingMark(mark: RingMark): Promise<RingMark>
  /**
   * Sets the calendar of the ring to a moment, back if need be. What keys have later than it becomes it, so that what
   * they wait for starts anew. Tokens and refresh families of before are dead, as far as anybody asks here: what had ended
   * some of them may have been forgotten under the wrong date.
   *
   * @throws StoreUnavailable
   */
  resetCalendar(now: number, by: Actor): Promise<void>
  /**
   * Replaces how root keys are wrapped, `from` as it was read: whoever was told meanwhile which file opens them stays right.
   *
   * @returns whether they were still so; nothing changes otherwise
   * @throws StoreUnavailable
   */
  rewrapRoots(change: Record<'from' | 'to', readonly WrappedRootKey[]>, by: Actor): Promise<boolean>
  /**
   * Puts a new root in the place of all others, with the published keys encrypted under it.
   *
   * @returns whether the others were still as they were read, and the keys given are those that are published; nothing
   *   changes otherwise
   * @throws StoreUnavailable
   */
  replaceRoot(change: RootReplacement, by: Actor): Promise<boolean>
}

/** A new root key, and all that lies under it. */
export interface RootReplacement {
  /** The root keys that it takes the place of, as they were read. */
  readonly from: readonly WrappedRootKey[]
  readonly root: WrappedRootKey
  readonly keys: readonly Pick<StoredSigningKey, 'kid' | 'encryptedPrivateKey'>[]
}
