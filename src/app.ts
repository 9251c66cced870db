/**
 * The composition root: what an issuer consists of is put together here. What it makes has no process, no
 * environment and no port of its own.
 */
import { availableParallelism } from 'node:os'
import { RefusalSampler, samplerLimitsFor } from './audit/sampler.ts'
import { type ClientKey, readClientKey } from './client/client-keys.ts'
import { checkLimitsFor, ImportedSecretChecker } from './client/imported-secret.ts'
import { SecretUse } from './client/secret-use.ts'
import { keyTimingOf, type Settings, takesCertificates, toBlockList } from './config.ts'
import type { TakeKey } from './dpop/proof.ts'
import { ProofKeys } from './dpop/proof-keys.ts'
import { type ProofMemory, SeenProofs } from './dpop/seen-proofs.ts'
import { createAddressOf, createIsTrustedPeer } from './http/address.ts'
import { CallerLimits } from './http/caller-limits.ts'
import { createCertificateOf } from './http/client-certificate.ts'
import { createForwardedRequestOf } from './http/forwarded.ts'
import type { Check } from './http/health.ts'
import { createLimitCounts, type LimitCounts } from './http/limit-counts.ts'
import type { ConnectionLimits } from './http/listen.ts'
import { Metrics } from './http/metrics.ts'
import type { MetricsSnapshot } from './http/metrics-sum.ts'
import { RefusalLog } from './http/refusal-log.ts'
import { createMetricsServer, createServer } from './http/server.ts'
import type { TlsFiles } from './http/tls-files.ts'
import type { ProofSettings } from './http/token-proof.ts'
import { readMasterKey } from './key/master-key-file.ts'
import { type Provisioned, provisionKeys } from './key/provision.ts'
import { type KeyRing, KeyRingOpener, type SignerHook } from './key/ring.ts'
import { RingClock } from './key/ring-clock.ts'
import { KeyScheduler } from './key/scheduler.ts'
import { signingAlgs } from './key/signer.ts'
import { findOverdue, nextTransitionAt } from './key/timeline.ts'
import { type Clock, SteadyClock } from './lib/clock.ts'
import { describeError, type Log } from './lib/log.ts'
import { pause } from './lib/pause.ts'
import { WitnessUnavailable } from './lib/store-error.ts'
import { OAuthError } from './oauth/errors.ts'
import { DocumentFetcher, type FetcherOptions } from './outbound/document-fetcher.ts'
import { RemoteKeys } from './outbound/remote-keys.ts'
import { Registry } from './registry/registry.ts'
import { openStoreAt } from './store/open-store.ts'
import { type Store, StoreOpenError } from './store/store.ts'
import { ForgeryAlarm } from './token/forgery-alarm.ts'
import { TokenIssuer } from './token/issue.ts'
import { MarkSet, markGraceMilliseconds } from './token/marks.ts'
import { QuotaWatch } from './token/quota-watch.ts'
import { RefreshTickets } from './token/refresh.ts'
import { TokenVerifier } from './token/token-verifier.ts'

const flushMilliseconds = 5_000
const pruneMilliseconds = 60_000
const pruneFamiliesMilliseconds = 10 * 60_000
const prunePauseMilliseconds = 100
const tlsFilesMilliseconds = 2_000
const pruneBatch = 1_000
// So long a refusal can still say why a refresh token is dead.
const deadFamilyMilliseconds = 60 * 60_000
// Clocks of processes differ, and whoever comes too late by his own must find that he does.
const replayGraceMilliseconds = 60_000
// What is due to the key ring happens within a second.
const keyTickMilliseconds = 400
// So far wall time may be behind before it is stored how far refresh families have lived.
const behindMilliseconds = 1_000

/** What a process has in common with others that share its port. */
export interface Membership {
  /** Which of them it is, from 1. The first does for all what one is enough for. */
  readonly number: number
  readonly count: number
  /** Whether others serve already: then it answers nothing before it can. */
  readonly joins: boolean
  readonly counts: LimitCounts
  readonly seenProofs: ProofMemory
  /** The metrics of all, in Prometheus' text. @throws OAuthError `not_ready` */
  readMetrics(): Promise<string>
}

