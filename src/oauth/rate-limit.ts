/** What limits do: refuse, say what they would refuse, or nothing. */
export const limitModes = ['enforce', 'log', 'off'] as const

export type LimitMode = (typeof limitModes)[number]

/** How far a caller has used what it may, at one moment. */
export interface LimitState {
  /** Which limit, as the headers name it: failed authentications, requests of a client, tokens of a client. */
  readonly name: 'failures' | 'requests' | 'tokens'
  /** How many are allowed in a window of so many seconds. */
  readonly quota: number
  readonly windowSeconds: number
  readonly remaining: number
  /** Until the window is over, rounded up. */
  readonly resetSeconds: number
}

/**
 * What a caller is told of its limit.
 *
 * @see draft-ietf-httpapi-ratelimit-headers-10 sections 3 and 4
 */
export function rateLimitHeaders(state: LimitState): Readonly<Record<string, string>> {
  const { name, quota, windowSeconds, remaining, resetSeconds } = state
  return {
    'ratelimit-policy': `"${name}";q=${quota};w=${windowSeconds}`,
    ratelimit: `"${name}";r=${remaining};t=${resetSeconds}`,
  }
}
