import type { RequestId } from '../lib/id.ts'
import type { Confirmation } from '../oauth/confirmation.ts'
import type { Reason } from '../oauth/errors.ts'

/** Who made a change: `cli:` and the name of the operating system's user, or `server` for what the server does by itself. */
export type Actor = `cli:${string}` | 'server'

/** Where a request came from, as far as it may be believed. */
export interface Origin {
  readonly requestId: RequestId
  readonly address: string
}

/**
 * A token that was issued. Its key is the token's `jti`, its moment the one inside it. `expiresAt` is in seconds
 * since the epoch, as in the token.
 */
export interface IssuanceRecord extends Origin {
  readonly jti: string
  readonly clientId: string
  readonly subject: string
  readonly grantType: string
  /** The secret that proved the client. */
  readonly secretId?: string
  /** What proved it instead: `key_` and the thumbprint of a key, or `crt_` and that of a certificate. */
  readonly credentialId?: string
  readonly audience: string
  readonly scope?: string
  readonly kid: string
  readonly expiresAt: number
  /** The refresh family that it came with. */
  readonly familyId?: string
  /** The generation whose ticket was redeemed for it; absent on the token that began the family. */
  readonly refreshGeneration?: number
  readonly confirmation?: Confirmation
}

/** Where refusals are recorded: each of these knows who asks, and what is asked for matters to somebody. */
export const auditedEndpoints = ['token', 'revoke', 'introspect'] as const

export type AuditedEndpoint = (typeof auditedEndpoints)[number]

/** What is known of a refused request. A `client_id` is named only when a client has it: anything else may be a secret in the wrong field. */
export interface RefusedRequest extends Origin {
  readonly type: 'token.refused'
  readonly reason: Reason
  /** Absent on records of when there was the token endpoint alone. */
  readonly endpoint?: AuditedEndpoint
  readonly grantType?: string
  readonly clientId?: string
  /** First 12 hex digits of the SHA-256 of a `client_id` that no client has. */
  readonly clientIdHash?: string
  /** The id inside the secret that was presented, when that has the form of a secret of ours. */
  readonly secretId?: string
  /** What had proved the client when it was refused something else (see `IssuanceRecord`), or the certificate that did not. */
  readonly credentialId?: string
  /** The thumbprint of the key that signed the DPoP proof. */
  readonly jkt?: string
}

/** Refusals of one address that came faster than they are recorded one by one. */
export interface SampledRefusals {
  readonly type: 'token.refusals_sampled'
  readonly address: string
  readonly counts: Partial<Record<Reason, number>>
}

/** Who ended something: whoever sent a request, or whoever ran a command. */
export type Ender = Origin | { readonly actor: Actor }

/** A refresh family that was ended before its time, and with it its access tokens. */
export type FamilyEnded = {
  readonly type: 'family.ended'
  readonly familyId: string
  readonly clientId: string
  readonly reason: FamilyEndReason
  /** The generation that was presented, and the one that was current. */
  readonly presentedGeneration?: number
  readonly currentGeneration?: number
  /** Who used the presented generation before. */
  readonly firstUse?: Origin & { readonly at: number }
} & Ender

/** See `token/family.ts`. */
export type FamilyEndReason = 'reused' | 'retry_too_late' | 'generation_ahead' | 'revoked'

/** One access token that was ended before its time. */
export type TokenRevoked = { readonly type: 'token.revoked'; readonly jti: string; readonly clientId: string } & Ender

/** A token with a good signature that we have not made: somebody else has the signing key, or records were lost. */
export type TokenForged = {
  readonly type: 'token.forged'
  readonly kid: string
  readonly detail?: Readonly<Record<string, unknown>>
} & Ender

/** A client that has had most of the tokens of its hour. */
export interface QuotaWarned extends Origin {
  readonly type: 'quota.warned'
  readonly clientId: string
  readonly issued: number
  readonly tokensPerHour: number
}

/** What was changed, in the words of the command that changed it. */
export type Change =
  | { readonly type: 'resource.created' | 'resource.updated' | 'resource.deleted'; readonly resource: string }
  | { readonly type: 'client.created' | 'client.updated'; readonly clientId: string }
  | {
      readonly type:
        | 'client.disabled'
        | 'client.enabled'
        | 'client.deleted'
        | 'client.offboarded'
        | 'client.tokens_ended'
      readonly clientId: string
    }
  | {
      readonly type: 'secret.created' | 'secret.imported' | 'secret.revoked'
      readonly clientId: string
      readonly secretId: string
    }
  | {
      readonly type:
        | 'key.staged'
        | 'key.activated'
        | 'key.retiring'
        | 'key.retired'
        | 'key.compromised'
        | 'key.rotation_requested'
        | 'key.timing_raised'
      readonly kid: string
    }
  | { readonly type: 'root.rewrapped' | 'root.replaced'; readonly rootVersion: number }
  | { readonly type: 'calendar.reset' }
  | { readonly type: 'store.claimed' | 'store.restored' | 'store.copied'; readonly storeId: string }
  | { readonly type: 'issuer.set' | 'issuer.accepted'; readonly issuer: string }

/** A change with who made it and what it changed to; `detail` is plain JSON without secrets. */
export type ChangeRecord = Change & { readonly actor: Actor; readonly detail?: Readonly<Record<string, unknown>> }

/** Everything that goes to the audit trail, tokens apart. */
export type AuditEvent =
  | RefusedRequest
  | SampledRefusals
  | FamilyEnded
  | TokenRevoked
  | TokenForged
  | QuotaWarned
  | ChangeRecord

export type AuditEventType = AuditEvent['type']

/** The types that `audit list --type` takes. */
export const auditTypes = [
  'token.issued',
  'token.refused',
  'token.refusals_sampled',
  'token.revoked',
  'token.forged',
  'family.ended',
  'quota.warned',
  'resource.created',
  'resource.updated',
  'resource.deleted',
  'client.created',
  'client.updated',
  'client.disabled',
  'client.enabled',
  'client.deleted',
  'client.offboarded',
  'client.tokens_ended',
  'secret.created',
  'secret.imported',
  'secret.revoked',
  'key.staged',
  'key.activated',
  'key.retiring',
  'key.retired',
  'key.compromised',
  'key.rotation_requested',
  'key.timing_raised',
  'root.rewrapped',
  'root.replaced',
  'calendar.reset',
  'store.claimed',
  'store.restored',
  'store.copied',
  'issuer.set',
  'issuer.accepted',
] as const satisfies readonly (AuditEventType | 'token.issued')[]

export type AuditType = (typeof auditTypes)[number]