/** What a test puts in place of the machine, and what a worker is told. */
export interface AppOptions {
  /** Absent: nobody else has its port. */
  readonly membership?: Membership
  readonly clock?: Clock
  readonly log: Log
  readonly signerHook?: SignerHook
  readonly drainIdleMilliseconds?: number
  /** What the key ring and its calendar run by, where deadlines of requests must not run as fast; `clock` unless given. */
  readonly ringClock?: Clock
  /** Whether the clock is held against that of the database; not where time is compressed. */
  readonly comparesClocks?: boolean
  /** How often the key ring is looked at. */
  readonly keyTickMilliseconds?: number
  readonly limits?: Partial<ConnectionLimits>
  /** What stands in the place of the Internet. */
  readonly outside?: FetcherOptions
}

/** What a start makes up when it is told neither issuer nor port. */
const passingIssuer = /^https?:\/\/127\.0\.0\.1:[0-9]+$/

/** A start that stopped because the database names another issuer. */
export class IssuerMismatch extends Error {
  constructor(stored: string, wanted: string) {
    super(
      `the database belongs to the issuer ${stored}, not ${wanted}, and its tokens name that: set MAYFLY_ISSUER=${stored}, or accept the new one with \`mayfly db accept-issuer ${wanted}\``,
    )
    this.name = 'IssuerMismatch'
  }
}

/** An issuer with its store open and its keys tested, which does not know its URL yet. */
export interface PreparedApp {
  readonly store: Store
  readonly provisioned: Provisioned
  /** Absent without any setting of TLS. */
  readonly tls: TlsFiles | undefined
  /**
   * With `passing` the issuer is one of this start alone (a port that was free just now) and takes the place of the last such.
   *
   * @throws IssuerMismatch, StoreUnavailable
   */
  start(issuer: string, options?: { passing: boolean }): Promise<App>
  close(): Promise<void>
}

export interface App {
  /** Answers requests of the main port, and of the metrics port. */
  readonly main: ReturnType<typeof createServer>
  readonly metrics: ReturnType<typeof createServer>
  /** Does what is due to the key ring; the app does it by itself, several times a second. */
  readonly keys: Pick<KeyScheduler, 'tick'>
  /** What this process has counted. */
  readSnapshot(): Promise<MetricsSnapshot>
  /** Turns readiness off, so that a load balancer looks elsewhere. */
  markDraining(): void
  /** Writes what is still in memory and closes the store. */
  close(): Promise<void>
}

/**
 * Opens the store and the key ring.
 *
 * @throws TlsFileError, StoreOpenError, KeyMaterialError, StoreUnavailable: each with one sentence that says what to do
 */
export async function prepareApp(settings: Settings, options: AppOptions): Promise<PreparedApp> {
  const tls = await openTlsFiles(settings)
  const events: Parts['events'] = { failing: false, witnessFailing: false }
  const store = await openStoreAt(settings, {
    create: true,
    examine: isFirst(options.membership),
    ...(options.clock === undefined ? {} : { clock: options.clock }),
    witness: { file: settings.witnessFile },
    processes: options.membership?.count ?? 1,
    events: {
      onCommit: (acts, seconds) => {
        events.failing = false
        events.metrics?.commitActs.observe(acts)
        events.metrics?.commitSeconds.observe(seconds)
      },
      onFailure: (error) => {
        events.failing = true
        events.metrics?.commitFailures.inc()
        options.log.error({ err: describeError(error) }, 'commit failed')
      },
      onWitnessFailure: (error) => {
        if (!events.witnessFailing) options.log.error({ err: describeError(error) }, 'witness not written')
        events.witnessFailing = true
      },
      onClock: (offset) => tellOfClock(options.log, offset),
    },
  })
  const { clock } = store
  try {
    await store.follow({ comparesClocks: options.comparesClocks ?? true })
    await store.checkWritable()
    const timing = keyTimingOf(settings)
    const provisioned = await provisionKeys(store, settings.masterKeyFile, timing, clock)
    await store.confirmWitness()
    const opener = new KeyRingOpener(provisioned.masterKey, {
      hook: options.signerHook,
      rereadMasterKey: () => readMasterKey(settings.masterKeyFile),
    })
    const registry = new Registry(store, opener, timing, clock)
    const { ring } = await registry.view()
    for (const alg of signingAlgs) ring.activeSigner(alg)
    const ringClock = new RingClock(options.ringClock ?? clock, ring.mark)
    const parts: Parts = {
      settings,
      tls,
      store,
      registry,
      clock,
      ring,
      ringClock,
      log: options.log,
      membership: options.membership,
      events,
      failed: new Set(),
      keyTickMilliseconds: options.keyTickMilliseconds ?? keyTickMilliseconds,
      outside: options.outside ?? {},
    }
    return {
      store,
      provisioned,
      tls,
      start: (issuer, { passing } = { passing: false }) => startApp(parts, issuer, passing),
      close: () => store.close(),
    }
  } catch (error) {
    await store.close()
    // Nobody shall hear of changes that cannot be witnessed only when he makes one.
    throw error instanceof WitnessUnavailable ? new StoreOpenError(error.message, { cause: error }) : error
  }
}

