import type { Command } from './command.ts'
import { describeClient } from './describe.ts'
import { printObject } from './print.ts'

export const clientEnable: Command = {
  name: 'client enable',
  summary: 'accept a disabled client again; it revives no token',
  arguments: [{ name: '<id>', description: 'its client_id' }],
  example: 'mayfly client enable billing',
  changes: true,
  async run(context, [clientId = '']) {
    const store = await context.openStore()
    return printObject(describeClient(await store.setClientStatus(clientId, 'active', context.actor)))
  },
}
