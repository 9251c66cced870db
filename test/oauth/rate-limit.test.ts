import { describe, expect, it } from 'vitest'
import { type LimitState, rateLimitHeaders } from '../../src/oauth/rate-limit.ts'

describe('what a caller is told of its limit', () => {
  it.each<[LimitState, string, string]>([
    [
      { name: 'failures', quota: 100, windowSeconds: 60, remaining: 0, resetSeconds: 17 },
      '"failures";q=100;w=60',
      '"failures";r=0;t=17',
    ],
    [
      { name: 'tokens', quota: 5_000, windowSeconds: 3_600, remaining: 4_999, resetSeconds: 3_600 },
      '"tokens";q=5000;w=3600',
      '"tokens";r=4999;t=3600',
    ],
  ])('is a quoted name with whole numbers as its parameters: %j', (state, policy, limit) => {
    expect(rateLimitHeaders(state)).toEqual({ 'ratelimit-policy': policy, ratelimit: limit })
  })
})
