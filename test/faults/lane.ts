/** An installation whose processes are ended by SIGKILL again and again, with a log of what they acknowledged. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { onTestFinished } from 'vitest'
import { openStore } from '../../src/store/open-store.ts'
import { AcknowledgedLog } from '../support/acknowledged.ts'
import { AcknowledgedChains } from '../support/chains.ts'
import type { Installation } from '../support/installation.ts'
import { startLoad } from '../support/load.ts'
import { cleanEnvironment, launcher, serve } from '../support/process.ts'
import type { Random } from '../support/seed.ts'
import { api } from '../support/server.ts'

const connections = 8
// Each change makes the server decide again: more of them would leave no room for tokens.
const changePauseMilliseconds = 50
const patienceMilliseconds = 2_000

export const program = (name: string): string => join(import.meta.dirname, 'programs', name)

export interface Program {
  /** Resolves when it has printed something, or has ended. */
  readonly begun: Promise<unknown>
  printed(): string
  /** Kills it; resolves with all that it had printed. */
  kill(): Promise<string>
}

/** Starts a program; it is killed with the test. */
export function start(args: readonly string[], env: Readonly<Record<string, string>>, cwd: string): Program {
  const child = spawn(process.execPath, args, { cwd, env: cleanEnvironment(env), stdio: ['ignore', 'pipe', 'ignore'] })
  let printed = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    printed += text
  })
  const closed = once(child, 'close')
  const kill = async (): Promise<string> => {
    child.kill('SIGKILL')
    await closed
    return printed
  }
  onTestFinished(async () => void (await kill()))
  return { begun: Promise.race([once(child.stdout, 'data'), closed]), printed: () => printed, kill }
}

export class Lane {
  readonly log = new AcknowledgedLog()
  readonly chains: AcknowledgedChains
  /** One sentence for each thing that was acknowledged and is not there, or is half done. */
  readonly lost: string[] = []
  readonly #installation: Installation
  readonly #random: Random
  readonly #env: Readonly<Record<string, string>>
  #looked = 0
  #turn = 0

  /** @param env what its processes are started with, besides the installation's own */
  constructor(installation: Installation, random: Random, env: Readonly<Record<string, string>> = {}) {
    this.#installation = installation
    this.chains = new AcknowledgedChains(installation.agentAuthorization, random)
    this.#random = random
    this.#env = { ...env, ...installation.env, MAYFLY_PORT: '0' }
  }

  /** Starts everything, and kills it at a random moment: one time in ten while the server starts. */
  async cycle(): Promise<void> {
    this.#turn += 1
    if (this.#random.chance(0.1)) await this.#killWhileStarting()
    else await this.#killUnderLoad()
  }

  async #killWhileStarting(): Promise<void> {
    const server = start([launcher, 'serve'], this.#env, this.#installation.cwd)
    await pause(this.#random.between(100, 700))
    await server.kill()
  }

  async #killUnderLoad(): Promise<void> {
    const { cwd, place, authorization } = this.#installation
    const prefix = `turn-${this.#turn}-`
    const changer = start([program('changer.ts'), place, prefix, String(changePauseMilliseconds)], this.#env, cwd)
    const server = await serve({ cwd, env: this.#env })
    await this.#look(this.#looked, prefix)
    const command = this.#random.chance(0.25) ? this.#startCommand() : undefined
    const before = this.log.tokens.length
    const load = startLoad(server, authorization, connections, ({ token }) => {
      if (token !== undefined) this.log.tokens.push(token)
    })
    let over = false
    const following = this.chains.follow(server.url, () => over)
    const wanted = before + this.#random.between(1, 120)
    await this.#until(() => this.log.tokens.length >= wanted && changer.printed() !== '')
    await pause(this.#random.between(0, 30))
    await command?.kill()
    const [printed] = await Promise.all([changer.kill(), server.end('SIGKILL')])
    over = true
    await Promise.all([load.stop(), following])
    this.log.addLines(printed)
  }

  async #until(isEnough: () => boolean): Promise<void> {
    const end = performance.now() + patienceMilliseconds
    while (!isEnough() && performance.now() < end) await pause(1)
  }

  // A command as people run it. It is killed as soon as it has answered, or at some moment before.
  #startCommand(): { kill(): Promise<void> } {
    const clientId = `command-${this.#turn}`
    const args = ['client', 'create', clientId, '--audience', api, '--json']
    const command = start([launcher, ...args], this.#env, this.#installation.cwd)
    return {
      kill: async () => {
        if (this.#random.chance(0.5)) await command.begun
        else await pause(this.#random.between(0, 300))
        const printed = await command.kill()
        if (printed.endsWith('}\n')) this.log.changes.push({ type: 'client.created', clientId })
      },
    }
  }

  /** Looks for everything that was ever acknowledged, while nothing runs. */
  lookAtAll(): Promise<void> {
    return this.#look(0)
  }

  async #look(since: number, unsettled?: string): Promise<void> {
    this.#looked = this.log.tokens.length
    const store = openStore(this.#installation.place, { create: false, examine: false })
    const lost = [
      ...(await this.log.findLost(store, { since, ...(unsettled === undefined ? {} : { unsettled }) })),
      ...(await this.chains.findLost(store)),
    ]
    this.lost.push(...lost.map((sentence) => `before turn ${this.#turn}: ${sentence}`))
    await store.close()
  }
}

/** How much of each kind was acknowledged. */
export interface Acknowledged {
  readonly tokens: number
  readonly changes: number
  /** Of refresh tokens. */
  readonly uses: number
  readonly revocations: number
}

/** A line for people. */
export function tellAcknowledged({ tokens, changes, uses, revocations }: Acknowledged): string {
  return `${tokens} tokens, ${changes} changes, ${uses} uses of refresh tokens and ${revocations} revocations acknowledged`
}

/** Divides cycles among lanes that run side by side, until they are done or something is lost. */
export async function runCycles(
  lanes: readonly Lane[],
  cycles: number,
  cycle: (lane: Lane, i: number) => Promise<void>,
): Promise<Acknowledged & { lost: string[] }> {
  let left = cycles
  await Promise.all(
    lanes.map(async (lane, i) => {
      while (left-- > 0 && lane.lost.length === 0) await cycle(lane, i)
      await lane.lookAtAll()
    }),
  )
  return {
    tokens: lanes.flatMap(({ log }) => log.tokens).length,
    changes: lanes.flatMap(({ log }) => log.changes).length,
    uses: lanes.reduce((sum, { chains }) => sum + chains.uses, 0),
    revocations: lanes.reduce((sum, { chains }) => sum + chains.revocations, 0),
    lost: lanes.flatMap(({ lost }) => lost),
  }
}
