/** The alerting rules in examples/ speak of what `/metrics` has, and the guide of each of them. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { Metrics } from '../src/http/metrics.ts'
import { MetricsSum, workerStates } from '../src/http/metrics-sum.ts'
import { routes } from '../src/http/request.ts'
import { reasons } from '../src/oauth/errors.ts'
import { outboundFailures } from '../src/outbound/outbound-error.ts'
import { root } from './support/process.ts'
import { readAlerts, type Selector, selectorsOf } from './support/rules.ts'
import { startTestServer } from './support/server.ts'

const connections = { inUse: 1, idle: 0, waiting: 0, limit: 10 }

/** What a process on PostgreSQL measures besides. */
const onPostgres = new Metrics({
  secretChecks: () => 0,
  logLinesLost: () => 0,
  clockOffsetSeconds: () => 0,
  storeLink: () => ({ connections, viewAgeSeconds: 0 }),
  storeBacklogBytes: () => 0,
  keys: () => [],
  keyTimes: () => [],
})

/** Names of samples as `/metrics` has them, those of the supervisor included. */
async function exposedNames(): Promise<ReadonlySet<string>> {
  const { url } = await startTestServer()
  const texts = [
    await (await fetch(`${url}/metrics`)).text(),
    await onPostgres.registry.metrics(),
    await new MetricsSum().write({ states: [...workerStates], restarts: 0 }),
  ]
  const suffixes: Readonly<Record<string, readonly string[]>> = { histogram: ['_bucket', '_sum', '_count'] }
  return new Set(
    texts.flatMap((text) =>
      [...text.matchAll(/^# TYPE (\w+) (\w+)$/gm)].flatMap(([, name = '', type = '']) =>
        (suffixes[type] ?? ['']).map((suffix) => `${name}${suffix}`),
      ),
    ),
  )
}

// What Prometheus adds itself, and the values of labels that are a closed set here.
const own = new Set(['up'])
const knownValues: Readonly<Record<string, readonly string[]>> = {
  reason: reasons,
  route: routes,
  state: [...workerStates, ...Object.keys(connections)],
  outcome: ['fetched', ...outboundFailures],
}

const unknownNames = (selectors: readonly Selector[], names: ReadonlySet<string>): readonly string[] =>
  selectors.map(({ metric }) => metric).filter((metric) => !names.has(metric) && !own.has(metric))

const unknownValues = (selectors: readonly Selector[]): readonly string[] =>
  selectors.flatMap(({ labels }) =>
    [...labels].flatMap(([label, values]) =>
      values.filter((value) => knownValues[label]?.includes(value) === false).map((value) => `${label}="${value}"`),
    ),
  )

describe('the alerting rules', () => {
  const alerts = readAlerts()
  const selectors = alerts.flatMap(({ expression }) => selectorsOf(expression))

  it('name only metrics that are exposed, and values of labels that there are', async () => {
    expect(alerts.length).toBeGreaterThan(10)
    for (const { name, expression } of alerts) expect(selectorsOf(expression), name).not.toEqual([])
    expect(unknownNames(selectors, await exposedNames())).toEqual([])
    expect(unknownValues(selectors)).toEqual([])
  })

  it('would be refused with a metric, a suffix or a value that there is not', async () => {
    const names = await exposedNames()
    const of = selectorsOf(
      'sum by (reason) (rate(mayfly_refusal_total{reason="secret_rong"}[5m])) > 1 or mayfly_workers',
    )
    expect(unknownNames(of, names)).toEqual(['mayfly_refusal_total'])
    expect(unknownValues(of)).toEqual(['reason="secret_rong"'])
    expect(unknownNames(selectorsOf('rate(mayfly_http_request_seconds{status="503"}[2m])'), names)).toEqual([
      'mayfly_http_request_seconds',
    ])
    expect(() => readAlerts('      - alert: Half\n        expr: up == 0\n')).toThrow('cannot be read')
  })

  it('are each told of in the guide, with what to do, and no other is', () => {
    const guide = readFileSync(join(root, 'docs/operations.md'), 'utf8')
    const rows = [...guide.matchAll(/^\| `(Mayfly\w+)` \| [^|]+ \| [^|]+ \| (\w+) \|$/gm)]
    const told = rows.map(([, name, urgency]) => `${name} ${urgency}`)
    expect(told.sort()).toEqual(alerts.map(({ name, severity }) => `${name} ${severity}`).sort())
  })
})
