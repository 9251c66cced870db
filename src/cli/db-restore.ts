import { existsSync } from 'node:fs'
import type { AuditEntry } from '../audit/audit-store.ts'
import { formatSpan } from '../lib/duration.ts'
import type { Sequences } from '../registry/registry-store.ts'
import type { Acceptance, Store } from '../store/store.ts'
import type { Remembered, WitnessRecord } from '../store/witness.ts'
import { type Command, type CommandContext, CommandFailure, type Printed, UsageError } from './command.ts'
import { printObject, timestamp } from './print.ts'
import { type Review, reviewStore } from './restore-review.ts'
import { pathArgument } from './values.ts'

const none: Sequences = { registry: 0, mark: 0 }

export const dbRestore: Command = {
  name: 'db restore',
  summary:
    'put a backup in the place of the database, or accept an old copy that lies there already; all tokens of before are dead',
  arguments: [{ name: '[file]', description: 'what `db backup` wrote; the server must be stopped' }],
  options: [
    {
      flags: '--accept-current',
      description: 'accept the database as it is, after it was rolled back in its place by other means',
    },
  ],
  example: 'mayfly db restore /var/backups/mayfly-2026-11-24.db',
  changes: true,
  destroys: true,
  async run(context, [file], options) {
    if ((file !== undefined) === (options.acceptCurrent === true)) {
      throw new UsageError('db restore takes the path of a backup, or --accept-current, and one of them alone')
    }
    const path = file === undefined ? undefined : pathArgument('db restore', file)
    // A witness that cannot be read must be dealt with before anything is done.
    const { readWitness } = await import('../store/witness.ts')
    const remembered = readWitness(context.settings.witnessFile) ?? new Map<string, Remembered>()
    return path === undefined ? acceptCurrent(context, remembered) : restore(context, path, remembered)
  },
}

async function restore(context: CommandContext, file: string, remembered: WitnessRecord): Promise<Printed> {
  const { restoreStore } = await import('../store/open-store.ts')
  const { covers, furthest, Witness } = await import('../store/witness.ts')
  const { databasePath, witnessFile } = context.settings
  const restoring = await restoreStore(context.settings, file, remembered)
  try {
    const storeId = await requireKey(context, restoring.store)
    if (existsSync(`${file}-wal`)) context.note(`${file}-wal is not part of the backup and was not used.`)
    await context.confirm(`Put ${file} in the place of ${databasePath}? Every token and refresh token of before ends.`)
    const known = { ...restoring.known, ...furthest(restoring.known, remembered.get(storeId)) }
    const acceptance = await restoring.store.acceptAsPresent(known, context.actor)
    // One that lacks something itself cannot tell what.
    const lost = covers(restoring.known, remembered.get(storeId) ?? none) ? restoring.readLost() : undefined
    const review = await reviewStore(restoring.store, lost, context)
    const replaced = await restoring.finish()
    context.note(`Changed ${databasePath}`)
    await new Witness(witnessFile).raise(storeId, acceptance.to)
    return report(context, { acceptance, review, lost, until: restoring.until, file, replaced })
  } finally {
    await restoring.abandon()
  }
}

async function acceptCurrent(context: CommandContext, remembered: WitnessRecord): Promise<Printed> {
  const { openStoreAt } = await import('../store/open-store.ts')
  const { databasePath, postgresUrl, witnessFile } = context.settings
  const witness = { file: witnessFile, tolerant: true }
  const create = postgresUrl !== undefined || existsSync(databasePath)
  const options = { create, examine: true, exclusive: true, witness, evenIfMoved: true }
  const store = await openStoreAt(context.settings, options)
  try {
    const storeId = await requireKey(context, store)
    await context.confirm(`Accept ${databasePath} as it is? Every token and refresh token of before ends.`)
    const [newest] = await store.listAudit({ limit: 1 })
    const known = { ...(remembered.get(storeId) ?? none), issuedUpTo: 0 }
    const acceptance = await store.acceptAsPresent(known, context.actor)
    context.note(`Changed ${databasePath}`)
    const review = await reviewStore(store, undefined, context)
    return report(context, { acceptance, review, lost: undefined, until: newest?.at ?? 0 })
  } finally {
    await store.close()
  }
}

// Whoever has the key file of another database would end up with keys that nothing opens.
async function requireKey({ settings }: CommandContext, store: Store): Promise<string> {
  const { checkMasterKey } = await import('../key/provision.ts')
  const { readMasterKey } = await import('../key/master-key-file.ts')
  const material = await store.readKeys()
  if (material === undefined) throw new CommandFailure('the database has no keys yet: there is nothing to accept')
  checkMasterKey(readMasterKey(settings.masterKeyFile), material, settings.masterKeyFile)
  return material.storeId
}

interface Outcome {
  readonly acceptance: Acceptance
  readonly review: Review
  readonly lost: readonly AuditEntry[] | undefined
  /** The newest record of what was restored, milliseconds since the epoch. */
  readonly until: number
  readonly file?: string
  readonly replaced?: string | undefined
}

function report(context: CommandContext, { acceptance, review, lost, until, file, replaced }: Outcome): Printed {
  const { databasePath, accessTokenMaxTtlSeconds } = context.settings
  const { storeId, from, to, tokensAfter } = acceptance
  const facts = {
    database: databasePath,
    restored_from: file ?? null,
    replaced: replaced ?? null,
    store_id: storeId,
    tokens_after: timestamp(tokensAfter),
    newest_record_at: timestamp(until),
    sequences: { from, to },
    lost_changes: lost?.length ?? null,
  }
  const text = printObject(facts, [
    '',
    'All refresh tokens and access tokens of up to tokens_after are dead. Clients, secrets, keys and resources are as they were',
    `then. Verifiers that check nothing but signatures believe those tokens until they expire, at most ${formatSpan(accessTokenMaxTtlSeconds)} after they were issued.`,
    '',
    ...explainLoss(context, timestamp(until), lost, replaced),
  ]).text
  const { clients, signing_keys, resources } = review
  return {
    json: { ...facts, clients, signing_keys, resources, advice: review.advice },
    text: `${text}\n\n${review.text}`,
  }
}

function explainLoss(
  { program }: CommandContext,
  since: string | null,
  lost: readonly AuditEntry[] | undefined,
  replaced: string | undefined,
): readonly string[] {
  if (lost !== undefined) {
    return [
      `Changed after ${since}, and gone: ${lost.length} changes, which are still in ${replaced}. Look at what is there now:`,
    ]
  }
  return [
    `What was changed after ${since} is gone, and nobody can tell here what it was. Look through what is there now. Where it`,
    `was done since, do it again: \`${program} client offboard ID\`, \`${program} secret revoke ID SECRET_ID\`, \`${program} key revoke KID\`.`,
  ]
}
