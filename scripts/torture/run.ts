/** One run: an installation, servers that are killed, workloads and an operator; and at the end the database as it is. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import Database from 'better-sqlite3'
import { prepareApp } from '../../src/app.ts'
import { generateSecret } from '../../src/client/client-secret.ts'
import { parseSettings } from '../../src/config.ts'
import { ulidMilliseconds } from '../../src/lib/id.ts'
import { silentLog } from '../../src/lib/log.ts'
import { openStore } from '../../src/store/open-store.ts'
import type { Store } from '../../src/store/store.ts'
import { createRandom, type Random } from '../rollover/random.ts'
import { Actor, type Stage, type TortureClient } from './actor.ts'
import type { Admin, Call, FinalState, History } from './history.ts'
import { basic, Operator } from './operator.ts'
import { api, environment, type Plan } from './plan.ts'
import { Servers } from './servers.ts'

export interface RunResult {
  readonly history: History
  readonly kills: number
  readonly seconds: number
  readonly serverLog: string
}

/** Runs a plan to its end. @throws Error when a server does not start, or does not end well */
export async function run(plan: Plan, onCycle: (cycle: number) => void = () => {}): Promise<RunResult> {
  const folder = mkdtempSync(join(tmpdir(), 'mayfly-torture-'))
  const servers = new Servers(folder)
  try {
    return await runIn(folder, servers, plan, onCycle)
  } finally {
    servers.end()
    rmSync(folder, { recursive: true, force: true, maxRetries: 5 })
  }
}

async function runIn(
  folder: string,
  servers: Servers,
  plan: Plan,
  onCycle: (cycle: number) => void,
): Promise<RunResult> {
  const random = createRandom(plan.seed)
  const { databasePath } = parseSettings(environment, folder)
  const installed = await install(folder, plan)
  const calls: Call[] = []
  const started = performance.now()
  const startedAt = Date.now()
  let over = false
  const stage: Stage = {
    ...installed,
    urls: () => servers.urls,
    now: () => performance.now() - started,
    record: (call) => void calls.push(call),
    isOver: () => over,
  }
  for (let i = 0; i < plan.servers; i += 1) await servers.start()
  const store = openStore(databasePath, { create: false, examine: false })
  const work = Promise.all([
    new Operator(stage, store, random.fork('operator')).run(),
    ...Array.from({ length: plan.actors }, (_, i) => new Actor(stage, random.fork(`actor ${i}`)).run()),
  ])
  // Whatever breaks in the work ends the run at once.
  let kills = 0
  try {
    kills = await Promise.race([killServers(servers, plan, random.fork('kills'), stage, onCycle), work.then(() => 0)])
  } finally {
    over = true
  }
  await work
  await servers.stop()
  const final = await readFinalState(databasePath, store)
  calls.push(...readCollapses(databasePath, startedAt))
  await store.close()
  return { history: { calls, final }, kills, seconds: stage.now() / 1000, serverLog: servers.errors }
}

async function killServers(
  servers: Servers,
  plan: Plan,
  random: Random,
  stage: Stage,
  onCycle: (cycle: number) => void,
): Promise<number> {
  let kills = 0
  while (kills < plan.cycles && stage.now() < plan.maxMinutes * 60_000) {
    await pause(random.between(20, 400))
    await servers.kill(random.below(plan.servers))
    kills += 1
    await servers.start()
    onCycle(kills)
  }
  return kills
}

async function install(folder: string, plan: Plan): Promise<Pick<Stage, 'clients' | 'introspector'>> {
  const { store, close } = await prepareApp(parseSettings(environment, folder), { log: silentLog })
  try {
    await store.createResource(api, { scopes: ['read', 'admin'] }, 'cli:rig')
    const clients: TortureClient[] = []
    for (let i = 0; i < plan.clients; i += 1) clients.push(await register(store, `workload-${i}`))
    return { clients, introspector: await register(store, 'service', [api]) }
  } finally {
    await close()
  }
}

async function register(store: Store, clientId: string, introspects: readonly string[] = []): Promise<TortureClient> {
  const { secret, secretId, sha256 } = generateSecret()
  const isService = introspects.length > 0
  await store.createClient(
    clientId,
    {
      name: clientId,
      grantTypes: isService ? [] : ['client_credentials', 'refresh_token'],
      authMethods: ['client_secret_basic'],
      scopes: isService ? [] : ['read'],
      audiences: isService ? [] : [api],
      introspects,
    },
    { kind: 'generated', secretId, sha256 },
    'cli:rig',
  )
  return { clientId, authorization: basic(clientId, secret.reveal()) }
}

// What is told by wall time, as a call that may have ended whatever began up to two seconds after it. Nobody has asked for it.
function readCollapses(path: string, startedAt: number): Admin[] {
  const sqlite = new Database(path, { readonly: true })
  try {
    const rows = sqlite
      .prepare(`SELECT id, client_id AS client FROM audit_event WHERE type = 'client.tokens_ended'`)
      .all() as { id: string; client: string }[]
    return rows.map(({ id, client }) => {
      const at = ulidMilliseconds(id) - startedAt
      return { kind: 'collapse', client, start: at - 1_000, end: at + 4_000, outcome: 'unknown' }
    })
  } finally {
    sqlite.close()
  }
}

async function readFinalState(path: string, store: Store): Promise<FinalState> {
  const sqlite = new Database(path, { readonly: true })
  const read = <T>(sql: string): T[] => sqlite.prepare(sql).all() as T[]
  try {
    return {
      families: read(
        'SELECT family_id AS familyId, client_id AS clientId, generation, end_reason AS endReason FROM refresh_family',
      ),
      issued: read('SELECT jti, family_id AS familyId, refresh_generation AS refreshGeneration FROM issuance'),
      ended: read(
        `SELECT json_extract(detail, '$.familyId') AS familyId, json_extract(detail, '$.reason') AS reason
         FROM audit_event WHERE type = 'family.ended'`,
      ),
      changes: read(
        `SELECT type, client_id AS clientId, count(*) AS count FROM audit_event
         WHERE type IN ('client.disabled', 'client.enabled', 'client.offboarded') GROUP BY type, client_id`,
      ),
      revoked: read<{ jti: string }>(
        `SELECT json_extract(detail, '$.jti') AS jti FROM audit_event WHERE type = 'token.revoked'`,
      ).map(({ jti }) => jti),
      damage: await store.check(),
    }
  } finally {
    sqlite.close()
  }
}
