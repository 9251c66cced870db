import { RegistryError } from '../lib/store-error.ts'
import type { Command } from './command.ts'
import { describeClient, describeSecret } from './describe.ts'
import { printObject } from './print.ts'
import { quote } from './values.ts'

export const clientShow: Command = {
  name: 'client show',
  summary: 'show one client',
  arguments: [{ name: '<id>', description: 'its client_id' }],
  example: 'mayfly client show billing',
  async run(context, [clientId = '']) {
    const store = await context.openStore()
    const { value } = await store.findClient(clientId)
    if (value === undefined)
      throw new RegistryError(
        'unknown',
        `there is no client ${quote(clientId)}: \`mayfly client list\` shows what there is`,
      )
    const secrets = value.secrets.map(describeSecret)
    const lines = secrets.map(
      (secret) =>
        `secret ${secret.secret_id}: ${secret.kind}, expires ${secret.expires_at ?? 'never'}, last used ${secret.last_used_at ?? 'never'}`,
    )
    const printed = printObject(describeClient(value), lines)
    return { json: { ...describeClient(value), secrets }, text: printed.text }
  },
}
