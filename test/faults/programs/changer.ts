/**
 * Changes the registry of a database again and again, and says on stdout what is done as soon as it knows: a line of
 * JSON a change.
 *
 *   node changer.ts DATABASE PREFIX PAUSE-MILLISECONDS
 */
import { writeSync } from 'node:fs'
import { setTimeout as pause } from 'node:timers/promises'
import { generateSecret } from '../../../src/client/client-secret.ts'
import type { NewSecret } from '../../../src/client/client-store.ts'
import { StoreUnavailable } from '../../../src/lib/store-error.ts'
import { openStore } from '../../../src/store/open-store.ts'
import type { AcknowledgedChange } from '../../support/acknowledged.ts'

const [place = '', prefix = '', milliseconds = '0'] = process.argv.slice(2)
const store = openStore(place, { create: false, examine: false })
const actor = 'cli:changer'

function makeSecret(): NewSecret {
  const { secretId, sha256 } = generateSecret()
  return { kind: 'generated', secretId, sha256 }
}

async function say(change: AcknowledgedChange, done: Promise<unknown>): Promise<void> {
  await done
  writeSync(1, `${JSON.stringify(change)}\n`)
  await pause(Number(milliseconds))
}

async function changeOneClient(clientId: string, turn: number): Promise<void> {
  const [first, second] = [makeSecret(), makeSecret()]
  const settings = {
    name: clientId,
    grantTypes: ['client_credentials'],
    authMethods: ['client_secret_basic'],
    scopes: [],
    audiences: [],
  } as const
  await say({ type: 'client.created', clientId }, store.createClient(clientId, settings, first, actor))
  const { secretId } = second
  await say({ type: 'secret.created', clientId, secretId }, store.createSecret(clientId, second, actor))
  const gone = { clientId, secretId: first.secretId }
  await say({ type: 'secret.revoked', ...gone }, store.revokeSecret(clientId, first.secretId, actor))
  if (turn % 2 === 0)
    await say({ type: 'client.disabled', clientId }, store.setClientStatus(clientId, 'disabled', actor))
  if (turn % 4 === 0) await say({ type: 'client.deleted', clientId }, store.deleteClient(clientId, actor))
}

for (let turn = 0; ; turn += 1) {
  try {
    await changeOneClient(`${prefix}${turn}`, turn)
  } catch (error) {
    // Another process had the write lock for too long. What was said is done; this one may or may not be.
    if (!(error instanceof StoreUnavailable)) throw error
  }
}
