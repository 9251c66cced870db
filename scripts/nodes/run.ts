/**
 * How soon a node knows what was changed elsewhere: nodes in processes of their own on one PostgreSQL. One of them, or the
 * command line, ends a token or a client, while the others are asked about it all the time.
 */
import { cpSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { prepareApp } from '../../src/app/prepare.ts'
import { parseSettings } from '../../src/config/settings.ts'
import { silentLog } from '../../src/lib/log.ts'
import { openStoreAt } from '../../src/store/open-store.ts'
import type { Store } from '../../src/store/store.ts'
import { PostgresServer } from '../postgres-server.ts'
import { createRandom, type Random } from '../rollover/random.ts'
import { api } from '../torture/plan.ts'
import { register } from '../torture/register.ts'
import { Servers } from '../torture/servers.ts'
import { type Ending, type TrialNode, type TrialResult, type TrialStage, tryOnce } from './trial.ts'

export interface NodesPlan {
  readonly seed: string
  readonly endings: readonly Ending[]
  /** Of each ending. */
  readonly trials: number
  readonly nodes: number
  /** No trial begins after that, however many are missing. */
  readonly maxMinutes?: number
  /** Whether connections on which nodes hear of changes are ended all the time. */
  readonly deaf: boolean
}

const deafenMilliseconds = 100

/** Runs all trials. @throws Error when a server does not start, or does not end well */
export async function run(plan: NodesPlan, onTrial: (done: number) => void = () => {}): Promise<TrialResult[]> {
  const folder = mkdtempSync(join(tmpdir(), 'mayfly-nodes-'))
  const postgres = await PostgresServer.make()
  const servers: Servers[] = []
  try {
    await postgres.query('postgres', 'CREATE DATABASE nodes')
    const env = { MAYFLY_DATABASE_URL: postgres.urlOf('nodes') }
    const stage = await install(plan, folder, env, servers)
    const over = new AbortController()
    const deafening = plan.deaf ? deafen(postgres, over.signal) : Promise.resolve()
    const results = await runTrials(stage, plan, createRandom(plan.seed), onTrial)
    over.abort()
    await deafening
    await stage.store.close()
    await Promise.all(servers.map((server) => server.stop()))
    return results
  } finally {
    for (const server of servers) server.end()
    await postgres.destroy()
    rmSync(folder, { recursive: true, force: true, maxRetries: 5 })
  }
}

async function install(
  plan: NodesPlan,
  folder: string,
  env: Readonly<Record<string, string>>,
  servers: Servers[],
): Promise<TrialStage & { readonly store: Store }> {
  const settings = parseSettings(env, join(folder, '0'))
  await (await prepareApp(settings, { log: silentLog })).close()
  const nodes: TrialNode[] = []
  for (let i = 0; i < plan.nodes; i += 1) {
    const own = join(folder, String(i))
    if (i > 0) cpSync(join(folder, '0/keys'), join(own, 'keys'), { recursive: true })
    const server = new Servers(own, env)
    servers.push(server)
    await server.start()
    nodes.push(...server.urls.map((url) => ({ url, folder: own, env })))
  }
  const store = await openStoreAt(settings, { create: false, examine: false })
  await store.createResource(api, { scopes: ['read'] }, 'cli:rig')
  const introspector = await register(store, 'service', [api])
  return { store, introspector, nodes }
}

async function runTrials(
  stage: TrialStage,
  { endings, trials, maxMinutes = Number.POSITIVE_INFINITY }: NodesPlan,
  random: Random,
  onTrial: (done: number) => void,
): Promise<TrialResult[]> {
  const results: TrialResult[] = []
  const begun = performance.now()
  for (const ending of random.shuffle(Array.from({ length: trials }, () => endings).flat())) {
    if (performance.now() - begun > maxMinutes * 60_000) break
    results.push(await tryOnce(stage, `client-${results.length}`, ending, random))
    onTrial(results.length)
  }
  return results
}

// A server that hears nothing looks by itself.
async function deafen(postgres: PostgresServer, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    await postgres.query(
      'nodes',
      `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'mayfly watch'`,
    )
    await pause(deafenMilliseconds)
  }
}
