/**
 * What somebody was told, held against what a store has. A token counts as acknowledged when its reply arrived whole,
 * a change when its command or program said so. What was asked for and never answered may have happened or not.
 */
import type { AuditEntry } from '../../src/audit/audit-store.ts'
import type { Store } from '../../src/store/store.ts'
import { claimsOf, headerOf } from './server.ts'

const changeTypes = ['client.created', 'client.disabled', 'client.deleted', 'secret.created', 'secret.revoked'] as const

/** A change that was acknowledged. It is never taken back by a later one, so its effect must be seen for ever. */
export interface AcknowledgedChange {
  readonly type: (typeof changeTypes)[number]
  readonly clientId: string
  readonly secretId?: string
}

export class AcknowledgedLog {
  readonly tokens: string[] = []
  readonly changes: AcknowledgedChange[] = []

  /** Lines of JSON, one change each, as a program prints them. A last line without its end was not said. */
  addLines(text: string): void {
    for (const line of text.split('\n').slice(0, -1)) this.changes.push(JSON.parse(line) as AcknowledgedChange)
  }

  /**
   * What a store lacks of what was acknowledged, and what is half done in it: one sentence each.
   *
   * @param since how many tokens were looked at before; changes are few and all looked at each time
   * @param unsettled how the ids of clients begin that are being changed meanwhile
   */
  async findLost(
    store: Store,
    { since = 0, unsettled }: { since?: number; unsettled?: string } = {},
  ): Promise<string[]> {
    const isSettled = (sentence: string): boolean => unsettled === undefined || !sentence.includes(unsettled)
    const lost = [...(await this.#lostTokens(store, since)), ...(await this.#lostChanges(store))]
    return [...(await store.check()), ...lost.filter(isSettled)]
  }

  async #lostTokens(store: Store, since: number): Promise<string[]> {
    const lost: string[] = []
    for (const token of this.tokens.slice(since)) {
      const { jti, exp, client_id: clientId, aud, scope, sub } = claimsOf(token)
      const record = await store.findIssuance(String(jti))
      const recorded = record && [record.expiresAt, record.clientId, record.audience, record.scope, record.subject]
      const claimed = [exp, clientId, aud, scope, sub]
      if (JSON.stringify([recorded, record?.kid]) !== JSON.stringify([claimed, headerOf(token).kid]))
        lost.push(`token ${jti} is recorded as ${JSON.stringify(recorded)}`)
    }
    return lost
  }

  async #lostChanges(store: Store): Promise<string[]> {
    const trail = new Map<string, number>()
    for (const entry of await readChanges(store)) {
      const key = keyOf(entry as AcknowledgedChange)
      trail.set(key, (trail.get(key) ?? 0) + 1)
    }
    const unrecorded = this.changes
      .filter((change) => trail.get(keyOf(change)) !== 1)
      .map((change) => `${keyOf(change)} is recorded ${trail.get(keyOf(change)) ?? 0} times`)
    return [...unrecorded, ...(await halfDone(store, trail))]
  }
}

async function readChanges(store: Store): Promise<AuditEntry[]> {
  const lists = await Promise.all(changeTypes.map((type) => store.listAudit({ type, limit: 10_000_000 })))
  return lists.flat()
}

function keyOf({ type, clientId, secretId }: AcknowledgedChange): string {
  return [type, clientId, secretId].filter((word) => word !== undefined).join(' ')
}

// The tables must say what follows from the trail, and nothing else.
async function halfDone(store: Store, trail: ReadonlyMap<string, number>): Promise<string[]> {
  const expected = new Map<string, string>()
  for (const key of trail.keys()) {
    const [type, clientId = '', secretId] = key.split(' ')
    const was = (what: string, id = ''): boolean => trail.has([what, clientId, id].filter(Boolean).join(' '))
    if (was('client.deleted')) continue
    if (type === 'client.created') expected.set(clientId, was('client.disabled') ? 'disabled' : 'active')
    if (type === 'secret.created' && !was('secret.revoked', secretId)) expected.set(`${clientId} ${secretId}`, 'there')
  }
  const found = new Map<string, string>()
  for (const { clientId, status, secrets } of await store.listClients({ limit: 1_000_000 })) {
    found.set(clientId, status)
    for (const { secretId } of secrets) found.set(`${clientId} ${secretId}`, 'there')
  }
  return [...new Set([...expected.keys(), ...found.keys()])]
    .filter((key) => expected.get(key) !== found.get(key))
    .map((key) => `${key} is ${found.get(key)}, and by the trail ${expected.get(key)}`)
}
