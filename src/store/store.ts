import type { AuditEntry, AuditStore } from '../audit/audit-store.ts'
import type { Actor } from '../audit/event.ts'
import type { ClientStore } from '../client/client-store.ts'
import type { ReplayStore } from '../client/replay-store.ts'
import type { KeyStore } from '../key/key-store.ts'
import type { SharedClock } from '../lib/shared-clock.ts'
import type { RegistryStore, Sequences } from '../registry/registry-store.ts'
import type { ResourceStore } from '../resource/resource-store.ts'
import type { FamilyStore } from '../token/family-store.ts'
import type { MarkStore } from '../token/mark-store.ts'
import type { TokenStore } from '../token/token-store.ts'

/** Everything that Mayfly keeps. Each concept has its own interface beside it; this is their sum and what concerns the store as a whole. */
export interface Store
  extends RegistryStore,
    ResourceStore,
    ClientStore,
    ReplayStore,
    KeyStore,
    TokenStore,
    FamilyStore,
    MarkStore,
    AuditStore {
  /** Where it is, for people: an absolute path or a URL without a password. */
  readonly location: string
  /** The time by which this process is to date and judge: its own, while that agrees with the store's. */
  readonly clock: SharedClock
  /**
   * Begins to follow what other processes change, so that `recentSequences` can tell; and, unless told otherwise, to compare
   * clocks with them. For a server; ends when the store is closed.
   *
   * @throws StoreUnavailable
   */
  follow(options: { readonly comparesClocks: boolean }): Promise<void>
  /** How this process stands with a database that it reaches over a connection; `undefined` where it has a file. */
  link(): StoreLink | undefined
  /**
   * Stores the issuer that all tokens name. With `replace` unset it is only stored when there is none yet.
   *
   * @returns the issuer that is now stored
   * @throws StoreUnavailable
   */
  setIssuer(issuer: string, by: Actor, options?: { replace: boolean }): Promise<string>
  /** Writes something and takes it durably, without changing anything. @throws StoreUnavailable */
  checkWritable(): Promise<void>
  /** Bytes that are durable but not yet in their final place. They grow without end while somebody holds a reading transaction open. NaN when nobody can tell. */
  backlogBytes(): number
  /** Looks for damage and for what a migration should have done. @returns sentences, none when all is well */
  check(): Promise<readonly string[]>
  /** What a move or a restore has left in it that somebody may wonder about. @throws StoreUnavailable */
  readRemains(): Promise<readonly Remains[]>
  /** How large the store is and how fast it grows, since a moment. @throws StoreUnavailable */
  readUsage(since: number): Promise<StoreUsage>
  /** Writes a consistent copy, while the store is in use. @throws StoreUnavailable; StoreOpenError when the file exists */
  backup(file: string): Promise<void>
  /** Why nothing may be changed in it: it may be an old copy. Only a store that was opened for reading alone has such a sentence. */
  readonly doubt: string | undefined
  /** Writes down anew, outside the store, how far it has come. @throws WitnessUnavailable when that cannot be written */
  confirmWitness(): Promise<void>
  /**
   * Takes the store for the present, whatever is missing in it: all that was issued until now is dead, and its counters are
   * set beyond those given, and beyond its own.
   *
   * @param known how far it is known to have come, and the latest moment that a token of it may be dated at
   * @throws StoreUnavailable; StoreOpenError when nobody has claimed it
   */
  acceptAsPresent(known: Sequences & { readonly issuedUpTo: number }, by: Actor): Promise<Acceptance>
  /** Waits for what is under way, then closes. */
  close(): Promise<void>
}

/** What concerns the store as a whole, without backups and what goes by a witness. */
export type WholeStore = Pick<
  Store,
  | 'location'
  | 'clock'
  | 'follow'
  | 'link'
  | 'setIssuer'
  | 'checkWritable'
  | 'backlogBytes'
  | 'check'
  | 'readRemains'
  | 'readUsage'
  | 'close'
>

/** How a process stands with a database elsewhere. */
export interface StoreLink {
  readonly connections: {
    readonly inUse: number
    readonly idle: number
    readonly waiting: number
    readonly limit: number
  }
  /** Seconds since the last look at what other processes have changed; NaN before the first. */
  readonly viewAgeSeconds: number
}

/** What it took to accept a store as the present. */
export interface Acceptance {
  readonly storeId: string
  readonly from: Sequences
  readonly to: Sequences
  /** Only tokens and families of after this moment are alive, milliseconds since the epoch. */
  readonly tokensAfter: number
}

/** A backup that is about to take the place of the database, which nobody else can open meanwhile. */
export interface Restoring {
  /** The copy of the backup, brought up to date. It is to be accepted before it is put in place. */
  readonly store: Store
  /** How far the database has come that is there, and when its newest token was issued; zeros where nobody can tell. */
  readonly known: Sequences & { readonly issuedUpTo: number }
  /** The moment of the newest record in the backup, milliseconds since the epoch. */
  readonly until: number
  /** The changes to clients, secrets, keys and resources that the database has and the backup lacks; `undefined` when nobody can tell. */
  readLost(): readonly AuditEntry[] | undefined
  /** Puts the copy in place. @returns where what lay there is kept; `undefined` when nothing did. @throws StoreOpenError */
  finish(): Promise<string | undefined>
  /** Leaves everything as it was. Does nothing after `finish`. */
  abandon(): Promise<void>
}

/** What was left behind: by a move from here that is not finished, or by a restore, which keeps what it has replaced. */
export type Remains =
  | { readonly kind: 'copy'; readonly to: string; readonly at: number; readonly isAbandoned: boolean }
  | { readonly kind: 'replaced'; readonly file: string; readonly bytes: number }
  | { readonly kind: 'replaced'; readonly schema: string; readonly bytes: number }

/** How large a store is. */
export interface StoreUsage {
  readonly bytes: number
  /** What is left on its disk; absent where that cannot be seen from here. */
  readonly freeBytes?: number
  /** Records of issued tokens, in all and since the moment asked for, and what one of them takes. */
  readonly issuances: number
  readonly issuancesSince: number
  readonly bytesPerIssuance: number
  /** Files that hold the store and can be read by others than their owner. */
  readonly openFiles: readonly string[]
}

/** What the operator may see of a store's work. */
export interface StoreEvents {
  /** A transaction was committed: how many acts it carried, and how long it took. */
  onCommit?(acts: number, seconds: number): void
  /** A transaction failed. */
  onFailure?(error: unknown): void
  /** A change was committed, and the witness could not be told. */
  onWitnessFailure?(error: unknown): void
  /** Our clock is off the store's by so much and is not believed, or is right again (`undefined`). */
  onClock?(offsetMilliseconds: number | undefined): void
}

/** A store that cannot be opened. The message is one sentence that says what to do. */
export class StoreOpenError extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'StoreOpenError'
  }
}
