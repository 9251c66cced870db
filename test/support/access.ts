/** A server with those who have to do with the end of access: two clients, a service that asks, and a thief of the keys. */
import type { Signer, SigningAlg } from '../../src/key/signer.ts'
import { ManualClock } from './clock.ts'
import { addClient, addResource, api, type TestClient } from './registry.ts'
import {
  type Reply,
  request,
  requestToken,
  startTestServer,
  type TestServer,
  type TestServerOptions,
} from './server.ts'

export interface AccessScene {
  readonly server: TestServer
  readonly clock: ManualClock
  /** Registered for refresh tokens, with `read` and `write` of `api`. */
  readonly client: TestClient
  /** Likewise. */
  readonly other: TestClient
  /** May ask about tokens of `api`. */
  readonly service: TestClient
  /** Every private key of the server, by `kid`. */
  readonly signers: ReadonlyMap<string, Signer>
  /** A fresh token reply, with a refresh token. */
  begin(as?: TestClient, form?: Readonly<Record<string, string>>): Promise<Issued>
  refresh(token: string, as?: TestClient): Promise<Reply>
  revoke(token: string, as?: TestClient, form?: Readonly<Record<string, string>>): Promise<Reply>
  introspect(token: string, as?: TestClient, headers?: Readonly<Record<string, string>>): Promise<Reply>
  verify(token: string | undefined, query?: string): Promise<Reply>
  isActive(token: string): Promise<boolean>
}

export interface Issued {
  readonly accessToken: string
  readonly refreshToken: string
}

const refreshing = { grantTypes: ['client_credentials', 'refresh_token'] } as const

export async function startAccess(options: TestServerOptions = {}): Promise<AccessScene> {
  const clock = new ManualClock()
  const signers = new Map<string, Signer>()
  const signerHook = (signer: Signer): Signer => {
    signers.set(signer.kid, signer)
    return signer
  }
  const server = await startTestServer({ clock, signerHook, ...options })
  await addResource(server.store)
  const client = await addClient(server.store, 'billing', refreshing)
  const other = await addClient(server.store, 'other', refreshing)
  const service = await addClient(server.store, 'service', onlyAsks([api]))
  return { ...actionsOn(server, client, service), server, clock, client, other, service, signers }
}

/** What a service is registered with that asks about tokens and gets none. */
export function onlyAsks(introspects: readonly string[]) {
  return { grantTypes: [], scopes: [], audiences: [], introspects }
}

/** The same things to do on another server, which has the same database. */
export function actionsOn(server: { readonly url: string }, client: TestClient, service: TestClient) {
  const post = (path: string, form: Readonly<Record<string, string>>, headers: Readonly<Record<string, string>>) =>
    request(`${server.url}${path}`, {
      method: 'POST',
      body: new URLSearchParams(form).toString(),
      headers: { 'content-type': 'application/x-www-form-urlencoded', ...headers },
    })
  const introspect = (token: string, as = service, headers: Readonly<Record<string, string>> = {}) =>
    post('/introspect', { token }, { authorization: as.basic, ...headers })
  return {
    begin: async (as = client, form: Readonly<Record<string, string>> = {}): Promise<Issued> => {
      const grant = { grant_type: 'client_credentials', ...form }
      const { json, status } = await requestToken(server, grant, { authorization: as.basic })
      if (status !== 200) throw new Error(`no token: ${status} ${JSON.stringify(json)}`)
      return { accessToken: String(json.access_token), refreshToken: String(json.refresh_token) }
    },
    refresh: (token: string, as = client) =>
      requestToken(server, { grant_type: 'refresh_token', refresh_token: token }, { authorization: as.basic }),
    revoke: (token: string, as = client, form: Readonly<Record<string, string>> = {}) =>
      post('/revoke', { token, ...form }, { authorization: as.basic }),
    introspect,
    verify: (token: string | undefined, query = `?audience=${encodeURIComponent(api)}`) =>
      request(
        `${server.url}/verify${query}`,
        token === undefined ? {} : { headers: { authorization: `Bearer ${token}` } },
      ),
    isActive: async (token: string): Promise<boolean> => (await introspect(token)).json.active === true,
  }
}

/** A JWT in compact form, signed as it is told. */
export async function forge(signer: Pick<Signer, 'sign'>, header: object, claims: object): Promise<string> {
  const encode = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url')
  const input = `${encode(header)}.${encode(claims)}`
  return `${input}.${Buffer.from(await signer.sign(Buffer.from(input))).toString('base64url')}`
}

/** The signer of a state and algorithm. */
export async function signerOf(
  { server, signers }: AccessScene,
  alg: SigningAlg,
  state: 'active' | 'staged',
): Promise<Signer> {
  const material = await server.store.readKeys()
  const key = material?.signingKeys.find((candidate) => candidate.alg === alg && candidate.state === state)
  const signer = signers.get(key?.kid ?? '')
  if (signer === undefined) throw new Error(`no ${state} ${alg} key`)
  return signer
}