function isFirst(membership: Membership | undefined): boolean {
  return membership === undefined || membership.number === 1
}

// What reads certificates is not loaded for nothing.
async function openTlsFiles({ tlsCertFile, tlsKeyFile, tlsClientCaFile }: Settings): Promise<TlsFiles | undefined> {
  if (tlsCertFile === undefined && tlsClientCaFile === undefined) return undefined
  const { TlsFiles } = await import('./http/tls-files.ts')
  return new TlsFiles({ certificate: tlsCertFile, key: tlsKeyFile, clientAuthorities: tlsClientCaFile })
}

interface Parts {
  readonly settings: Settings
  readonly tls: TlsFiles | undefined
  readonly store: Store
  readonly registry: Registry
  readonly clock: Clock
  /** As it was when its clock was started. */
  readonly ring: KeyRing
  readonly ringClock: RingClock
  readonly log: Log
  readonly membership: Membership | undefined
  readonly keyTickMilliseconds: number
  readonly outside: FetcherOptions
  readonly events: { metrics?: Metrics; failing: boolean; witnessFailing: boolean }
  /** Checks that failed when they were last asked for. */
  readonly failed: Set<string>
}

async function startApp(parts: Parts, issuer: string, passing: boolean): Promise<App> {
  const { settings, store, registry, clock, ring, ringClock, log, membership } = parts
  const { issuer: before } = await store.readRegistryHead()
  const replace = passing && before !== undefined && passingIssuer.test(before)
  const stored = await store.setIssuer(issuer, 'server', { replace })
  if (stored !== issuer) throw new IssuerMismatch(stored, issuer)
  const checker = new ImportedSecretChecker(checkLimitsFor(availableParallelism(), membership?.count))
  const secretUse = new SecretUse(store, clock)
  const metrics = createMetrics(checker, parts)
  parts.events.metrics = metrics
  const refusals = new RefusalLog({
    audit: store,
    sampler: new RefusalSampler(clock, samplerLimitsFor(membership?.count)),
    log,
  })
  let draining = false
  const familyClock = new SteadyClock(clock, Math.max(ringClock.moment().now, await store.readMoment()))
  const tickets = new RefreshTickets(settings, store, familyClock)
  const fetcher = new DocumentFetcher(parts.outside)
  const caller = {
    issuer,
    checker,
    secretUse,
    limits: new CallerLimits({
      settings,
      counts: membership?.counts ?? createLimitCounts(settings, clock),
      clock,
      log,
      metrics,
    }),
    clock: expiryClock(clock, ringClock),
    assertionAudiences: assertionAudiencesOf(issuer, settings),
    remoteKeys: createRemoteKeys(fetcher, parts, metrics),
    replays: store,
    metrics,
  }
  const verifier = new TokenVerifier({
    registry,
    store,
    clock: caller.clock,
    marks: new MarkSet(store, calendarOf(clock, ringClock)),
    alarm: new ForgeryAlarm({ audit: store, log, onForged: () => metrics.forgedTokens.inc() }),
  })
  const proofKeys = new ProofKeys()
  const takeKey: TakeKey = (jwk) => proofKeys.read(jwk)
  const tokens = new TokenIssuer({ ...settings, issuer }, store, tickets, clock)
  const quotas = new QuotaWatch({ store, log, onWarned: () => metrics.quotaWarnings.inc() })
  const proxies = toBlockList(settings.trustedProxies)
  const isTrustedPeer = createIsTrustedPeer(proxies)
  const serverParts = {
    token: {
      ...caller,
      registry,
      tokens,
      tickets,
      quotas,
      proofs: proofSettingsOf(settings, issuer, takeKey),
      requireTime: () => requireTime(store),
    },
    revoke: { ...caller, verifier, tickets, store, refusals },
    introspect: { ...caller, verifier, signingAlg: settings.signingAlg },
    verify: {
      issuer,
      verifier,
      metrics,
      clock: caller.clock,
      forwardedRequestOf: createForwardedRequestOf(isTrustedPeer),
      seenProofs: membership?.seenProofs ?? new SeenProofs(),
      takeKey,
    },
    jwksMaxAgeSeconds: settings.jwksMaxAgeSeconds,
    limits: caller.limits,
    refusals,
    metrics,
    readMetrics: membership?.readMetrics ?? (() => metrics.registry.metrics()),
    clock,
    log,
    addressOf: createAddressOf(proxies),
    certificateOf: createCertificateOf({
      isFromProxy: isTrustedPeer,
      authorities: () => parts.tls?.authorities,
      clock: caller.clock,
    }),
    certificates: takesCertificates(settings) ? { mtlsUrl: settings.mtlsUrl } : undefined,
    hasMetricsListener: settings.metricsListen !== undefined,
    checkReadiness: () => checkReadiness(parts, issuer, draining),
  }
  const keys = new KeyScheduler({
    store,
    ring,
    clock: ringClock,
    timing: keyTimingOf(settings),
    log,
    readRing: async () => (await registry.current()).ring,
  })
  const background = new AbortController()
  const jobs = [
    repeat(flushMilliseconds, background.signal, log, async () => {
      await secretUse.flush()
      await refusals.flush()
      await shareMoment(parts, familyClock)
    }),
    repeat(tlsFilesMilliseconds, background.signal, log, async () => refreshTls(parts)),
    ...(isFirst(membership) ? pruneNowAndThen(parts, familyClock, background.signal) : []),
    repeat(parts.keyTickMilliseconds, background.signal, log, () => {
      // Whoever has nothing to do sees a step of the clock as those do who are busy.
      familyClock.nowMilliseconds()
      return keys.tick()
    }),
  ]
  return {
    main: createServer(serverParts),
    metrics: createMetricsServer(serverParts),
    keys,
    readSnapshot: () => metrics.registry.getMetricsAsJSON(),
    markDraining: () => {
      draining = true
    },
    close: async () => {
      background.abort()
      fetcher.close()
      await Promise.all(jobs)
      await lastWrites(
        log,
        () => secretUse.flush(),
        () => refusals.flush(true),
        () => keys.save(),
        () => shareMoment(parts, familyClock),
      )
      await store.close()
    },
  }
}

