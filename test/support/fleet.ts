/** Issuers on one PostgreSQL, each with a folder of its own and a copy of the master key; and those who use them. */
import { cpSync } from 'node:fs'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'
import { openStoreAt } from '../../src/store/open-store.ts'
import type { Store } from '../../src/store/store.ts'
import { actionsOn, onlyAsks } from './access.ts'
import { placeOf, type TestPostgres } from './postgres.ts'
import { type ServerProcess, serve, temporaryFolder } from './process.ts'
import { addClient, addResource, api, type TestClient } from './registry.ts'
import { startTestServer, type TestServer, type TestServerOptions } from './server.ts'

export const fleetIssuer = 'http://127.0.0.1:9'

const grantTypes = ['client_credentials', 'refresh_token'] as const

async function registerUsers(store: Store): Promise<{ client: TestClient; service: TestClient }> {
  await addResource(store)
  const client = await addClient(store, 'billing', { grantTypes })
  return { client, service: await addClient(store, 'service', onlyAsks([api])) }
}

function environment(url: string): Readonly<Record<string, string>> {
  return { MAYFLY_DATABASE_URL: url, MAYFLY_ISSUER: fleetIssuer }
}

/** Two in this process. `url`: where the database is for the first one, when that is not where it is for the second. */
export async function startFleet(
  postgres: TestPostgres,
  options: TestServerOptions = {},
  through: (url: string) => Promise<string> = async (url) => url,
) {
  const url = await postgres.makeDatabase()
  const folders = [temporaryFolder(), temporaryFolder()] as const
  const two = await startTestServer({ folder: folders[1], env: environment(url) })
  cpSync(join(folders[1], 'keys'), join(folders[0], 'keys'), { recursive: true })
  const { env, ...more } = options
  const one = await startTestServer({
    folder: folders[0],
    env: { ...environment(await through(url)), ...env },
    ...more,
  })
  const { client, service } = await registerUsers(two.store)
  const nodes = [actionsOn(one, client, service), actionsOn(two, client, service)] as const
  return { url, one, two, client, service, nodes }
}

export type Fleet = Awaited<ReturnType<typeof startFleet>>

type Environment = Readonly<Record<string, string>>

/** Two or more as their user runs them, in processes of their own. `more`: what each has in its environment besides. */
export async function serveFleet(
  postgres: TestPostgres,
  more: readonly [Environment, Environment, ...Environment[]] = [{}, {}],
) {
  const url = await postgres.makeDatabase()
  const env = environment(url)
  let first: string | undefined
  const start = async (own: Environment): Promise<{ folder: string; server: ServerProcess }> => {
    const folder = temporaryFolder()
    // The first one makes the key.
    if (first !== undefined) cpSync(join(first, 'keys'), join(folder, 'keys'), { recursive: true })
    first ??= folder
    return { folder, server: await serve({ cwd: folder, env: { ...env, ...own } }) }
  }
  const [ofFirst, ofSecond, ...ofOthers] = more
  const ofOne = await start(ofFirst)
  const [ofTwo, ...others] = await Promise.all([start(ofSecond), ...ofOthers.map(start)])
  const started = [ofOne, ofTwo] as const
  const store = await openStoreAt(placeOf(url), { create: false, examine: false })
  onTestFinished(() => store.close())
  const { client, service } = await registerUsers(store)
  const actionsOf = ({ server }: { server: ServerProcess }) => actionsOn(server, client, service)
  const nodes = [actionsOf(started[0]), actionsOf(started[1]), ...others.map(actionsOf)] as const
  const [one, two] = [started[0].server, started[1].server]
  const servers = [one, two, ...others.map(({ server }) => server)] as const
  const folders = [started[0].folder, started[1].folder] as const
  return { url, env, folders, one, two, servers, store, client, service, nodes }
}

/** Resolves when a node has been told, by itself, that it is ready. */
export async function isReady({ url }: Pick<TestServer | ServerProcess, 'url'>): Promise<boolean> {
  return (await fetch(`${url}/readyz`)).status === 200
}
