/**
 * What a client is, in words: how it proves itself, what it may get, and what is weak about that. Nothing is decided by it;
 * people read it before they trust a registration, and after they have forgotten it.
 */

import { formatDuration, formatSpan } from '../lib/duration.ts'
import type { AuthMethod } from '../oauth/auth-method.ts'
import { isSecretMethod } from '../oauth/auth-method.ts'
import { foreignAlgs } from '../oauth/public-jwk.ts'
import type { Resource } from '../resource/resource.ts'
import type { Client, ClientSecret, TlsSubject } from './client.ts'
import { registeredKeys } from './client-keys.ts'

const dayMilliseconds = 86_400_000
/** So old may a secret be, and so long unused. */
const secretDays = 90
/** A secret that was never used is on its way to its workload for so long. */
const deliveryDays = 7
/** Services of which one stolen credential opens all. */
const manyAudiences = 5

/** What an assessment rests on, beside the client. */
export interface AssessmentFacts {
  /** Milliseconds since the epoch. */
  readonly now: number
  /** Those of its audiences that exist. */
  readonly resources: readonly Resource[]
  /** Life of a token for which neither resource nor client names one, and the longest there is. */
  readonly accessTokenTtlSeconds: number
  readonly accessTokenMaxTtlSeconds: number
  /** Tokens that it has had in this hour, if it has a quota. */
  readonly issuedThisHour?: number
}

/** The kinds of weak points, for those who count them. */
export const weaknesses = [
  'old secret',
  'secret without an end',
  'unused secret',
  'imported secret',
  'secret in the form',
  'secret that no method takes',
  'no binding',
  'wide scope',
  'many audiences',
  'change not ended',
] as const

export type Weakness = (typeof weaknesses)[number]

export interface WeakPoint {
  readonly weakness: Weakness
  /** A sentence that says what to do. */
  readonly text: string
}

export interface Assessment {
  readonly provesItselfBy: readonly string[]
  readonly mayGet: readonly string[]
  readonly weakPoints: readonly WeakPoint[]
}

export function assessClient(client: Client, facts: AssessmentFacts): Assessment {
  return {
    provesItselfBy: describeProofs(client, facts.now),
    mayGet: describeRights(client, facts),
    weakPoints: [...findWeakProofs(client, facts.now), ...findWeakRights(client, facts)],
  }
}

function describeProofs(client: Client, now: number): readonly string[] {
  const secrets = liveSecrets(client, now)
  if (client.authMethods.length === 0) return ['nothing: it has no method to do so']
  return [
    ...client.authMethods.map((method, i) => `${describeMethod(client, method)}${i === 0 ? '' : ', also accepted'}`),
    ...describeKeys(client),
    ...secrets.map((secret) => describeSecret(secret, now)),
    ...(usesSecrets(client) && secrets.length === 0
      ? ['no secret that is alive: until it has one it gets nothing by it']
      : []),
  ]
}

function describeMethod({ keys, assertionAlg, tlsSubject }: Client, method: AuthMethod): string {
  const from = keys === undefined ? ': no key yet' : keys.kind === 'uri' ? `: the keys at ${keys.uri}` : ''
  switch (method) {
    case 'client_secret_basic':
      return 'a secret in the Authorization header (client_secret_basic)'
    case 'client_secret_post':
      return 'a secret in the form (client_secret_post)'
    case 'private_key_jwt':
      return `an assertion that its own key signs${assertionAlg === undefined ? '' : ` with ${assertionAlg}`} (private_key_jwt)${from}`
    case 'tls_client_auth':
      return `a certificate of a trusted authority (tls_client_auth): ${describeSubject(tlsSubject)}`
    case 'self_signed_tls_client_auth':
      return `a certificate of its own (self_signed_tls_client_auth)${from}`
  }
}

function describeKeys({ keys }: Client): readonly string[] {
  if (keys?.kind !== 'inline') return []
  return registeredKeys(keys).map(
    ({ name, key }) =>
      `key ${name}: ${foreignAlgs.filter((alg) => key.fits(alg)).join(', ')}, thumbprint ${key.thumbprint}`,
  )
}

function describeSubject(subject: TlsSubject | undefined): string {
  return subject === undefined ? 'no name yet' : `${subject.kind} ${subject.value}`
}

function describeSecret({ secretId, kind, createdAt, expiresAt, lastUsedAt }: ClientSecret, now: number): string {
  const end = expiresAt === undefined ? 'no end' : `ends in ${spanOf(expiresAt - now)}`
  const use = lastUsedAt === undefined ? 'never used' : `last used ${spanOf(now - lastUsedAt)} ago`
  return `secret ${secretId}: ${kind}, ${spanOf(now - createdAt)} old, ${end}, ${use}`
}

function describeRights(client: Client, facts: AssessmentFacts): readonly string[] {
  const { status, grantTypes, introspects, tokensPerHour } = client
  const issues = grantTypes.length > 0
  return [
    ...(status === 'disabled' ? ['nothing now: it is disabled. If it is enabled:'] : []),
    ...(issues
      ? facts.resources.map((resource) => describeTokens(client, resource, facts))
      : ['no tokens: it has no grant']),
    ...(issues ? [`${describeBinding(client)}, by ${grantTypes.join(' and ')}`] : []),
    ...(tokensPerHour === undefined
      ? []
      : [`at most ${tokensPerHour} tokens an hour, ${facts.issuedThisHour ?? 0} of them in this one`]),
    ...(introspects.length === 0 ? [] : [`answers about tokens for ${introspects.join(' ')}`]),
  ]
}

