/**
 * Refresh families: a row each, however often they are refreshed.
 *
 * A family begins with generation 0 and counts up with every use. The ticket of a generation is derived from the row
 * (`token/ticket.ts`), so there is one successor to each ticket and no second one can be made. What a presented
 * generation `n` means beside the stored generation `g`:
 *
 *   n = g                         the current ticket: it is used, and g becomes n + 1, by compare-and-set
 *   n = g - 1, inside the window  a retry, its answer was lost: the ticket of g once more, byte for byte
 *   n = g - 1, later              its answer was lost for too long, or somebody else has it: the family ends
 *   n < g - 1                     the ticket was used, and so was its successor: one of two holders is a thief. The family ends
 *   n > g                         a ticket that this store has not made yet: it has gone back in time. The family ends
 *
 * Between two steps: a ticket that was judged and not yet used may be used by another process, then the compare-and-set
 * loses and the ticket is judged again. What has happened since is no sign of a thief then, for the ticket was good when it
 * came: its request is refused, and the family lives. A family that was judged reused ends although it has moved on since,
 * for a used ticket stays used. A reply that was lost after the commit is a retry.
 *
 * @see RFC 9700 section 4.14.2
 */
import type { FamilyEndReason } from '../audit/event.ts'
import { ulidMilliseconds } from '../lib/id.ts'
import type { Confirmation } from '../oauth/confirmation.ts'
import type { Reason } from '../oauth/errors.ts'

/** Times in milliseconds since the epoch. */
export interface RefreshFamily {
  readonly familyId: string
  readonly clientId: string
  readonly subject: string
  /** The one resource that it was granted for. */
  readonly audience: string
  /** What was granted, whatever single tokens were narrowed to. */
  readonly scopes: readonly string[]
  readonly seed: Uint8Array
  readonly generation: number
  /** When the current generation began. */
  readonly generationAt: number
  /** The root that the ticket of the current generation is derived from. */
  readonly rootVersion: number
  /** The access token that the current generation began with; absent for the first. */
  readonly lastJti?: string | undefined
  /** When the current ticket dies; at the latest when the family does. */
  readonly expiresAt: number
  readonly familyExpiresAt: number
  readonly end?: FamilyEndReason
  /** What the token of the current generation is bound to. */
  readonly confirmation?: Confirmation
}

/** What is to be done with a presented ticket. */
export type TicketVerdict =
  | { readonly use: 'rotate' | 'retry' }
  | { readonly refuse: Reason }
  | { readonly end: FamilyEndReason; readonly refuse: Reason }

/** What a verdict is based on besides the family. */
export interface TicketCircumstances {
  /** The generation of the presented ticket. */
  readonly generation: number
  readonly now: number
  readonly retryWindowMilliseconds: number
  /** Whether the same request has been judged before, and its ticket was good then. */
  readonly wasGood: boolean
  /** Families of before this moment are ended with everything else of their client, or of the store. */
  readonly tokensAfter: number
}

/** Judges a ticket that is ours and its client's. */
export function judgeTicket(family: RefreshFamily, circumstances: TicketCircumstances): TicketVerdict {
  const { generation, now, retryWindowMilliseconds, tokensAfter, wasGood } = circumstances
  if (family.end !== undefined) return { refuse: 'refresh_ended' }
  if (bornAt(family) <= tokensAfter) return { refuse: 'refresh_ended' }
  if (family.familyExpiresAt <= now) return { refuse: 'refresh_expired' }
  if (generation > family.generation) return { end: 'generation_ahead', refuse: 'refresh_generation_ahead' }
  if (generation < family.generation - 1) {
    return wasGood ? { refuse: 'refresh_overtaken' } : { end: 'reused', refuse: 'refresh_reused' }
  }
  if (family.expiresAt <= now) return { refuse: 'refresh_expired' }
  if (generation === family.generation) return { use: 'rotate' }
  if (now < family.generationAt + retryWindowMilliseconds) return { use: 'retry' }
  return wasGood ? { refuse: 'refresh_overtaken' } : { end: 'retry_too_late', refuse: 'refresh_retry_too_late' }
}

/** When a family was started: its id says so. */
export function bornAt({ familyId }: Pick<RefreshFamily, 'familyId'>): number {
  return ulidMilliseconds(familyId)
}
