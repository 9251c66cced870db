import { existsSync, statfsSync, statSync } from 'node:fs'
import { parseArgonHash } from '../../client/imported-secret.ts'
import type { Clock } from '../../lib/clock.ts'
import { ulidFloor } from '../../lib/id.ts'
import { SharedClock } from '../../lib/shared-clock.ts'
import { StoreUnavailable } from '../../lib/store-error.ts'
import type { RegistryHead, RegistryStore, Sequences } from '../../registry/registry-store.ts'
import { longestTokenLifeMilliseconds } from '../../token/mark-store.ts'
import { requireHere } from '../copy/state.ts'
import {
  type Acceptance,
  type Store,
  type StoreEvents,
  StoreOpenError,
  type StoreUsage,
  type WholeStore,
} from '../store.ts'
import { ActQueue, type ActWitness } from './act-queue.ts'
import { createAuditStore } from './audit-store.ts'
import { writeBackup } from './backup.ts'
import { createClientStore } from './client-store.ts'
import { type Changed, type Connection, createConnection, read } from './connection.ts'
import { createPresenceCheck, forgetCopy, readCopyState, readStateOfFile } from './copy-state.ts'
import { eq, sql } from './drizzle.ts'
import { createFamilyStore } from './family-store.ts'
import { readStanding, WitnessGuard, type WitnessOptions } from './guard.ts'
import { createKeyStore } from './key-store.ts'
import { createMarkSetter, createMarkStore } from './mark-store.ts'
import { readMigrationState } from './migrate.ts'
import { type Inspector, type OpenOptions, openDatabase } from './open.ts'
import { readRemains } from './remains.ts'
import { createReplayStore } from './replay-store.ts'
import { createResourceStore } from './resource-store.ts'
import { clientSecret, installation } from './schema.ts'
import { createTokenStore } from './token-store.ts'

const minFreeBytes = 256 * 1024
const rowOverheadBytes = 24

/** How to open: see `OpenOptions`; without a witness nothing is written down outside of it. */
export interface SqliteStoreOptions extends Omit<OpenOptions, 'now' | 'inspector'> {
  readonly clock: Clock
  readonly events?: StoreEvents
  readonly witness?: WitnessOptions
  /** Opens one that has moved away as well, or that is not wholly there. */
  readonly evenIfMoved?: boolean
}

/**
 * Opens a store that lies in one SQLite file.
 *
 * @param path absolute
 * @throws StoreOpenError
 */
export function openSqliteStore(
  path: string,
  { clock, events = {}, witness, evenIfMoved = false, ...options }: SqliteStoreOptions,
): Store {
  const guard = witness === undefined ? undefined : new WitnessGuard(witness)
  const inspector = createInspector(guard, evenIfMoved)
  const sqlite = openGuarded(path, { ...options, inspector, now: clock.nowMilliseconds() }, guard)
  const acts = new ActQueue(sqlite, clock, events, guard === undefined ? undefined : actWitnessOf(guard, sqlite))
  const connection = createConnection(sqlite, acts, clock)
  const setMark = createMarkSetter(connection)
  return {
    ...createRegistryStore(connection),
    ...createResourceStore(connection),
    ...createClientStore(connection),
    ...createReplayStore(connection),
    ...createKeyStore(connection),
    ...createTokenStore(connection),
    ...createFamilyStore(connection, setMark),
    ...createMarkStore(connection, setMark),
    ...createAuditStore(connection),
    ...createWholeStore(connection, path, guard),
    ...createWitnessedStore(connection, guard),
    backup: async (file) => writeBackup(sqlite, file),
    get doubt() {
      return guard?.doubt
    },
  }
}

function openGuarded(path: string, options: OpenOptions, guard: WitnessGuard | undefined): Connection['sqlite'] {
  try {
    return openDatabase(path, options)
  } catch (error) {
    guard?.release()
    throw error
  }
}

// Where it has gone is said rather than that the witness knows more: the new place has told it.
function createInspector(guard: WitnessGuard | undefined, evenIfMoved: boolean): Inspector {
  return {
    inspectFile: (path) => {
      try {
        guard?.inspectFile(path)
      } catch (error) {
        // A copy that was killed before its -wal was in the file looks as if that were of another one.
        if (!evenIfMoved) requireHere(readStateOfFile(path), path)
        throw error
      }
    },
    inspect: (sqlite, path) => {
      if (!evenIfMoved) requireHere(readCopyState(sqlite), path)
      guard?.inspect(sqlite, path)
    },
  }
}

