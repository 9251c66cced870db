import type { Store } from '../store/store.ts'
import { timestamp } from './print.ts'

/** What it means for a client that everything of it has ended. */
export interface Ended {
  readonly refresh_families_ended: number
  readonly tokens_ended: number
  /** When the last of its tokens dies by itself, for those who look at nothing but its signature. */
  readonly last_token_expires_at: string | null
}

/**
 * What was alive of a client until it was ended. Read after the act, while nobody waits for it: the client can get nothing
 * new, so what is found is what was ended.
 *
 * @param endedBefore what was issued up to this moment had been ended already, milliseconds since the epoch
 * @throws StoreUnavailable
 */
export async function readEnded(
  store: Store,
  clientId: string,
  { endedBefore, now }: { readonly endedBefore: number; readonly now: number },
): Promise<Ended> {
  const { tokensAfter = 0 } = await store.readRegistryHead()
  const bornAfter = Math.max(endedBefore, tokensAfter)
  const families = await store.countFamilies(clientId, { now, bornAfter })
  const tokens = await store.readLiveTokens(clientId, now, bornAfter)
  const last = tokens.lastExpiresAt
  return {
    refresh_families_ended: families,
    tokens_ended: tokens.count,
    last_token_expires_at: timestamp(last === undefined ? undefined : last * 1000),
  }
}

/** For people: who goes on believing tokens that have ended, and for how long. */
export function explainEnd({ last_token_expires_at: last }: Ended): string {
  return last === null
    ? 'No token of it is alive anywhere.'
    : `Verifiers that check nothing but signatures believe its last token until ${last}; those that ask this issuer refuse it from now on.`
}
