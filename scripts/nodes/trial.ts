/** One trial: something is ended, and it is seen how long others take it for alive. */
import { setTimeout as pause } from 'node:timers/promises'
import type { Store } from '../../src/store/store.ts'
import type { Random } from '../rollover/random.ts'
import type { TortureClient } from '../torture/actor.ts'
import { api } from '../torture/plan.ts'
import { register } from '../torture/register.ts'

/** What is done: `client disable` at the command line, or a token revoked at a node. */
export const endings = ['disable', 'revoke'] as const
export type Ending = (typeof endings)[number]

export interface TrialStage {
  readonly store: Store
  readonly introspector: TortureClient
  readonly urls: readonly string[]
}

/** Milliseconds from when the change was answered to the beginning of the last request that was answered as before; 0 when there was none. */
export interface TrialResult {
  readonly ending: Ending
  readonly introspect: number
  readonly verify: number
  /** Tokens that were handed out to requests which began after a disable was answered. */
  readonly issuedAfter: number
  /** Answers that are none: of what status. */
  readonly others: readonly number[]
  readonly asked: number
}

/** Longer than any answer may be of before. */
const lookedForMilliseconds = 350
const warmUpMilliseconds = 40
const mostPhaseMilliseconds = 120

interface Probe {
  readonly kind: 'introspect' | 'verify' | 'issue'
  readonly start: number
  readonly status: number
  /** Whether it was answered as before the change. */
  readonly asBefore: boolean
}

/** Makes a client, gives it a token, ends one of the two at a node, and asks all others. */
export async function tryOnce(
  { store, introspector, urls }: TrialStage,
  clientId: string,
  ending: Ending,
  random: Random,
): Promise<TrialResult> {
  const client = await register(store, clientId)
  const [changer = '', ...askers] = random.shuffle(urls)
  const asker = askers[0] ?? changer
  const token = await issue(asker, client)
  const probes: Probe[] = []
  let over = false
  const keepAsking = async (kind: Probe['kind'], ask: () => Promise<Omit<Probe, 'kind' | 'start'>>): Promise<void> => {
    while (!over) {
      const start = performance.now()
      probes.push({ kind, start, ...(await ask()) })
    }
  }
  const asking = Promise.all([
    ...askers.flatMap((url) => [
      keepAsking('introspect', () => introspect(url, introspector, token)),
      keepAsking('verify', () => verify(url, token)),
    ]),
    ...(ending === 'disable' ? [keepAsking('issue', () => tryToIssue(asker, client))] : []),
  ])
  // Anywhere between two looks.
  await pause(warmUpMilliseconds + random.between(0, mostPhaseMilliseconds))
  if (ending === 'disable') await store.setClientStatus(clientId, 'disabled', 'cli:rig')
  else await revoke(changer, client, token)
  const returned = performance.now()
  await pause(lookedForMilliseconds)
  over = true
  await asking
  return judge(ending, probes, returned)
}

function judge(ending: Ending, probes: readonly Probe[], returned: number): TrialResult {
  const late = probes.filter(({ start, asBefore }) => asBefore && start > returned)
  const longest = (kind: Probe['kind']): number =>
    Math.max(0, ...late.filter((probe) => probe.kind === kind).map(({ start }) => start - returned))
  return {
    ending,
    introspect: longest('introspect'),
    verify: longest('verify'),
    issuedAfter: late.filter(({ kind }) => kind === 'issue').length,
    others: probes.map(({ status }) => status).filter((status) => ![200, 401].includes(status)),
    asked: probes.length,
  }
}

async function post(url: string, client: TortureClient, form: Record<string, string>): Promise<Response> {
  const headers = { authorization: client.authorization }
  return fetch(url, { method: 'POST', body: new URLSearchParams(form), headers })
}

async function tryToIssue(url: string, client: TortureClient): Promise<Omit<Probe, 'kind' | 'start'>> {
  const reply = await post(`${url}/token`, client, { grant_type: 'client_credentials' })
  await reply.arrayBuffer()
  return { status: reply.status, asBefore: reply.status === 200 }
}

async function issue(url: string, client: TortureClient): Promise<string> {
  const reply = await post(`${url}/token`, client, { grant_type: 'client_credentials' })
  const { access_token: token } = (await reply.json()) as { access_token?: string }
  if (token === undefined) throw new Error(`no token: ${reply.status}`)
  return token
}

async function introspect(
  url: string,
  introspector: TortureClient,
  token: string,
): Promise<Omit<Probe, 'kind' | 'start'>> {
  const reply = await post(`${url}/introspect`, introspector, { token })
  const { active } = (await reply.json()) as { active?: boolean }
  return { status: reply.status, asBefore: active === true }
}

async function verify(url: string, token: string): Promise<Omit<Probe, 'kind' | 'start'>> {
  const headers = { authorization: `Bearer ${token}` }
  const reply = await fetch(`${url}/verify?audience=${encodeURIComponent(api)}`, { headers })
  await reply.arrayBuffer()
  return { status: reply.status, asBefore: reply.status === 200 }
}

async function revoke(url: string, client: TortureClient, token: string): Promise<void> {
  const reply = await post(`${url}/revoke`, client, { token })
  if (reply.status !== 200) throw new Error(`not revoked: ${reply.status}`)
}
