/** Where the metrics read what they show. */
import type { ImportedSecretChecker } from '../client/imported-secret.ts'
import { keyTimingOf } from '../config/keys.ts'
import { Metrics } from '../http/metrics.ts'
import { signingAlgs } from '../key/signer.ts'
import { nextTransitionAt } from '../key/timeline.ts'
import type { Parts } from './parts.ts'

/** The metrics of this process. */
export function createMetrics(
  checker: ImportedSecretChecker,
  { registry, ringClock, settings, store, linesLost }: Parts,
): Metrics {
  const timing = keyTimingOf(settings)
  return new Metrics({
    secretChecks: () => checker.load,
    logLinesLost: linesLost,
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
