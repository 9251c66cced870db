import { parseArgonHash } from '../../client/imported-secret.ts'
import { type Clock, systemClock } from '../../lib/clock.ts'
import { ulidFloor } from '../../lib/id.ts'
import type { Secret } from '../../lib/secret.ts'
import { SharedClock } from '../../lib/shared-clock.ts'
import { StoreUnavailable } from '../../lib/store-error.ts'
import type { RegistryHead, RegistryStore, Sequences } from '../../registry/registry-store.ts'
import { longestTokenLifeMilliseconds } from '../../token/mark-store.ts'
import type { BackupFile } from '../copy/sides.ts'
import {
  type Acceptance,
  type Store,
  type StoreEvents,
  StoreOpenError,
  type StoreUsage,
  type WholeStore,
} from '../store.ts'
import { createAuditStore } from './audit-store.ts'
import { writeBackup } from './backup.ts'
import { createClientStore } from './client-store.ts'
import { registrySequence } from './columns.ts'
import { type Changed, type Connection, createConnection, type Transaction } from './connection.ts'
import { movedTo, requireStoreHere } from './copy-state.ts'
import { Database } from './database.ts'
import { createFamilyStore } from './family-store.ts'
import { PostgresGuard, readStanding, type WitnessOptions } from './guard.ts'
import { Horizon } from './horizon.ts'
import { createKeyStore } from './key-store.ts'
import { explainDatabase } from './location.ts'
import { createMarkStore } from './mark-store.ts'
import { migrate, readMigrationState, requireOurs } from './migrate.ts'
import { readRemains } from './remains.ts'
import { createReplayStore } from './replay-store.ts'
import { createResourceStore } from './resource-store.ts'
import { createTokenStore } from './token-store.ts'

/** How to open. */
export interface PostgresStoreOptions {
  /** Where it is, for people: its URL without password and parameters. */
  readonly location: string
  /** Make the tables when they are not there, and bring them up to date. */
  readonly create: boolean
  /** The machine's, held against the server's from the start, unless another one is given. */
  readonly clock?: Clock
  readonly events?: StoreEvents
  readonly witness?: WitnessOptions
  readonly processes?: number
  /** Opens one that has moved away as well, or that is not wholly there. */
  readonly evenIfMoved?: boolean
  /** Begins a file that a backup is written into. @throws StoreOpenError */
  createBackupFile(file: string): Promise<BackupFile>
}

/**
 * Opens a store that lies in a PostgreSQL database.
 *
 * @throws StoreOpenError
 */
export async function openPostgresStore(url: Secret, options: PostgresStoreOptions): Promise<Store> {
  const { location, events = {}, witness } = options
  const clock = new SharedClock(options.clock ?? systemClock, events.onClock)
  const guard = witness === undefined ? undefined : new PostgresGuard(witness, events)
  const database = new Database(url, options.processes)
  const horizon = new Horizon({ database, clock })
  try {
    await prepare(database, options, clock)
    // Where it has gone is said rather than that the witness knows more: the new place has told it.
    if (options.evenIfMoved !== true) await requireStoreHere(database, location)
    await guard?.inspect(database, location)
    // A clock that somebody has put in the place of the machine's may show any time.
    if (options.clock === undefined) await horizon.compareClocks()
  } catch (error) {
    await database.close()
    throw explainDatabase(error, location)
  }
  const connection = createConnection(database, clock, { events, guard, horizon })
  return {
    ...createRegistryStore(connection, horizon, options.processes ?? 1),
    ...createResourceStore(connection),
    ...createClientStore(connection),
    ...createReplayStore(connection),
    ...createKeyStore(connection),
    ...createTokenStore(connection),
    ...createFamilyStore(connection),
    ...createMarkStore(connection, horizon),
    ...createAuditStore(connection),
    ...createWholeStore(connection, { database, horizon, clock, location }),
    backup: async (file) => writeBackup(url, location, await options.createBackupFile(file)),
    ...createWitnessedStore(connection, guard),
    get doubt() {
      return guard?.doubt
    },
  }
}

