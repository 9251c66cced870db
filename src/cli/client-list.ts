import type { Client } from '../client/client.ts'
import type { Store } from '../store/store.ts'
import type { Command } from './command.ts'
import { describeClient } from './describe.ts'
import { printList } from './print.ts'

const pageSize = 1_000

export const clientList: Command = {
  name: 'client list',
  summary: 'list all clients',
  example: 'mayfly client list --json',
  async run(context) {
    const store = await context.openStore()
    const rows = (await readAllClients(store)).map(describeClient)
    return printList(
      rows,
      ['client_id', 'status', 'audience', 'scope', 'secret_count'],
      `no clients yet: \`${context.program} client create NAME --audience URI\` makes one`,
    )
  },
}

/** Every client, in pages. @throws StoreUnavailable */
export async function readAllClients(store: Store): Promise<readonly Client[]> {
  const clients: Client[] = []
  for (;;) {
    const after = clients.at(-1)?.clientId
    const page = await store.listClients({ limit: pageSize, ...(after === undefined ? {} : { after }) })
    clients.push(...page)
    if (page.length < pageSize) return clients
  }
}
