import { OutboundError } from './outbound-error.ts'

/** How many requests run and wait for one host, and for how many hosts. */
export interface SlotLimits {
  readonly running: number
  readonly waiting: number
  readonly hosts: number
}

const defaultSlots: SlotLimits = { running: 2, waiting: 16, hosts: 64 }

interface Lane {
  running: number
  readonly waiting: Set<() => void>
}

/** A place in line for each request, by host: a host that is slow keeps those waiting who want something of it, and nobody else. */
export class HostSlots {
  readonly #limits: SlotLimits
  readonly #lanes = new Map<string, Lane>()

  constructor(limits: SlotLimits = defaultSlots) {
    this.#limits = limits
  }

  /**
   * Runs a task when it is its turn. Its slot is free when it has settled, and not before.
   *
   * @throws OutboundError `busy` at once when the line is full; `timeout` when the signal aborts before its turn
   */
  async run<T>(host: string, signal: AbortSignal, task: () => Promise<T>): Promise<T> {
    const lane = this.#laneOf(host)
    await this.#enter(lane, signal)
    try {
      return await task()
    } finally {
      this.#leave(host, lane)
    }
  }

  #laneOf(host: string): Lane {
    const known = this.#lanes.get(host)
    if (known !== undefined) return known
    if (this.#lanes.size >= this.#limits.hosts) throw new OutboundError('busy')
    const lane: Lane = { running: 0, waiting: new Set() }
    this.#lanes.set(host, lane)
    return lane
  }

  #enter(lane: Lane, signal: AbortSignal): Promise<void> | undefined {
    if (lane.running < this.#limits.running) {
      lane.running += 1
      return undefined
    }
    if (lane.waiting.size >= this.#limits.waiting) throw new OutboundError('busy')
    return new Promise((resolve, reject) => {
      const giveUp = (): void => {
        lane.waiting.delete(begin)
        reject(new OutboundError('timeout'))
      }
      const begin = (): void => {
        signal.removeEventListener('abort', giveUp)
        resolve()
      }
      signal.addEventListener('abort', giveUp, { once: true })
      lane.waiting.add(begin)
    })
  }

  // The place of one that leaves goes to the next in line, so that nobody can slip in between.
  #leave(host: string, lane: Lane): void {
    const [next] = lane.waiting
    if (next !== undefined) {
      lane.waiting.delete(next)
      next()
      return
    }
    lane.running -= 1
    if (lane.running === 0) this.#lanes.delete(host)
  }
}
