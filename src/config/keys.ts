/** The life of signing keys, as their settings say it. */
import { type KeyTiming, propagationSeconds } from '../key/timing.ts'
import { formatDuration } from '../lib/duration.ts'
import { ConfigError, duration, type SettingReader, type SettingTable } from './setting.ts'
import type { TokenSettings } from './tokens.ts'

export interface KeySettings {
  readonly keyRotationIntervalSeconds: number
  readonly keyLeadSeconds: number
  readonly jwksMaxAgeSeconds: number
  readonly clockSkewSeconds: number
}

/** Settings of signing keys. */
export const keySettings = {
  keyRotationInterval: {
    variable: 'MAYFLY_KEY_ROTATION_INTERVAL',
    default: '30d',
    ...duration('1s', '3650d'),
    meaning: 'How long a signing key signs; at least `MAYFLY_KEY_LEAD`.',
  },
  keyLead: {
    variable: 'MAYFLY_KEY_LEAD',
    default: '24h',
    ...duration('1s', '365d'),
    meaning:
      'How long a signing key is published before it signs: as long as any verifier caches the JWKS, whatever `max-age` says; at least `MAYFLY_JWKS_MAX_AGE` + `MAYFLY_CLOCK_SKEW` + 2s.',
  },
  jwksMaxAge: {
    variable: 'MAYFLY_JWKS_MAX_AGE',
    default: '5m',
    ...duration('1s', '24h'),
    meaning: 'How long the JWKS and the metadata may be cached (`Cache-Control: max-age`, RFC 9111).',
  },
  clockSkew: {
    variable: 'MAYFLY_CLOCK_SKEW',
    default: '60s',
    ...duration('1s', '10m'),
    meaning: 'By how much the clocks of verifiers may differ from ours.',
  },
} as const satisfies SettingTable

/** @throws ConfigError */
export function readKeys(reader: SettingReader): KeySettings {
  return {
    keyRotationIntervalSeconds: reader.get(keySettings.keyRotationInterval),
    keyLeadSeconds: reader.get(keySettings.keyLead),
    jwksMaxAgeSeconds: reader.get(keySettings.jwksMaxAge),
    clockSkewSeconds: reader.get(keySettings.clockSkew),
  }
}

/** What the settings say of the life of keys. */
export function keyTimingOf(settings: KeySettings & TokenSettings): KeyTiming {
  return {
    leadSeconds: settings.keyLeadSeconds,
    rotationIntervalSeconds: settings.keyRotationIntervalSeconds,
    jwksMaxAgeSeconds: settings.jwksMaxAgeSeconds,
    clockSkewSeconds: settings.clockSkewSeconds,
    accessTokenMaxTtlSeconds: settings.accessTokenMaxTtlSeconds,
  }
}

/** @throws ConfigError when a key would sign before every verifier can have it */
export function checkRollover(parsed: KeySettings): void {
  const { keyLeadSeconds: lead, keyRotationIntervalSeconds: interval } = parsed
  const { jwksMaxAgeSeconds: maxAge, clockSkewSeconds: skew } = parsed
  const least = maxAge + skew + propagationSeconds
  if (lead < least) {
    const terms = [maxAge, skew, propagationSeconds].map(formatDuration).join(' + ')
    throw new ConfigError(
      `MAYFLY_KEY_LEAD is ${formatDuration(lead)}: it takes at least MAYFLY_JWKS_MAX_AGE + MAYFLY_CLOCK_SKEW + ${propagationSeconds}s = ${terms} = ${formatDuration(least)}, or a key would sign before every cached JWKS has it`,
    )
  }
  if (interval < lead) {
    throw new ConfigError(
      `MAYFLY_KEY_ROTATION_INTERVAL is ${formatDuration(interval)}: it takes at least MAYFLY_KEY_LEAD, which is ${formatDuration(lead)}, or the next key would not be published long enough when its turn comes`,
    )
  }
}
