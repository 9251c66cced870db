import type { Command } from './command.ts'
import { printObject } from './print.ts'
import { parseUri } from './values.ts'

export const resourceDelete: Command = {
  name: 'resource delete',
  summary: 'delete a resource that is no client’s audience',
  arguments: [{ name: '<uri>', description: 'the resource' }],
  example: 'mayfly resource delete https://api.example.com',
  changes: true,
  destroys: true,
  async run(context, [argument = '']) {
    const uri = parseUri(argument)
    const store = await context.openStore()
    await context.confirm(`Delete the resource ${uri}?`)
    await store.deleteResource(uri, context.actor)
    return printObject({ resource: uri, deleted: true })
  },
}
