import { OAuthError } from '../oauth/errors.ts'
import type { FamilyStore } from '../token/family-store.ts'
import type { MarkStore } from '../token/mark-store.ts'
import type { RefreshTickets } from '../token/refresh.ts'
import { endTarget, findTarget } from '../token/revoke.ts'
import type { TokenVerifier } from '../token/token-verifier.ts'
import { authenticateCaller, type CallerEndpoint, noteUse, type RequestFacts, readClaim, spendProof } from './caller.ts'
import { readForm } from './form.ts'
import type { Metrics } from './metrics.ts'
import type { RefusalLog } from './refusal-log.ts'
import type { RequestRecord } from './request.ts'
import { answerNothing } from './respond.ts'

export interface RevokeEndpoint extends CallerEndpoint {
  readonly verifier: TokenVerifier
  readonly tickets: RefreshTickets
  readonly store: Pick<FamilyStore, 'endFamily'> & Pick<MarkStore, 'revokeToken'>
  readonly refusals: RefusalLog
  readonly metrics: Metrics
}

/**
 * `POST /revoke`: a client gives a token back. It hears 200 whatever became of it, for a token that is not there is as good
 * as one that has just ended; but not when nobody knows whether it ended.
 *
 * @throws StoreUnavailable and then the token may live
 * @see RFC 7009
 */
export async function answerRevocation(
  endpoint: RevokeEndpoint,
  record: RequestRecord,
  facts: RequestFacts,
): Promise<Response> {
  const form = await readForm(record.incoming)
  const claim = readClaim(record, form, facts)
  await endpoint.limits.admit(record, facts)
  const target = await endpoint.verifier.decide(async (view, verify) => {
    const { client } = await authenticateCaller(endpoint, claim, view, facts)
    const token = form.get('token')
    if (token === undefined) throw new OAuthError('token_missing')
    return findTarget(token, { client, keys: view.ring.ticketKeys, tickets: endpoint.tickets, verify, origin: record })
  })
  await spendProof(endpoint, facts)
  const { requestId, address } = record
  const ended = await endTarget(endpoint.store, target, { requestId, address })
  if (target.kind === 'none' && target.reason !== undefined) await noteForeign(endpoint, record, facts, target.reason)
  endpoint.metrics.countRevocation(ended ? target.kind : 'none')
  noteUse(endpoint, facts)
  return answerNothing(record)
}

// Whoever presents what belongs to somebody else has got hold of it, and its owner wants to know.
async function noteForeign(
  { refusals, metrics }: RevokeEndpoint,
  record: RequestRecord,
  facts: RequestFacts,
  reason: OAuthError['reason'],
): Promise<void> {
  await refusals.note(record, new OAuthError(reason), facts)
  metrics.countRefusal(reason)
}
