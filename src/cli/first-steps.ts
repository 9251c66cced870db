/** What a start prints below its first line. */
import { generateSecret } from '../client/client-secret.ts'
import type { Settings } from '../config/settings.ts'
import type { RunningServer } from '../main.ts'
import { curlFor } from './client-create.ts'
import { program } from './program.ts'

const devResource = 'https://api.example.test'
const devScopes = ['demo:read', 'demo:write']

// Until a resource is registered no token can be had, so each start says how, not only the one that made the keys: that
// one may have ended without saying anything, because the port was taken.
export async function describeFirstSteps(settings: Settings, server: RunningServer): Promise<string> {
  const { store, provisioned } = server.prepared
  const lines = [
    ...(server.issuer === server.url ? [] : [`issuer ${server.issuer}`]),
    ...(server.metricsUrl === undefined ? [] : [`metrics on ${server.metricsUrl}/metrics`]),
  ]
  if (!provisioned.madeKeys && (await store.listResources()).length > 0) return toText(lines)
  return toText([
    ...lines,
    '',
    provisioned.madeKeys ? 'First start. Made:' : 'No resource is registered yet. In use:',
    `  database      ${settings.databasePath}`,
    `  master key    ${settings.masterKeyFile}${provisioned.madeKeys && !provisioned.madeMasterKey ? ' (was there)' : ''}`,
    '  signing keys  ES256 and RS256, one active and one staged each',
    '',
    'Keep a copy of the master key apart from the database. Next, in another terminal:',
    `  ${program} resource create https://api.example.com --scope "invoices:read invoices:write"`,
    `  ${program} client create billing --audience https://api.example.com --scope "invoices:read"`,
  ])
}

/** Makes the client of `--dev`, and says how it gets a token. */
export async function makeDevClient({ prepared, issuer }: RunningServer): Promise<string> {
  const { store } = prepared
  const { secretId, sha256, secret } = generateSecret()
  await store.createResource(devResource, { scopes: devScopes }, 'server')
  const client = await store.createClient(
    'dev',
    {
      name: 'dev',
      grantTypes: ['client_credentials'],
      authMethods: ['client_secret_basic'],
      scopes: devScopes,
      audiences: [devResource],
    },
    { kind: 'generated', secretId, sha256 },
    'server',
  )
  return toText([
    '',
    'For development: database and keys are thrown away at the end.',
    `  resource  ${devResource}  (${devScopes.join(' ')})`,
    '  client    dev',
    '',
    'A token:',
    `  ${curlFor(client, secret.reveal(), issuer)}`,
  ])
}

function toText(lines: readonly string[]): string {
  return lines.map((line) => `${line}\n`).join('')
}
