import type { Command } from './command.ts'
import { describeClient } from './describe.ts'
import { printObject } from './print.ts'

export const clientEnable: Command = {
  name: 'client enable',
  summary: 'accept a disabled client again, with the secrets that it still has; no token of before is alive again',
  arguments: [{ name: '<id>', description: 'its client_id' }],
  example: 'mayfly client enable billing',
  changes: true,
  async run(context, [clientId = '']) {
    const store = await context.openStore()
    const client = await store.setClientStatus(clientId, 'active', context.actor)
    const secretless = `It has no secret: \`${context.program} secret create ${clientId}\` makes one.`
    return printObject(describeClient(client), [
      '',
      'Nothing is revived: refresh tokens and access tokens of before it was disabled stay dead.',
      ...(client.secrets.length === 0 ? [secretless] : []),
    ])
  },
}
