import type { Command } from './command.ts'
import { describeResource } from './describe.ts'
import { printList } from './print.ts'

export const resourceList: Command = {
  name: 'resource list',
  summary: 'list all resources',
  example: 'mayfly resource list --json',
  async run(context) {
    const store = await context.openStore()
    const rows = (await store.listResources()).map(describeResource)
    return printList(
      rows,
      ['resource', 'name', 'scope', 'alg', 'access_token_ttl'],
      `no resources yet: \`${context.program} resource create URI\` makes one`,
    )
  },
}
