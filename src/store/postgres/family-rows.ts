import type { FamilyEndReason } from '../../audit/event.ts'
import { formatConfirmation } from '../../oauth/confirmation.ts'
import type { RefreshFamily } from '../../token/family.ts'
import { parseConfirmation } from '../rows/columns.ts'
import type { refreshFamily } from './schema.ts'

/** A family that begins, as members of a JSON object for `record-statement.ts`. */
export function toFamilyValues(family: RefreshFamily): object {
  const { familyId, clientId, subject, audience, scopes, seed, generation, generationAt, rootVersion } = family
  return {
    f_id: familyId,
    f_client: clientId,
    f_subject: subject === clientId ? null : subject,
    f_audience: audience,
    f_scope: scopes.length === 0 ? null : scopes.join(' '),
    f_seed: Buffer.from(seed).toString('base64'),
    f_generation: generation,
    f_at: generationAt,
    f_root: rootVersion,
    f_expires: family.expiresAt,
    f_end: family.familyExpiresAt,
    f_confirmation: formatConfirmation(family.confirmation) ?? null,
  }
}

/** A family from its row. */
export function toFamily(row: typeof refreshFamily.$inferSelect): RefreshFamily {
  const { subject, scope, confirmation, lastJti, endedAt: _, endReason, ...rest } = row
  return {
    ...rest,
    subject: subject ?? row.clientId,
    lastJti: lastJti ?? undefined,
    scopes: scope === null ? [] : scope.split(' '),
    ...parseConfirmation(confirmation),
    ...(endReason === null ? {} : { end: endReason as FamilyEndReason }),
  }
}
