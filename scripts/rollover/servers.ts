/** The server processes of a run, all on one database: started, killed, paused, stopped. */
import type { Front } from './front.ts'
import type { ServerOrder } from './plan.ts'
import { RigProcess } from './process.ts'
import type { ServerReport } from './server.ts'

/** A server that answers. */
export interface RunningServer {
  readonly url: string
  readonly process: RigProcess<ServerReport>
}

export class Servers {
  readonly #order: ServerOrder
  readonly #front: Front
  readonly #all: RigProcess<ServerReport>[] = []
  readonly running = new Set<RunningServer>()
  /** What servers that are gone wrote to stderr. */
  errors = ''

  constructor(order: ServerOrder, front: Front) {
    this.#order = order
    this.#front = front
  }

  /** Starts one; resolves when it answers. */
  async start(): Promise<void> {
    const listening = Promise.withResolvers<string>()
    const process = new RigProcess<ServerReport>('server', 'server.ts', this.#order, (report) => {
      listening.resolve(report.url)
    })
    this.#all.push(process)
    const ended = process.ended().then((code) => {
      throw new Error(`a server ended with ${code}: ${process.errors}`)
    })
    // Its end matters to whoever waits for its start; later ends are looked at where they are caused.
    ended.catch(() => {})
    const url = await Promise.race([listening.promise, ended])
    this.running.add({ url, process })
    this.#front.add(url)
  }

  /** Kills one. */
  async kill(server: RunningServer): Promise<void> {
    await server.process.kill()
    this.#forget(server)
  }

  /** Drains all; they must end by themselves and well. @throws Error when one does not */
  async stop(): Promise<void> {
    const servers = [...this.running]
    for (const { process } of servers) process.tell('stop')
    const codes = await Promise.all(servers.map(({ process }) => process.ended()))
    for (const server of servers) this.#forget(server)
    if (codes.some((code) => code !== 0)) throw new Error(`servers ended with ${codes.join(', ')}: ${this.errors}`)
  }

  /** Ends whatever is left. */
  async end(): Promise<void> {
    await Promise.all(this.#all.map((process) => process.kill()))
  }

  #forget(server: RunningServer): void {
    this.#front.remove(server.url)
    this.running.delete(server)
    this.errors = `${this.errors}${server.process.errors}`
  }
}
