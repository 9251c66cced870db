import { isSigningAlg, signingAlgs } from '../key/signer.ts'
import type { ResourceSettings } from '../resource/resource.ts'
import { type Command, type CommandContext, type OptionValues, UsageError } from './command.ts'
import { describeResource } from './describe.ts'
import { printObject } from './print.ts'
import { parseName, parseScopes, parseTtl, parseUri, quote, shellWord, textOption } from './values.ts'

/** The options that `resource create` and `resource update` share. */
export const resourceOptions = [
  { flags: '--name <name>', description: 'what people call it' },
  { flags: '--scope <scopes>', description: 'the scopes that it defines, with spaces between them' },
  { flags: '--alg <alg>', description: `how its tokens are signed: ${signingAlgs.join(' or ')}` },
  { flags: '--access-token-ttl <duration>', description: 'life of its tokens, such as 5m' },
]

/** What the options of a resource say; what is not said is absent. @throws UsageError */
export function parseResourceOptions(context: CommandContext, options: OptionValues): Partial<ResourceSettings> {
  const name = textOption(options, 'name')
  const scope = textOption(options, 'scope')
  const alg = textOption(options, 'alg')
  const ttl = textOption(options, 'accessTokenTtl')
  if (alg !== undefined && !isSigningAlg(alg))
    throw new UsageError(`${quote(alg)} is not an algorithm: it takes ${signingAlgs.join(' or ')}`)
  return {
    ...(name === undefined ? {} : { name: parseName(name) }),
    ...(scope === undefined ? {} : { scopes: parseScopes(scope) }),
    ...(alg === undefined ? {} : { alg }),
    ...(ttl === undefined ? {} : { accessTokenTtlSeconds: parseTtl(ttl, context.settings.accessTokenMaxTtlSeconds) }),
  }
}

export const resourceCreate: Command = {
  name: 'resource create',
  summary: 'register an API that tokens are for',
  arguments: [{ name: '<uri>', description: 'the audience (aud) of its tokens: an absolute URI' }],
  options: resourceOptions,
  example: 'mayfly resource create https://api.example.com --scope "invoices:read invoices:write"',
  changes: true,
  async run(context, [uri = ''], options) {
    const settings = { scopes: [], ...parseResourceOptions(context, options) }
    const parsed = parseUri(uri)
    const store = await context.openStore()
    const resource = await store.createResource(parsed, settings, context.actor)
    const [firstScope] = settings.scopes
    return printObject(describeResource(resource), [
      '',
      'Next, register a client for it:',
      `  ${context.program} client create NAME --audience ${shellWord(resource.uri)}${firstScope === undefined ? '' : ` --scope ${shellWord(firstScope)}`}`,
    ])
  },
}
