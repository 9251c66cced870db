/** Resources and clients, registered as the commands register them. */
import type { ClientSettings } from '../../src/client/client.ts'
import { generateSecret } from '../../src/client/client-secret.ts'
import type { Store } from '../../src/store/store.ts'
import type { TestKey } from './assertion.ts'
import { basic } from './credentials.ts'

export const api = 'https://api.example.test'

export interface TestClient {
  readonly clientId: string
  readonly secret: string
  /** The value of an `Authorization` header. */
  readonly basic: string
}

/** Registers the resource `api` with scopes `read` and `write`. */
export async function addResource(
  store: Store,
  uri = api,
  scopes: readonly string[] = ['read', 'write'],
): Promise<void> {
  await store.createResource(uri, { scopes }, 'cli:test')
}

/** Registers a client with a generated secret; by default one of `api` with both its scopes. */
export async function addClient(
  store: Store,
  clientId: string,
  settings: Partial<ClientSettings> = {},
): Promise<TestClient> {
  const { secret, secretId, sha256 } = generateSecret()
  await store.createClient(
    clientId,
    {
      name: clientId,
      grantTypes: ['client_credentials'],
      authMethods: ['client_secret_basic'],
      scopes: ['read', 'write'],
      audiences: [api],
      ...settings,
    },
    { kind: 'generated', secretId, sha256 },
    'cli:test',
  )
  return { clientId, secret: secret.reveal(), basic: basic(clientId, secret.reveal()) }
}

/** Registers a client without a secret, which proves itself by keys: `keys` are registered, unless `settings` name others. */
export async function addKeyClient(
  store: Store,
  clientId: string,
  keys: readonly TestKey[],
  settings: Partial<ClientSettings> = {},
): Promise<void> {
  await store.createClient(
    clientId,
    {
      name: clientId,
      grantTypes: ['client_credentials'],
      authMethods: ['private_key_jwt'],
      scopes: ['read', 'write'],
      audiences: [api],
      ...(keys.length === 0 ? {} : { keys: { kind: 'inline', jwks: keys.map(({ publicKey }) => publicKey.jwk) } }),
      ...settings,
    },
    undefined,
    'cli:test',
  )
}
