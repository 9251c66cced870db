import { parseDatabasePlace, readUrlFile } from '../config/storage.ts'
import { StoreUnavailable } from '../lib/store-error.ts'
import type { Copied } from '../store/copy/copy.ts'
import type { Move, StorePlace } from '../store/open-store.ts'
import {
  type Command,
  type CommandContext,
  CommandFailure,
  type OptionValues,
  type Printed,
  UsageError,
} from './command.ts'
import { printObject } from './print.ts'
import { pathArgument } from './values.ts'

const noteEveryMilliseconds = 5_000

export const dbCopy: Command = {
  name: 'db copy',
  summary:
    'move the database to an empty place, from SQLite to PostgreSQL or back, while it is in use; the old place refuses from then on',
  options: [
    { flags: '--from <url>', description: 'where it is; default: MAYFLY_DATABASE_URL' },
    { flags: '--from-file <file>', description: 'a file that holds that URL' },
    { flags: '--to <url>', description: 'where it shall be; made when it is not there' },
    {
      flags: '--to-file <file>',
      description: 'a file that holds that URL, so that no list of processes shows its password',
    },
  ],
  example: 'mayfly db copy --from file:data/mayfly.db --to postgres://mayfly@db.example.com/mayfly',
  changes: true,
  destroys: true,
  async run(context, _, options) {
    const { databasePath, postgresUrl } = context.settings
    const from = findPlace('from', options) ?? { databasePath, ...(postgresUrl === undefined ? {} : { postgresUrl }) }
    const to = findPlace('to', options)
    if (to === undefined) throw new UsageError('db copy takes --to or --to-file: where the database shall be')
    if (from.databasePath === to.databasePath)
      throw new UsageError(`--from and --to are both ${from.databasePath}: --to takes an empty place`)
    await context.confirm(
      `Move ${from.databasePath} to ${to.databasePath}? Servers on the old place refuse everything from then on.`,
    )
    return report(context, from, to, await move(context, from, to))
  },
}

function findPlace(name: 'from' | 'to', options: OptionValues): StorePlace | undefined {
  const [url, file] = [options[name], options[`${name}File`]]
  if (typeof url === 'string' && typeof file === 'string')
    throw new UsageError(`--${name} and --${name}-file are both given: keep one of them`)
  if (typeof url === 'string') return parseDatabasePlace(url, `--${name}`, '.')
  if (typeof file !== 'string') return undefined
  const path = pathArgument(`--${name}-file`, file)
  return parseDatabasePlace(readUrlFile(path, `--${name}-file`), `--${name}-file`, '.')
}

async function move(context: CommandContext, from: StorePlace, to: StorePlace): Promise<Copied> {
  const { moveStore } = await import('../store/open-store.ts')
  const { checkMasterKey } = await import('../key/provision.ts')
  const { readMasterKey } = await import('../key/master-key-file.ts')
  const { masterKeyFile, witnessFile } = context.settings
  const stop = new AbortController()
  const onSignal = (): void => stop.abort(new CommandFailure('stopped: nothing was moved'))
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, onSignal)
  try {
    return await moveStore({
      from,
      to,
      witnessFile,
      actor: context.actor,
      signal: stop.signal,
      onRows: progress(context),
      checkKeys: (material) => void checkMasterKey(readMasterKey(masterKeyFile), material, masterKeyFile),
    })
  } catch (error) {
    if (error instanceof StoreUnavailable) throw await explain(error, from)
    // What is wrong with the new place is not wrong with the settings.
    throw isOf(to, from, error) ? new CommandFailure(error.message.replaceAll('MAYFLY_DATABASE_URL', '--to')) : error
  } finally {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.off(signal, onSignal)
  }
}

// One name may begin as the other does.
function isOf(place: StorePlace, other: StorePlace, error: unknown): error is Error {
  if (!(error instanceof Error) || error.name !== 'StoreOpenError') return false
  const [length, ofOther] = [place, other].map(({ databasePath: path }) =>
    error.message.startsWith(path) ? path.length : 0,
  )
  return (length ?? 0) > (ofOther ?? 0)
}

// Whatever is not known or not done at the end, the next run finds it.
async function explain(error: StoreUnavailable, from: StorePlace): Promise<Error> {
  if (error.outcomeUnknown) {
    const why =
      error.name === 'WitnessUnavailable' ? error.message : `${from.databasePath} did not say whether it is done`
    return new CommandFailure(`${why}; then run the same \`mayfly db copy\` again, which finishes what is left`)
  }
  const { explainFailure } = await import('../store/open-store.ts')
  return explainFailure(error, from)
}

function progress(context: CommandContext): NonNullable<Move['onRows']> {
  let [copied, last] = [0, context.now()]
  return (table, rows) => {
    copied += rows
    if (context.now() - last < noteEveryMilliseconds) return
    last = context.now()
    context.note(`Copied ${copied} rows, at ${table} now`)
  }
}

function report(context: CommandContext, from: StorePlace, to: StorePlace, copied: Copied): Printed {
  const { how, storeId, eventId, pausedMilliseconds } = copied
  if (how !== 'already') for (const place of [from, to]) context.note(`Changed ${place.databasePath}`)
  const facts = {
    from: from.databasePath,
    to: to.databasePath,
    outcome: how,
    store_id: storeId,
    audit_record: eventId,
    paused_seconds: how === 'copied' ? Math.round(pausedMilliseconds) / 1000 : null,
  }
  const rows = countRows(copied)
  const { masterKeyFile } = context.settings
  const { text } = printObject({ ...facts, ...rows }, [
    '',
    `${from.databasePath} refuses everything from now on. Next: give every server MAYFLY_DATABASE_URL with the new place, and a`,
    `copy of ${masterKeyFile} where it is another machine, and start it. Secrets, tokens and refresh tokens go on.`,
  ])
  return { json: { ...facts, rows }, text }
}

function countRows({ rows }: Copied) {
  return {
    clients: rows.client ?? 0,
    client_secrets: rows.client_secret ?? 0,
    resources: rows.resource ?? 0,
    signing_keys: rows.signing_key ?? 0,
    refresh_families: rows.refresh_family ?? 0,
    marks: rows.mark ?? 0,
    issued_tokens: rows.issuance ?? 0,
    audit_events: rows.audit_event ?? 0,
    used_statements: rows.replay ?? 0,
  }
}
