/** What an issuer is made of, and what it is told from outside. */

import type { Settings } from '../config/settings.ts'
import type { ProofMemory } from '../dpop/seen-proofs.ts'
import type { LimitCounts } from '../http/limit-counts.ts'
import type { ConnectionLimits } from '../http/listen.ts'
import type { Metrics } from '../http/metrics.ts'
import type { TlsFiles } from '../http/tls-files.ts'
import type { KeyRing, SignerHook } from '../key/ring.ts'
import type { RingClock } from '../key/ring-clock.ts'
import type { Clock } from '../lib/clock.ts'
import type { Log } from '../lib/log.ts'
import type { FetcherOptions } from '../outbound/document-fetcher.ts'
import type { Registry } from '../registry/registry.ts'
import type { Store } from '../store/store.ts'

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
  /** How many lines of the log were dropped. */
  readonly linesLost?: () => number
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

/** What is there once the store is open and its keys are tested. */
export interface Parts {
  readonly settings: Settings
  readonly tls: TlsFiles | undefined
  readonly store: Store
  readonly registry: Registry
  readonly clock: Clock
  /** As it was when its clock was started. */
  readonly ring: KeyRing
  readonly ringClock: RingClock
  readonly log: Log
  readonly linesLost: () => number
  readonly membership: Membership | undefined
  readonly keyTickMilliseconds: number
  readonly outside: FetcherOptions
  readonly events: { metrics?: Metrics; failing: boolean; witnessFailing: boolean }
  /** Checks that failed when they were last asked for. */
  readonly failed: Set<string>
}

/** Whether a process does for all what one is enough for. */
export function isFirst(membership: Membership | undefined): boolean {
  return membership === undefined || membership.number === 1
}
