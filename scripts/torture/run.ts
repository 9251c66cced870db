/** One run: an installation, servers that are killed, workloads and an operator; and at the end the database as it is. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { prepareApp } from '../../src/app/prepare.ts'
import { parseSettings, type Settings } from '../../src/config/settings.ts'
import { ulidMilliseconds } from '../../src/lib/id.ts'
import { silentLog } from '../../src/lib/log.ts'
import { openStoreAt } from '../../src/store/open-store.ts'
import { recentMilliseconds } from '../../src/store/postgres/horizon.ts'
import type { Store } from '../../src/store/store.ts'
import { type RigDatabase, usePostgres, useSqlite } from '../rig-database.ts'
import { createRandom, type Random } from '../rollover/random.ts'
import { Actor, type Stage, type TortureClient } from './actor.ts'
import type { Admin, Call, FinalState, History } from './history.ts'
import { Operator } from './operator.ts'
import { api, environment, type Plan } from './plan.ts'
import { register } from './register.ts'
import { Servers } from './servers.ts'

export interface RunResult {
  readonly history: History
  readonly kills: number
  readonly seconds: number
  readonly serverLog: string
}

const serversPerDatabase = 6

/** Runs a plan to its end. @throws Error when a server does not start, or does not end well */
export async function run(plan: Plan, onCycle: (cycle: number) => void = () => {}): Promise<RunResult> {
  const folder = mkdtempSync(join(tmpdir(), 'mayfly-torture-'))
  const database = plan.database === 'postgres' ? await usePostgres() : useSqlite(folder)
  const servers = new Servers(folder, database.environment)
  try {
    return await runIn({ folder, servers, database, plan }, onCycle)
  } finally {
    servers.end()
    await database.close()
    rmSync(folder, { recursive: true, force: true, maxRetries: 5 })
  }
}

interface Parts {
  readonly folder: string
  readonly servers: Servers
  readonly database: RigDatabase
  readonly plan: Plan
}

async function runIn(parts: Parts, onCycle: (cycle: number) => void): Promise<RunResult> {
  const { folder, servers, database, plan } = parts
  const random = createRandom(plan.seed)
  const settings = parseSettings({ ...environment, ...database.environment }, folder)
  const installed = await install(settings, plan)
  const calls: Call[] = []
  const started = performance.now()
  const startedAt = Date.now()
  const isRemote = database.kind === 'postgres'
  let over = false
  const stage: Stage = {
    ...installed,
    urls: () => servers.urls,
    now: () => performance.now() - started,
    record: (call) => void calls.push(call),
    isOver: () => over,
    answerAgeMilliseconds: isRemote ? recentMilliseconds : 0,
    isUnsureOf503: isRemote,
  }
  for (let i = 0; i < plan.servers; i += 1) await servers.start()
  const store = await openStoreAt(settings, { create: false, examine: false })
  const work = Promise.all([
    new Operator(stage, store, random.fork('operator')).run(),
    ...Array.from({ length: plan.actors }, (_, i) => new Actor(stage, random.fork(`actor ${i}`)).run()),
  ])
  // Whatever breaks in the work ends the run at once.
  let kills = 0
  try {
    kills = await Promise.race([killServers(parts, random.fork('kills'), stage, onCycle), work.then(() => 0)])
  } finally {
    over = true
  }
  await work
  await servers.stop()
  const final = await readFinalState(database, store)
  calls.push(...(await readCollapses(database, startedAt)))
  await store.close()
  return { history: { calls, final }, kills, seconds: stage.now() / 1000, serverLog: servers.errors }
}

// Where the database is a server, that is killed too, once for several of ours.
async function killServers(
  { servers, database, plan }: Parts,
  random: Random,
  stage: Stage,
  onCycle: (cycle: number) => void,
): Promise<number> {
  let kills = 0
  while (kills < plan.cycles && stage.now() < plan.maxMinutes * 60_000) {
    await pause(random.between(20, 400))
    kills += 1
    if (database.kind === 'postgres' && kills % serversPerDatabase === 0) await database.crash()
    else {
      await servers.kill(random.below(plan.servers))
      await servers.start()
    }
    onCycle(kills)
  }
  return kills
}

async function install(settings: Settings, plan: Plan): Promise<Pick<Stage, 'clients' | 'introspector'>> {
  const { store, close } = await prepareApp(settings, { log: silentLog })
  try {
    await store.createResource(api, { scopes: ['read', 'admin'] }, 'cli:rig')
    const clients: TortureClient[] = []
    for (let i = 0; i < plan.clients; i += 1) clients.push(await register(store, `workload-${i}`))
    return { clients, introspector: await register(store, 'service', [api]) }
  } finally {
    await close()
  }
}

// What is told by wall time, as a call that may have ended whatever began up to two seconds after it. Nobody has asked for it.
async function readCollapses(database: RigDatabase, startedAt: number): Promise<Admin[]> {
  const rows = await database.read<{ id: string; client: string }>(
    `SELECT id, client_id AS client FROM audit_event WHERE type = 'client.tokens_ended'`,
  )
  return rows.map(({ id, client }) => {
    const at = ulidMilliseconds(id) - startedAt
    return { kind: 'collapse', client, start: at - 1_000, end: at + 4_000, outcome: 'unknown' }
  })
}

async function readFinalState(database: RigDatabase, store: Store): Promise<FinalState> {
  const read = <T>(sql: string): Promise<readonly T[]> => database.read<T>(sql)
  const detail = (name: string): string => database.member('detail', name)
  // Whole numbers of the database are numbers of the program.
  const number = (column: string): string => `CAST(${column} AS integer)`
  return {
    families: await read(
      `SELECT family_id AS "familyId", client_id AS "clientId", ${number('generation')} AS generation,
         end_reason AS "endReason" FROM refresh_family`,
    ),
    issued: await read(
      `SELECT jti, family_id AS "familyId", ${number('refresh_generation')} AS "refreshGeneration" FROM issuance`,
    ),
    ended: await read(
      `SELECT ${detail('familyId')} AS "familyId", ${detail('reason')} AS reason
       FROM audit_event WHERE type = 'family.ended'`,
    ),
    changes: await read(
      `SELECT type, client_id AS "clientId", ${number('count(*)')} AS count FROM audit_event
       WHERE type IN ('client.disabled', 'client.enabled', 'client.offboarded') GROUP BY type, client_id`,
    ),
    revoked: (
      await read<{ jti: string }>(`SELECT ${detail('jti')} AS jti FROM audit_event WHERE type = 'token.revoked'`)
    ).map(({ jti }) => jti),
    damage: await store.check(),
  }
}
