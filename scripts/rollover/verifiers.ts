/** The processes of verifiers of a run. */
import type { Place } from './load.ts'
import { kindsOf, offsetSecondsOf, type Plan, type VerifierOrder } from './plan.ts'
import { RigProcess } from './process.ts'
import type { Delivery, Failure, VerifierReport } from './verifier.ts'

export interface VerifierFigures {
  /** Live tokens that were verified, by kind of verifier. */
  readonly verified: Readonly<Record<string, number>>
  /** Looks at a token that came when it was dead: the machine was late. */
  readonly tooLate: number
  readonly failures: readonly Failure[]
}

export class Verifiers {
  readonly #processes: readonly RigProcess<VerifierReport>[]
  readonly #ready: Promise<unknown>
  readonly #done: Promise<unknown>
  readonly #verified: Record<string, number> = {}
  readonly #failures: Failure[] = []
  #tooLate = 0
  readonly places: readonly Place[]

  constructor(plan: Plan, issuer: string, time: string) {
    const orders = kindsOf(plan).map(
      (kinds, i): VerifierOrder => ({ issuer, time, offsetSeconds: offsetSecondsOf(i), kinds }),
    )
    this.places = orders.flatMap(({ kinds, offsetSeconds }, process) =>
      kinds.map((_, verifier) => ({ process, verifier, offsetMilliseconds: offsetSeconds * 1000 })),
    )
    const started = orders.map((order) => this.#start(order))
    this.#processes = started.map(({ process }) => process)
    this.#ready = Promise.all(started.map(({ ready }) => ready))
    this.#done = Promise.all(started.map(({ done }) => done))
    this.#done.catch(() => {})
  }

  async ready(): Promise<void> {
    await Promise.race([this.#ready, this.#done])
  }

  deliver(process: number, delivery: Delivery): void {
    this.#processes[process]?.tell(delivery)
  }

  get failures(): readonly Failure[] {
    return this.#failures
  }

  /** Resolves when every token that was delivered has been looked at. */
  async finish(): Promise<VerifierFigures> {
    for (const process of this.#processes) process.tell('finish')
    await this.#done
    return { verified: this.#verified, tooLate: this.#tooLate, failures: this.#failures }
  }

  async end(): Promise<void> {
    await Promise.all(this.#processes.map((process) => process.kill()))
  }

  #start(order: VerifierOrder) {
    const ready = Promise.withResolvers<void>()
    const done = Promise.withResolvers<void>()
    const process = new RigProcess<VerifierReport>('verifiers', 'verifier.ts', order, (report) => {
      if (report.type === 'ready') ready.resolve()
      else if (report.type === 'failure') this.#failures.push(report.failure)
      else {
        for (const [kind, count] of Object.entries(report.verified)) {
          this.#verified[kind] = (this.#verified[kind] ?? 0) + count
        }
        this.#tooLate += report.tooLate
        done.resolve()
      }
    })
    process.ended().then(() => done.reject(new Error(`a process of verifiers ended early: ${process.errors}`)))
    return { process, ready: ready.promise, done: done.promise }
  }
}
