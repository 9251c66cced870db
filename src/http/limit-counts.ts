/** What limits count, apart from who judges by it: it may lie in this process, or in one that several share. */
import type { Clock } from '../lib/clock.ts'
import type { LimitMode } from '../oauth/rate-limit.ts'
import { type FailureCounter, FailureCounts } from './failure-counts.ts'
import type { Route } from './request.ts'
import { type Count, WindowCounters } from './window-counters.ts'

/** What the server's settings say of limits; all of them in a minute. */
export interface LimitSettings {
  readonly rateLimitMode: LimitMode
  readonly rateLimitFailures: number
  /** Requests of one client at `/token`, and as many at `/revoke`. */
  readonly rateLimitPerClient: number | undefined
  readonly rateLimitIntrospection: number | undefined
}

/** Requests of clients at one endpoint. */
export interface RequestCounter {
  readonly limit: number
  /** Counts one, and tells what stands there with it. */
  add(clientId: string): Promise<Pick<Count, 'used' | 'resetSeconds'>>
  /** Takes one back that should not have counted. */
  takeBack(clientId: string): Promise<void>
}

export interface LimitCounts {
  readonly failures: FailureCounter
  /** Absent where there is no limit. */
  readonly requests: { readonly [Endpoint in Route]?: RequestCounter | undefined }
}

export const windowSeconds = 60
const maxClients = 20_000

/** Counts in the memory of this process. */
export function createLimitCounts(settings: LimitSettings, clock: Clock): LimitCounts {
  const perClient = (limit: number | undefined) =>
    limit === undefined ? undefined : new WindowCounters(clock, { limit, windowSeconds, maxKeys: maxClients })
  return {
    failures: new FailureCounts(clock, settings.rateLimitFailures),
    requests: {
      token: perClient(settings.rateLimitPerClient),
      revoke: perClient(settings.rateLimitPerClient),
      introspect: perClient(settings.rateLimitIntrospection),
    },
  }
}
