/** How long audit records are kept. */
import { formatDuration } from '../lib/duration.ts'
import type { KeySettings } from './keys.ts'
import { ConfigError, duration, type SettingReader, type SettingTable } from './setting.ts'
import type { TokenSettings } from './tokens.ts'

export interface AuditSettings {
  readonly auditIssuanceRetentionSeconds: number
  readonly auditRetentionSeconds: number
}

/** Settings of the audit trail. */
export const auditSettings = {
  auditIssuanceRetention: {
    variable: 'MAYFLY_AUDIT_ISSUANCE_RETENTION',
    default: '7d',
    ...duration('1s', '3650d'),
    meaning:
      'How long records of issued tokens are kept; at least `MAYFLY_ACCESS_TOKEN_MAX_TTL` and `MAYFLY_CLOCK_SKEW` together.',
  },
  auditRetention: {
    variable: 'MAYFLY_AUDIT_RETENTION',
    default: '90d',
    ...duration('1s', '3650d'),
    meaning: 'How long records of refusals and changes are kept.',
  },
} as const satisfies SettingTable

/** @throws ConfigError */
export function readAudit(reader: SettingReader): AuditSettings {
  return {
    auditIssuanceRetentionSeconds: reader.get(auditSettings.auditIssuanceRetention),
    auditRetentionSeconds: reader.get(auditSettings.auditRetention),
  }
}

/** @throws ConfigError when a token could outlive its record */
export function checkRetention(parsed: AuditSettings & KeySettings & TokenSettings): void {
  const { accessTokenMaxTtlSeconds: max, clockSkewSeconds: skew } = parsed
  if (parsed.auditIssuanceRetentionSeconds < max + skew) {
    throw new ConfigError(
      `MAYFLY_AUDIT_ISSUANCE_RETENTION is ${formatDuration(parsed.auditIssuanceRetentionSeconds)}: it takes at least MAYFLY_ACCESS_TOKEN_MAX_TTL + MAYFLY_CLOCK_SKEW = ${formatDuration(max)} + ${formatDuration(skew)} = ${formatDuration(max + skew)}, or a live token would lose its record`,
    )
  }
}
