/** What a copy needs of the place that it leaves and of the place that it arrives at: `copy.ts` says in which order. */

import type { Actor } from '../../audit/event.ts'
import type { Sequences } from '../../registry/registry-store.ts'
import type { Store } from '../store.ts'
import type { CopyTable } from './tables.ts'

/** A value of a column, the same for every database. */
export type CopyValue = string | number | boolean | Buffer | null

/** A row: its values in the order of the columns of `CopyTable`. */
export type CopyRow = readonly CopyValue[]

/** The values of the key of a row. */
export type CopyKey = readonly CopyValue[]

/** How far the move of a store has come, as it is written in one of its places. None: the store lives there. */
export interface CopyState {
  readonly state: 'leaving' | 'abandoned' | 'left' | 'arriving' | 'filling' | 'arrived'
  readonly copyId: string
  readonly storeId: string
  readonly other: string
  /** Milliseconds since the epoch. */
  readonly at: number
  readonly eventId: string | null
}

/** What is known of a store in one place. */
export interface Standing extends Sequences {
  /** Absent where nobody has claimed it. */
  readonly storeId: string | undefined
  readonly state: CopyState | undefined
}

/** A key of a row that was changed. */
export interface CopyChange {
  readonly table: string
  readonly key: CopyKey
}

/** The part of a side that reads. */
export interface CopyReader {
  readonly location: string
  readStanding(): Promise<Standing>
  /** The next rows after a key, in the order of the keys. */
  readRows(table: CopyTable, after: CopyKey | undefined, limit: number): Promise<readonly CopyRow[]>
  count(table: CopyTable): Promise<number>
  close(): Promise<void>
}

export interface CopySource extends CopyReader {
  /** From now on each change is written down; whoever began before is overtaken. */
  begin(copy: CopyMark): Promise<void>
  /** Takes some of what was written down. @throws StoreOpenError when the copy was overtaken or abandoned */
  takeChanges(copyId: string, limit: number): Promise<readonly CopyChange[]>
  /** Those of the rows that are still there. */
  readByKeys(table: CopyTable, keys: readonly CopyKey[]): Promise<readonly CopyRow[]>
  /** Begins the last transaction: nobody else can write until it is over. @throws StoreOpenError as `takeChanges` */
  lock(copyId: string): Promise<void>
  /** Appends the record of the move to the audit trail, and moves the registry. @returns its id */
  writeRecord(by: Actor, now: number, detail: Readonly<Record<string, string>>): Promise<string>
  /** Marks the store as left, and commits. @throws StoreUnavailable with `outcomeUnknown` when nobody knows whether it is */
  leave(copyId: string, eventId: string): Promise<void>
  /** Undoes the last transaction, where one is open. */
  rollback(): Promise<void>
  /** Takes away what a copy has left behind that will not be finished. */
  abandon(copyId: string): Promise<void>
  /** The stamp of a SQLite file as it is on disk; 0 for others. */
  readStamp(): number
}

export interface CopyTarget extends CopyReader {
  /** Whether it has been a store, or was to become one. */
  hasTables(): Promise<boolean>
  /**
   * Makes its tables where there are none, and brings them up to date. From the first moment at which anybody finds them they
   * say that a copy was begun: nobody takes them for those of a new store. @throws StoreOpenError when it holds something else
   */
  prepare(copy: CopyMark): Promise<void>
  /** Empties it and marks it as a copy that is not complete. @throws StoreOpenError when it has become something else */
  begin(copy: CopyMark): Promise<void>
  /** Adds rows; those that are there already stay. @throws StoreOpenError when the copy was overtaken */
  put(copyId: string, table: CopyTable, rows: readonly CopyRow[]): Promise<void>
  /** Replaces what is there under the keys. @throws as `put` */
  replace(copyId: string, table: CopyTable, keys: readonly CopyKey[], rows: readonly CopyRow[]): Promise<void>
  /** Adds what makes a store of it, and marks it as complete: one transaction. @throws as `put` */
  arrive(copyId: string, eventId: string, whole: readonly WholeTable[]): Promise<void>
  hasEvent(id: string): Promise<boolean>
  /** Lets it be used. @throws StoreOpenError unless it is complete and of that move */
  open(eventId: string): Promise<void>
}

/** A table that is copied as one. */
export interface WholeTable {
  readonly table: CopyTable
  readonly rows: readonly CopyRow[]
}

/** What one run of the command writes on both sides. */
export interface CopyMark {
  readonly copyId: string
  readonly storeId: string
  /** The other side. */
  readonly other: string
  readonly at: number
}

/** A file that a backup is written into. It is there whole in the end, or not at all. */
export interface BackupFile {
  put(table: CopyTable, rows: readonly CopyRow[]): void
  /** @throws StoreOpenError */
  finish(): void
  /** Leaves nothing behind. Does nothing after `finish`. */
  discard(): void
}

/** A copy of a backup that lies in nobody's place, brought up to date. */
export interface StagedBackup {
  /** It is to be accepted before it is read. */
  readonly store: Store
  readonly storeId: string
  /** The id of its newest record of a refusal or change, as it was written; empty when there is none. */
  readonly lastEvent: string
  /** The moment of its newest record, milliseconds since the epoch. */
  readonly until: number
  readRows(table: CopyTable, after: CopyKey | undefined, limit: number): readonly CopyRow[]
  discard(): Promise<void>
}
