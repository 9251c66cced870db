import type { Command } from './command.ts'
import { describeClient, describeKeyLines, describeSecret } from './describe.ts'
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
