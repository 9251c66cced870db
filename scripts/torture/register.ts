import { generateSecret } from '../../src/client/client-secret.ts'
import type { Store } from '../../src/store/store.ts'
import type { TortureClient } from './actor.ts'
import { basic } from './operator.ts'
import { api } from './plan.ts'

/** Registers a workload that may have tokens of the API and refresh them; or, with `introspects`, a service that asks about them. */
export async function register(
  store: Store,
  clientId: string,
  introspects: readonly string[] = [],
): Promise<TortureClient> {
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