async function prepare(database: Database, { location, create }: PostgresStoreOptions, clock: Clock): Promise<void> {
  const state = await readMigrationState(database)
  requireOurs(state, location)
  if (state.pending === 0) return
  if (!create) throw new StoreOpenError(`${location} has no tables of this version: run \`mayfly db migrate\``)
  await migrate(database, clock.nowMilliseconds(), location)
}

const selectHead = `SELECT ${registrySequence} AS sequence,
  (SELECT issuer FROM installation) AS issuer, (SELECT tokens_after FROM installation) AS "tokensAfter",
  (SELECT argon2id FROM client_secret WHERE argon2id IS NOT NULL LIMIT 1) AS argon2id, ${movedTo} AS "movedTo"`

function createRegistryStore(connection: Connection, horizon: Horizon, processes: number): RegistryStore {
  const readHead = async (): Promise<RegistryHead> => {
    const [row] = await connection.read({ name: 'registry_head', text: selectHead })
    const { issuer = null, tokensAfter = null, argon2id = null, movedTo: other = null } = row ?? {}
    if (other !== null) throw new StoreUnavailable(`the database has moved to ${other}`)
    const importedCost = parseArgonHash((argon2id as string | null) ?? '')
    return {
      sequence: (row?.sequence as number | null) ?? 0,
      ...(issuer === null ? {} : { issuer: issuer as string }),
      ...(importedCost === undefined ? {} : { importedCost }),
      ...(tokensAfter === null ? {} : { tokensAfter: tokensAfter as number }),
    }
  }

  return {
    readRegistryHead: readHead,
    readRegistrySequence: async () => (await horizon.read()).registry,
    readSequences: () => horizon.read(),
    // Whoever has ended something at this node may be sent to another process of it next, which must know.
    recentSequences: () => (processes > 1 ? undefined : horizon.recent()),
  }
}

type WitnessedStore = Pick<Store, 'confirmWitness' | 'acceptAsPresent'>

const endAll = 'UPDATE installation SET tokens_after = greatest(coalesce(tokens_after, 0), $1::bigint)'
const setBeyond = 'UPDATE sequence SET value = greatest(value, $2::bigint) + $3::bigint WHERE name = $1 RETURNING value'

function createWitnessedStore(connection: Connection, guard: PostgresGuard | undefined): WitnessedStore {
  const accept = async (
    tx: Transaction,
    known: Sequences & { readonly issuedUpTo: number },
  ): Promise<Changed<Acceptance>> => {
    await tx.closeGate()
    const from = await readStanding({ read: (statement) => tx.query(statement) })
    if (from === undefined) throw new StoreOpenError('the database has no keys yet: there is nothing to accept')
    const { storeId } = from
    // As `endOfTokens`: nobody shall wait for what a wrong clock has dated years ahead.
    const latest = connection.clock.nowMilliseconds() + longestTokenLifeMilliseconds
    const tokensAfter = Math.max(await tx.endOfTokens(), Math.min(known.issuedUpTo, latest))
    // Whatever was moved, or was to be: this is the place now.
    await tx.query({ text: 'DELETE FROM copy_state' })
    await tx.query({ text: endAll, values: [tokensAfter] })
    const [mark] = await tx.query({ text: setBeyond, values: ['mark', known.mark, 1] })
    // The change itself moves it once more.
    const [registry] = await tx.query({ text: setBeyond, values: ['registry', known.registry, 0] })
    const to = { registry: (registry?.value as number) + 1, mark: mark?.value as number }
    const moved = { from: { registry: from.registry, mark: from.mark }, to, tokensAfter }
    return { value: { storeId, ...moved }, events: [{ type: 'store.restored', storeId, detail: moved }] }
  }

  return {
    confirmWitness: async () => guard?.keep({ anew: true }),
    acceptAsPresent: (known, by) => {
      const change = () => connection.change(by, (tx) => accept(tx, known))
      return guard === undefined ? change() : guard.without(change)
    },
  }
}

interface WholeStoreParts {
  readonly database: Database
  readonly horizon: Horizon
  readonly clock: SharedClock
  readonly location: string
}

