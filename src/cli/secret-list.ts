import type { Command } from './command.ts'
import { describeSecret } from './describe.ts'
import { getClient } from './lookup.ts'
import { printList } from './print.ts'

export const secretList: Command = {
  name: 'secret list',
  summary: 'list the secrets of a client, never their text',
  arguments: [{ name: '<id>', description: 'the client_id' }],
  example: 'mayfly secret list billing',
  async run(context, [clientId = '']) {
    const store = await context.openStore()
    const client = await getClient(store, clientId)
    const rows = client.secrets.map(describeSecret)
    return printList(
      rows,
      ['secret_id', 'kind', 'created_at', 'expires_at', 'last_used_at'],
      `client ${clientId} has no secret: \`${context.program} secret create ${clientId}\` makes one`,
    )
  },
}
