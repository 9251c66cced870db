import type { Command } from './command.ts'
import { describeClient } from './describe.ts'
import { explainEnd, readEnded } from './ended.ts'
import { getClient } from './lookup.ts'
import { printObject } from './print.ts'

export const clientDisable: Command = {
  name: 'client disable',
  summary:
    'refuse a client from the next request on, in every process, and end its refresh tokens and access tokens; its secrets stay for `client enable`',
  arguments: [{ name: '<id>', description: 'its client_id' }],
  example: 'mayfly client disable billing',
  changes: true,
  async run(context, [clientId = '']) {
    const store = await context.openStore()
    const { tokensAfter: endedBefore = 0 } = await getClient(store, clientId)
    const client = await store.setClientStatus(clientId, 'disabled', context.actor)
    const ended = await readEnded(store, clientId, { endedBefore, now: context.now() })
    return printObject({ ...describeClient(client), ...ended }, ['', explainEnd(ended)])
  },
}
