import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client'
import type { SigningAlg } from '../key/signer.ts'
import type { Reason } from '../oauth/errors.ts'
import type { GrantType } from '../oauth/grant-type.ts'
import type { TokenType } from '../oauth/token-type.ts'
import type { LimitName } from './caller-limits.ts'

const connectionStates = ['inUse', 'idle', 'waiting', 'limit'] as const
type ConnectionState = (typeof connectionStates)[number]

/** What the metrics are read from when they are asked for. */
export interface Gauges {
  /** Argon2id checks that run or wait. */
  secretChecks(): number
  /** Lines of the log that were dropped. */
  logLinesLost(): number
  /** See `Store.backlogBytes`. */
  storeBacklogBytes(): number
  /** How far the clock is ahead of the database's. */
  clockOffsetSeconds(): number
  /** See `Store.link`. */
  storeLink():
    | {
        readonly connections: Readonly<Record<ConnectionState, number>>
        readonly viewAgeSeconds: number
      }
    | undefined
  keys(): readonly { readonly alg: SigningAlg; readonly state: string }[]
  /** For each algorithm, the time to the next transition of any of its keys, and the age of the active one. */
  keyTimes(): readonly {
    readonly alg: SigningAlg
    readonly untilNextSeconds?: number
    readonly activeAgeSeconds?: number
  }[]
}

/** The Prometheus metrics. Every label takes its values from a closed set: nothing that a caller sends becomes one. */
export class Metrics {
  readonly registry = new Registry()
  readonly tokensIssued: Counter<'grant_type' | 'alg' | 'token_type'>
  readonly refreshRetries: Counter
  readonly refusals: Counter<'reason'>
  readonly limited: Counter<'limit' | 'outcome'>
  readonly quotaWarnings: Counter
  readonly revocations: Counter<'kind'>
  readonly tokenChecks: Counter<'endpoint' | 'outcome'>
  readonly forgedTokens: Counter
  readonly keyFetches: Counter<'outcome'>
  readonly requests: Histogram<'route' | 'status'>
  readonly commitActs: Histogram
  readonly commitSeconds: Histogram
  readonly commitFailures: Counter

  constructor(gauges: Gauges) {
    const registers = [this.registry]
    collectDefaultMetrics({ register: this.registry })
    this.tokensIssued = new Counter({
      name: 'mayfly_tokens_issued_total',
      help: 'Access tokens handed out',
      labelNames: ['grant_type', 'alg', 'token_type'],
      registers,
    })
    this.refreshRetries = new Counter({
      name: 'mayfly_refresh_retries_total',
      help: 'Refresh tokens that were presented again inside the window and got the same successor',
      registers,
    })
    this.refusals = new Counter({
      name: 'mayfly_refusals_total',
      help: 'Refused requests, by reason',
      labelNames: ['reason'],
      registers,
    })
    this.limited = new Counter({
      name: 'mayfly_limited_total',
      help: 'Requests that passed a limit, by the limit, and whether they were refused for it or would have been',
      labelNames: ['limit', 'outcome'],
      registers,
    })
    this.quotaWarnings = new Counter({
      name: 'mayfly_quota_warnings_total',
      help: 'Clients that had most of the tokens of their hour, once an hour and client',
      registers,
    })
    this.revocations = new Counter({
      name: 'mayfly_revocations_total',
      help: 'Requests to revoke a token, by what they ended',
      labelNames: ['kind'],
      registers,
    })
    this.tokenChecks = new Counter({
      name: 'mayfly_token_checks_total',
      help: 'Questions about tokens that were answered; those of /verify that were refused are among the refusals',
      labelNames: ['endpoint', 'outcome'],
      registers,
    })
    this.forgedTokens = new Counter({
      name: 'mayfly_forged_tokens_total',
      help: 'Tokens that one of our keys signed and that we have not made',
      registers,
    })
    this.keyFetches = new Counter({
      name: 'mayfly_key_fetches_total',
      help: 'Key sets that were asked for at the jwks_uri of clients, by what became of it',
      labelNames: ['outcome'],
      registers,
    })
    this.requests = new Histogram({
      name: 'mayfly_http_request_seconds',
      help: 'Time from the arrival of a request to its reply',
      labelNames: ['route', 'status'],
      buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5],
      registers,
    })
    this.commitActs = new Histogram({
      name: 'mayfly_store_commit_acts',
      help: 'Acts in one commit',
      buckets: [1, 2, 4, 8, 16, 32, 64, 128, 256, 512],
      registers,
    })
    this.commitSeconds = new Histogram({
      name: 'mayfly_store_commit_seconds',
      help: 'Duration of one commit',
      buckets: [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1],
      registers,
    })
    this.commitFailures = new Counter({
      name: 'mayfly_store_commit_failures_total',
      help: 'Commits that failed',
      registers,
    })
    addGauges(gauges, registers)
  }

  /** Counts a token that was handed out. */
  countIssued(
    grantType: GrantType,
    { alg, isRetry, tokenType }: { alg: SigningAlg; isRetry: boolean; tokenType: TokenType },
  ): void {
    this.tokensIssued.inc({ grant_type: grantType, alg, token_type: tokenType })
    if (isRetry) this.refreshRetries.inc()
  }

  /** Counts a request that passed a limit. */
  countLimited(limit: LimitName, outcome: 'refused' | 'logged'): void {
    this.limited.inc({ limit, outcome })
  }

  /** Counts a request to revoke a token; `none` when it ended nothing. */
  countRevocation(kind: 'access_token' | 'refresh_token' | 'none'): void {
    this.revocations.inc({ kind })
  }

  /** Counts an answer about a token. */
  countCheck(endpoint: 'introspect' | 'verify', outcome: 'active' | 'inactive'): void {
    this.tokenChecks.inc({ endpoint, outcome })
  }

  /** Counts a refusal. */
  countRefusal(reason: Reason): void {
    this.refusals.inc({ reason })
  }
}

