import type { Client } from '../client/client.ts'
import { registeredKeys } from '../client/client-keys.ts'
import { foreignAlgs } from '../oauth/public-jwk.ts'
import type { Command } from './command.ts'
import { describeClient, describeSecret } from './describe.ts'
import { getClient } from './lookup.ts'
import { printObject } from './print.ts'

export const clientShow: Command = {
  name: 'client show',
  summary: 'show one client',
  arguments: [{ name: '<id>', description: 'its client_id' }],
  example: 'mayfly client show billing',
  async run(context, [clientId = '']) {
    const store = await context.openStore()
    const client = await getClient(store, clientId)
    const secrets = client.secrets.map(describeSecret)
    const lines = secrets.map(
      (secret) =>
        `secret ${secret.secret_id}: ${secret.kind}, expires ${secret.expires_at ?? 'never'}, last used ${secret.last_used_at ?? 'never'}`,
    )
    const { jwks, ...described } = describeClient(client)
    const printed = printObject(described, [...lines, ...describeKeyLines(client)])
    return { json: { ...described, ...(jwks === undefined ? {} : { jwks }), secrets }, text: printed.text }
  },
}

function describeKeyLines({ keys }: Client): readonly string[] {
  if (keys?.kind !== 'inline') return []
  return registeredKeys(keys).map(
    ({ name, key }) =>
      `key ${name}: ${foreignAlgs.filter((alg) => key.fits(alg)).join(', ')}, thumbprint ${key.thumbprint}`,
  )
}
