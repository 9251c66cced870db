/** Asks every server for its JWKS all the time, and keeps each with how much had been committed before and after. */
import type { Snapshot } from './history.ts'
import type { RunningServer } from './servers.ts'
import type { Watch } from './watch.ts'

const pauseMilliseconds = 100

interface Jwks {
  readonly keys: readonly { readonly kid: string }[]
}

export class Recorder {
  readonly snapshots: Snapshot[] = []
  readonly #watch: Watch
  readonly #servers: ReadonlySet<RunningServer>
  readonly #asking = new Set<RunningServer>()
  #going = true
  #running: Promise<void> = Promise.resolve()

  constructor(watch: Watch, servers: ReadonlySet<RunningServer>) {
    this.#watch = watch
    this.#servers = servers
  }

  start(): void {
    this.#running = this.#record()
  }

  async stop(): Promise<void> {
    this.#going = false
    await this.#running
  }

  async #record(): Promise<void> {
    while (this.#going) {
      for (const server of this.#servers) void this.#askOnce(server)
      await new Promise((resolve) => setTimeout(resolve, pauseMilliseconds))
    }
  }

  // One that is paused answers late: what it answers then must be of then.
  async #askOnce(server: RunningServer): Promise<void> {
    if (this.#asking.has(server)) return
    this.#asking.add(server)
    try {
      const from = await this.#watch.position()
      const response = await fetch(`${server.url}/.well-known/jwks.json`)
      const { keys } = (await response.json()) as Jwks
      const to = await this.#watch.position()
      const maxAgeSeconds = Number(/max-age=([0-9]+)/.exec(response.headers.get('cache-control') ?? '')?.[1])
      if (this.#going) this.snapshots.push({ from, to, kids: keys.map(({ kid }) => kid), maxAgeSeconds })
    } catch {
      // It was killed, or is being stopped.
    } finally {
      this.#asking.delete(server)
    }
  }
}
