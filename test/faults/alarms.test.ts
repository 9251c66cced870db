/** The alerting rules in examples/, read and tried by Prometheus' own tool. */
import { spawn } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'
import { type Finished, finish, temporaryFolder } from '../support/process.ts'
import { readAlerts, rulesFile } from '../support/rules.ts'
import { requireTools } from '../support/tools.ts'

beforeAll(() => requireTools('promtool'))

const promtool = (...args: string[]): Promise<Finished> => finish(spawn('promtool', args, { stdio: 'pipe' }))

type Series = Readonly<Record<string, string>>

const requests = 'mayfly_http_request_seconds'

// Series by the minute, as promtool takes them: FIRST+STEPxCOUNT. `_` is a minute without a sample.
const quiet: Series = {
  'up{job="mayfly"}': '1x40',
  [`${requests}_count{route="readyz",status="200"}`]: '0+4x40',
  [`${requests}_count{route="token",status="200"}`]: '0+6000x40',
  [`${requests}_count{route="token",status="503"}`]: '0+6x40',
  [`${requests}_bucket{route="token",le="0.01"}`]: '0+6000x40',
  [`${requests}_bucket{route="token",le="+Inf"}`]: '0+6006x40',
  mayfly_forged_tokens_total: '0x40',
  mayfly_store_commit_failures_total: '0x40',
  'mayfly_signing_key_next_transition_seconds{alg="ES256"}': '2400-60x40',
  'mayfly_refusals_total{reason="secret_wrong"}': '0+10x40',
  'mayfly_refusals_total{reason="refresh_reused"}': '2x40',
  mayfly_quota_warnings_total: '3x40',
  'nodejs_eventloop_lag_p99_seconds{job="mayfly"}': '0.02x40',
  mayfly_store_backlog_bytes: '4e6x40',
  mayfly_clock_offset_seconds: '0.1 -0.1 1.5 0.1 0.1x36',
  'mayfly_store_connections{state="waiting"}': '0 3 0 5 0 0x36',
  mayfly_store_view_age_seconds: '0.1 0.9 0.1x38',
  'mayfly_key_fetches_total{outcome="fetched"}': '0+9x40',
  'mayfly_key_fetches_total{outcome="unreachable"}': '1x40',
  'mayfly_workers{state="ready"}': '2x40',
  'mayfly_workers{state="silent"}': '0x40',
  mayfly_worker_restarts_total: '1x40',
  'process_open_fds{job="mayfly"}': '100x40',
  'process_max_fds{job="mayfly"}': '1000x40',
}

/** What makes each of them fire, within 40 minutes, beside what is ordinary. */
const loud: Readonly<Record<string, Series>> = {
  MayflyDown: { 'up{job="mayfly"}': '0x40' },
  MayflyNotReady: { [`${requests}_count{route="readyz",status="503"}`]: '0+4x40' },
  MayflyForgedToken: { mayfly_forged_tokens_total: '0x20 1x20' },
  MayflyCommitsFail: { mayfly_store_commit_failures_total: '0x37 1x3' },
  MayflyAnswers5xx: { [`${requests}_count{route="token",status="503"}`]: '0+100x40' },
  MayflyKeyRotationLate: { 'mayfly_signing_key_next_transition_seconds{alg="ES256"}': '1800-60x40' },
  MayflyRefreshTokenReused: { 'mayfly_refusals_total{reason="refresh_reused"}': '_x35 1x5' },
  MayflyCredentialsRefused: { 'mayfly_refusals_total{reason="secret_wrong"}': '0+60x40' },
  MayflyExpiredSecret: { 'mayfly_refusals_total{reason="secret_expired"}': '_x35 1x5' },
  MayflyLimitsHit: { 'mayfly_limited_total{limit="client",outcome="refused"}': '0+5x40' },
  MayflyQuotaNearlyUsed: { mayfly_quota_warnings_total: '3x20 4x20' },
  MayflySlow: {
    [`${requests}_bucket{route="token",le="0.01"}`]: '0+5000x40',
    [`${requests}_bucket{route="token",le="1"}`]: '0+6006x40',
  },
  MayflyEventLoopLags: { 'nodejs_eventloop_lag_p99_seconds{job="mayfly"}': '0.4x40' },
  MayflyStoreBacklog: { mayfly_store_backlog_bytes: '2e8x40' },
  MayflyClockOff: { mayfly_clock_offset_seconds: '-1.5x40' },
  MayflyConnectionsWait: { 'mayfly_store_connections{state="waiting"}': '3x40' },
  MayflyViewOld: { mayfly_store_view_age_seconds: '1+1x40' },
  MayflyKeysOfClientNotFetched: { 'mayfly_key_fetches_total{outcome="unreachable"}': '0+1x40' },
  MayflyWorkerSilent: { 'mayfly_workers{state="silent"}': '1x40' },
  MayflyWorkersRestart: { mayfly_worker_restarts_total: '0+1x40' },
  MayflyLogLinesLost: { mayfly_log_lines_lost_total: '0+1x40' },
  MayflyFileDescriptors: { 'process_open_fds{job="mayfly"}': '900x40' },
}

const withInstance = (series: string): string =>
  series.includes('{') ? series.replace('{', '{instance="a",') : `${series}{instance="a"}`

/** Which alerts fire after 40 minutes, by what promtool says it got. */
async function firing(series: Series): Promise<readonly string[]> {
  const folder = temporaryFolder()
  const input = Object.entries(series).map(([name, values]) => ({ series: withInstance(name), values }))
  const wanted = readAlerts().map(({ name }) => ({ eval_time: '40m', alertname: name, exp_alerts: [] }))
  const file = join(folder, 'test.yaml')
  const tests = [{ interval: '1m', input_series: input, alert_rule_test: wanted }]
  writeFileSync(file, JSON.stringify({ rule_files: [rulesFile], evaluation_interval: '1m', tests }))
  const { stdout, stderr } = await promtool('test', 'rules', file)
  const fired = [...`${stdout}${stderr}`.matchAll(/alertname: (\w+), time: \w+,/g)].map(([, name = '']) => name)
  if (fired.length === 0) expect(stdout).toContain('SUCCESS')
  return fired
}

describe('the alerting rules', () => {
  it('are read by promtool, which refuses an expression that is none', async () => {
    expect(await promtool('check', 'rules', rulesFile)).toMatchObject({ code: 0 })
    const wrong = join(temporaryFolder(), 'wrong.yaml')
    writeFileSync(wrong, readFileSync(rulesFile, 'utf8').replace('== 0', '=== 0'))
    expect((await promtool('check', 'rules', wrong)).code).toBe(1)
  })

  it('are silent on an ordinary day', async () => {
    expect(await firing(quiet)).toEqual([])
  })

  it('have each a case here', () => {
    expect(Object.keys(loud).sort()).toEqual(
      readAlerts()
        .map(({ name }) => name)
        .sort(),
    )
  })

  it.each(Object.keys(loud))('fire when they should: %s, and no other with it', async (name) => {
    expect(await firing({ ...quiet, ...loud[name] })).toEqual([name])
  })
})
