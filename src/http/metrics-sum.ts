/**
 * One `/metrics` for several processes: counters and histograms are summed, of gauges each says by itself what several make
 * together. What a process counted before it ended stays in the sum, as it was when it was last asked: a sum that fell
 * would be taken for a restart of everything, and all that the others have counted would count a second time.
 */
import { AggregatorRegistry, Counter, Gauge, type MetricObject, Registry } from 'prom-client'

/** What one process has counted, as prom-client writes it in JSON. */
export type MetricsSnapshot = readonly MetricObject[]

/** How a worker is, for the metrics. */
export const workerStates = ['ready', 'silent', 'starting', 'waiting'] as const

export type WorkerState = (typeof workerStates)[number]

/** What the supervisor knows by itself. */
export interface WorkerFigures {
  readonly states: readonly WorkerState[]
  readonly restarts: number
}

// Node's own say nothing of several processes, or what hides the one that is in trouble.
const aggregators: Readonly<Record<string, string>> = {
  process_start_time_seconds: 'min',
  nodejs_eventloop_lag_seconds: 'max',
  nodejs_eventloop_lag_mean_seconds: 'max',
  nodejs_eventloop_lag_stddev_seconds: 'max',
  nodejs_eventloop_lag_p50_seconds: 'max',
  nodejs_eventloop_lag_p90_seconds: 'max',
  nodejs_eventloop_lag_p99_seconds: 'max',
}

export class MetricsSum {
  /** What those have counted that are gone. */
  #gone: MetricsSnapshot = []
  readonly #last = new Map<number, MetricsSnapshot>()

  noteStart(process: number): void {
    this.#last.set(process, [])
  }

  /** The newest numbers of a process, by its id; those of one that has ended meanwhile are in the sum already. */
  note(process: number, snapshot: MetricsSnapshot): void {
    if (this.#last.has(process)) this.#last.set(process, snapshot)
  }

  /** A process has ended: what it counted stays, what it was like does not. */
  noteEnd(process: number): void {
    const counted = this.#last.get(process)?.filter(({ type }) => isCounted(type)) ?? []
    this.#last.delete(process)
    this.#gone = aggregate([this.#gone, counted]).getMetricsAsArray()
  }

  /** All of them together, in Prometheus' text. */
  async write(figures: WorkerFigures): Promise<string> {
    const sum = aggregate([...this.#last.values(), this.#gone])
    return `${await sum.metrics()}\n${await writeFigures(figures)}`
  }
}

// The type is a number where prom-client declares it, and a word where it writes it.
function isCounted(type: unknown): boolean {
  return type === 'counter' || type === 'histogram'
}

function aggregate(snapshots: readonly MetricsSnapshot[]): Registry {
  const all = snapshots.map((snapshot) =>
    snapshot.map((metric) => ({ ...metric, aggregator: aggregators[metric.name] ?? metric.aggregator ?? 'sum' })),
  )
  return AggregatorRegistry.aggregate(all)
}

async function writeFigures({ states, restarts }: WorkerFigures): Promise<string> {
  const registry = new Registry()
  const workers = new Gauge({
    name: 'mayfly_workers',
    help: 'Workers by how they are: they serve, serve and do not answer the supervisor, start, or wait to be started again',
    labelNames: ['state'],
    registers: [registry],
  })
  for (const state of workerStates) workers.set({ state }, states.filter((each) => each === state).length)
  new Counter({
    name: 'mayfly_worker_restarts_total',
    help: 'Workers that ended without being told to, and are started again',
    registers: [registry],
  }).inc(restarts)
  return registry.metrics()
}