/** What the numbers of several processes that serve one database make together is said by `aggregator`; without it, their sum. */
function addGauges(gauges: Gauges, registers: Registry[]): void {
  new Counter({
    name: 'mayfly_log_lines_lost_total',
    help: 'Lines of the log that were dropped because nobody read it',
    registers,
    collect() {
      this.reset()
      this.inc(gauges.logLinesLost())
    },
  })
  new Gauge({
    name: 'mayfly_secret_checks',
    help: 'Argon2id checks of imported secrets that run or wait',
    registers,
    collect() {
      this.set(gauges.secretChecks())
    },
  })
  new Gauge({
    name: 'mayfly_store_backlog_bytes',
    help: 'Bytes of the -wal that are not in the database file yet: they grow while another process reads in one long transaction',
    aggregator: 'max',
    registers,
    collect() {
      this.set(gauges.storeBacklogBytes())
    },
  })
  new Gauge({
    name: 'mayfly_clock_offset_seconds',
    help: 'How far the clock of this node is ahead of that of the database, as far as that is certain; beyond 2, either way, it issues nothing',
    // All processes of a machine have one clock.
    aggregator: 'average',
    registers,
    collect() {
      this.set(gauges.clockOffsetSeconds())
    },
  })
  if (gauges.storeLink() !== undefined) addLinkGauges(gauges, registers)
  new Gauge({
    name: 'mayfly_signing_keys',
    help: 'Published signing keys',
    labelNames: ['alg', 'state'],
    aggregator: 'max',
    registers,
    collect() {
      this.reset()
      for (const { alg, state } of gauges.keys()) this.inc({ alg, state })
    },
  })
  new Gauge({
    name: 'mayfly_signing_key_next_transition_seconds',
    help: 'Time until the next signing key is activated or leaves the JWKS; below zero when that is overdue',
    labelNames: ['alg'],
    aggregator: 'min',
    registers,
    collect() {
      this.reset()
      for (const { alg, untilNextSeconds } of gauges.keyTimes()) {
        if (untilNextSeconds !== undefined) this.set({ alg }, untilNextSeconds)
      }
    },
  })
  new Gauge({
    name: 'mayfly_signing_key_active_age_seconds',
    help: 'Time since the active signing key began to sign',
    labelNames: ['alg'],
    aggregator: 'max',
    registers,
    collect() {
      this.reset()
      for (const { alg, activeAgeSeconds } of gauges.keyTimes()) {
        if (activeAgeSeconds !== undefined) this.set({ alg }, activeAgeSeconds)
      }
    },
  })
}

const connectionLabels = { inUse: 'in_use', idle: 'idle', waiting: 'waiting', limit: 'limit' } as const

// Only where the database is reached over connections.
function addLinkGauges(gauges: Gauges, registers: Registry[]): void {
  new Gauge({
    name: 'mayfly_store_connections',
    help: 'Connections to the database: in use, idle, acts that wait for one, and how many there may be',
    labelNames: ['state'],
    registers,
    collect() {
      const connections = gauges.storeLink()?.connections
      if (connections === undefined) return
      for (const state of connectionStates) this.set({ state: connectionLabels[state] }, connections[state])
    },
  })
  new Gauge({
    name: 'mayfly_store_view_age_seconds',
    help: 'Time since this node last looked what other nodes have changed; beyond 0.2, each answer waits for a look of its own',
    aggregator: 'max',
    registers,
    collect() {
      this.set(gauges.storeLink()?.viewAgeSeconds ?? Number.NaN)
    },
  })
}
