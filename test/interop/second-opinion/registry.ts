/** What is registered on both sides: the same resources, and clients with the same methods, scopes and secrets. */
import { generateSecret, hashSecret, makeSecretId } from '../../../src/client/client-secret.ts'
import { hashImportedSecret } from '../../../src/client/imported-secret.ts'
import type { AuthMethod } from '../../../src/oauth/auth-method.ts'
import type { Store } from '../../../src/store/store.ts'

export const api = 'https://api.example.test'
export const other = 'https://other.example.test'

export const resources: Readonly<Record<string, readonly string[]>> = {
  [api]: ['read', 'write', 'admin'],
  [other]: ['read', 'other:read'],
}

export interface RegisteredClient {
  readonly clientId: string
  readonly method: AuthMethod | 'none'
  readonly secret: string
  readonly scopes: readonly string[]
  readonly audiences: readonly string[]
  readonly hasGrant: boolean
  readonly isExpired: boolean
}

const usual = {
  method: 'client_secret_basic',
  scopes: ['read', 'write'],
  audiences: [api],
  hasGrant: true,
  isExpired: false,
} as const

/** A secret that a person chose, with characters that must be form-encoded. */
const oddSecret = 'p+w%2B: /=~"'

/** The clients, with secrets made for this run. */
export function makeClients(): readonly RegisteredClient[] {
  const secret = (): string => generateSecret().secret.reveal()
  return [
    { ...usual, clientId: 'billing', secret: secret() },
    { ...usual, clientId: 'poster', secret: secret(), method: 'client_secret_post' },
    { ...usual, clientId: 'reader', secret: secret(), scopes: ['read'] },
    { ...usual, clientId: 'multi', secret: secret(), audiences: [api, other] },
    { ...usual, clientId: 'expired', secret: secret(), isExpired: true },
    { ...usual, clientId: 'idle', secret: secret(), hasGrant: false },
    { ...usual, clientId: 'public', secret: secret(), method: 'none' },
    { ...usual, clientId: 'odd', secret: oddSecret },
  ]
}

/** Registers all of it with Mayfly. */
export async function register(store: Store, clients: readonly RegisteredClient[]): Promise<void> {
  for (const [uri, scopes] of Object.entries(resources)) await store.createResource(uri, { scopes }, 'cli:test')
  for (const client of clients) {
    const { clientId, method, scopes, audiences, hasGrant, isExpired } = client
    await store.createClient(
      clientId,
      {
        name: clientId,
        grantTypes: hasGrant ? ['client_credentials'] : [],
        authMethods: method === 'none' ? [] : [method],
        scopes,
        audiences,
      },
      { ...(await atRest(client)), ...(isExpired ? { expiresAt: 1 } : {}) },
      'cli:test',
    )
  }
}

async function atRest({ secret }: RegisteredClient) {
  if (secret === oddSecret) {
    const argon2id = await hashImportedSecret(secret, { memoryKib: 7_168, passes: 5, lanes: 1 })
    return { kind: 'imported', secretId: makeSecretId(), argon2id } as const
  }
  const secretId = `sec_${secret.slice(4, 20)}` as const
  return { kind: 'generated', secretId, sha256: hashSecret(secret) } as const
}
