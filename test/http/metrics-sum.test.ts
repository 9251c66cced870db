import { describe, expect, it } from 'vitest'
import { Metrics } from '../../src/http/metrics.ts'
import { type MetricsSnapshot, MetricsSum } from '../../src/http/metrics-sum.ts'

interface Figures {
  readonly issued?: number
  readonly requests?: readonly number[]
  readonly backlog?: number
  readonly checks?: number
  readonly nextSeconds?: number
}

/** What a process says, as JSON carries it. */
async function snapshotOf(figures: Figures): Promise<MetricsSnapshot> {
  const { issued = 0, requests = [], backlog = 0, checks = 0, nextSeconds = 100 } = figures
  const metrics = new Metrics({
    secretChecks: () => checks,
    logLinesLost: () => 0,
    clockOffsetSeconds: () => 0,
    storeLink: () => undefined,
    storeBacklogBytes: () => backlog,
    keys: () => [
      { alg: 'ES256', state: 'active' },
      { alg: 'ES256', state: 'staged' },
    ],
    keyTimes: () => [{ alg: 'ES256', untilNextSeconds: nextSeconds, activeAgeSeconds: 10 * nextSeconds }],
  })
  for (let i = 0; i < issued; i += 1)
    metrics.countIssued('client_credentials', { alg: 'ES256', isRetry: false, tokenType: 'Bearer' })
  for (const seconds of requests) metrics.requests.observe({ route: 'token', status: 200 }, seconds)
  return JSON.parse(JSON.stringify(await metrics.registry.getMetricsAsJSON())) as MetricsSnapshot
}

const issuedName = 'mayfly_tokens_issued_total{grant_type="client_credentials",alg="ES256",token_type="Bearer"}'

/** The sum of processes that have started. */
function sumOf(...processes: readonly number[]): MetricsSum {
  const sum = new MetricsSum()
  for (const process of processes) sum.noteStart(process)
  return sum
}

async function read(sum: MetricsSum): Promise<(name: string) => number | undefined> {
  const text = await sum.write({ states: ['ready', 'ready', 'waiting'], restarts: 3 })
  const values = new Map(
    text
      .split('\n')
      .filter((line) => line !== '' && !line.startsWith('#'))
      .map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.slice(line.lastIndexOf(' ') + 1))]),
  )
  return (name) => values.get(name)
}

describe('the metrics of several processes', () => {
  it('sum what is counted, in counters and in each bucket of histograms', async () => {
    const sum = sumOf(1, 2, 3)
    sum.note(1, await snapshotOf({ issued: 5, requests: [0.002, 0.3] }))
    sum.note(2, await snapshotOf({ issued: 7, requests: [0.002] }))
    const value = await read(sum)
    expect(value(issuedName)).toBe(12)
    expect(value('mayfly_http_request_seconds_count{route="token",status="200"}')).toBe(3)
    expect(value('mayfly_http_request_seconds_bucket{le="0.0025",route="token",status="200"}')).toBe(2)
    expect(value('mayfly_http_request_seconds_sum{route="token",status="200"}')).toBeCloseTo(0.304)
  })

  it('count once what all of them see, and tell the worst of it', async () => {
    const sum = sumOf(1, 2, 3)
    sum.note(1, await snapshotOf({ backlog: 4_096, checks: 2, nextSeconds: 50 }))
    sum.note(2, await snapshotOf({ backlog: 8_192, checks: 1, nextSeconds: -5 }))
    const value = await read(sum)
    expect(value('mayfly_store_backlog_bytes')).toBe(8_192)
    expect(value('mayfly_signing_keys{alg="ES256",state="active"}')).toBe(1)
    expect(value('mayfly_signing_key_next_transition_seconds{alg="ES256"}')).toBe(-5)
    expect(value('mayfly_signing_key_active_age_seconds{alg="ES256"}')).toBe(500)
    expect(value('mayfly_secret_checks')).toBe(3)
  })

  it('never fall when a process ends, comes back with nothing, and ends again', async () => {
    const sum = sumOf(1, 2, 3)
    sum.note(1, await snapshotOf({ issued: 5, requests: [0.002], checks: 4 }))
    sum.note(2, await snapshotOf({ issued: 7, checks: 1 }))
    const seen: (number | undefined)[] = []
    const look = async (): Promise<void> => void seen.push((await read(sum))(issuedName))
    await look()
    sum.noteEnd(1)
    await look()
    sum.note(3, await snapshotOf({ issued: 0 }))
    await look()
    sum.note(3, await snapshotOf({ issued: 2, requests: [0.002] }))
    sum.noteEnd(3)
    await look()
    sum.noteEnd(2)
    await look()
    expect(seen).toEqual([12, 12, 12, 14, 14])
    const value = await read(sum)
    expect(value('mayfly_http_request_seconds_count{route="token",status="200"}')).toBe(2)
    // What a process is like goes with it.
    expect(value('mayfly_secret_checks')).toBeUndefined()
  })

  it('count nothing twice that a process had said and that is only heard of after its end', async () => {
    const sum = sumOf(1)
    const snapshot = await snapshotOf({ issued: 5, checks: 4 })
    sum.note(1, snapshot)
    sum.noteEnd(1)
    sum.note(1, snapshot)
    const value = await read(sum)
    expect(value(issuedName)).toBe(5)
    expect(value('mayfly_secret_checks')).toBeUndefined()
  })

  it('keep nothing of a process that was never asked', async () => {
    const sum = sumOf(1, 2, 3)
    sum.note(1, await snapshotOf({ issued: 1 }))
    sum.noteEnd(2)
    expect((await read(sum))(issuedName)).toBe(1)
  })

  it('say how the workers are, and are a document that ends as it must', async () => {
    const sum = sumOf(1, 2, 3)
    const empty = await sum.write({ states: ['starting'], restarts: 0 })
    expect(empty.endsWith('mayfly_worker_restarts_total 0\n')).toBe(true)
    sum.note(1, await snapshotOf({}))
    const value = await read(sum)
    expect([value('mayfly_workers{state="ready"}'), value('mayfly_workers{state="waiting"}')]).toEqual([2, 1])
    expect([value('mayfly_workers{state="silent"}'), value('mayfly_worker_restarts_total')]).toEqual([0, 3])
    const text = await sum.write({ states: [], restarts: 0 })
    const names = [...text.matchAll(/^# TYPE (\S+)/gm)].map(([, name]) => name)
    expect(new Set(names).size).toBe(names.length)
    expect(text).not.toMatch(/^[^#\n]*(?:null|undefined|\[object)/m)
  })
})