function describeTokens(client: Client, resource: Resource, facts: AssessmentFacts): string {
  const scopes = client.scopes.filter((scope) => resource.scopes.includes(scope))
  const asked = [resource.accessTokenTtlSeconds, client.accessTokenTtlSeconds].filter((ttl) => ttl !== undefined)
  const life = Math.min(
    asked.length === 0 ? facts.accessTokenTtlSeconds : Math.min(...asked),
    facts.accessTokenMaxTtlSeconds,
  )
  const refresh = client.grantTypes.includes('refresh_token') ? ', with refresh tokens' : ''
  return `tokens for ${resource.uri}, ${scopes.length === 0 ? 'without scope' : `scope ${scopes.join(' ')}`}, of ${formatDuration(life)}${refresh}`
}

function describeBinding({ certificateBound, dpopBound }: Client): string {
  const bound = [...(certificateBound ? ['its certificate'] : []), ...(dpopBound ? ['a DPoP key'] : [])]
  return bound.length === 0 ? 'good in any hands unless it asks with a DPoP proof' : `bound to ${bound.join(' and ')}`
}

function findWeakProofs(client: Client, now: number): readonly WeakPoint[] {
  const { clientId, authMethods } = client
  const [registered, ...others] = authMethods
  const secrets = liveSecrets(client, now)
  const points: WeakPoint[] = secrets.flatMap((secret) => findWeakSecret(client, secret, now))
  if (authMethods.includes('client_secret_post')) {
    points.push({
      weakness: 'secret in the form',
      text: `its secret travels in the form (client_secret_post), where logs of proxies and frameworks find it: \`mayfly client update ${clientId} --auth-method client_secret_basic\``,
    })
  }
  if (secrets.length > 0 && !usesSecrets(client)) {
    points.push({
      weakness: 'secret that no method takes',
      text: `${secrets.length === 1 ? 'a secret is' : `${secrets.length} secrets are`} left that no method of it takes: \`mayfly secret revoke\` them`,
    })
  }
  if (others.length > 0) {
    points.push({
      weakness: 'change not ended',
      text: `it also accepts ${others.join(' and ')} beside ${registered}: end the change with \`mayfly client update ${clientId} --auth-method METHOD\``,
    })
  }
  return points
}

function findWeakSecret({ clientId }: Client, secret: ClientSecret, now: number): readonly WeakPoint[] {
  const { secretId, kind, createdAt, expiresAt, lastUsedAt } = secret
  const points: WeakPoint[] = []
  const add = (weakness: Weakness, text: string): void => void points.push({ weakness, text: `${secretId} ${text}` })
  const replace = `\`mayfly secret create ${clientId}\` makes its successor`
  if (now - createdAt > secretDays * dayMilliseconds)
    add('old secret', `is ${daysOf(now - createdAt)} days old: ${replace}`)
  if (expiresAt === undefined) add('secret without an end', `never expires: ${replace}, with \`--expires-in\``)
  if (isUnused(createdAt, lastUsedAt, now)) {
    const since = lastUsedAt === undefined ? 'was never used' : `was not used for ${daysOf(now - lastUsedAt)} days`
    add('unused secret', `${since}: \`mayfly secret revoke ${clientId} ${secretId}\``)
  }
  if (kind === 'imported') add('imported secret', `was imported and can be guessed if a person chose it: ${replace}`)
  return points
}

function isUnused(createdAt: number, lastUsedAt: number | undefined, now: number): boolean {
  if (lastUsedAt === undefined) return now - createdAt > deliveryDays * dayMilliseconds
  return now - lastUsedAt > secretDays * dayMilliseconds
}

function findWeakRights(client: Client, { resources }: AssessmentFacts): readonly WeakPoint[] {
  const { grantTypes, audiences, scopes, certificateBound, dpopBound } = client
  if (grantTypes.length === 0) return []
  const points: WeakPoint[] = []
  const defined = new Set(resources.flatMap((resource) => resource.scopes))
  if (!certificateBound && !dpopBound) {
    points.push({
      weakness: 'no binding',
      text: 'its tokens are bound to no key: whoever gets hold of one can use it until it expires',
    })
  }
  // One scope is all that there is to choose from.
  if (defined.size > 1 && [...defined].every((scope) => scopes.includes(scope))) {
    points.push({
      weakness: 'wide scope',
      text: `it may have every scope of its audiences, and gets all ${defined.size} when it asks for none: take away what it does not need`,
    })
  }
  if (audiences.length >= manyAudiences) {
    points.push({
      weakness: 'many audiences',
      text: `its credentials open ${audiences.length} services: a client for each task loses less`,
    })
  }
  return points
}

function liveSecrets({ secrets }: Client, now: number): readonly ClientSecret[] {
  return secrets.filter(({ expiresAt }) => expiresAt === undefined || expiresAt > now)
}

function usesSecrets({ authMethods }: Client): boolean {
  return authMethods.some(isSecretMethod)
}

function spanOf(milliseconds: number): string {
  return formatSpan(milliseconds / 1000)
}

function daysOf(milliseconds: number): number {
  return Math.floor(milliseconds / dayMilliseconds)
}
