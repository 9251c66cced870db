/** One trial: something is ended, and it is seen how long others take it for alive. */
import { setTimeout as pause } from 'node:timers/promises'
import type { Store } from '../../src/store/store.ts'
import type { Random } from '../rollover/random.ts'
import type { TortureClient } from '../torture/actor.ts'
import { api } from '../torture/plan.ts'
import { register } from '../torture/register.ts'
import { type CommandPlace, runCommand } from './command.ts'

/**
 * What is done: a client is disabled by the act that `client disable` does, in the process of the rig; a token is revoked at
 * a node; and both by a command in a process of its own, on the machine of one node.
 */
export const endings = ['disable', 'revoke', 'command-disable', 'command-revoke'] as const
export type Ending = (typeof endings)[number]

/** Whether nothing may be issued after it. */
export const isDisable = (ending: Ending): boolean => ending === 'disable' || ending === 'command-disable'

/** A node, and its machine. */
export interface TrialNode extends CommandPlace {
  readonly url: string
}

export interface TrialStage {
  readonly store: Store
  readonly introspector: TortureClient
  readonly nodes: readonly TrialNode[]
}

/** Milliseconds from when the change was answered, or the command had ended, to the beginning of the last request that was answered as before; 0 when there was none. */
export interface TrialResult {
  readonly ending: Ending
  readonly introspect: number
  readonly verify: number
  /** Tokens that were handed out to requests which began after a disable was answered. */
  readonly issuedAfter: number
  /** Answers that are none: of what status. */
  readonly others: readonly number[]
  readonly asked: number
  /** How many of each kind were answered as before while it was so: else nothing could have been late. */
  readonly alive: Readonly<Record<'introspect' | 'verify', number>>
}

/** Longer than any answer may be of before. */
const lookedForMilliseconds = 350
const warmUpMilliseconds = 40
const mostPhaseMilliseconds = 120
/** How long is waited between two questions as long as nothing has ended: a command must not starve for them. */
const idleMilliseconds = 20

interface Probe {
  readonly kind: 'introspect' | 'verify' | 'issue'
  readonly start: number
  readonly status: number
  /** Whether it was answered as before the change. */
  readonly asBefore: boolean
}

/** Makes a client, gives it a token, ends one of the two, and asks every node but one that did it itself. */
export async function tryOnce(
  { store, introspector, nodes }: TrialStage,
  clientId: string,
  ending: Ending,
  random: Random,
): Promise<TrialResult> {
  const client = await register(store, clientId)
  const [changer, ...others] = random.shuffle(nodes)
  if (changer === undefined) throw new Error('there is no node')
  const askers = (ending === 'revoke' ? others : nodes).map(({ url }) => url)
  const token = await issue(askers[0] ?? changer.url, client)
  const probes: Probe[] = []
  const ended = new AbortController()
  let over = false
  // On a machine that is busy a first answer may take longer than all pauses here.
  const answered: Promise<void>[] = []
  const keepAsking = async (kind: Probe['kind'], ask: () => Promise<Omit<Probe, 'kind' | 'start'>>): Promise<void> => {
    const first = Promise.withResolvers<void>()
    answered.push(first.promise)
    while (!over) {
      const start = performance.now()
      probes.push({ kind, start, ...(await ask()) })
      first.resolve()
      if (!ended.signal.aborted) await pause(idleMilliseconds, undefined, { signal: ended.signal }).catch(() => {})
    }
  }
  const asking = Promise.all(
    askers.flatMap((url) => [
      keepAsking('introspect', () => introspect(url, introspector, token)),
      keepAsking('verify', () => verify(url, token)),
      ...(isDisable(ending) ? [keepAsking('issue', () => tryToIssue(url, client))] : []),
    ]),
  )
  await Promise.race([asking, Promise.all(answered)])
  // Anywhere between two looks.
  await pause(warmUpMilliseconds + random.between(0, mostPhaseMilliseconds))
  const returned = await end(ending, { store, changer, client, token })
  ended.abort()
  await pause(lookedForMilliseconds)
  over = true
  await asking
  return judge(ending, probes, returned)
}

interface Doomed {
  readonly store: Store
  readonly changer: TrialNode
  readonly client: TortureClient
  readonly token: string
}

/** Ends it. @returns when whoever did it knew that it had ended. */
async function end(ending: Ending, { store, changer, client, token }: Doomed): Promise<number> {
  switch (ending) {
    case 'disable':
      await store.setClientStatus(client.clientId, 'disabled', 'cli:rig')
      return performance.now()
    case 'revoke':
      await revoke(changer.url, client, token)
      return performance.now()
    case 'command-disable':
      return runCommand(['client', 'disable', client.clientId], changer)
    case 'command-revoke':
      return runCommand(['token', 'revoke', token], changer)
  }
}

function judge(ending: Ending, probes: readonly Probe[], returned: number): TrialResult {
  const late = probes.filter(({ start, asBefore }) => asBefore && start > returned)
  const longest = (kind: Probe['kind']): number =>
    Math.max(0, ...late.filter((probe) => probe.kind === kind).map(({ start }) => start - returned))
  const alive = (kind: Probe['kind']): number =>
    probes.filter((probe) => probe.kind === kind && probe.asBefore && probe.start <= returned).length
  return {
    ending,
    introspect: longest('introspect'),
    verify: longest('verify'),
    issuedAfter: late.filter(({ kind }) => kind === 'issue').length,
    others: probes.map(({ status }) => status).filter((status) => ![200, 401].includes(status)),
    asked: probes.length,
    alive: { introspect: alive('introspect'), verify: alive('verify') },
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
