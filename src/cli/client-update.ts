import type { Client } from '../client/client.ts'
import type { ClientChanges } from '../client/client-store.ts'
import { parseCertificateOptions, type Registration, requireCertificateSettings } from './client-certificates.ts'
import { clientOptions, parseClientOptions } from './client-create.ts'
import { type Command, UsageError } from './command.ts'
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
    // What is not named stays as it is, so the defaults of a new client do not apply.
    ...clientOptions.map((option) => ({ ...option, description: option.description.replace(/ \(default: .+\)$/, '') })),
    {
      flags: '--also-accept <method>',
      description: 'another way to prove itself, beside the registered one',
      repeats: true,
    },
    { flags: '--no-jwks', description: 'forget its keys, registered or fetched' },
    { flags: '--no-token-endpoint-auth-signing-alg', description: 'back to any algorithm that fits its key' },
    { flags: '--no-dpop-bound', description: 'give it tokens without a DPoP proof too' },
    { flags: '--no-access-token-ttl', description: 'back to the token life of the resource or server' },
    { flags: '--no-tokens-per-hour', description: 'no quota of tokens any more' },
  ],
  example: 'mayfly client update billing --scope "invoices:read invoices:write"',
  changes: true,
  async run(context, [clientId = ''], options) {
    const name = textOption(options, 'name')
    const also = listOption(options, 'alsoAccept')
    const certificates = await parseCertificateOptions(options)
    const changes: ClientChanges = {
      ...parseClientOptions(context, options),
      ...certificates,
      ...(name === undefined ? {} : { name: parseName(name) }),
      ...(also === undefined ? {} : { alsoAccept: also.map(parseAuthMethod) }),
      ...(options.jwks === false ? { keys: null } : {}),
      ...(options.tokenEndpointAuthSigningAlg === false ? { assertionAlg: null } : {}),
      ...(options.dpopBound === false ? { dpopBound: null } : {}),
      ...(options.accessTokenTtl === false ? { accessTokenTtlSeconds: null } : {}),
      ...(options.tokensPerHour === false ? { tokensPerHour: null } : {}),
    }
    if (Object.keys(changes).length === 0)
      throw new UsageError('nothing to change was named: `mayfly client update --help` lists what can be')
    const store = await context.openStore()
    requireCertificateSettings(clientId, settingsAfter(await getClient(store, clientId), changes), certificates)
    return printObject(describeClient(await store.updateClient(clientId, changes, context.actor)))
  },
}

// What is registered with the changes; the store puts lists together in the same way.
function settingsAfter(client: Client, changes: ClientChanges): Registration {
  const { authMethods = client.authMethods, alsoAccept = [], tlsSubject, keys } = changes
  return {
    authMethods: [...(alsoAccept.length > 0 ? authMethods.slice(0, 1) : authMethods), ...alsoAccept],
    tlsSubject: tlsSubject ?? client.tlsSubject,
    keys: keys ?? client.keys,
  }
}