function actWitnessOf(guard: WitnessGuard, sqlite: Connection['sqlite']): ActWitness {
  return {
    get refusal() {
      return guard.doubt === undefined ? undefined : new StoreOpenError(guard.doubt)
    },
    keep: () => guard.keep(sqlite),
  }
}

type WitnessedStore = Pick<Store, 'confirmWitness' | 'acceptAsPresent'>

function createWitnessedStore(connection: Connection, guard: WitnessGuard | undefined): WitnessedStore {
  const { sqlite, clock } = connection
  const setBeyond = sqlite
    .prepare('UPDATE sequence SET value = max(value, ?) + ? WHERE name = ? RETURNING value')
    .pluck()
  const endAll = sqlite.prepare('UPDATE installation SET tokens_after = max(coalesce(tokens_after, 0), ?)')

  const accept = (known: Sequences & { readonly issuedUpTo: number }): Changed<Acceptance> => {
    const from = readStanding(sqlite)
    if (from === undefined) throw new StoreOpenError('the database has no keys yet: there is nothing to accept')
    const { storeId } = from
    // As `endOfTokens`: nobody shall wait for what a wrong clock has dated years ahead.
    const latest = clock.nowMilliseconds() + longestTokenLifeMilliseconds
    const tokensAfter = Math.max(connection.endOfTokens(), Math.min(known.issuedUpTo, latest))
    // Whatever was moved, or was to be: this is the place now.
    forgetCopy(sqlite)
    endAll.run(tokensAfter)
    const mark = setBeyond.get(known.mark, 1, 'mark') as number
    // The change itself moves it once more.
    const registry = (setBeyond.get(known.registry, 0, 'registry') as number) + 1
    const moved = { from: { registry: from.registry, mark: from.mark }, to: { registry, mark }, tokensAfter }
    return { value: { storeId, ...moved }, events: [{ type: 'store.restored', storeId, detail: moved }] }
  }

  return {
    confirmWitness: async () => guard?.keep(sqlite, { anew: true }),
    acceptAsPresent: (known, by) => {
      const change = () => connection.change(by, () => accept(known))
      return guard === undefined ? change() : guard.without(change)
    },
  }
}

function createRegistryStore(connection: Connection): RegistryStore {
  const { db } = connection
  const selectInstallation = db
    .select({ issuer: installation.issuer, tokensAfter: installation.tokensAfter })
    .from(installation)
    .prepare()
  const selectImported = db
    .select({ argon2id: clientSecret.argon2id })
    .from(clientSecret)
    .where(sql`${clientSecret.argon2id} IS NOT NULL`)
    .limit(1)
    .prepare()

  const requirePresence = createPresenceCheck(connection.sqlite)
  const selectSequences = connection.sqlite.prepare<[], Sequences>(
    `SELECT coalesce((SELECT value FROM sequence WHERE name = 'registry'), 0) AS registry,
       coalesce((SELECT value FROM sequence WHERE name = 'mark'), 0) AS mark`,
  )
  const readSequences = (): Sequences => selectSequences.get() ?? { registry: 0, mark: 0 }

  const readHead = (): RegistryHead => {
    // The sequence first: see `Read`. Where the store leaves between the two, it is an old one; the other way round it would be
    // the last one that the place ever has, and this process would believe for good that the store is here.
    const sequence = connection.readSequence()
    requirePresence()
    const { issuer, tokensAfter } = selectInstallation.get() ?? {}
    const importedCost = parseArgonHash(selectImported.get()?.argon2id ?? '')
    return {
      sequence,
      ...(issuer === undefined || issuer === null ? {} : { issuer }),
      ...(importedCost === undefined ? {} : { importedCost }),
      ...(tokensAfter === undefined || tokensAfter === null ? {} : { tokensAfter }),
    }
  }

  return {
    readRegistryHead: () => read(readHead),
    readRegistrySequence: () => read(() => connection.readSequence()),
    readSequences: () => read(readSequences),
    // Asking takes no longer than remembering.
    recentSequences: () => {
      try {
        return readSequences()
      } catch {
        return undefined
      }
    },
  }
}

