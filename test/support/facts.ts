import type { RingMoment } from '../../src/key/ring-clock.ts'
import type { SigningKeyFacts } from '../../src/key/signing-key.ts'
import { defaultTiming } from './ring.ts'
import { makeToyKey } from './ring-world.ts'

/** What is known of a key that was published at 0 on both clocks. */
export function makeFacts(changes: Partial<SigningKeyFacts> = {}): SigningKeyFacts {
  const { kid, alg, publicJwk } = makeToyKey(changes.alg)
  return {
    kid,
    alg,
    publicJwk,
    state: 'staged',
    createdAt: 0,
    publishedAt: 0,
    publishedRunning: 0,
    cachedSeconds: 0,
    maxTtlSeconds: defaultTiming.accessTokenMaxTtlSeconds,
    maxAgeSeconds: defaultTiming.jwksMaxAgeSeconds,
    ...changes,
  }
}

/** A moment when every clock shows the same, unless told otherwise. Seconds. */
export function momentAt(seconds: number, changes: Partial<RingMoment> = {}): RingMoment {
  const now = seconds * 1000
  return { now, running: now, wall: now, resets: 0, ...changes }
}
