import type { IssuanceRecord } from '../../audit/event.ts'
import { isSecretId } from '../../client/client-secret.ts'
import { formatConfirmation } from '../../oauth/confirmation.ts'
import type { FamilyChange } from '../../token/family-store.ts'
import type { issuance } from '../sqlite/schema.ts'
import { parseConfirmation } from './columns.ts'

/** The record of a token in the order of the columns of its table. */
export function toIssuanceValues(record: IssuanceRecord, change: FamilyChange | undefined): (string | number | null)[] {
  const {
    jti,
    clientId,
    subject,
    grantType,
    secretId,
    credentialId = '',
    audience,
    scope = null,
    kid,
    expiresAt,
    requestId,
    address,
    familyId = null,
    refreshGeneration = null,
    confirmation,
  } = record
  const other = subject === clientId ? null : subject
  const previousJti = change?.kind === 'rotate' ? (change.lastJti ?? null) : null
  const family = [familyId, refreshGeneration, formatConfirmation(confirmation) ?? null, previousJti]
  return [
    jti,
    clientId,
    other,
    grantType,
    secretId ?? credentialId,
    audience,
    scope,
    kid,
    expiresAt,
    requestId,
    address,
    ...family,
  ]
}

/** The record of a token from its row. */
export function toIssuanceRecord(row: typeof issuance.$inferSelect): IssuanceRecord {
  const { subject, scope, requestId, familyId, refreshGeneration, secretId, confirmation, ...others } = row
  const { previousJti: _, ...rest } = others
  return {
    ...rest,
    requestId: `req_${requestId.replace(/^req_/, '')}`,
    subject: subject ?? row.clientId,
    ...(scope === null ? {} : { scope }),
    ...(familyId === null ? {} : { familyId }),
    ...(refreshGeneration === null ? {} : { refreshGeneration }),
    ...(isSecretId(secretId) ? { secretId } : { credentialId: secretId }),
    ...parseConfirmation(confirmation),
  }
}