function createWholeStore(connection: Connection, path: string, guard: WitnessGuard | undefined): WholeStore {
  const { db, sqlite, acts } = connection
  // It must change something: a page that stays the same is not written.
  const touch = sqlite.prepare(
    `INSERT INTO sequence (name, value) VALUES ('probe', 1) ON CONFLICT (name) DO UPDATE SET value = value + 1`,
  )

  const setIssuer = (issuer: string, replace: boolean): Changed<string> => {
    const stored = db.select().from(installation).get()?.issuer ?? undefined
    if (stored !== undefined && (!replace || stored === issuer)) return { value: stored, events: [] }
    db.update(installation).set({ issuer }).where(eq(installation.id, 1)).run()
    const type = stored === undefined ? 'issuer.set' : 'issuer.accepted'
    return {
      value: issuer,
      events: [{ type, issuer, ...(stored === undefined ? {} : { detail: { before: stored } }) }],
    }
  }

  return {
    location: path,
    // One file is on one machine, and so has its clock.
    clock: new SharedClock(connection.clock),
    follow: async () => undefined,
    link: () => undefined,
    setIssuer: (issuer, by, options) => connection.change(by, () => setIssuer(issuer, options?.replace ?? false)),
    checkWritable: async () => {
      requireRoom(path)
      await acts.submit({ single: true, run: () => void touch.run() })
    },
    backlogBytes: () => backlogBytes(sqlite),
    check: () => read(() => checkDatabase(connection)),
    readRemains: () => read(() => readRemains(sqlite, path)),
    readUsage: (since) => read(() => readUsage(connection, path, since)),
    close: async () => {
      await acts.drain()
      sqlite.close()
      guard?.release()
    },
  }
}

function readUsage({ sqlite }: Connection, path: string, since: number): StoreUsage {
  const { bavail, bsize } = statfsSync(path)
  const files = [path, `${path}-wal`].filter((file) => existsSync(file))
  const count = (where: string, ...values: string[]): number =>
    sqlite
      .prepare(`SELECT count(*) FROM issuance ${where}`)
      .pluck()
      .get(...values) as number
  // The newest records stand for all; a row has some bytes of its own besides its columns.
  const lengths = [
    'jti',
    'client_id',
    'subject',
    'grant_type',
    'secret_id',
    'audience',
    'scope',
    'kid',
    'request_id',
    'address',
  ]
  const average = sqlite
    .prepare(
      `SELECT avg(${lengths.map((column) => `coalesce(length(${column}), 0)`).join(' + ')})
       FROM (SELECT * FROM issuance ORDER BY jti DESC LIMIT 1000)`,
    )
    .pluck()
    .get() as number | null
  return {
    bytes: files.reduce((sum, file) => sum + statSync(file).size, 0),
    freeBytes: bavail * bsize,
    issuances: count(''),
    issuancesSince: count('WHERE jti >= ?', ulidFloor(since)),
    bytesPerIssuance: average === null ? 0 : Math.ceil(average) + rowOverheadBytes,
    openFiles: files.filter((file) => (statSync(file).mode & 0o077) !== 0),
  }
}

// NOOP looks and does nothing (https://sqlite.org/pragma.html#pragma_wal_checkpoint).
function backlogBytes(sqlite: Connection['sqlite']): number {
  try {
    const [wal] = sqlite.pragma('wal_checkpoint(NOOP)') as { log: number; checkpointed: number }[]
    const pageBytes = Number(sqlite.pragma('page_size', { simple: true }))
    return wal === undefined ? 0 : (wal.log - wal.checkpointed) * pageBytes
  } catch {
    return Number.NaN
  }
}

// One small write may still fit where the next transaction will not.
function requireRoom(path: string): void {
  const { bavail, bsize } = statfsSync(path)
  if (bavail * bsize < minFreeBytes) {
    throw new StoreUnavailable('the disk is full', { cause: Object.assign(new Error('no room'), { code: 'ENOSPC' }) })
  }
}

function checkDatabase({ sqlite }: Connection): readonly string[] {
  const damage = (sqlite.pragma('integrity_check(20)') as { integrity_check: string }[])
    .map((row) => row.integrity_check)
    .filter((row) => row !== 'ok')
  const orphans = sqlite.pragma('foreign_key_check') as unknown[]
  const tables = sqlite.pragma('table_list') as { name: string; type: string; strict: number }[]
  const lax = tables.filter(
    (table) => table.type === 'table' && table.strict === 0 && !table.name.startsWith('sqlite_'),
  )
  const { pending, newer } = readMigrationState(sqlite)
  return [
    ...damage.map((row) => `damaged: ${row}`),
    ...(orphans.length > 0 ? [`${orphans.length} rows refer to rows that do not exist`] : []),
    ...lax.map((table) => `table ${table.name} is not STRICT`),
    ...(pending > 0 ? [`${pending} migrations are missing: run \`mayfly db migrate\``] : []),
    ...(newer ? ['it was written by a newer Mayfly'] : []),
  ]
}
