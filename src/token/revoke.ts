/**
 * Ends a token before its time. What there is to end is found first, by the registry and the marks as of now; then it is
 * ended, by one act. If the registry moves between the two, the end happens all the same: it was asked for by whom the token
 * belongs to, and what is ended for somebody who meanwhile may no longer ask is dead in any case.
 */
import type { Ender, Origin } from '../audit/event.ts'
import type { Client } from '../client/client.ts'
import type { DerivedKeys } from '../key/ring.ts'
import type { AccessTokenClaims } from '../oauth/claims.ts'
import { OAuthError, type Reason } from '../oauth/errors.ts'
import type { RefreshFamily } from './family.ts'
import type { FamilyStore } from './family-store.ts'
import type { MarkStore } from './mark-store.ts'
import type { RefreshTickets } from './refresh.ts'
import { parseTicket, type TicketParts } from './ticket.ts'
import type { VerifyToken } from './token-verifier.ts'

/** What a presented token stands for. */
export type RevocationTarget =
  | { readonly kind: 'access_token'; readonly claims: Pick<AccessTokenClaims, 'jti' | 'client_id' | 'exp'> }
  | { readonly kind: 'refresh_token'; readonly family: Pick<RefreshFamily, 'familyId' | 'clientId'> }
  | {
      /** Nothing: it is no token, or dead, or not the caller's, and then `reason` says so. */
      readonly kind: 'none'
      readonly reason?: Reason
    }

/** Who asks, and what a token is judged by. */
export interface RevocationContext {
  readonly client: Client
  readonly keys: DerivedKeys
  readonly tickets: RefreshTickets
  readonly verify: VerifyToken
  readonly origin: Origin
}

/**
 * What a client may end by presenting a token, of whatever kind it is: a hint could only hide it.
 *
 * @throws StoreUnavailable
 * @see RFC 7009 section 2.1
 */
export async function findTarget(token: string, context: RevocationContext): Promise<RevocationTarget> {
  const ticket = parseTicket(token)
  if (ticket !== undefined) return findOwnFamily(ticket, context)
  const found = await context.verify(token, context.origin)
  if (!found.active) return { kind: 'none' }
  const { claims } = found
  if (claims.client_id !== context.client.clientId) return { kind: 'none', reason: 'token_of_another_client' }
  return { kind: 'access_token', claims }
}

// Any ticket of the family will do, one that was used or that has expired too: access tokens of it may live, and whoever
// gives back an old ticket has lost control of it.
async function findOwnFamily(ticket: TicketParts, context: RevocationContext): Promise<RevocationTarget> {
  try {
    return { kind: 'refresh_token', family: await context.tickets.findOwn(ticket, context) }
  } catch (error) {
    if (!(error instanceof OAuthError)) throw error
    return error.reason === 'refresh_of_another_client' ? { kind: 'none', reason: error.reason } : { kind: 'none' }
  }
}

/**
 * Ends what was found, with a record of who asked.
 *
 * @returns whether it ended now: not when it had ended already
 * @throws StoreUnavailable
 */
export async function endTarget(
  store: Pick<FamilyStore, 'endFamily'> & Pick<MarkStore, 'revokeToken'>,
  target: RevocationTarget,
  ender: Ender,
): Promise<boolean> {
  switch (target.kind) {
    case 'none':
      return false
    case 'refresh_token': {
      const { familyId, clientId } = target.family
      return store.endFamily({
        familyId,
        event: { type: 'family.ended', familyId, clientId, reason: 'revoked', ...ender },
      })
    }
    case 'access_token': {
      const { jti, client_id: clientId, exp } = target.claims
      return store.revokeToken({ expiresAt: exp * 1000 }, { type: 'token.revoked', jti, clientId, ...ender })
    }
  }
}
