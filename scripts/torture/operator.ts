/** Whoever runs the commands, in a process of its own as far as the database goes: clients are disabled, offboarded, enabled. */
import { setTimeout as pause } from 'node:timers/promises'
import { generateSecret } from '../../src/client/client-secret.ts'
import { StoreUnavailable } from '../../src/lib/store-error.ts'
import type { Store } from '../../src/store/store.ts'
import type { Random } from '../rollover/random.ts'
import type { Stage, TortureClient } from './actor.ts'
import type { Admin } from './history.ts'

const by = 'cli:rig'

export class Operator {
  readonly #stage: Stage
  readonly #store: Store
  readonly #random: Random

  constructor(stage: Stage, store: Store, random: Random) {
    this.#stage = stage
    this.#store = store
    this.#random = random
  }

  async run(): Promise<void> {
    while (!this.#stage.isOver()) {
      await pause(this.#random.between(300, 1_500))
      const client = this.#random.pick(this.#stage.clients)
      const ended = this.#random.unit() < 0.6 ? await this.#disable(client) : await this.#offboard(client)
      await pause(this.#random.between(0, 400))
      const enable = () => this.#store.setClientStatus(client.clientId, 'active', by)
      // What may not have been disabled is enabled without a record.
      await this.#do('enable', client, enable, ended)
    }
  }

  #disable(client: TortureClient): Promise<Admin['outcome']> {
    return this.#do('disable', client, () => this.#store.setClientStatus(client.clientId, 'disabled', by))
  }

  // Its secrets are gone; the one that it has is brought back, so that it can go on when it is enabled.
  async #offboard(client: TortureClient): Promise<Admin['outcome']> {
    const outcome = await this.#do('offboard', client, () => this.#store.offboardClient(client.clientId, by))
    client.authorization = await this.#renew(client.clientId)
    return outcome
  }

  // Until it is done: the database may be away for a while.
  async #renew(clientId: string): Promise<string> {
    for (;;) {
      const { secretId, sha256, secret } = generateSecret()
      try {
        await this.#store.createSecret(clientId, { kind: 'generated', secretId, sha256 }, by)
        return basic(clientId, secret.reveal())
      } catch (error) {
        if (!(error instanceof StoreUnavailable)) throw error
        await pause(100)
      }
    }
  }

  async #do(
    kind: Admin['kind'],
    client: TortureClient,
    change: () => Promise<unknown>,
    ifDone: Admin['outcome'] = 'ok',
  ): Promise<Admin['outcome']> {
    const start = this.#stage.now()
    const outcome = await change().then(
      () => ifDone,
      () => 'unknown' as const,
    )
    this.#stage.record({ kind, client: client.clientId, start, end: this.#stage.now(), outcome })
    return outcome
  }
}

/** The value of an `Authorization` header. */
export function basic(clientId: string, secret: string): string {
  return `Basic ${Buffer.from(`${clientId}:${secret}`).toString('base64')}`
}
