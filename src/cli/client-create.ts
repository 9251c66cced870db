import { type Client, type ClientSettings, isClientId } from '../client/client.ts'
import { generateSecret, makeSecretId } from '../client/client-secret.ts'
import type { NewSecret } from '../client/client-store.ts'
import {
  defaultCost,
  formatCost,
  hashImportedSecret,
  isAcceptableCost,
  parseArgonHash,
} from '../client/imported-secret.ts'
import { assertionType, maxAssertionSeconds } from '../client/private-key-jwt.ts'
import { formatSpan } from '../lib/duration.ts'
import type { Secret } from '../lib/secret.ts'
import { isCertificateMethod, isSecretMethod } from '../oauth/auth-method.ts'
import type { Store } from '../store/store.ts'
import {
  certificateOptions,
  defaultBinding,
  parseCertificateOptions,
  requireCertificateSettings,
} from './client-certificates.ts'
import { type Command, type CommandContext, type OptionValues, type Printed, UsageError } from './command.ts'
import { describeClient, describeKeyLines } from './describe.ts'
import { jwksOptions, parseAssertionAlg, parseKeys } from './jwks-option.ts'
import { printObject } from './print.ts'
import {
  listOption,
  parseAuthMethod,
  parseGrantTypes,
  parseName,
  parseQuota,
  parseScopes,
  parseTtl,
  parseUri,
  quote,
  shellWord,
  textOption,
} from './values.ts'

/** The options that `client create` and `client update` share. */
export const clientOptions = [
  {
    flags: '--grant-type <grant>',
    description: 'a grant that it may use (default: client_credentials)',
    repeats: true,
  },
  { flags: '--scope <scopes>', description: 'the scopes that it may have, with spaces between them' },
  { flags: '--audience <uri>', description: 'a resource that it may have tokens for', repeats: true },
  {
    flags: '--introspects <uri>',
    description: 'a resource whose tokens it may ask about at /introspect',
    repeats: true,
  },
  {
    flags: '--auth-method <method>',
    description: 'how it proves itself (default: client_secret_basic, or private_key_jwt with keys)',
  },
  ...jwksOptions,
  { flags: '--access-token-ttl <duration>', description: 'life of its tokens, such as 5m' },
  { flags: '--tokens-per-hour <number>', description: 'how many tokens it may have in an hour' },
  ...certificateOptions,
  { flags: '--dpop-bound', description: 'give it no token without a DPoP proof, which binds the token to a key' },
]

/** What the options of a client say; what is not said is absent. @throws UsageError */
export function parseClientOptions(context: CommandContext, options: OptionValues): Partial<ClientSettings> {
  const grants = listOption(options, 'grantType')
  const scope = textOption(options, 'scope')
  const audiences = listOption(options, 'audience')
  const introspects = listOption(options, 'introspects')
  const method = textOption(options, 'authMethod')
  const ttl = textOption(options, 'accessTokenTtl')
  const keys = parseKeys(options)
  const assertionAlg = parseAssertionAlg(options)
  const quota = textOption(options, 'tokensPerHour')
  if ((audiences?.length ?? 0) > 64) throw new UsageError('a client takes at most 64 audiences')
  if ((introspects?.length ?? 0) > 64) throw new UsageError('a client introspects tokens of at most 64 resources')
  return {
    ...(grants === undefined ? {} : { grantTypes: parseGrants(grants) }),
    ...(scope === undefined ? {} : { scopes: parseScopes(scope) }),
    ...(audiences === undefined ? {} : { audiences: audiences.map(parseUri) }),
    ...(introspects === undefined ? {} : { introspects: introspects.map(parseUri) }),
    ...(method === undefined ? {} : { authMethods: [parseAuthMethod(method)] }),
    ...(keys === undefined ? {} : { keys }),
    ...(assertionAlg === undefined ? {} : { assertionAlg }),
    ...(options.dpopBound === true ? { dpopBound: true } : {}),
    ...(ttl === undefined ? {} : { accessTokenTtlSeconds: parseTtl(ttl, context.settings.accessTokenMaxTtlSeconds) }),
    ...(quota === undefined ? {} : { tokensPerHour: parseQuota(quota) }),
  }
}

