import { RegistryError } from '../lib/store-error.ts'
import type { Command } from './command.ts'
import { describeResource } from './describe.ts'
import { printObject } from './print.ts'
import { parseUri, quote } from './values.ts'

export const resourceShow: Command = {
  name: 'resource show',
  summary: 'show one resource',
  arguments: [{ name: '<uri>', description: 'the resource' }],
  example: 'mayfly resource show https://api.example.com',
  async run(context, [uri = '']) {
    const store = await context.openStore()
    const { value } = await store.findResource(parseUri(uri))
    if (value === undefined)
      throw new RegistryError(
        'unknown',
        `there is no resource ${quote(uri)}: \`mayfly resource list\` shows what there is`,
      )
    return printObject(describeResource(value))
  },
}
