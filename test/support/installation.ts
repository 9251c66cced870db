/** A folder as `mayfly serve` leaves it, with one resource and one client: what a test of the whole process starts from. */
import { join } from 'node:path'
import { prepareApp } from '../../src/app/prepare.ts'
import { parseSettings } from '../../src/config/settings.ts'
import { silentLog } from '../../src/lib/log.ts'
import { temporaryFolder } from './process.ts'
import { addClient, addResource } from './server.ts'

export interface Installation {
  readonly cwd: string
  /** Absolute path of the database. */
  readonly place: string
  /** The value of an `Authorization` header of the client `job`. */
  readonly authorization: string
  /** The same of the client `agent`, which gets refresh tokens. */
  readonly agentAuthorization: string
  /** The environment of `mayfly serve` here. */
  readonly env: Readonly<Record<string, string>>
}

/** Makes one; it is gone with the test. `settings` are for each of its processes, for its keys remember the longest. */
export async function makeInstallation(
  cwd = temporaryFolder(),
  settings: Readonly<Record<string, string>> = {},
): Promise<Installation> {
  const prepared = await prepareApp(parseSettings(settings, cwd), { log: silentLog })
  await addResource(prepared.store)
  const { basic } = await addClient(prepared.store, 'job')
  const agent = await addClient(prepared.store, 'agent', { grantTypes: ['client_credentials', 'refresh_token'] })
  await prepared.close()
  const env = { MAYFLY_ISSUER: 'http://127.0.0.1:9', ...settings }
  return { cwd, place: join(cwd, 'data/mayfly.db'), authorization: basic, agentAuthorization: agent.basic, env }
}
