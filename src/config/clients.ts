/** What is asked of clients: their assertions, their proofs, and how often they may come. */
import { z } from 'zod/mini'
import { type LimitMode, limitModes } from '../oauth/rate-limit.ts'
import { perMinute, type SettingReader, type SettingTable } from './setting.ts'

const assertionAudienceNames = ['issuer', 'issuer-or-token-endpoint'] as const

export type AssertionAudience = (typeof assertionAudienceNames)[number]

export interface ClientSettings {
  readonly assertionAudience: AssertionAudience
  readonly rateLimitMode: LimitMode
  readonly rateLimitFailures: number
  readonly rateLimitPerClient: number | undefined
  readonly rateLimitIntrospection: number | undefined
  readonly dpopNonceRequired: boolean
}

/** Settings of how clients are met. */
export const clientSettings = {
  assertionAudience: {
    variable: 'MAYFLY_ASSERTION_AUDIENCE',
    default: 'issuer',
    takes: assertionAudienceNames.join(' or '),
    meaning:
      'What a client assertion must have in `aud` (draft-ietf-oauth-rfc7523bis): the issuer identifier alone. `issuer-or-token-endpoint` lets old client libraries in, who put the token endpoint there; then another server that a client trusts may pass its assertion on to this one.',
    schema: z.enum(assertionAudienceNames),
  },
  rateLimitMode: {
    variable: 'MAYFLY_RATE_LIMIT_MODE',
    default: 'enforce',
    takes: limitModes.join(', '),
    meaning:
      'What the limits below do: refuse with 429 (RFC 6585 section 4), or only log and count what they would refuse, or nothing. Quotas of tokens are not among them.',
    schema: z.enum(limitModes),
  },
  rateLimitFailures: {
    variable: 'MAYFLY_RATE_LIMIT_FAILURES',
    default: '100',
    ...perMinute,
    meaning:
      'Failed authentications a minute, per address (IPv6: per /64) and per client, before guesses are refused. A right secret of ours, assertion or certificate passes all the same.',
  },
  rateLimitPerClient: {
    variable: 'MAYFLY_RATE_LIMIT_PER_CLIENT',
    ...perMinute,
    meaning:
      'Requests a minute of one client at `/token`, and as many at `/revoke`, at this server. Default: no limit.',
  },
  rateLimitIntrospection: {
    variable: 'MAYFLY_RATE_LIMIT_INTROSPECTION',
    ...perMinute,
    meaning: 'The same at `/introspect`, which busy services ask many times a second. Default: no limit.',
  },
  dpopNonce: {
    variable: 'MAYFLY_DPOP_NONCE',
    default: 'optional',
    takes: 'optional or required',
    meaning:
      'Whether a DPoP proof at the token endpoint must have a nonce of this server (RFC 9449 section 8): then none can be made long before it is used. Every client must know how to try again with one; common libraries do.',
    schema: z.enum(['optional', 'required']),
  },
} as const satisfies SettingTable

/** @throws ConfigError */
export function readClients(reader: SettingReader): ClientSettings {
  return {
    assertionAudience: reader.get(clientSettings.assertionAudience),
    rateLimitMode: reader.get(clientSettings.rateLimitMode),
    rateLimitFailures: reader.get(clientSettings.rateLimitFailures),
    rateLimitPerClient: reader.getOptional(clientSettings.rateLimitPerClient),
    rateLimitIntrospection: reader.getOptional(clientSettings.rateLimitIntrospection),
    dpopNonceRequired: reader.get(clientSettings.dpopNonce) === 'required',
  }
}
