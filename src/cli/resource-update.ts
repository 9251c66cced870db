import { type Command, UsageError } from './command.ts'
import { describeResource } from './describe.ts'
import { printObject } from './print.ts'
import { parseResourceOptions, resourceOptions } from './resource-create.ts'
import { parseUri } from './values.ts'

export const resourceUpdate: Command = {
  name: 'resource update',
  summary: 'change a resource; its scopes are replaced as a whole',
  arguments: [{ name: '<uri>', description: 'the resource' }],
  options: [
    ...resourceOptions,
    { flags: '--no-alg', description: "back to the server's algorithm" },
    { flags: '--no-access-token-ttl', description: "back to the server's token life" },
  ],
  example: 'mayfly resource update https://api.example.com --scope "invoices:read"',
  changes: true,
  async run(context, [uri = ''], options) {
    const changes = {
      ...parseResourceOptions(context, options),
      ...(options.alg === false ? { alg: null } : {}),
      ...(options.accessTokenTtl === false ? { accessTokenTtlSeconds: null } : {}),
    }
    if (Object.keys(changes).length === 0)
      throw new UsageError('nothing to change was named: `mayfly resource update --help` lists what can be')
    const parsed = parseUri(uri)
    const store = await context.openStore()
    return printObject(describeResource(await store.updateResource(parsed, changes, context.actor)))
  },
}
