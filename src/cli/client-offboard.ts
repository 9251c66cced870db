import type { Client } from '../client/client.ts'
import { ownProofs } from '../client/own-proofs.ts'
import type { Store } from '../store/store.ts'
import type { Command, CommandContext, Printed } from './command.ts'
import { type Ended, explainEnd, readEnded } from './ended.ts'
import { getClient } from './lookup.ts'
import { printObject, timestamp } from './print.ts'

export const clientOffboard: Command = {
  name: 'client offboard',
  summary: 'end every access that a client has, in one act: its secrets, keys, refresh tokens and access tokens',
  arguments: [{ name: '<id>', description: 'its client_id' }],
  options: [{ flags: '--plan', description: 'show what would end, and change nothing' }],
  example: 'mayfly client offboard billing --plan',
  changes: (options) => options.plan !== true,
  destroys: true,
  async run(context, [clientId = ''], options) {
    const store = await context.openStore()
    return options.plan === true ? plan(context, store, clientId) : offboard(context, store, clientId)
  },
}

async function plan(context: CommandContext, store: Store, clientId: string): Promise<Printed> {
  const client = await getClient(store, clientId)
  const endedBefore = client.tokensAfter ?? 0
  const ended = await readEnded(store, clientId, { endedBefore, now: context.now() })
  const secrets = client.secrets.map((secret) => secret.secretId)
  return print({ client, secrets, keys: ownProofs(client), ended, endedAt: undefined })
}

async function offboard(context: CommandContext, store: Store, clientId: string): Promise<Printed> {
  await getClient(store, clientId)
  await context.confirm(`End every access of ${clientId}: its secrets, keys, refresh tokens and access tokens?`)
  const { client, secrets, keys, endedBefore, endedAt } = await store.offboardClient(clientId, context.actor)
  const ended = await readEnded(store, clientId, { endedBefore, now: context.now() })
  return print({ client, secrets, keys, ended, endedAt })
}

interface Outcome {
  readonly client: Client
  readonly secrets: readonly string[]
  readonly keys: readonly string[]
  readonly ended: Ended
  /** Absent while it is only planned. */
  readonly endedAt: number | undefined
}

function print({ client, secrets, keys, ended, endedAt }: Outcome): Printed {
  const isPlan = endedAt === undefined
  const isDone = client.status === 'disabled' && secrets.length + keys.length === 0
  const again = isPlan ? isDone : isDone && ended.refresh_families_ended + ended.tokens_ended === 0
  const explained = explainEnd(ended)
  const json = {
    client_id: client.clientId,
    status: client.status,
    secrets_ended: secrets,
    keys_ended: keys,
    ...ended,
    ended_at: timestamp(endedAt),
    planned: isPlan,
    local_verifiers: explained,
  }
  const { local_verifiers: _, ...shown } = json
  const nothing = again ? ['Nothing is left to end.'] : []
  const planned = isPlan && !again ? ['This is what would end. Nothing was changed.'] : []
  return { json, text: printObject(shown, ['', ...nothing, ...planned, explained]).text }
}
