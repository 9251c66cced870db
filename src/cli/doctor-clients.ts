/** What `mayfly doctor` finds about clients: quotas that are nearly used up, and how many have weak points. */
import { assessClient, weaknesses } from '../client/assessment.ts'
import type { Client } from '../client/client.ts'
import type { Store } from '../store/store.ts'
import { isNearQuota } from '../token/quota.ts'
import type { CommandContext } from './command.ts'
import type { Finding } from './doctor-checks.ts'
import type { RingView } from './open-ring.ts'

const maxClientsShown = 20
/** Beyond so many clients it would take minutes. */
const maxClientsRead = 10_000
const clientPage = 1_000

/** Clients that have most of their quota, and how many have weak points. */
export async function checkClients(context: CommandContext, { store }: RingView): Promise<readonly Finding[]> {
  const { settings } = context
  const resources = await store.listResources()
  const counts = new Map<string, number>()
  const findings: Finding[] = []
  let [seen, weak] = [0, 0]
  for await (const client of clientsOf(store)) {
    seen += 1
    if (client.status === 'disabled') continue
    if (findings.length < maxClientsShown) findings.push(...(await checkQuota(store, client)))
    const own = resources.filter(({ uri }) => client.audiences.includes(uri))
    const { weakPoints } = assessClient(client, { ...settings, now: context.now(), resources: own })
    if (weakPoints.length > 0) weak += 1
    for (const kind of new Set(weakPoints.map(({ weakness }) => weakness)))
      counts.set(kind, (counts.get(kind) ?? 0) + 1)
  }
  const kinds = weaknesses.filter((kind) => counts.has(kind)).map((kind) => `${kind} ${counts.get(kind)}`)
  const of = `${seen}${seen === maxClientsRead ? ', the first ones' : ''}`
  const detail =
    weak === 0
      ? `${of}, none with a weak point`
      : `${of}, ${weak} with weak points (${kinds.join(', ')}): \`mayfly client show ID\` says what they are`
  return [...findings, { check: 'clients', status: 'ok', detail }]
}

async function checkQuota(store: Store, { clientId, tokensPerHour }: Client): Promise<readonly Finding[]> {
  if (tokensPerHour === undefined) return []
  const { issued } = await store.readHourlyCount(clientId)
  if (!isNearQuota(issued, tokensPerHour)) return []
  return [
    {
      check: 'clients',
      status: 'warning',
      detail: `${clientId} has had ${issued} of its ${tokensPerHour} tokens of this hour: look what it does, or \`mayfly client update ${clientId} --tokens-per-hour N\``,
    },
  ]
}

async function* clientsOf(store: Store): AsyncGenerator<Client> {
  let after: string | undefined
  for (let read = 0; read < maxClientsRead; read += clientPage) {
    const page = await store.listClients({ limit: clientPage, ...(after === undefined ? {} : { after }) })
    yield* page
    after = page.at(-1)?.clientId
    if (page.length < clientPage) return
  }
}