function proofSettingsOf(
  { dpopNonceRequired: nonceRequired, mtlsUrl }: Settings,
  issuer: string,
  takeKey: TakeKey,
): ProofSettings {
  // And the name that the metadata gives to those who come with a certificate.
  const bases = [issuer, ...(mtlsUrl === undefined ? [] : [mtlsUrl])]
  return { urls: bases.map((base) => `${base}/token`), nonceRequired, takeKey }
}

// The token endpoint under whatever name a client asks it at is not asked for: only ours counts.
function assertionAudiencesOf(issuer: string, { assertionAudience }: Settings): readonly string[] {
  return assertionAudience === 'issuer' ? [issuer] : [issuer, `${issuer}/token`]
}

function createRemoteKeys(fetcher: DocumentFetcher, { clock, log }: Parts, metrics: Metrics): RemoteKeys<ClientKey> {
  return new RemoteKeys({
    fetcher,
    clock,
    parseKey: readClientKey,
    onFetch: (outcome, url) => {
      metrics.keyFetches.inc({ outcome })
      if (outcome !== 'fetched') log.warn({ host: new URL(url).host, outcome }, 'keys of a client not fetched')
    },
  })
}

function createMetrics(checker: ImportedSecretChecker, { registry, ringClock, settings, store }: Parts): Metrics {
  const timing = keyTimingOf(settings)
  return new Metrics({
    secretChecks: () => checker.load,
    storeBacklogBytes: () => store.backlogBytes(),
    clockOffsetSeconds: () => store.clock.offsetMilliseconds / 1000,
    storeLink: () => store.link(),
    keys: () => registry.lastRing?.keys ?? [],
    keyTimes: () => {
      const keys = registry.lastRing?.keys ?? []
      const moment = ringClock.moment()
      return signingAlgs.map((alg) => {
        const next = nextTransitionAt(alg, keys, moment, timing)
        const since = keys.find((key) => key.alg === alg && key.state === 'active')?.activatedAt
        return {
          alg,
          ...(next === undefined ? {} : { untilNextSeconds: (next - moment.now) / 1000 }),
          ...(since === undefined ? {} : { activeAgeSeconds: (moment.now - since) / 1000 }),
        }
      })
    },
  })
}

