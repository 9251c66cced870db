import type { Command } from './command.ts'
import { printObject } from './print.ts'

export const clientDelete: Command = {
  name: 'client delete',
  summary: 'delete a client and its secrets; its id is never given again',
  arguments: [{ name: '<id>', description: 'its client_id' }],
  example: 'mayfly client delete billing',
  changes: true,
  destroys: true,
  async run(context, [clientId = '']) {
    const store = await context.openStore()
    await context.confirm(`Delete the client ${clientId} and its secrets?`)
    await store.deleteClient(clientId, context.actor)
    return printObject({ client_id: clientId, deleted: true })
  },
}
