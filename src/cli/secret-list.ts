import { RegistryError } from '../lib/store-error.ts'
import type { Command } from './command.ts'
import { describeSecret } from './describe.ts'
import { printList } from './print.ts'
import { quote } from './values.ts'

export const secretList: Command = {
  name: 'secret list',
  summary: 'list the secrets of a client, never their text',
  arguments: [{ name: '<id>', description: 'the client_id' }],
  example: 'mayfly secret list billing',
  async run(context, [clientId = '']) {
    const store = await context.openStore()
    const { value } = await store.findClient(clientId)
    if (value === undefined)
      throw new RegistryError(
        'unknown',
        `there is no client ${quote(clientId)}: \`mayfly client list\` shows what there is`,
      )
    const rows = value.secrets.map(describeSecret)
    return printList(
      rows,
      ['secret_id', 'kind', 'created_at', 'expires_at', 'last_used_at'],
      `client ${clientId} has no secret: \`${context.program} secret create ${clientId}\` makes one`,
    )
  },
}