// A secret has expired when either clock says so. The calendar alone stays behind for ever on a machine that slept, for
// monotonic time does not count sleep; wall time alone revives what had expired when it steps back.
function expiryClock(clock: Clock, ringClock: RingClock): Clock {
  return {
    nowMilliseconds: () => {
      const { now, wall } = ringClock.moment()
      return Math.max(now, wall)
    },
    monotonicMilliseconds: () => clock.monotonicMilliseconds(),
  }
}

// What must not be forgotten too soon goes by the calendar, which does not jump ahead.
function calendarOf(clock: Clock, ringClock: RingClock): Clock {
  return {
    nowMilliseconds: () => ringClock.moment().now,
    monotonicMilliseconds: () => clock.monotonicMilliseconds(),
  }
}

function refreshTls({ tls, log }: Parts): void {
  try {
    if (tls?.refresh() === true) log.info({}, 'TLS files read again')
  } catch (error) {
    log.error({ err: describeError(error) }, 'TLS files not read again: those of before stay in force')
  }
}

// Runs a job now and then until the signal. A job that fails runs again at its next time; the log hears of the first failure.
async function repeat(everyMs: number, signal: AbortSignal, log: Log, job: () => Promise<void>): Promise<void> {
  let failing = false
  for (;;) {
    await pause(everyMs, signal)
    if (signal.aborted) return
    try {
      await job()
      if (failing) log.info({}, 'background job works again')
      failing = false
    } catch (error) {
      if (!failing) log.warn({ err: describeError(error) }, 'background job failed')
      failing = true
    }
  }
}

async function lastWrites(log: Log, ...writes: (() => Promise<void>)[]): Promise<void> {
  for (const write of writes) {
    await write().catch((error: unknown) => log.warn({ err: describeError(error) }, 'not written at the end'))
  }
}

// Wall time that is not behind says the same to every process, and after a restart. Where it is behind, only the store does.
async function shareMoment({ store, clock }: Parts, familyClock: SteadyClock): Promise<void> {
  familyClock.adopt(await store.readMoment())
  const now = familyClock.nowMilliseconds()
  if (now - clock.nowMilliseconds() > behindMilliseconds) await store.noteMoment(now)
}

function pruneNowAndThen(parts: Parts, familyClock: SteadyClock, signal: AbortSignal): readonly Promise<void>[] {
  return [
    repeat(pruneMilliseconds, signal, parts.log, () => prune(parts, signal)),
    repeat(pruneFamiliesMilliseconds, signal, parts.log, () => pruneFamilies(parts, familyClock, signal)),
  ]
}

