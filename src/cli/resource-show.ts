import type { Command } from './command.ts'
import { describeResource } from './describe.ts'
import { getResource } from './lookup.ts'
import { printObject } from './print.ts'
import { parseUri } from './values.ts'

export const resourceShow: Command = {
  name: 'resource show',
  summary: 'show one resource',
  arguments: [{ name: '<uri>', description: 'the resource' }],
  example: 'mayfly resource show https://api.example.com',
  async run(context, [uri = '']) {
    const parsed = parseUri(uri)
    const store = await context.openStore()
    return printObject(describeResource(await getResource(store, parsed)))
  },
}
