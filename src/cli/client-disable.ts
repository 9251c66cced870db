import type { Command } from './command.ts'
import { describeClient } from './describe.ts'
import { printObject } from './print.ts'

export const clientDisable: Command = {
  name: 'client disable',
  summary: 'refuse a client from the next request on, in every process',
  arguments: [{ name: '<id>', description: 'its client_id' }],
  example: 'mayfly client disable billing',
  changes: true,
  async run(context, [clientId = '']) {
    const store = await context.openStore()
    return printObject(describeClient(await store.setClientStatus(clientId, 'disabled', context.actor)))
  },
}
