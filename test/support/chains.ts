/** Chains of refresh tokens that are followed while servers are killed, and what of them was acknowledged. */
import type { Store } from '../../src/store/store.ts'
import type { Random } from './seed.ts'

interface Chain {
  readonly familyId: string
  /** The newest token that arrived. */
  token: string
  /** Uses that were answered, and uses that were asked for: the last one may have happened or not. */
  answered: number
  asked: number
  revocation?: 'asked' | 'answered'
}

const side = 3

export class AcknowledgedChains {
  readonly #authorization: string
  readonly #random: Random
  readonly #chains: Chain[] = []
  /** The chain that each of those who ask is at. */
  readonly #current: (Chain | undefined)[] = Array.from({ length: side }, () => undefined)
  readonly #refused: string[] = []

  constructor(authorization: string, random: Random) {
    this.#authorization = authorization
    this.#random = random
  }

  /** Uses that were answered. */
  get uses(): number {
    return this.#chains.reduce((sum, { answered }) => sum + answered, 0)
  }

  /** Revocations that were answered. */
  get revocations(): number {
    return this.#chains.filter(({ revocation }) => revocation === 'answered').length
  }

  /** Goes on, from where it was, until the server is gone or it is told to stop. Never rejects. */
  async follow(url: string, isOver: () => boolean, pace = async (): Promise<void> => undefined): Promise<void> {
    await Promise.all(
      this.#current.map(async (_, place) => {
        // Whoever was not answered may be answered by the next server.
        while (!isOver() && (await this.#step(url, place))) await pace()
      }),
    )
  }

  async #step(url: string, place: number): Promise<boolean> {
    const chain = this.#current[place]
    if (chain === undefined || chain.revocation !== undefined) return this.#begin(url, place)
    if (this.#random.chance(0.04)) return this.#revoke(url, chain)
    return this.#refresh(url, chain)
  }

  async #begin(url: string, place: number): Promise<boolean> {
    const answer = await this.#ask(`${url}/token`, { grant_type: 'client_credentials' })
    const token = answer?.json.refresh_token
    if (typeof token === 'string') {
      const chain = { familyId: token.slice(8, 34), token, answered: 0, asked: 0 }
      this.#chains.push(chain)
      this.#current[place] = chain
    }
    return answer !== undefined
  }

  async #refresh(url: string, chain: Chain): Promise<boolean> {
    chain.asked = chain.answered + 1
    const answer = await this.#ask(`${url}/token`, { grant_type: 'refresh_token', refresh_token: chain.token })
    if (answer === undefined) return false
    if (answer.status === 200) {
      chain.token = String(answer.json.refresh_token)
      chain.answered = chain.asked
    } else if (answer.status !== 503) {
      this.#refused.push(`family ${chain.familyId} was refused with ${answer.status} after ${chain.answered} uses`)
      return false
    }
    return true
  }

  async #revoke(url: string, chain: Chain): Promise<boolean> {
    chain.revocation = 'asked'
    const answer = await this.#ask(`${url}/revoke`, { token: chain.token })
    if (answer?.status === 200) chain.revocation = 'answered'
    return answer !== undefined
  }

  async #ask(
    url: string,
    form: Readonly<Record<string, string>>,
  ): Promise<{ status: number; json: Record<string, unknown> } | undefined> {
    try {
      const headers = { authorization: this.#authorization }
      const reply = await fetch(url, { method: 'POST', headers, body: new URLSearchParams(form) })
      const text = await reply.text()
      return { status: reply.status, json: text === '' ? {} : (JSON.parse(text) as Record<string, unknown>) }
    } catch {
      return undefined
    }
  }

  /** What a store lacks of what was acknowledged: one sentence each. */
  async findLost(store: Store): Promise<string[]> {
    const lost: string[] = [...this.#refused]
    for (const { familyId, answered, asked, revocation } of this.#chains) {
      const family = await store.findFamily(familyId)
      if (family === undefined) lost.push(`family ${familyId} is not there`)
      else if (family.generation < answered || family.generation > asked) {
        lost.push(`family ${familyId} is at ${family.generation}, not at ${answered} to ${asked}`)
      } else if (family.end !== undefined && (family.end !== 'revoked' || revocation === undefined)) {
        lost.push(`family ${familyId} has ended as ${family.end}`)
      } else if (family.end === undefined && revocation === 'answered') {
        lost.push(`family ${familyId} was revoked, and has not ended`)
      }
    }
    return lost
  }
}
