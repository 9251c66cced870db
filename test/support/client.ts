import type { Client } from '../../src/client/client.ts'

/** A registered client as the registry gives it out, without a secret, audience or scope unless told otherwise. */
export function makeClient(changes: Partial<Client> = {}): Client {
  return {
    clientId: 'billing',
    name: 'Billing',
    status: 'active',
    grantTypes: ['client_credentials'],
    authMethods: ['client_secret_basic'],
    scopes: [],
    audiences: [],
    introspects: [],
    secrets: [],
    createdAt: 0,
    updatedAt: 0,
    ...changes,
  }
}
