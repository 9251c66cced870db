/** `mayfly serve` as a process: what it prints, which signals end it, and how. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { generateSecret } from '../client/client-secret.ts'
import { defaultWitnessFile, readEnvironment, type Settings, unknownVariables } from '../config.ts'
import { describeError } from '../lib/log.ts'
import { createLogger } from '../logger.ts'
import { type RunningServer, startServer } from '../main.ts'
import { curlFor } from './client-create.ts'
import type { CommandContext } from './command.ts'

const devResource = 'https://api.example.test'
const devScopes = ['demo:read', 'demo:write']

/** Runs a server until SIGTERM or SIGINT. @throws what `startServer` throws */
export async function runServer(context: CommandContext, dev: boolean): Promise<void> {
  const folder = dev ? mkdtempSync(join(tmpdir(), 'mayfly-dev-')) : undefined
  const settings = folder === undefined ? context.settings : devSettings(context.settings, folder)
  const log = createLogger(settings.logLevel, process.stderr.isTTY === true)
  if (folder !== undefined) process.once('exit', () => throwAway(folder))
  try {
    for (const name of unknownVariables(readEnvironment(process.env, process.cwd())))
      log.warn({ variable: name }, 'not a setting of this version: ignored')
    const ended = catchSignals(log)
    const server = await startServer(settings, { log })
    process.stdout.write(`mayfly listening on ${server.url}\n`)
    try {
      if (folder === undefined) await printFirstSteps(context, settings, server)
      else await printDevClient(server)
      await ended
    } finally {
      await server.stop()
    }
  } finally {
    if (folder !== undefined) throwAway(folder)
  }
}

function throwAway(folder: string): void {
  rmSync(folder, { recursive: true, force: true })
}

// What nobody caught is a bug: it is logged, and the process ends rather than go on half alive.
function catchSignals(log: ReturnType<typeof createLogger>): Promise<void> {
  process.on('uncaughtException', (error) => {
    log.error({ err: describeError(error) }, 'uncaught')
    process.exit(1)
  })
  return new Promise((resolve) => {
    process.once('SIGTERM', () => resolve())
    process.once('SIGINT', () => resolve())
  })
}

function devSettings({ postgresUrl: _, ...settings }: Settings, folder: string): Settings {
  const masterKeyFile = join(folder, 'master.key')
  const witnessFile = defaultWitnessFile(masterKeyFile)
  return { ...settings, databasePath: join(folder, 'mayfly.db'), masterKeyFile, witnessFile }
}

// Until a resource is registered no token can be had, so each start says how, not only the one that made the keys: that
// one may have ended without saying anything, because the port was taken.
async function printFirstSteps(context: CommandContext, settings: Settings, server: RunningServer): Promise<void> {
  const { store, provisioned } = server.prepared
  if (server.issuer !== server.url) process.stdout.write(`issuer ${server.issuer}\n`)
  if (server.metricsUrl !== undefined) process.stdout.write(`metrics on ${server.metricsUrl}/metrics\n`)
  if (!provisioned.madeKeys && (await store.listResources()).length > 0) return
  process.stdout.write(
    [
      '',
      provisioned.madeKeys ? 'First start. Made:' : 'No resource is registered yet. In use:',
      `  database      ${settings.databasePath}`,
      `  master key    ${settings.masterKeyFile}${provisioned.madeKeys && !provisioned.madeMasterKey ? ' (was there)' : ''}`,
      '  signing keys  ES256 and RS256, one active and one staged each',
      '',
      'Keep a copy of the master key apart from the database. Next, in another terminal:',
      `  ${context.program} resource create https://api.example.com --scope "invoices:read invoices:write"`,
      `  ${context.program} client create billing --audience https://api.example.com --scope "invoices:read"`,
      '',
    ].join('\n'),
  )
}

async function printDevClient({ prepared, issuer }: RunningServer): Promise<void> {
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
  process.stdout.write(
    [
      '',
      'For development: database and keys are thrown away at the end.',
      `  resource  ${devResource}  (${devScopes.join(' ')})`,
      '  client    dev',
      '',
      'A token:',
      `  ${curlFor(client, secret.reveal(), issuer)}`,
      '',
    ].join('\n'),
  )
}
