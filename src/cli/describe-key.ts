import type { KeyTimeline } from '../key/timeline.ts'
import { timestamp } from './print.ts'

/** A key as the command line shows it: what happened, and in the same members what will happen. */
export function describeKey({ key, activatesAt, retiresAt, leavesAt, tokensUntil }: KeyTimeline) {
  return {
    kid: key.kid,
    alg: key.alg,
    state: key.state,
    published_at: timestamp(key.publishedAt),
    activates_at: timestamp(key.activatedAt ?? activatesAt),
    retires_at: timestamp(key.retiringAt ?? retiresAt),
    leaves_jwks_at: timestamp(key.compromisedAt ?? key.retiredAt ?? leavesAt),
    tokens_live_until: timestamp(tokensUntil),
    rotation_requested_at: timestamp(key.rotationRequestedAt),
    compromised_at: timestamp(key.compromisedAt),
  }
}