export const clientCreate: Command = {
  name: 'client create',
  summary: 'register a workload and print its secret, once, unless it has a certificate instead',
  arguments: [{ name: '<name>', description: 'what people call it, and its client_id unless --client-id is given' }],
  options: [
    { flags: '--client-id <id>', description: 'its client_id: letters, digits and ._-, at most 128' },
    ...clientOptions,
    {
      flags: '--secret-stdin',
      description: 'take its secret from stdin instead of making one (it is kept as argon2id)',
    },
    { flags: '--secret-hash <hash>', description: "take the argon2id hash of its secret, '$argon2id$v=19$…'" },
  ],
  example: 'mayfly client create billing --audience https://api.example.com --scope "invoices:read"',
  changes: true,
  async run(context, [name = ''], options) {
    const clientId = parseClientId(textOption(options, 'clientId'), name)
    const certificates = await parseCertificateOptions(options)
    const named = { ...parseClientOptions(context, options), ...certificates }
    const authMethods = named.authMethods ?? [named.keys === undefined ? 'client_secret_basic' : 'private_key_jwt']
    const onlyAsks = named.introspects !== undefined && named.grantTypes === undefined && named.audiences === undefined
    const settings: ClientSettings = {
      name: parseName(name),
      grantTypes: onlyAsks ? [] : ['client_credentials'],
      authMethods,
      scopes: [],
      audiences: [],
      ...defaultBinding(authMethods),
      ...named,
    }
    requireUse(clientId, settings, context)
    requireCertificateSettings(clientId, settings, certificates)
    const store = await context.openStore()
    const { secret, shown } = settings.authMethods.some(isSecretMethod)
      ? await chooseSecret(context, store, options)
      : refuseSecret(settings, options)
    const client = await store.createClient(clientId, settings, secret, context.actor)
    const { issuer = 'ISSUER' } = await store.readRegistryHead()
    return printClient(client, secret, shown, urlFor(context, client, issuer))
  },
}

// A client that could never do anything was not meant.
function requireUse(clientId: string, { grantTypes, audiences }: ClientSettings, { program }: CommandContext): void {
  if (grantTypes.length > 0 && audiences.length === 0) {
    throw new UsageError(
      `client ${clientId} needs an audience, or it could not get a token: add \`--audience URI\`; \`${program} resource list\` shows what there is`,
    )
  }
}

// Lists are replaced as a whole, so an update that means to add the one grant would take the other away.
function parseGrants(texts: readonly string[]): ClientSettings['grantTypes'] {
  const grantTypes = parseGrantTypes(texts)
  if (!grantTypes.includes('refresh_token') || grantTypes.length > 1) return grantTypes
  throw new UsageError(
    'a client that may only refresh could never get a refresh token: add `--grant-type client_credentials`, which is what one comes with',
  )
}

function parseClientId(given: string | undefined, name: string): string {
  const clientId = given ?? name
  if (isClientId(clientId)) return clientId
  throw new UsageError(
    `${quote(clientId)} is not a client_id: it takes up to 128 letters, digits and ._-${given === undefined ? '; give one with `--client-id` beside the name' : ''}`,
  )
}

interface ChosenSecret {
  readonly secret?: NewSecret
  /** The text of a generated secret, to be shown once. */
  readonly shown?: Secret
}

async function chooseSecret(context: CommandContext, store: Store, options: OptionValues): Promise<ChosenSecret> {
  const hash = textOption(options, 'secretHash')
  const fromStdin = options.secretStdin === true
  if (hash !== undefined && fromStdin)
    throw new UsageError('--secret-hash and --secret-stdin are both given: keep one of them')
  if (hash !== undefined) return { secret: { kind: 'imported', secretId: makeSecretId(), argon2id: parseHash(hash) } }
  if (fromStdin) return { secret: await importSecret(await context.readStdin(), store) }
  const { secretId, sha256, secret } = generateSecret()
  return { secret: { kind: 'generated', secretId, sha256 }, shown: secret }
}

// A secret that nobody uses is one that somebody may find.
function refuseSecret({ authMethods }: ClientSettings, options: OptionValues): ChosenSecret {
  const named = options.secretStdin === true ? '--secret-stdin' : '--secret-hash'
  if (options.secretStdin !== true && textOption(options, 'secretHash') === undefined) return {}
  throw new UsageError(`a client that proves itself by ${authMethods[0]} has no secret: leave out \`${named}\``)
}

