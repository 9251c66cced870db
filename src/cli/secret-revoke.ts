import { type Command, UsageError } from './command.ts'
import { printObject } from './print.ts'
import { quote } from './values.ts'

export const secretRevoke: Command = {
  name: 'secret revoke',
  summary: 'end a secret, from the next request on, in every process',
  arguments: [
    { name: '<id>', description: 'the client_id' },
    { name: '<secret-id>', description: 'as `secret list` shows it' },
  ],
  example: 'mayfly secret revoke billing sec_4RXuGIH0kNQ5xbTn',
  changes: true,
  destroys: true,
  async run(context, [clientId = '', argument = '']) {
    if (!/^sec_[0-9A-Za-z]{16}$/.test(argument)) {
      throw new UsageError(
        `${quote(argument.startsWith('mfs_') ? 'mfs_…' : argument)} is not a secret_id: it takes sec_ and 16 characters, as \`mayfly secret list ${clientId}\` shows it`,
      )
    }
    const secretId = `sec_${argument.slice(4)}` as const
    const store = await context.openStore()
    await context.confirm(`Revoke the secret ${secretId} of ${clientId}?`)
    await store.revokeSecret(clientId, secretId, context.actor)
    return printObject({ client_id: clientId, secret_id: secretId, revoked: true })
  },
}
