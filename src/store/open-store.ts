import type { KeyMaterial } from '../key/key-store.ts'
import { type Clock, systemClock } from '../lib/clock.ts'
import type { Secret } from '../lib/secret.ts'
import { type StoreUnavailable, WitnessUnavailable } from '../lib/store-error.ts'
import type { Copied, CopyOptions } from './copy/copy.ts'
import type { BackupFile, CopySource, CopyTarget } from './copy/sides.ts'
import { explainDatabase } from './postgres/location.ts'
import type { WitnessOptions } from './sqlite/guard.ts'
import { isSameFile, toOpenError } from './sqlite/open.ts'
import { openSqliteStore } from './sqlite/sqlite-store.ts'
import { type Restoring, type Store, type StoreEvents, StoreOpenError } from './store.ts'
import { Witness, type WitnessRecord } from './witness.ts'

/** How to open: see `OpenOptions` of the store for `create`, `examine` and `exclusive`. */
export interface OpenStoreOptions {
  readonly create: boolean
  readonly examine: boolean
  readonly exclusive?: boolean
  readonly clock?: Clock
  readonly events?: StoreEvents
  /** What the store is held against; without it, an old copy goes unnoticed. */
  readonly witness?: WitnessOptions
  /** How many processes of this machine share what the database may be used for. */
  readonly processes?: number
  /** Opens a store as well that has moved away, or has not wholly arrived. */
  readonly evenIfMoved?: boolean
}

/** Where a store is, as the settings have it. */
export interface StorePlace {
  /** The absolute path of a SQLite file, or where a PostgreSQL database is, for people. */
  readonly databasePath: string
  readonly postgresUrl?: Secret
}

/**
 * Opens the store at a place. This is the only file that names concrete stores, and each is loaded when it is needed.
 *
 * @throws StoreOpenError
 */
export async function openStoreAt(
  { databasePath, postgresUrl }: StorePlace,
  options: OpenStoreOptions,
): Promise<Store> {
  if (postgresUrl === undefined) return openStore(databasePath, options)
  const { openPostgresStore } = await import('./postgres/postgres-store.ts')
  const { clock = systemClock } = options
  const createBackupFile = async (file: string): Promise<BackupFile> => {
    const { createBackupFile } = await import('./sqlite/backup-file.ts')
    return createBackupFile(file, clock.nowMilliseconds())
  }
  return openPostgresStore(postgresUrl, { location: databasePath, ...options, createBackupFile })
}

/**
 * Opens a SQLite file.
 *
 * @param place its absolute path
 *
 * @throws StoreOpenError
 */
export function openStore(place: string, options: OpenStoreOptions): Store {
  return openSqliteStore(place, { clock: systemClock, ...options })
}

/** A move of a store: where from, where to, and what it is done with. */
export interface Move extends Pick<CopyOptions, 'actor' | 'onRows' | 'signal'> {
  readonly from: StorePlace
  readonly to: StorePlace
  readonly witnessFile: string
  readonly clock?: Clock
  /** Looks at the keys of the source. @throws KeyMaterialError when they cannot be opened */
  checkKeys(material: KeyMaterial): void
}

/**
 * Moves a store to another place.
 *
 * @throws StoreOpenError with one sentence; KeyMaterialError, StoreUnavailable, WitnessUnavailable
 */
export async function moveStore({
  from,
  to,
  witnessFile,
  checkKeys,
  clock = systemClock,
  ...move
}: Move): Promise<Copied> {
  // By its second name a file has a -wal of its own, which knows nothing of what lies in the other one.
  if (isSameFile(from.databasePath, to.databasePath))
    throw new StoreOpenError(`${to.databasePath} is ${from.databasePath} by another name: give --to an empty place`)
  const doubt = await examineSource(from, witnessFile, checkKeys)
  const { copyStore } = await import('./copy/copy.ts')
  const source = await openCopySource(from, clock)
  try {
    // Where an earlier run has fenced it, this one goes on: the new place may have told the witness more since.
    const { state } = await source.readStanding()
    if (doubt !== undefined && state?.state !== 'left') throw new StoreOpenError(doubt)
    const target = await openCopyTarget(to)
    try {
      const witness = new Witness(witnessFile)
      return await copyStore(source, target, { ...move, clock, witness: (id, known) => witness.raise(id, known) })
    } finally {
      await target.close()
    }
  } finally {
    await source.close()
  }
}

// As every start looks at it. @returns why it may be an old copy
async function examineSource(
  from: StorePlace,
  witnessFile: string,
  checkKeys: Move['checkKeys'],
): Promise<string | undefined> {
  const witness = { file: witnessFile, tolerant: true }
  const store = await openStoreAt(from, { create: false, examine: true, evenIfMoved: true, witness })
  try {
    const material = await store.readKeys()
    if (material === undefined) throw new StoreOpenError(`${store.location} has no keys yet: there is nothing to copy`)
    checkKeys(material)
    return store.doubt
  } finally {
    await store.close()
  }
}

async function openCopySource({ databasePath, postgresUrl }: StorePlace, clock: Clock): Promise<CopySource> {
  if (postgresUrl === undefined) {
    const { SqliteCopySource } = await import('./sqlite/copy-source.ts')
    return new SqliteCopySource(databasePath, clock.nowMilliseconds())
  }
  const { PostgresCopySource } = await import('./postgres/copy-source.ts')
  return PostgresCopySource.open(postgresUrl, databasePath)
}

async function openCopyTarget({ databasePath, postgresUrl }: StorePlace): Promise<CopyTarget> {
  if (postgresUrl === undefined) {
    const { SqliteCopyTarget } = await import('./sqlite/copy-target.ts')
    return new SqliteCopyTarget(databasePath)
  }
  const { PostgresCopyTarget } = await import('./postgres/copy-target.ts')
  return PostgresCopyTarget.open(postgresUrl, databasePath)
}

/**
 * Makes ready to put a backup in the place of a store, whose witness remembers something of it or not. Whatever comes of it, `finish` or `abandon` must follow.
 *
 * @throws StoreOpenError when somebody has the store open, or the file is no backup of it
 */
export async function restoreStore(
  { databasePath, postgresUrl }: StorePlace,
  file: string,
  remembered: WitnessRecord,
): Promise<Restoring> {
  const clock = systemClock
  if (postgresUrl === undefined) {
    const { prepareRestore } = await import('./sqlite/restore.ts')
    return prepareRestore(databasePath, file, { clock, remembered })
  }
  const { prepareRestore } = await import('./postgres/restore.ts')
  const { stageBackup } = await import('./sqlite/staged-backup.ts')
  return prepareRestore({ url: postgresUrl, location: databasePath }, () => stageBackup(file, clock), clock)
}

/** What a store that failed at work says to the person at the command line. */
export function explainFailure(error: StoreUnavailable, { databasePath, postgresUrl }: StorePlace): StoreOpenError {
  if (error instanceof WitnessUnavailable) {
    return new StoreOpenError(
      `it is done and in force, but an old copy of the database could take it back unnoticed: ${error.message}`,
      { cause: error },
    )
  }
  const explain = postgresUrl === undefined || error.outcomeUnknown ? toOpenError : explainDatabase
  const explained = explain(error.cause, databasePath)
  if (explained instanceof StoreOpenError) return explained
  const outcome = error.outcomeUnknown
    ? 'it may or may not have been done: `mayfly audit list` tells'
    : 'nothing was changed: try again'
  return new StoreOpenError(`${databasePath}: ${error.message}; ${outcome}`, { cause: error })
}
