import type { SigningKeyFacts } from './signing-key.ts'

/** The settings that the life of a key depends on. Seconds. */
export interface KeyTiming {
  /** How long a key is published, at the least, before it signs. */
  readonly leadSeconds: number
  /** How long a key signs. */
  readonly rotationIntervalSeconds: number
  readonly jwksMaxAgeSeconds: number
  readonly clockSkewSeconds: number
  /** No token lives longer. */
  readonly accessTokenMaxTtlSeconds: number
}

/** How long it takes, at the most, until every process publishes what the store has. */
export const propagationSeconds = 2

/**
 * How long a staged key must be published before it may sign: until no verifier can have a cached JWKS without it.
 * What was cached when it appeared may have been served under a longer `max-age` than today's; the key remembers that.
 */
export function leadSecondsOf(key: Pick<SigningKeyFacts, 'cachedSeconds'>, timing: KeyTiming): number {
  return Math.max(timing.leadSeconds, key.cachedSeconds + timing.clockSkewSeconds + propagationSeconds)
}

/** How long a key stays published after it has stopped signing: until its last token is dead, by every verifier's clock. */
export function keepSecondsOf(key: Pick<SigningKeyFacts, 'maxTtlSeconds'>, timing: KeyTiming): number {
  return key.maxTtlSeconds + timing.clockSkewSeconds + propagationSeconds
}