// Small batches with pauses: requests share the transactions, and none of them shall wait for a long one.
async function prune({ settings, store, ringClock }: Parts, signal: AbortSignal): Promise<void> {
  // A wall clock that jumps ahead must not take the records of live tokens with it.
  const { now } = ringClock.moment()
  const before = {
    issuance: now - settings.auditIssuanceRetentionSeconds * 1000,
    others: now - settings.auditRetentionSeconds * 1000,
    limit: pruneBatch,
  }
  const inBatches = async (batch: () => Promise<number>): Promise<void> => {
    while (!signal.aborted && (await batch()) === pruneBatch) await pause(prunePauseMilliseconds, signal)
  }
  await inBatches(() => store.pruneAudit(before))
  await inBatches(() => store.pruneReplays(now - replayGraceMilliseconds, pruneBatch))
  await inBatches(() => store.pruneMarks(now - markGraceMilliseconds, pruneBatch))
}

// All are looked through, a small part at a time, for it takes an index to find the dead ones, and each use of a family would
// have to write that as well.
async function pruneFamilies({ store }: Parts, familyClock: SteadyClock, signal: AbortSignal): Promise<void> {
  const before = familyClock.nowMilliseconds() - deadFamilyMilliseconds
  for (let after: string | undefined = ''; after !== undefined && !signal.aborted; ) {
    after = await store.pruneFamilies(before, { after, limit: pruneBatch })
    await pause(prunePauseMilliseconds, signal)
  }
}

async function checkReadiness(parts: Parts, issuer: string, draining: boolean): Promise<readonly Check[]> {
  return [
    { name: 'accepting', ok: !draining, ...(draining ? { detail: 'shutting down' } : {}) },
    await attempt(parts, 'store', async () => {
      // A store that failed last time is ready when it can be written again, whether or not anybody asks for tokens.
      if (parts.events.failing) await parts.store.checkWritable()
      else await parts.store.readRegistrySequence()
    }),
    await attempt(parts, 'keys', async () => {
      const { ring } = await parts.registry.current()
      ring.activeSigner(parts.settings.signingAlg)
    }),
    await attempt(parts, 'issuer', async () => {
      const view = await parts.registry.current()
      if (view.issuer !== issuer) throw new Error('the database has another issuer')
    }),
    checkClock(parts),
    checkRotation(parts),
    await checkWitness(parts),
  ]
}

function requireTime({ clock }: Store): void {
  if (clock.isOff) throw new OAuthError('clock_off')
}

function tellOfClock(log: Log, offsetMilliseconds: number | undefined): void {
  if (offsetMilliseconds === undefined) log.info({}, 'the clock is right again')
  else log.error({ offset_seconds: offsetMilliseconds / 1000 }, 'the clock is off: no tokens until it is set right')
}

function checkClock({ store: { clock } }: Parts): Check {
  if (!clock.isOff) return { name: 'clock', ok: true }
  const seconds = Math.abs(clock.offsetMilliseconds / 1000).toFixed(1)
  const way = clock.offsetMilliseconds > 0 ? 'ahead of' : 'behind'
  return { name: 'clock', ok: false, detail: `${seconds} s ${way} the clock of the database` }
}

// Tokens are issued without it, and changes are made and in force; whoever asks for one is told what it lacks.
async function checkWitness({ store, events, log }: Parts): Promise<Check> {
  const check: Check = { name: 'witness', ok: true }
  if (!events.witnessFailing) return check
  try {
    await store.confirmWitness()
    events.witnessFailing = false
    log.info({}, 'witness written again')
    return check
  } catch {
    return { ...check, warning: 'changes are made, but the witness cannot be written; the log says why' }
  }
}

// Late rotations are no reason to send requests elsewhere: keys go on signing. People are told.
function checkRotation({ registry, ringClock, settings }: Parts): Check {
  const faults = findOverdue(registry.lastRing?.keys ?? [], ringClock.moment(), keyTimingOf(settings))
  return { name: 'rotation', ok: true, ...(faults.length === 0 ? {} : { warning: faults.join('; ') }) }
}

// A probe comes every few seconds: the log hears of a check when its outcome changes.
async function attempt({ log, failed }: Parts, name: string, run: () => Promise<void>): Promise<Check> {
  try {
    await run()
    if (failed.delete(name)) log.info({ check: name }, 'ready again')
    return { name, ok: true }
  } catch (error) {
    if (!failed.has(name)) log.error({ check: name, err: describeError(error) }, 'not ready')
    failed.add(name)
    return { name, ok: false, detail: 'failed; the log says why' }
  }
}