const touch = `INSERT INTO sequence (name, value) VALUES ('probe', 1)
  ON CONFLICT (name) DO UPDATE SET value = sequence.value + 1`

function createWholeStore(connection: Connection, { database, horizon, clock, location }: WholeStoreParts): WholeStore {
  const setIssuer = async (tx: Transaction, issuer: string, replace: boolean): Promise<Changed<string>> => {
    const [row] = await tx.query({ text: 'SELECT issuer FROM installation' })
    const stored = (row?.issuer as string | null | undefined) ?? undefined
    if (stored !== undefined && (!replace || stored === issuer)) return { value: stored, events: [] }
    await tx.query({ text: 'UPDATE installation SET issuer = $1', values: [issuer] })
    const type = stored === undefined ? 'issuer.set' : 'issuer.accepted'
    const detail = stored === undefined ? {} : { detail: { before: stored } }
    return { value: issuer, events: [{ type, issuer, ...detail }] }
  }

  return {
    location,
    clock,
    follow: async ({ comparesClocks }) => {
      if (comparesClocks) await horizon.compareClocks()
      horizon.follow()
    },
    link: () => ({ connections: database.use, viewAgeSeconds: horizon.ageSeconds }),
    setIssuer: (issuer, by, options) => connection.change(by, (tx) => setIssuer(tx, issuer, options?.replace ?? false)),
    checkWritable: async () => void (await connection.persist(() => ({ text: touch }))),
    backlogBytes: () => Number.NaN,
    check: () => checkDatabase(connection, database),
    readRemains: () => readRemains(connection),
    readUsage: (since) => readUsage(connection, since),
    close: async () => {
      await horizon.stop()
      await database.close()
    },
  }
}

const usage = `SELECT pg_database_size(current_database()) AS bytes,
    (SELECT count(*) FROM issuance) AS issuances, (SELECT count(*) FROM issuance WHERE jti >= $1) AS since,
    pg_total_relation_size('issuance') AS "issuanceBytes"`

async function readUsage(connection: Connection, since: number): Promise<StoreUsage> {
  const [row] = await connection.read({ text: usage, values: [ulidFloor(since)] })
  const { bytes, issuances, issuanceBytes } = row as Record<string, number>
  return {
    bytes: bytes ?? 0,
    issuances: issuances ?? 0,
    issuancesSince: row?.since as number,
    bytesPerIssuance: issuances === 0 ? 0 : Math.ceil((issuanceBytes ?? 0) / (issuances ?? 1)),
    openFiles: [],
  }
}

// What a server may be told that takes back what was acknowledged.
const wrongSettings = `SELECT name, setting FROM pg_settings
  WHERE (name IN ('fsync', 'full_page_writes') AND setting = 'off') OR (name = 'zero_damaged_pages' AND setting = 'on')`
const wrongCollations = `SELECT c.relname || '.' || a.attname AS name FROM pg_attribute a
  JOIN pg_class c ON c.oid = a.attrelid AND c.relkind = 'r' AND c.relnamespace = current_schema()::regnamespace
  JOIN pg_collation l ON l.oid = a.attcollation WHERE a.attnum > 0 AND NOT a.attisdropped AND l.collname <> 'C'`
const missingCounters = `SELECT name FROM unnest(ARRAY['registry', 'mark']) AS name
  WHERE NOT EXISTS (SELECT FROM sequence WHERE sequence.name = name)`

async function checkDatabase(connection: Connection, database: Database): Promise<readonly string[]> {
  const { pending, newer } = await readMigrationState(database)
  const settings = await connection.read({ text: wrongSettings })
  const collations = await connection.read({ text: wrongCollations })
  const counters = await connection.read({ text: missingCounters })
  return [
    ...settings.map(({ name, setting }) => `${name} is ${setting} on the server, which can lose what was acknowledged`),
    ...collations.map(({ name }) => `${name} is not compared byte for byte`),
    ...counters.map(({ name }) => `the counter ${name} is missing`),
    ...(pending > 0 ? [`${pending} migrations are missing: run \`mayfly db migrate\``] : []),
    ...(newer ? ['it was written by a newer Mayfly'] : []),
  ]
}
