/** A server with a client that has a DPoP key, and what the two say to each other. */
import type { ClientSettings } from '../../src/client/client.ts'
import { makeProof, makeProofKey, type ProofKey, type ProofParts } from './proof.ts'
import { api } from './registry.ts'
import {
  addClient,
  addResource,
  ManualClock,
  type Reply,
  requestToken,
  startTestServer,
  type TestClient,
  type TestServer,
  type TestServerOptions,
} from './server.ts'

/** The issuer of every server here: two of them can have one database, and none is where it says it is. */
export const issuer = 'https://as.example.test'
export const tokenUrl = `${issuer}/token`

export interface AskOptions {
  /** A proof as text; `null` for none. A good one of the scene's key when absent. */
  readonly proof?: string | null
  readonly as?: TestClient
  readonly at?: TestServer
  readonly headers?: Readonly<Record<string, string>>
}

export interface DpopScene {
  readonly server: TestServer
  readonly clock: ManualClock
  /** Registered for refresh tokens. */
  readonly client: TestClient
  readonly key: ProofKey
  /** A good proof, but for what is changed. */
  prove(parts?: ProofParts, key?: ProofKey): string
  /** `POST /token`; the grant is client_credentials unless the form says otherwise. */
  ask(form?: Readonly<Record<string, string>>, options?: AskOptions): Promise<Reply>
  refresh(token: unknown, options?: AskOptions): Promise<Reply>
  /** A second server on the same database, or the first one again after it was stopped. */
  startAgain(options?: TestServerOptions): Promise<TestServer>
  /** Why the last request was refused, as the trail has it. */
  lastReason(): Promise<unknown>
  /** How many tokens the trail has. */
  issued(): Promise<number>
}

export async function startDpop(
  options: TestServerOptions = {},
  settings: Partial<ClientSettings> = {},
): Promise<DpopScene> {
  const clock = new ManualClock()
  const start = (more: TestServerOptions = {}): Promise<TestServer> =>
    startTestServer({ clock, ...options, ...more, env: { MAYFLY_ISSUER: issuer, ...options.env, ...more.env } })
  const server = await start()
  await addResource(server.store)
  const refreshing = { grantTypes: ['client_credentials', 'refresh_token'] } as const
  const client = await addClient(server.store, 'billing', { ...refreshing, ...settings })
  const key = makeProofKey()
  const prove = (parts: ProofParts = {}, with_ = key): string =>
    makeProof(with_, tokenUrl, clock.nowMilliseconds(), parts)
  const ask = (
    form: Readonly<Record<string, string>> = {},
    { proof, as = client, at = server, headers }: AskOptions = {},
  ) => {
    const dpop = proof === null ? {} : { dpop: proof ?? prove() }
    return requestToken(
      at,
      { grant_type: 'client_credentials', ...form },
      { authorization: as.basic, ...dpop, ...headers },
    )
  }
  return {
    server,
    clock,
    client,
    key,
    prove,
    ask,
    refresh: (token, more) => ask({ grant_type: 'refresh_token', refresh_token: String(token) }, more),
    startAgain: (more = {}) => start({ folder: server.folder, ...more }),
    lastReason: async () => {
      const [refused] = await server.store.listAudit({ type: 'token.refused', limit: 1 })
      return refused !== undefined && 'reason' in refused ? refused.reason : undefined
    },
    issued: async () => (await server.store.listAudit({ type: 'token.issued', limit: 1_000 })).length,
  }
}

export { api }
