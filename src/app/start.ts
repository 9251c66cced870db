/** An issuer that answers: it claims its database for its URL, serves, and closes. */
import { keyTimingOf } from '../config/keys.ts'
import type { MetricsSnapshot } from '../http/metrics-sum.ts'
import { createMetricsServer, createServer } from '../http/server.ts'
import { KeyScheduler } from '../key/scheduler.ts'
import { SteadyClock } from '../lib/clock.ts'
import type { Store } from '../store/store.ts'
import { startBackground } from './background.ts'
import { createEndpoints } from './endpoints.ts'
import type { Parts } from './parts.ts'

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

/** @throws IssuerMismatch, StoreUnavailable */
export async function startApp(parts: Parts, issuer: string, passing: boolean): Promise<App> {
  const { store, registry, clock, ring, ringClock, settings, log } = parts
  await claimIssuer(store, issuer, passing)
  let draining = false
  const begun = Math.max(ringClock.moment().now, await store.readMoment())
  const familyClock = new SteadyClock(clock, begun, () => store.clock.isOff)
  const { server, secretUse, fetcher } = createEndpoints(parts, { issuer, familyClock, isDraining: () => draining })
  const { metrics, refusals } = server
  parts.events.metrics = metrics
  const keys = new KeyScheduler({
    store,
    ring,
    clock: ringClock,
    timing: keyTimingOf(settings),
    log,
    readRing: async () => (await registry.current()).ring,
  })
  const endBackground = startBackground(parts, { secretUse, refusals, keys, familyClock })
  return {
    main: createServer(server),
    metrics: createMetricsServer(server),
    keys,
    readSnapshot: () => metrics.registry.getMetricsAsJSON(),
    markDraining: () => {
      draining = true
    },
    close: async () => {
      fetcher.close()
      await endBackground()
      await store.close()
    },
  }
}

async function claimIssuer(store: Store, issuer: string, passing: boolean): Promise<void> {
  const { issuer: before } = await store.readRegistryHead()
  const replace = passing && before !== undefined && passingIssuer.test(before)
  const stored = await store.setIssuer(issuer, 'server', { replace })
  if (stored !== issuer) throw new IssuerMismatch(stored, issuer)
}
