import type { ClientChanges } from '../client/client-store.ts'
import type { Store } from '../store/store.ts'
import { clientOptions, parseClientOptions } from './client-create.ts'
import { type Command, type OptionValues, UsageError } from './command.ts'
import { describeClient } from './describe.ts'
import { getClient } from './lookup.ts'
import { printObject } from './print.ts'
import { listOption, parseAuthMethod, parseName, textOption } from './values.ts'

export const clientUpdate: Command = {
  name: 'client update',
  summary: 'change a client; lists are replaced as a whole',
  arguments: [{ name: '<id>', description: 'its client_id' }],
  options: [
    { flags: '--name <name>', description: 'what people call it' },
    ...clientOptions,
    {
      flags: '--also-accept <method>',
      description: 'another way to prove itself, beside the registered one',
      repeats: true,
    },
    { flags: '--no-access-token-ttl', description: 'back to the token life of the resource or server' },
  ],
  example: 'mayfly client update billing --scope "invoices:read invoices:write"',
  changes: true,
  async run(context, [clientId = ''], options) {
    const name = textOption(options, 'name')
    const changes: ClientChanges = {
      ...parseClientOptions(context, options),
      ...(name === undefined ? {} : { name: parseName(name) }),
      ...(options.accessTokenTtl === false ? { accessTokenTtlSeconds: null } : {}),
    }
    const store = await context.openStore()
    const methods = await chooseMethods(store, clientId, changes, options)
    const all = { ...changes, ...methods }
    if (Object.keys(all).length === 0)
      throw new UsageError('nothing to change was named: `mayfly client update --help` lists what can be')
    return printObject(describeClient(await store.updateClient(clientId, all, context.actor)))
  },
}

// `--also-accept` stands beside the registered method, so it needs to know which that is.
async function chooseMethods(
  store: Store,
  clientId: string,
  { authMethods }: ClientChanges,
  options: OptionValues,
): Promise<Pick<ClientChanges, 'authMethods'>> {
  const also = listOption(options, 'alsoAccept')?.map(parseAuthMethod)
  if (also === undefined) return {}
  const client = await getClient(store, clientId)
  return { authMethods: [...new Set([...(authMethods ?? client.authMethods.slice(0, 1)), ...also])] }
}
