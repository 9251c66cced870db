import type { SecretId } from '../client/client-secret.ts'
import { formatSpan } from '../lib/duration.ts'
import type { Store } from '../store/store.ts'
import { type Command, UsageError } from './command.ts'
import { getClient } from './lookup.ts'
import { printObject, timestamp } from './print.ts'
import { quote } from './values.ts'

const recentMilliseconds = 60 * 60_000

export const secretRevoke: Command = {
  name: 'secret revoke',
  summary: 'end a secret, from the next request on, in every process; warns when it was used in the last hour',
  arguments: [
    { name: '<id>', description: 'the client_id' },
    { name: '<secret-id>', description: 'as `secret list` shows it' },
  ],
  example: 'mayfly secret revoke billing sec_4RXuGIH0kNQ5xbTn',
  changes: true,
  destroys: true,
  async run(context, [clientId = '', argument = '']) {
    const secretId = parseSecretId(argument, clientId)
    const store = await context.openStore()
    const now = context.now()
    const usedAt = await findLastUse(store, { clientId, secretId, now })
    const isRecent = usedAt !== undefined && now - usedAt < recentMilliseconds
    const ago = isRecent ? formatSpan(Math.max(1, (now - usedAt) / 1000)) : undefined
    if (isRecent) {
      context.note(`Warning: ${secretId} was used ${ago} ago: whoever uses it is refused from the next request on.`)
    }
    await context.confirm(`Revoke the secret ${secretId} of ${clientId}${isRecent ? `, used ${ago} ago` : ''}?`)
    await store.revokeSecret(clientId, secretId, context.actor)
    return printObject({
      client_id: clientId,
      secret_id: secretId,
      revoked: true,
      last_used_at: timestamp(usedAt),
      used_in_last_hour: isRecent,
    })
  },
}

function parseSecretId(argument: string, clientId: string): SecretId {
  if (!/^sec_[0-9A-Za-z]{16}$/.test(argument)) {
    throw new UsageError(
      `${quote(argument.startsWith('mfs_') ? 'mfs_…' : argument)} is not a secret_id: it takes sec_ and 16 characters, as \`mayfly secret list ${clientId}\` shows it`,
    )
  }
  return `sec_${argument.slice(4)}`
}

interface Wanted {
  readonly clientId: string
  readonly secretId: SecretId
  readonly now: number
}

// What is noted with a secret is late by minutes; every token is recorded with the secret that got it.
async function findLastUse(store: Store, { clientId, secretId, now }: Wanted): Promise<number | undefined> {
  const client = await getClient(store, clientId)
  const secret = client.secrets.find((each) => each.secretId === secretId)
  if (secret === undefined) return undefined
  const issued = await store.findLastUse(secretId, now - recentMilliseconds)
  const known = [secret.lastUsedAt, issued].filter((at) => at !== undefined)
  return known.length === 0 ? undefined : Math.max(...known)
}