function parseHash(hash: string): string {
  const cost = parseArgonHash(hash)
  if (cost === undefined)
    throw new UsageError(
      "--secret-hash takes an argon2id hash in PHC form, '$argon2id$v=19$m=19456,t=2,p=1$salt$hash'; put it in single quotes",
    )
  if (isAcceptableCost(cost)) return hash
  throw new UsageError(
    `--secret-hash costs ${formatCost(cost)}: it takes 7168 to 65536 KiB of memory, memory times passes from 35000 to 262144, and at most 4 lanes`,
  )
}

async function importSecret(input: string, store: Store): Promise<NewSecret> {
  const text = input.replace(/\r?\n$/, '')
  if (!/^[^\p{Cc}]{8,256}$/u.test(text))
    throw new UsageError('the secret on stdin takes 8 to 256 characters on one line')
  if (text.startsWith('mfs_'))
    throw new UsageError('the secret on stdin begins with mfs_, which only generated secrets do')
  const { importedCost } = await store.readRegistryHead()
  return {
    kind: 'imported',
    secretId: makeSecretId(),
    argon2id: await hashImportedSecret(text, importedCost ?? defaultCost),
  }
}

// Whoever needs a certificate to get a token may need another host to show it.
function urlFor({ settings }: CommandContext, { authMethods }: Client, issuer: string): string {
  return authMethods.some(isCertificateMethod) ? (settings.mtlsUrl ?? issuer) : issuer
}

function printClient(
  client: Client,
  secret: NewSecret | undefined,
  shown: Secret | undefined,
  issuer: string,
): Printed {
  const { secret_count: _, updated_at: __, disabled_at: ___, jwks, ...described } = describeClient(client)
  const facts = {
    ...described,
    ...(secret === undefined ? {} : { secret_id: secret.secretId }),
    ...(shown === undefined ? {} : { client_secret: shown.reveal() }),
    ...(secret === undefined ? {} : { client_secret_expires_at: 0 }),
  }
  const { text } = printObject(facts, [
    ...describeKeyLines(client),
    '',
    ...(shown === undefined ? [] : ['This is the only time that the secret is shown.', '']),
    client.grantTypes.length === 0 ? 'To ask about a token:' : 'A token for it:',
    `  ${curlFor(client, shown?.reveal() ?? 'SECRET', issuer)}`,
    ...explainProof(client),
    ...explainAssertion(client, issuer),
  ])
  const json = { ...facts, ...(jwks === undefined ? {} : { jwks }) }
  return { json, text, ...(shown === undefined ? {} : { secretOf: client.clientId }) }
}

/** The command that gets a token, or asks about one, ready to paste: ids and generated secrets need no quoting. */
export function curlFor(client: Client, secret: string, issuer: string): string {
  const [audience = ''] = client.audiences
  const resource = client.audiences.length > 1 ? ` --data-urlencode ${shellWord(`resource=${audience}`)}` : ''
  const credentials = credentialsFor(client, secret)
  if (client.grantTypes.length === 0)
    return `curl -s ${credentials} -d token=TOKEN ${shellWord(`${issuer}/introspect`)}`
  const proof = client.dpopBound === true ? ' -H "DPoP: PROOF"' : ''
  return `curl -s ${credentials}${proof} -d grant_type=client_credentials${resource} ${shellWord(`${issuer}/token`)}`
}

function credentialsFor({ clientId, authMethods }: Client, secret: string): string {
  switch (authMethods[0]) {
    case 'client_secret_post':
      return `-d client_id=${clientId} -d client_secret=${secret}`
    case 'private_key_jwt':
      return `-d client_assertion_type=${assertionType} -d client_assertion=ASSERTION`
    case 'tls_client_auth':
    case 'self_signed_tls_client_auth':
      return `--cert CERTIFICATE.pem --key KEY.pem -d client_id=${clientId}`
    default:
      return `-u ${clientId}:${secret}`
  }
}

function explainAssertion({ clientId, authMethods }: Client, issuer: string): readonly string[] {
  if (authMethods[0] !== 'private_key_jwt') return []
  return [
    '',
    `ASSERTION is a JWT that its key signs: iss and sub ${clientId}, aud ${issuer}, exp at most ${formatSpan(maxAssertionSeconds)} ahead, and a jti that was not used before.`,
    'docs/client-authentication.md makes one in curl, TypeScript, Python and Go.',
  ]
}

function explainProof({ dpopBound, grantTypes }: Client): readonly string[] {
  if (dpopBound !== true || grantTypes.length === 0) return []
  return [
    '',
    'PROOF is a DPoP proof for this one request, made by a program that keeps the key: docs/dpop.md shows how.',
  ]
}
