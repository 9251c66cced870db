/** How tokens are signed, and how long they live. */
import { z } from 'zod/mini'
import { type SigningAlg, signingAlgs } from '../key/signer.ts'
import { formatDuration } from '../lib/duration.ts'
import { ConfigError, duration, type SettingReader, type SettingTable } from './setting.ts'

export interface TokenSettings {
  readonly signingAlg: SigningAlg
  readonly accessTokenTtlSeconds: number
  readonly accessTokenMaxTtlSeconds: number
  readonly refreshTokenIdleTtlSeconds: number
  readonly refreshTokenMaxTtlSeconds: number
  readonly refreshRetryWindowSeconds: number
}

/** Settings of tokens. */
export const tokenSettings = {
  signingAlg: {
    variable: 'MAYFLY_SIGNING_ALG',
    default: 'ES256',
    takes: signingAlgs.join(' or '),
    meaning: 'How access tokens are signed, unless their resource names its own algorithm (RFC 7518 section 3.1).',
    schema: z.enum(signingAlgs),
  },
  accessTokenTtl: {
    variable: 'MAYFLY_ACCESS_TOKEN_TTL',
    default: '5m',
    ...duration('1s', '24h'),
    meaning: 'Life of an access token for which neither its resource nor its client names one.',
  },
  accessTokenMaxTtl: {
    variable: 'MAYFLY_ACCESS_TOKEN_MAX_TTL',
    default: '1h',
    ...duration('1s', '24h'),
    meaning: 'No access token lives longer, whatever its resource or client names.',
  },
  refreshTokenIdleTtl: {
    variable: 'MAYFLY_REFRESH_TOKEN_IDLE_TTL',
    default: '1h',
    ...duration('1s', '365d'),
    meaning: 'Life of one refresh token: a family that is not refreshed for so long is over (RFC 9700 section 4.14.2).',
  },
  refreshTokenMaxTtl: {
    variable: 'MAYFLY_REFRESH_TOKEN_MAX_TTL',
    default: '24h',
    ...duration('1s', '365d'),
    meaning: 'Life of a refresh family from its first token on, however often it is refreshed.',
  },
  refreshRetryWindow: {
    variable: 'MAYFLY_REFRESH_RETRY_WINDOW',
    default: '60s',
    ...duration('1s', '1h'),
    meaning:
      'How long a refresh token that was used may be presented again, for the very same successor: its answer may have been lost. At most `MAYFLY_REFRESH_TOKEN_IDLE_TTL`.',
  },
} as const satisfies SettingTable

/** @throws ConfigError */
export function readTokens(reader: SettingReader): TokenSettings {
  return {
    signingAlg: reader.get(tokenSettings.signingAlg),
    accessTokenTtlSeconds: reader.get(tokenSettings.accessTokenTtl),
    accessTokenMaxTtlSeconds: reader.get(tokenSettings.accessTokenMaxTtl),
    refreshTokenIdleTtlSeconds: reader.get(tokenSettings.refreshTokenIdleTtl),
    refreshTokenMaxTtlSeconds: reader.get(tokenSettings.refreshTokenMaxTtl),
    refreshRetryWindowSeconds: reader.get(tokenSettings.refreshRetryWindow),
  }
}

/** @throws ConfigError when an access token would live longer than any may */
export function checkAccess({ accessTokenTtlSeconds: ttl, accessTokenMaxTtlSeconds: max }: TokenSettings): void {
  if (ttl > max) {
    throw new ConfigError(
      `MAYFLY_ACCESS_TOKEN_TTL is ${formatDuration(ttl)}: it takes at most MAYFLY_ACCESS_TOKEN_MAX_TTL, which is ${formatDuration(max)}`,
    )
  }
}

/** @throws ConfigError when one refresh token would outlive its family, or its use its life */
export function checkRefresh(parsed: TokenSettings): void {
  const { refreshTokenIdleTtlSeconds: idle, refreshTokenMaxTtlSeconds: max, refreshRetryWindowSeconds: window } = parsed
  if (idle > max) {
    throw new ConfigError(
      `MAYFLY_REFRESH_TOKEN_IDLE_TTL is ${formatDuration(idle)}: it takes at most MAYFLY_REFRESH_TOKEN_MAX_TTL, which is ${formatDuration(max)}`,
    )
  }
  if (window > idle) {
    throw new ConfigError(
      `MAYFLY_REFRESH_RETRY_WINDOW is ${formatDuration(window)}: it takes at most MAYFLY_REFRESH_TOKEN_IDLE_TTL, which is ${formatDuration(idle)}`,
    )
  }
}
