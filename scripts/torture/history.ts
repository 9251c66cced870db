/**
 * What happened, as those saw it who asked: one line a call, with its start and its end on one monotonic clock. Tokens stand
 * in it as the first 16 hex digits of their SHA-256, so that a history can be kept and sent.
 */
import { hash } from 'node:crypto'

/** `unknown`: the connection broke. It may have happened or not, and may still be happening. */
export type Outcome = 'ok' | 'fail' | 'unknown'

interface CallTimes {
  /** Milliseconds. */
  readonly start: number
  readonly end: number
  readonly outcome: Outcome
  /** Of a refusal: status and code, such as `400 invalid_grant`. */
  readonly error?: string
}

/** A family was begun: `client_credentials`. */
export interface Begin extends CallTimes {
  readonly kind: 'begin'
  readonly client: string
  readonly received?: string
  readonly family?: string
  readonly jti?: string
}

/** A refresh token was presented by its owner, or by somebody else (`as`), or for a scope that was not granted. */
export interface Refresh extends CallTimes {
  readonly kind: 'refresh'
  readonly client: string
  readonly as: string
  readonly scope?: string
  readonly family: string
  readonly presented: string
  readonly received?: string
  readonly jti?: string
}

/** A token was revoked by its owner. */
export interface Revoke extends CallTimes {
  readonly kind: 'revoke'
  readonly client: string
  readonly what: 'refresh_token' | 'access_token'
  readonly family: string
  readonly jti?: string
}

/** A token was asked about. `active`: what the answer was. */
export interface Introspect extends CallTimes {
  readonly kind: 'introspect'
  readonly client: string
  readonly family: string
  readonly jti: string
  readonly active?: boolean
}

/** A client was changed by an operator. `offboard` disables it for good as far as its old tokens go. */
export interface Admin extends CallTimes {
  /** `collapse` is no command: a client had so many marks that the store made one moment of them, which ends more. */
  readonly kind: 'disable' | 'enable' | 'offboard' | 'collapse'
  readonly client: string
}

export type Call = Begin | Refresh | Revoke | Introspect | Admin

/** The database as it was found at the end. */
export interface FinalState {
  readonly families: readonly {
    readonly familyId: string
    readonly clientId: string
    readonly generation: number
    readonly endReason: string | null
  }[]
  readonly issued: readonly {
    readonly jti: string
    readonly familyId: string | null
    readonly refreshGeneration: number | null
  }[]
  readonly ended: readonly { readonly familyId: string; readonly reason: string }[]
  /** `client.disabled` and so on, how often per client. */
  readonly changes: readonly { readonly type: string; readonly clientId: string; readonly count: number }[]
  /** `jti` of each `token.revoked`. */
  readonly revoked: readonly string[]
  /** What `db check` says; empty when all is well. */
  readonly damage: readonly string[]
}

/** A run as it is written to a file and judged. */
export interface History {
  readonly calls: readonly Call[]
  readonly final: FinalState
}

/** How a token stands in a history. */
export function digestOf(token: string): string {
  return hash('sha256', token, 'hex').slice(0, 16)
}
