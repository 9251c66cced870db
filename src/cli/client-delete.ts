import type { Command } from './command.ts'
import { explainEnd, readEnded } from './ended.ts'
import { getClient } from './lookup.ts'
import { printObject } from './print.ts'

export const clientDelete: Command = {
  name: 'client delete',
  summary: 'delete a client and its secrets, and end its refresh tokens and access tokens; its id is never given again',
  arguments: [{ name: '<id>', description: 'its client_id' }],
  example: 'mayfly client delete billing',
  changes: true,
  destroys: true,
  async run(context, [clientId = '']) {
    const store = await context.openStore()
    const { tokensAfter: endedBefore = 0 } = await getClient(store, clientId)
    await context.confirm(`Delete the client ${clientId} and its secrets?`)
    await store.deleteClient(clientId, context.actor)
    const ended = await readEnded(store, clientId, { endedBefore, now: context.now() })
    return printObject({ client_id: clientId, deleted: true, ...ended }, ['', explainEnd(ended)])
  },
}
